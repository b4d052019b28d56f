#include "loopback_hub.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <system_error>
#include <utility>

#include "hub/digest.hpp"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace modelpool::bench {
namespace {

std::string name_of(const served_file& one)
{
    auto hash =
        one.large ? fetching::digest::sha256() : fetching::digest::git_blob(one.content.size());
    hash.update(one.content);
    return hash.finish();
}

bool send_all(int fd, std::string_view bytes)
{
    while (!bytes.empty()) {
        const ssize_t n = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (n <= 0) return false;
        bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
}

bool respond(int fd, const std::string& status, const std::string& headers, std::string_view body)
{
    const std::string head = "HTTP/1.1 " + status + "\r\n" + headers +
                             "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n";
    // Small answers go in one packet.
    if (body.size() < 4096) return send_all(fd, head + std::string{body});
    return send_all(fd, head) && send_all(fd, body);
}

// [begin, end) of what is asked for; all of it where no range is.
std::pair<std::size_t, std::size_t> range_of(std::string_view head, std::size_t size)
{
    constexpr std::string_view field = "\r\nRange: bytes=";
    const std::size_t at = head.find(field);
    if (at == std::string_view::npos) return {0, size};
    std::size_t begin = 0;
    std::size_t last = size - 1;
    const char* const end = head.data() + head.size();
    const auto first = std::from_chars(head.data() + at + field.size(), end, begin);
    if (first.ptr != end) std::from_chars(first.ptr + 1, end, last);
    return {std::min(begin, size), std::min(last, size - 1) + 1};
}

}  // namespace

loopback_hub::loopback_hub(std::vector<served_file> files)
    : listener_{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)}
{
    for (served_file& one : files) {
        const std::string name = name_of(one);
        const std::string size = std::to_string(one.content.size());
        listing_ += (listing_.empty() ? "[" : ",");
        listing_ += R"({"type":"file","path":")" + one.path + R"(","size":)" + size;
        listing_ += R"(,"oid":")" + name.substr(0, 40) + '"';
        if (one.large) listing_ += R"(,"lfs":{"oid":")" + name + R"(","size":)" + size + "}";
        listing_ += '}';
        blob& kept = files_[one.path];
        kept = {name, std::move(one.content), one.large};
        by_name_[name] = &kept;
    }
    listing_ += ']';
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    sockaddr place{};
    std::memcpy(&place, &address, sizeof address);
    socklen_t length = sizeof place;
    if (::bind(listener_, &place, sizeof place) != 0 || ::listen(listener_, 128) != 0 ||
        ::getsockname(listener_, &place, &length) != 0) {
        const int problem = errno;
        ::close(listener_);
        throw std::system_error{problem, std::generic_category(), "a server on loopback"};
    }
    std::memcpy(&address, &place, sizeof address);
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread{[this] { accept(); }};
}

loopback_hub::~loopback_hub()
{
    {
        const std::lock_guard lock{mutex_};
        closed_ = true;
        for (const int fd : sockets_)
            ::shutdown(fd, SHUT_RDWR);
    }
    ::shutdown(listener_, SHUT_RDWR);
    acceptor_.join();
    ::close(listener_);
    for (std::thread& one : threads_)
        one.join();
}

std::string loopback_hub::url() const
{
    return "http://127.0.0.1:" + std::to_string(port_);
}

void loopback_hub::accept()
{
    for (;;) {
        const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
        const std::lock_guard lock{mutex_};
        if (closed_) {
            if (fd >= 0) ::close(fd);
            return;
        }
        if (fd < 0) continue;
        sockets_.push_back(fd);
        threads_.emplace_back([this, fd] { serve(fd); });
    }
}

void loopback_hub::serve(int fd)
{
    std::string buffer;
    bool open = true;
    while (open) {
        const std::size_t end = buffer.find("\r\n\r\n");
        if (end != std::string::npos) {
            open = answer(fd, std::string_view{buffer}.substr(0, end + 2));
            buffer.erase(0, end + 4);
            continue;
        }
        char block[4096];
        const ssize_t n = ::recv(fd, block, sizeof block, 0);
        if (n <= 0) break;
        buffer.append(block, static_cast<std::size_t>(n));
    }
    const std::lock_guard lock{mutex_};
    sockets_.remove(fd);
    ::close(fd);
}

bool loopback_hub::answer(int fd, std::string_view head) const
{
    constexpr std::string_view api = "/api/models/org/model/";
    const std::size_t space = head.find(' ') + 1;
    const std::string_view path = head.substr(space, head.find(' ', space) - space);
    if (path.starts_with(api)) {
        if (path.substr(api.size()).starts_with("tree/"))
            return respond(fd, "200 OK", "", listing_);
        return respond(fd, "200 OK", "", std::string{R"({"sha":")"} + commit + "\"}");
    }
    const std::size_t name_at = path.rfind('/') + 1;
    if (path.starts_with("/cdn/")) {
        const auto place = by_name_.find(std::string{path.substr(name_at)});
        if (place != by_name_.end()) return answer_file(fd, *place->second, head);
        return respond(fd, "404 Not Found", "", "");
    }
    const std::string prefix = std::string{"/org/model/resolve/"} + commit + "/";
    const auto place = path.starts_with(prefix)
                           ? files_.find(std::string{path.substr(prefix.size())})
                           : files_.end();
    if (place == files_.end()) return respond(fd, "404 Not Found", "", "");
    const blob& one = place->second;
    const std::string facts = std::string{"X-Repo-Commit: "} + commit + "\r\nX-Linked-Etag: \"" +
                              one.name +
                              "\"\r\nX-Linked-Size: " + std::to_string(one.content.size()) + "\r\n";
    if (!one.large) return respond(fd, "200 OK", facts, one.content);
    return respond(fd, "302 Found", facts + "Location: " + url() + "/cdn/" + one.name + "\r\n", "");
}

bool loopback_hub::answer_file(int fd, const blob& one, std::string_view head) const
{
    const auto [begin, end] = range_of(head, one.content.size());
    const std::string_view part = std::string_view{one.content}.substr(begin, end - begin);
    const std::string tag = "ETag: \"" + one.name + "\"\r\n";
    if (part.size() == one.content.size()) return respond(fd, "200 OK", tag, part);
    return respond(
        fd,
        "206 Partial Content",
        tag + "Content-Range: bytes " + std::to_string(begin) + "-" + std::to_string(end - 1) +
            "/" + std::to_string(one.content.size()) + "\r\n",
        part);
}

}  // namespace modelpool::bench

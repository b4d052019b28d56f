#include "hub/fault_server.hpp"

#include <algorithm>
#include <cctype>
#include <cstring>
#include <stdexcept>

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace modelpool::testing {

std::pair<std::uint64_t, std::uint64_t> seen_request::range(std::uint64_t size) const
{
    const std::string text = header("range");
    if (!text.starts_with("bytes=")) return {0, size};
    const std::size_t dash = text.find('-');
    const std::uint64_t begin = std::stoull(text.substr(6, dash - 6));
    return {begin, std::min<std::uint64_t>(size, std::stoull(text.substr(dash + 1)) + 1)};
}

ssize_t connection::receive(char* block, std::size_t n_bytes) const
{
    if (tls_ != nullptr) return SSL_read(tls_, block, static_cast<int>(n_bytes));
    return ::recv(fd_, block, n_bytes, 0);
}

bool connection::send(std::string_view bytes)
{
    while (!bytes.empty()) {
        const ssize_t n = tls_ != nullptr
                              ? SSL_write(tls_, bytes.data(), static_cast<int>(bytes.size()))
                              : ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (n <= 0) return false;
        n_sent_ += static_cast<std::uint64_t>(n);
        bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
}

void connection::respond(int status, const std::string& headers, std::string_view body)
{
    head(status, headers + "Content-Length: " + std::to_string(body.size()) + "\r\n");
    send(body);
}

void connection::head(int status, const std::string& headers)
{
    send("HTTP/1.1 " + std::to_string(status) + " Status\r\n" + headers + "\r\n");
}

void connection::serve(const seen_request& asked, std::string_view content, std::string headers)
{
    const auto [begin, end] = asked.range(content.size());
    if (asked.header("range").empty()) return respond(200, headers, content);
    headers += "Content-Range: bytes " + std::to_string(begin) + "-" + std::to_string(end - 1) +
               "/" + std::to_string(content.size()) + "\r\n";
    respond(206, headers, content.substr(begin, end - begin));
}

void connection::keep_little_unsent(std::size_t n_bytes) const
{
    const int size = static_cast<int>(n_bytes);
    ::setsockopt(fd_, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
}

void connection::reset()
{
    const linger now{1, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    open = false;
}

void connection::hold(std::chrono::milliseconds time) const
{
    const auto end = std::chrono::steady_clock::now() + time;
    char byte = 0;
    while (std::chrono::steady_clock::now() < end) {
        if (::recv(fd_, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0) return;
        std::this_thread::sleep_for(std::chrono::milliseconds{2});
    }
}

fault_server::fault_server(handler handle, SSL_CTX* tls)
    : handle_{std::move(handle)}
    , tls_{tls}
    , listener_{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)}
{
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    sockaddr place{};
    std::memcpy(&place, &address, sizeof address);
    socklen_t length = sizeof place;
    if (::bind(listener_, &place, sizeof place) != 0 || ::listen(listener_, 128) != 0 ||
        ::getsockname(listener_, &place, &length) != 0)
        throw std::runtime_error{"cannot listen on loopback"};
    std::memcpy(&address, &place, sizeof address);
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread{[this] { accept(); }};
}

fault_server::~fault_server()
{
    closed_ = true;
    ::shutdown(listener_, SHUT_RDWR);
    acceptor_.join();
    ::close(listener_);
    {
        const std::lock_guard lock{mutex_};
        for (const int fd : sockets_)
            ::shutdown(fd, SHUT_RDWR);
    }
    for (std::thread& one : threads_)
        one.join();
}

std::string fault_server::url() const
{
    return (tls_ != nullptr ? "https://127.0.0.1:" : "http://127.0.0.1:") + std::to_string(port_);
}

std::vector<seen_request> fault_server::seen() const
{
    const std::lock_guard lock{mutex_};
    return seen_;
}

std::size_t fault_server::n_seen(const std::string& part) const
{
    const auto all = seen();
    return static_cast<std::size_t>(
        std::count_if(all.begin(), all.end(), [&](const seen_request& one) {
            return one.target.find(part) != std::string::npos;
        }));
}

void fault_server::forget()
{
    const std::lock_guard lock{mutex_};
    seen_.clear();
    n_sent_ = 0;
}

void fault_server::accept()
{
    while (!closed_) {
        const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
        if (fd < 0) continue;
        const std::lock_guard lock{mutex_};
        sockets_.push_back(fd);
        threads_.emplace_back([this, fd] { serve(fd); });
    }
}

void fault_server::serve(int fd)
{
    SSL* tls = nullptr;
    if (tls_ != nullptr) {
        tls = SSL_new(tls_);
        SSL_set_fd(tls, fd);
    }
    connection peer{fd, n_sent_, tls};
    if (tls != nullptr && SSL_accept(tls) != 1) peer.close();
    std::string buffer;
    while (peer.open && !closed_) {
        seen_request asked;
        if (!read(peer, buffer, asked)) break;
        handle_(asked, peer);
    }
    const std::lock_guard lock{mutex_};
    sockets_.remove(fd);
    ::close(fd);
}

bool fault_server::read(const connection& peer, std::string& buffer, seen_request& asked)
{
    std::size_t end = 0;
    while ((end = buffer.find("\r\n\r\n")) == std::string::npos) {
        char block[4096];
        const ssize_t n = peer.receive(block, sizeof block);
        if (n <= 0) return false;
        buffer.append(block, static_cast<std::size_t>(n));
    }
    std::string head = buffer.substr(0, end + 2);
    buffer.erase(0, end + 4);
    const std::string first = head.substr(0, head.find("\r\n"));
    asked.method = first.substr(0, first.find(' '));
    asked.target = first.substr(first.find(' ') + 1);
    asked.target.resize(asked.target.find(' '));
    std::size_t begin = first.size() + 2;
    while (begin < head.size()) {
        const std::size_t stop = head.find("\r\n", begin);
        const std::string line = head.substr(begin, stop - begin);
        begin = stop + 2;
        const std::size_t colon = line.find(':');
        std::string name = line.substr(0, colon);
        std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) {
            return static_cast<char>(std::tolower(c));
        });
        const std::size_t value = line.find_first_not_of(' ', colon + 1);
        asked.headers[name] = value == std::string::npos ? "" : line.substr(value);
    }
    const std::lock_guard lock{mutex_};
    asked.n_before = n_of_[asked.path()]++;
    seen_.push_back(asked);
    return true;
}

}  // namespace modelpool::testing

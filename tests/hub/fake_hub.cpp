#include "hub/fake_hub.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <exception>
#include <fstream>
#include <iterator>
#include <optional>
#include <random>
#include <utility>

#include "hub/digest.hpp"

namespace modelpool::testing {

std::string sha256_of(std::string_view bytes)
{
    fetching::digest hash = fetching::digest::sha256();
    hash.update(bytes);
    return hash.finish();
}

std::string git_sha1_of(std::string_view bytes)
{
    fetching::digest hash = fetching::digest::git_blob(bytes.size());
    hash.update(bytes);
    return hash.finish();
}

std::string noise(std::size_t n_bytes, unsigned seed)
{
    std::mt19937_64 dice{seed};
    std::string bytes(n_bytes, '\0');
    for (std::size_t i = 0; i + 8 <= n_bytes; i += 8) {
        const std::uint64_t value = dice();
        std::memcpy(bytes.data() + i, &value, 8);
    }
    return bytes;
}

std::string read_all(const std::filesystem::path& path)
{
    std::ifstream in{path, std::ios::binary};
    return {std::istreambuf_iterator<char>{in}, {}};
}

template <class T>
T run_hub(awaitable<T> operation)
{
    boost::asio::io_context io;
    std::exception_ptr problem;
    std::optional<T> result;
    boost::asio::co_spawn(io, std::move(operation), [&](std::exception_ptr failed, T value) {
        problem = std::move(failed);
        result = std::move(value);
    });
    io.run();
    if (problem) std::rethrow_exception(problem);
    return std::move(*result);
}

template snapshot run_hub(awaitable<snapshot>);
template fetched run_hub(awaitable<fetched>);
template pruned run_hub(awaitable<pruned>);
template std::filesystem::path run_hub(awaitable<std::filesystem::path>);
template std::vector<std::byte> run_hub(awaitable<std::vector<std::byte>>);
template std::vector<cached_repository> run_hub(awaitable<std::vector<cached_repository>>);
template std::vector<cache_fault> run_hub(awaitable<std::vector<cache_fault>>);

hub_options quick_options(const fake_hub& server, const temp_dir& dir)
{
    using std::chrono::milliseconds;
    hub_options options;
    options.cache_dir(dir / "cache")
        .endpoint(server.hub.url())
        .retry_delay(milliseconds{1}, milliseconds{20})
        .metadata_timeout(milliseconds{2000})
        .download_timeout(milliseconds{1000})
        .low_speed_time(milliseconds{1500})
        .sync(false);
    return options;
}

std::vector<std::string> blobs_in(const temp_dir& dir)
{
    std::vector<std::string> names;
    const auto place = dir / "cache/models--org--model/blobs";
    if (!std::filesystem::exists(place)) return names;
    for (const auto& entry : std::filesystem::directory_iterator{place})
        names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
}

fake_hub::fake_hub()
    : cdn{[this](const seen_request& asked, connection& peer) {
        const hook first = take(on_cdn_);
        if (first && first(asked, peer)) return;
        const std::string name = asked.path().substr(5);
        peer.serve(asked, content(name), "ETag: \"cdn-" + name.substr(0, 8) + "\"\r\n");
    }}
    , hub{[this](const seen_request& asked, connection& peer) {
        const hook first = take(on_hub_);
        if (first && first(asked, peer)) return;
        answer(asked, peer);
    }}
{}

void fake_hub::add(const std::string& path, std::string bytes, bool large)
{
    const std::lock_guard lock{mutex_};
    const std::string name = large ? sha256_of(bytes) : git_sha1_of(bytes);
    contents_[name] = std::move(bytes);
    files_[path] = name;
}

std::string fake_hub::name_of(const std::string& path) const
{
    const std::lock_guard lock{mutex_};
    return files_.at(path);
}

std::string fake_hub::content(const std::string& name) const
{
    const std::lock_guard lock{mutex_};
    const auto place = contents_.find(name);
    return place == contents_.end() ? "" : place->second;
}

void fake_hub::on_hub(hook first)
{
    const std::lock_guard lock{mutex_};
    on_hub_ = std::move(first);
}

void fake_hub::on_cdn(hook first)
{
    const std::lock_guard lock{mutex_};
    on_cdn_ = std::move(first);
}

std::string fake_hub::facts(const std::string& etag)
{
    return std::string{"X-Repo-Commit: "} + commit + "\r\nETag: \"" + etag + "\"\r\n";
}

std::string fake_hub::linked_facts(const std::string& name) const
{
    return std::string{"X-Repo-Commit: "} + commit + "\r\nX-Linked-Etag: \"" + name +
           "\"\r\nX-Linked-Size: " + std::to_string(content(name).size()) + "\r\n";
}

void fake_hub::answer(const seen_request& asked, connection& peer)
{
    static const std::string api = "/api/models/org/model";
    const std::string path = asked.path();
    if (path.starts_with(api + "/revision/"))
        return peer.respond(200, "", std::string{R"({"sha":")"} + commit + R"(","siblings":[]})");
    if (path.starts_with(api + "/tree/")) return peer.respond(200, "", tree());
    if (path.starts_with("/api/resolve-cache/")) {
        if (asked.target.find("?etag=") == std::string::npos) return peer.respond(404, "");
        const std::string name = path.substr(path.rfind('/') + 1);
        return peer.serve(asked, content(name), facts(name));
    }
    const std::string start = "/org/model/resolve/";
    if (!path.starts_with(start)) return peer.respond(404, "X-Error-Code: RepoNotFound\r\n");
    const std::string file = decoded(path.substr(path.find('/', start.size()) + 1));
    const std::string name = find(file);
    if (name.empty())
        return peer.respond(
            404, std::string{"X-Error-Code: EntryNotFound\r\nX-Repo-Commit: "} + commit + "\r\n");
    if (name.size() == 64)
        return peer.respond(
            302,
            linked_facts(name) + "Location: " + cdn.url() + "/cdn/" + name + "?sig=1\r\n",
            "Found. Redirecting");
    peer.respond(
        307,
        std::string{"X-Repo-Commit: "} + commit + "\r\nX-Linked-Etag: \"" + name +
            "\"\r\nLocation: /api/resolve-cache/models/org/model/" + name + "?etag=%22" + name +
            "%22\r\n",
        "Temporary Redirect");
}

std::string fake_hub::tree() const
{
    const std::lock_guard lock{mutex_};
    std::string text;
    for (const auto& [path, name] : files_) {
        const std::string size = std::to_string(contents_.at(name).size());
        text += text.empty() ? "[" : ",";
        text += R"({"type":"file","path":")" + path + R"(","size":)" + size + R"(,"oid":")" +
                git_sha1_of(path);
        if (name.size() == 64)
            text +=
                R"(","lfs":{"oid":")" + name + R"(","size":)" + size + R"(,"pointerSize":130}})";
        else
            text.replace(text.size() - 40, 40, name) += R"("})";
    }
    return text.empty() ? "[]" : text + "]";
}

std::string fake_hub::decoded(const std::string& text)
{
    std::string result;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '%') {
            result += static_cast<char>(std::stoi(text.substr(i + 1, 2), nullptr, 16));
            i += 2;
        } else {
            result += text[i];
        }
    }
    return result;
}

std::string fake_hub::find(const std::string& path) const
{
    const std::lock_guard lock{mutex_};
    const auto place = files_.find(path);
    return place == files_.end() ? "" : place->second;
}

fake_hub::hook fake_hub::take(const hook& one) const
{
    const std::lock_guard lock{mutex_};
    return one;
}

}  // namespace modelpool::testing

#pragma once

#include <modelpool/hub/hub.hpp>

#include <cstddef>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "fault_server.hpp"
#include "support/temp_dir.hpp"

namespace modelpool::testing {

std::string sha256_of(std::string_view bytes);

std::string git_sha1_of(std::string_view bytes);

/// The same bytes for the same seed.
std::string noise(std::size_t n_bytes, unsigned seed = 1);

std::string read_all(const std::filesystem::path& path);

/// Runs an operation on a loop of its own; throws what it throws. For what a hub's operations
/// give, whose coroutines are compiled once.
template <class T>
T run_hub(awaitable<T> operation);

/// A hub with one repository, "org/model", and a second server for its large files. A test changes
/// what it answers by the hooks: one that returns true has answered itself.
class fake_hub {
public:
    using hook = std::function<bool(const seen_request&, connection&)>;
    static constexpr const char* commit = "0123456789abcdef0123456789abcdef01234567";

    fake_hub();

    void add(const std::string& path, std::string bytes, bool large = false);
    std::string name_of(const std::string& path) const;
    std::string content(const std::string& name) const;
    void on_hub(hook first);
    void on_cdn(hook first);

    static std::string facts(const std::string& etag);
    std::string linked_facts(const std::string& name) const;

    /// Answers as the real one would.
    void answer(const seen_request& asked, connection& peer);

    std::string tree() const;

private:
    static std::string decoded(const std::string& text);
    std::string find(const std::string& path) const;
    hook take(const hook& one) const;

    mutable std::mutex mutex_;
    std::map<std::string, std::string> contents_;  // by name
    std::map<std::string, std::string> files_;     // path -> name
    hook on_hub_;
    hook on_cdn_;

public:
    fault_server cdn;
    fault_server hub;
};

/// Options for a hub on loopback that does not wait long for anything.
hub_options quick_options(const fake_hub& server, const temp_dir& dir);

/// Names of what lies in the blobs of "org/model".
std::vector<std::string> blobs_in(const temp_dir& dir);

}  // namespace modelpool::testing

#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>

#include "hub/api_json.hpp"
#include "hub/cache_layout.hpp"

namespace modelpool::fetching {

// What the cache's files are made of. Everything that others may read appears by a rename. Failures
// of the disk are hub_fault with fault::disk.

/// An open file, closed at the end.
class file_handle {
public:
    explicit file_handle(int fd)
        : fd_{fd}
    {}
    ~file_handle();
    file_handle(const file_handle&) = delete;
    file_handle& operator=(const file_handle&) = delete;
    file_handle(file_handle&&) = delete;
    file_handle& operator=(file_handle&&) = delete;
    int fd() const noexcept { return fd_; }

private:
    int fd_;
};

/// Eight random hexadecimal digits.
std::string fresh_nonce();
[[noreturn]] void fail_on_disk(const std::filesystem::path& path, const char* what, int problem);
void blocking_make_dirs(const std::filesystem::path& dir);
/// Puts `bytes` at `path` in one step, with what lies there replaced.
void blocking_write_file(const std::filesystem::path& path, std::string_view bytes);
/// The same, by way of a name of the caller's choice in the same folder, which nobody else uses.
void blocking_write_file(
    const std::filesystem::path& path, std::string_view bytes, const std::filesystem::path& fresh);
/// The text of a small file; empty where it cannot be read.
std::optional<std::string>
blocking_read_small(const std::filesystem::path& path, std::size_t max_bytes);
/// The length of a regular file, through links.
std::optional<std::uint64_t> blocking_size(const std::filesystem::path& path);
/// The hash of a file's content, as `digest::for_blob` of that name gives it; empty for other
/// names.
std::optional<std::string> blocking_hash(
    const std::filesystem::path& path, std::string_view blob_name, const std::stop_token& stop);
std::string blocking_sha256(const std::filesystem::path& path, const std::stop_token& stop);

/// The folder of a repository: as it was asked for, or the only one there in another casing.
repo_layout
blocking_find_layout(const std::filesystem::path& cache, repository_kind kind, std::string_view id);
/// The commit of a branch or tag as the cache knows it.
std::optional<std::string>
blocking_read_ref(const repo_layout& layout, const std::string& revision);
/// Writes it where it differs; a cache that cannot be written stays as it is.
void blocking_write_ref(
    const repo_layout& layout, const std::string& revision, const std::string& commit);
bool blocking_is_missing(
    const repo_layout& layout, const std::string& commit, const std::string& path);
void blocking_mark_missing(
    const repo_layout& layout, const std::string& commit, const std::string& path);
std::optional<tree> blocking_read_tree(const repo_layout& layout, const std::string& commit);
void blocking_write_tree(const repo_layout& layout, const std::string& commit, const tree& all);
/// Tells backup programs that the folder is a cache.
void blocking_tag_cache(const std::filesystem::path& cache);

/// The blob that `path` of a snapshot leads to, where it is a small one that has its own hash's
/// bytes; else empty.
std::string
blocking_linked_blob(const repo_layout& layout, const std::string& commit, const std::string& path);

/// Makes `path` of a snapshot lead to the blob, unless it does already.
void blocking_link(
    const repo_layout& layout,
    const std::string& commit,
    const std::string& path,
    const std::string& blob,
    bool symlinks);
/// Gives `to` the content of `from`: as another name for it, or as a copy.
void blocking_share(const std::filesystem::path& from, const std::filesystem::path& to);
/// Puts a blob of a wrong length aside, where `prune` finds it.
void blocking_quarantine(const repo_layout& layout, const std::string& blob);

/// The lock on a blob that the clients of all languages take turns by. It only saves bandwidth:
/// where it cannot be had, work goes on without.
class blob_lock {
public:
    blob_lock() = default;
    /// Waits for the lock; gives up once `have` says that the blob is there, or after `limit`
    /// (zero: never). Errors: operation_aborted once `stop` asks.
    static blob_lock blocking_take(
        const std::filesystem::path& path,
        std::chrono::milliseconds limit,
        const std::function<bool()>& have,
        const std::function<void()>& on_wait,
        const std::stop_token& stop);
    bool owns() const noexcept { return file_ != nullptr; }

private:
    std::unique_ptr<file_handle> file_;
};

}  // namespace modelpool::fetching

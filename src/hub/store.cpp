#include "hub/store.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <random>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "hub/digest.hpp"
#include "hub/engine.hpp"
#include "hub/http_rules.hpp"
#include "hub/path_rules.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace modelpool::fetching {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

constexpr std::size_t block_bytes = std::size_t{1} << 20U;
constexpr std::size_t largest_tree_cache = std::size_t{256} << 20U;
constexpr std::string_view cache_tag =
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# This file is a cache directory tag created by modelpool.\n"
    "# For information about cache directory tags, see: https://bford.info/cachedir/\n";

void write_all(int fd, std::string_view bytes, const fs::path& path)
{
    while (!bytes.empty()) {
        const ssize_t n = ::write(fd, bytes.data(), bytes.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) fail_on_disk(path, "cannot be written", errno);
        bytes.remove_prefix(static_cast<std::size_t>(n));
    }
}

std::string lower(std::string_view text)
{
    std::string result{text};
    for (char& c : result)
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    return result;
}

// Bytes of a file to a digest.
void blocking_feed(const fs::path& path, digest& hash, const std::stop_token& stop)
{
    const file_handle file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    if (file.fd() < 0) fail_on_disk(path, "cannot be opened", errno);
    std::vector<char> block(block_bytes);
    for (;;) {
        end_if_stopped(stop);
        const ssize_t n = ::read(file.fd(), block.data(), block.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) fail_on_disk(path, "cannot be read", errno);
        if (n == 0) return;
        hash.update({block.data(), static_cast<std::size_t>(n)});
    }
}

bool is_no_link_support(int problem)
{
    return problem == EPERM || problem == EOPNOTSUPP || problem == ENOSYS;
}

bool same_content(const fs::path& a, const fs::path& b)
{
    struct stat first {};
    struct stat second {};
    if (::stat(a.c_str(), &first) != 0 || ::stat(b.c_str(), &second) != 0) return false;
    return first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

}  // namespace

file_handle::~file_handle()
{
    if (fd_ >= 0) ::close(fd_);
}

std::string fresh_nonce()
{
    std::random_device device;
    static constexpr std::string_view digits = "0123456789abcdef";
    unsigned value = device();
    std::string nonce;
    for (int i = 0; i < 8; ++i, value >>= 4U)
        nonce += digits[value & 15U];
    return nonce;
}

void fail_on_disk(const fs::path& path, const char* what, int problem)
{
    throw hub_fault{
        fault::disk, path.string() + ": " + what + ": " + std::generic_category().message(problem)};
}

void blocking_make_dirs(const fs::path& dir)
{
    std::error_code problem;
    fs::create_directories(dir, problem);
    if (problem && !fs::is_directory(dir)) fail_on_disk(dir, "cannot be made", problem.value());
}

void blocking_write_file(const fs::path& path, std::string_view bytes)
{
    const std::string name = path.filename().string() + "." + fresh_nonce() + ".tmp";
    blocking_write_file(path, bytes, path.parent_path() / name);
}

void blocking_write_file(const fs::path& path, std::string_view bytes, const fs::path& fresh)
{
    blocking_make_dirs(path.parent_path());
    {
        const file_handle file{
            ::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666)};
        if (file.fd() < 0) fail_on_disk(fresh, "cannot be made", errno);
        try {
            write_all(file.fd(), bytes, fresh);
        } catch (...) {
            ::unlink(fresh.c_str());
            throw;
        }
    }
    if (::rename(fresh.c_str(), path.c_str()) != 0) {
        const int problem = errno;
        ::unlink(fresh.c_str());
        fail_on_disk(path, "cannot be replaced", problem);
    }
}

std::optional<std::string> blocking_read_small(const fs::path& path, std::size_t max_bytes)
{
    std::ifstream in{path, std::ios::binary};
    if (!in) return std::nullopt;
    std::string all;
    std::array<char, 65536> block{};
    while (in.read(block.data(), block.size()) || in.gcount() > 0) {
        all.append(block.data(), static_cast<std::size_t>(in.gcount()));
        if (all.size() > max_bytes) return std::nullopt;
    }
    return in.bad() ? std::nullopt : std::optional{std::move(all)};
}

std::optional<std::uint64_t> blocking_size(const fs::path& path)
{
    struct stat found {};
    if (::stat(path.c_str(), &found) != 0 || !S_ISREG(found.st_mode)) return std::nullopt;
    return static_cast<std::uint64_t>(found.st_size);
}

std::optional<std::string>
blocking_hash(const fs::path& path, std::string_view blob_name, const std::stop_token& stop)
{
    const auto size = blocking_size(path);
    if (!size) fail_on_disk(path, "cannot be read", ENOENT);
    std::optional<digest> hash = digest::for_blob(blob_name, *size);
    if (!hash) return std::nullopt;
    blocking_feed(path, *hash, stop);
    return hash->finish();
}

std::string blocking_sha256(const fs::path& path, const std::stop_token& stop)
{
    digest hash = digest::sha256();
    blocking_feed(path, hash, stop);
    return hash.finish();
}

repo_layout blocking_find_layout(const fs::path& cache, repository_kind kind, std::string_view id)
{
    repo_layout wanted{cache, kind, id};
    std::error_code problem;
    if (fs::is_directory(wanted.dir(), problem)) return wanted;
    const std::string folder = lower(wanted.folder());
    std::vector<std::string> alike;
    for (fs::directory_iterator place{cache, problem};
         !problem && place != fs::directory_iterator{};
         place.increment(problem)) {
        const std::string name = place->path().filename().string();
        if (lower(name) == folder) alike.push_back(name);
    }
    return alike.size() == 1 ? repo_layout{cache, alike.front()} : wanted;
}

std::optional<std::string> blocking_read_ref(const repo_layout& layout, const std::string& revision)
{
    // Other clients write it in place: an empty one is read a second time.
    for (int i = 0; i < 2; ++i) {
        auto text = blocking_read_small(layout.ref(revision), 256);
        if (!text) return std::nullopt;
        while (!text->empty() &&
               (text->back() == '\n' || text->back() == '\r' || text->back() == ' '))
            text->pop_back();
        if (is_commit(*text)) return text;
        if (i == 0) std::this_thread::sleep_for(milliseconds{5});
    }
    return std::nullopt;
}

void blocking_write_ref(
    const repo_layout& layout, const std::string& revision, const std::string& commit)
{
    if (revision == commit) return;
    if (blocking_read_small(layout.ref(revision), 256) == commit) return;
    try {
        blocking_write_file(layout.ref(revision), commit);
    } catch (const error&) {
        // A cache that may only be read serves hits all the same.
        return;
    }
}

bool blocking_is_missing(
    const repo_layout& layout, const std::string& commit, const std::string& path)
{
    return blocking_size(layout.no_exist(commit, path)).has_value();
}

void blocking_mark_missing(
    const repo_layout& layout, const std::string& commit, const std::string& path)
{
    try {
        blocking_write_file(layout.no_exist(commit, path), "");
    } catch (const error&) {
        return;  // the next fetch asks the hub again
    }
}

std::optional<tree> blocking_read_tree(const repo_layout& layout, const std::string& commit)
{
    const auto text = blocking_read_small(layout.tree(commit), largest_tree_cache);
    return text ? read_tree_cache(*text) : std::nullopt;
}

void blocking_write_tree(const repo_layout& layout, const std::string& commit, const tree& all)
{
    if (!is_keepable(all)) return;
    try {
        blocking_write_file(layout.tree(commit), write_tree_cache(all));
    } catch (const error&) {
        return;  // it only saves a request
    }
}

void blocking_tag_cache(const fs::path& cache)
{
    const fs::path tag = cache / "CACHEDIR.TAG";
    std::error_code problem;
    if (fs::exists(tag, problem)) return;
    try {
        blocking_write_file(tag, cache_tag);
    } catch (const error&) {
        return;  // backups are larger without it
    }
}

std::string
blocking_linked_blob(const repo_layout& layout, const std::string& commit, const std::string& path)
{
    constexpr std::uint64_t small_bytes = std::uint64_t{1} << 20U;
    std::error_code problem;
    const fs::path link = fs::read_symlink(layout.snapshot(commit) / path, problem);
    const std::string blob = link.filename().string();
    if (problem || link != repo_layout::link_text(path, blob)) return {};
    const auto size = blocking_size(layout.blob(blob));
    if (!size || *size > small_bytes) return {};
    return blocking_hash(layout.blob(blob), blob, {}) == blob ? blob : std::string{};
}

void blocking_share(const fs::path& from, const fs::path& to)
{
    if (::link(from.c_str(), to.c_str()) == 0) return;
    std::error_code problem;
    fs::copy_file(from, to, fs::copy_options::overwrite_existing, problem);
    if (problem) fail_on_disk(to, "cannot be copied", problem.value());
}

void blocking_link(
    const repo_layout& layout,
    const std::string& commit,
    const std::string& path,
    const std::string& blob,
    bool symlinks)
{
    const fs::path place = layout.snapshot(commit) / path;
    const std::string text = repo_layout::link_text(path, blob);
    std::error_code problem;
    const fs::path found = fs::read_symlink(place, problem);
    if (!problem && found == text) return;
    if (problem && !symlinks && same_content(place, layout.blob(blob))) return;
    blocking_make_dirs(place.parent_path());
    // Made aside and renamed, so that the name never leads to nothing.
    const fs::path fresh = layout.dir() / (".lnk-" + fresh_nonce() + ".tmp");
    int failed = symlinks ? 0 : EPERM;
    if (symlinks && ::symlink(text.c_str(), fresh.c_str()) != 0) failed = errno;
    if (is_no_link_support(failed))
        blocking_share(fs::canonical(layout.blob(blob)), fresh);
    else if (failed != 0)
        fail_on_disk(fresh, "cannot be made", failed);
    if (::rename(fresh.c_str(), place.c_str()) != 0) failed = errno;
    // Where both names are links to one file, rename leaves both.
    ::unlink(fresh.c_str());
    if (failed != 0 && !is_no_link_support(failed)) fail_on_disk(place, "cannot be made", failed);
}

void blocking_quarantine(const repo_layout& layout, const std::string& blob)
{
    const fs::path from = layout.blob(blob);
    const fs::path to = layout.blobs() / (blob + "." + fresh_nonce() + ".bad.incomplete");
    if (::rename(from.c_str(), to.c_str()) != 0 && errno != ENOENT)
        fail_on_disk(from, "cannot be moved", errno);
}

namespace {

enum class lock_try { taken, busy, impossible };

lock_try try_lock(int fd, const fs::path& path)
{
    if (::flock(fd, LOCK_EX | LOCK_NB) != 0)
        return errno == EWOULDBLOCK || errno == EINTR ? lock_try::busy : lock_try::impossible;
    // Some clients remove the file: a lock on what has no name any more excludes nobody.
    struct stat here {};
    struct stat named {};
    const bool same = ::fstat(fd, &here) == 0 && ::stat(path.c_str(), &named) == 0 &&
                      here.st_ino == named.st_ino && here.st_dev == named.st_dev;
    return same ? lock_try::taken : lock_try::busy;
}

std::unique_ptr<file_handle> open_lock(const fs::path& path)
{
    constexpr mode_t shared = 0664;
    int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, shared);
    if (fd < 0 && errno == EACCES) fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return nullptr;
    // Another user of the cache must be able to lock it; a foreign file refuses, and is fine as it
    // is.
    if (::fchmod(fd, shared) != 0) errno = 0;
    return std::make_unique<file_handle>(fd);
}

}  // namespace

blob_lock blob_lock::blocking_take(
    const fs::path& path,
    milliseconds limit,
    const std::function<bool()>& have,
    const std::function<void()>& on_wait,
    const std::stop_token& stop)
{
    blob_lock result;
    std::error_code problem;
    fs::create_directories(path.parent_path(), problem);
    const auto begin = std::chrono::steady_clock::now();
    milliseconds pause{25};
    std::minstd_rand dice{std::random_device{}()};
    for (bool first = true;; first = false) {
        auto file = open_lock(path);
        if (!file) return result;
        const lock_try got = try_lock(file->fd(), path);
        if (got == lock_try::impossible) return result;
        if (got == lock_try::taken) {
            result.file_ = std::move(file);
            return result;
        }
        if (have()) return result;
        if (first && on_wait) on_wait();
        if (limit.count() > 0 && std::chrono::steady_clock::now() - begin >= limit) return result;
        blocking_sleep(pause + milliseconds{static_cast<int>(dice() % 10)}, stop);
        pause = std::min(pause * 2, milliseconds{500});
    }
}

}  // namespace modelpool::fetching

#include "hub/cache_admin.hpp"

#include <algorithm>
#include <cerrno>
#include <map>
#include <set>
#include <system_error>
#include <utility>

#include "hub/cache_layout.hpp"
#include "hub/digest.hpp"
#include "hub/engine.hpp"
#include "hub/http_rules.hpp"
#include "hub/journal.hpp"
#include "hub/path_rules.hpp"
#include "hub/store.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

namespace modelpool::fetching {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t largest_journal = std::size_t{8} << 20U;

bool is_partial(const std::string& name)
{
    return name.ends_with(".incomplete") || name.ends_with(".tmp");
}

// The entries of a folder, sorted; none where it does not exist.
std::vector<fs::path> blocking_entries(const fs::path& dir)
{
    std::vector<fs::path> all;
    std::error_code problem;
    for (fs::directory_iterator place{dir, problem}; !problem && place != fs::directory_iterator{};
         place.increment(problem))
        all.push_back(place->path());
    if (problem && problem != std::errc::no_such_file_or_directory)
        fail_on_disk(dir, "cannot be read", problem.value());
    std::sort(all.begin(), all.end());
    return all;
}

// Files and links below a folder, in no order.
std::vector<fs::path> blocking_files(const fs::path& dir, const std::stop_token& stop)
{
    std::vector<fs::path> all;
    std::error_code problem;
    for (fs::recursive_directory_iterator place{dir, problem};
         !problem && place != fs::recursive_directory_iterator{};
         place.increment(problem)) {
        end_if_stopped(stop);
        std::error_code broken;
        const fs::file_status status = place->symlink_status(broken);
        if (!fs::is_directory(status)) all.push_back(place->path());
    }
    if (problem && problem != std::errc::no_such_file_or_directory)
        fail_on_disk(dir, "cannot be read", problem.value());
    return all;
}

// The later of reading and writing: not every file system notes the former.
std::chrono::system_clock::time_point blocking_last_use(const fs::path& path)
{
    struct stat found {};
    if (::stat(path.c_str(), &found) != 0) return {};
    return std::chrono::system_clock::from_time_t(std::max(found.st_atime, found.st_mtime));
}

cached_commit blocking_scan_commit(const fs::path& dir, const std::stop_token& stop)
{
    cached_commit one;
    one.commit = dir.filename().string();
    one.dir = dir;
    for (const fs::path& path : blocking_files(dir, stop)) {
        cached_file file;
        file.path = path.lexically_relative(dir).generic_string();
        std::error_code problem;
        const fs::path target = fs::read_symlink(path, problem);
        if (!problem) file.blob = target.filename().string();
        const auto bytes = blocking_size(path);
        file.bytes = bytes.value_or(0);
        file.broken = !bytes;
        one.files.push_back(std::move(file));
    }
    std::sort(one.files.begin(), one.files.end(), [](const cached_file& a, const cached_file& b) {
        return a.path < b.path;
    });
    return one;
}

cached_repository
blocking_scan_repository(const fs::path& dir, const repo_name& name, const std::stop_token& stop)
{
    cached_repository repo;
    repo.id = name.id;
    repo.kind = name.kind;
    repo.dir = dir;
    for (const fs::path& path : blocking_entries(dir / "blobs")) {
        const std::uint64_t bytes = blocking_size(path).value_or(0);
        repo.last_used = std::max(repo.last_used, blocking_last_use(path));
        (is_partial(path.filename().string()) ? repo.partial_bytes : repo.bytes) += bytes;
    }
    std::map<std::string, std::vector<std::string>> refs;
    for (const fs::path& path : blocking_files(dir / "refs", stop)) {
        auto commit = blocking_read_small(path, 256);
        if (commit)
            refs[commit->substr(0, 40)].push_back(
                path.lexically_relative(dir / "refs").generic_string());
    }
    for (const fs::path& path : blocking_entries(dir / "snapshots")) {
        if (!is_commit(path.filename().string())) continue;
        cached_commit one = blocking_scan_commit(path, stop);
        one.refs = refs[one.commit];
        std::sort(one.refs.begin(), one.refs.end());
        // Files that are no links have no blob: they count by themselves.
        for (const cached_file& file : one.files) {
            if (!file.blob.empty()) continue;
            repo.bytes += file.bytes;
            repo.last_used = std::max(repo.last_used, blocking_last_use(one.dir / file.path));
        }
        repo.commits.push_back(std::move(one));
    }
    return repo;
}

void remove_file(const fs::path& path, const prune_options& options)
{
    if (options.dry_run()) return;
    std::error_code problem;
    fs::remove(path, problem);
    if (problem) fail_on_disk(path, "cannot be removed", problem.value());
}

void remove_folder(const fs::path& path, const prune_options& options)
{
    if (options.dry_run()) return;
    std::error_code problem;
    fs::remove_all(path, problem);
    if (problem) fail_on_disk(path, "cannot be removed", problem.value());
}

// Whether nobody works on a partial file any more, as far as one can tell.
bool blocking_is_deserted(const fs::path& path, const prune_options& options)
{
    std::error_code problem;
    const auto changed = fs::last_write_time(path, problem);
    if (problem || fs::file_time_type::clock::now() - changed < options.partials_older_than())
        return false;
    const file_handle file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW)};
    if (file.fd() < 0 || ::flock(file.fd(), LOCK_SH | LOCK_NB) != 0) return false;
    std::string name = path.string();
    const std::size_t end = name.rfind(".incomplete");
    if (end == std::string::npos) return true;
    const auto text = blocking_read_small(name.insert(end, ".state"), largest_journal);
    const auto found = text ? read_journal(*text) : std::nullopt;
    return !found || blocking_state_of(found->writer) != writer_state::alive;
}

void blocking_prune_blobs(
    const cached_repository& repo,
    const std::set<std::string>& needed,
    const prune_options& options,
    pruned& result)
{
    for (const fs::path& path : blocking_entries(repo.dir / "blobs")) {
        const std::string name = path.filename().string();
        const std::uint64_t bytes = blocking_size(path).value_or(0);
        if (is_partial(name)) {
            if (!blocking_is_deserted(path, options)) continue;
            ++result.n_partials;
        } else if (needed.contains(name) || !options.detached_commits()) {
            continue;
        } else {
            ++result.n_blobs;
        }
        result.bytes += bytes;
        remove_file(path, options);
    }
}

bool goes_whole(const cached_repository& repo, const prune_options& options)
{
    const auto is_it = [&](const std::string& id) { return id == repo.id; };
    const auto keeps = [&](const std::string& pattern) {
        return file_selection::glob_match(pattern, repo.id);
    };
    if (!options.repositories().empty() &&
        std::none_of(options.repositories().begin(), options.repositories().end(), is_it))
        return false;
    if (std::any_of(options.kept().begin(), options.kept().end(), keeps)) return false;
    return !options.unused_for() ||
           std::chrono::system_clock::now() - repo.last_used >= *options.unused_for();
}

void blocking_prune_repository(
    const cached_repository& repo, const prune_options& options, pruned& result)
{
    std::set<std::string> needed;
    for (const cached_commit& one : repo.commits) {
        const bool goes = options.detached_commits() && one.refs.empty();
        for (const cached_file& file : one.files) {
            if (!goes)
                needed.insert(file.blob);
            else if (file.blob.empty())
                result.bytes += file.bytes;
        }
        if (!goes) continue;
        ++result.n_commits;
        remove_folder(one.dir, options);
        remove_folder(repo.dir / ".no_exist" / one.commit, options);
        if (blocking_size(repo.dir / "trees" / (one.commit + ".json")))
            remove_file(repo.dir / "trees" / (one.commit + ".json"), options);
    }
    blocking_prune_blobs(repo, needed, options, result);
}

}  // namespace

std::vector<cached_repository> blocking_scan(const fs::path& cache, const std::stop_token& stop)
{
    std::vector<cached_repository> all;
    for (const fs::path& dir : blocking_entries(cache)) {
        end_if_stopped(stop);
        const auto name = repo_of(dir.filename().string());
        std::error_code problem;
        if (name && fs::is_directory(dir, problem))
            all.push_back(blocking_scan_repository(dir, *name, stop));
    }
    std::sort(all.begin(), all.end(), [](const cached_repository& a, const cached_repository& b) {
        return std::pair{a.id, a.kind} < std::pair{b.id, b.kind};
    });
    return all;
}

std::vector<cache_fault>
blocking_verify(const fs::path& cache, const std::string& id, const std::stop_token& stop)
{
    std::vector<cache_fault> faults;
    bool found = false;
    for (const cached_repository& repo : blocking_scan(cache, stop)) {
        if (!id.empty() && repo.id != id) continue;
        found = true;
        // Several commits share their blobs: each is read once.
        std::map<std::string, std::string> hashes;
        for (const cached_commit& one : repo.commits) {
            const repo_layout layout{cache, repo.dir.filename().string()};
            const auto listed = blocking_read_tree(layout, one.commit);
            for (const cached_file& file : one.files) {
                cache_fault fault_of{repo.id, one.commit, file.path, file.blob, {}};
                if (file.blob.empty() && listed && listed->contains(file.path))
                    fault_of.expected = listed->at(file.path).blob();
                if (file.broken) {
                    fault_of.found = "a link to nowhere";
                    faults.push_back(std::move(fault_of));
                    continue;
                }
                const std::string& expected = fault_of.expected;
                auto known = hashes.find(expected);
                if (known == hashes.end() || file.blob.empty())
                    known = hashes
                                .insert_or_assign(
                                    expected,
                                    blocking_hash(one.dir / file.path, expected, stop)
                                        .value_or(expected))
                                .first;
                if (known->second == expected) continue;
                fault_of.found = known->second;
                faults.push_back(std::move(fault_of));
            }
        }
    }
    if (!found && !id.empty())
        throw hub_fault{fault::repo_not_found, shown(id) + ": not in the cache"};
    return faults;
}

pruned
blocking_prune(const fs::path& cache, const prune_options& options, const std::stop_token& stop)
{
    pruned result;
    const std::set<std::string> wanted{
        options.repositories().begin(), options.repositories().end()};
    std::set<std::string> missing = wanted;
    const bool takes_whole_ones =
        !wanted.empty() || !options.kept().empty() || options.unused_for().has_value();
    const std::vector<cached_repository> all = blocking_scan(cache, stop);
    for (const cached_repository& repo : all)
        missing.erase(repo.id);
    if (!missing.empty())
        throw hub_fault{fault::repo_not_found, shown(*missing.begin()) + ": not in the cache"};
    for (const cached_repository& repo : all) {
        end_if_stopped(stop);
        if (!takes_whole_ones) {
            blocking_prune_repository(repo, options, result);
        } else if (goes_whole(repo, options)) {
            ++result.n_repositories;
            result.bytes += repo.bytes + repo.partial_bytes;
            remove_folder(repo.dir, options);
            remove_folder(cache / ".locks" / repo.dir.filename(), options);
        }
    }
    return result;
}

snapshot blocking_import(
    const fs::path& cache,
    const fs::path& from,
    const repository& repo,
    bool symlinks,
    const std::stop_token& stop)
{
    need_id(repo.id());
    need_revision(repo.revision());
    const repo_layout layout = blocking_find_layout(cache, repository_kind::model, repo.id());
    std::error_code problem;
    if (!fs::is_directory(from, problem))
        throw hub_fault{fault::entry_not_found, from.string() + ": no such folder"};
    std::vector<std::pair<std::string, std::string>> files;  // path, blob
    std::string contents;
    std::vector<fs::path> found = blocking_files(from, stop);
    std::sort(found.begin(), found.end());
    for (const fs::path& path : found) {
        const std::string name = path.lexically_relative(from).generic_string();
        const bool is_bookkeeping = name.starts_with(".git/") || name.starts_with(".cache/");
        if (is_bookkeeping || !blocking_size(path)) continue;
        need_file(name);
        std::string blob = blocking_sha256(path, stop);
        contents.append(blob).append(" ").append(name).append("\n");
        files.emplace_back(name, std::move(blob));
    }
    if (files.empty()) throw hub_fault{fault::entry_not_found, from.string() + ": holds no file"};
    digest hash = digest::sha256();
    hash.update(contents);
    // A pinned revision keeps its name; otherwise the same contents are the same commit.
    const std::string commit =
        is_commit(repo.revision()) ? repo.revision() : hash.finish().substr(0, 40);
    blocking_tag_cache(cache);
    blocking_make_dirs(layout.blobs());
    std::vector<std::string> paths;
    tree listing;
    for (const auto& [name, blob] : files) {
        end_if_stopped(stop);
        if (!blocking_size(layout.blob(blob))) {
            const fs::path fresh = layout.partial(blob, fresh_nonce());
            fs::copy_file(from / name, fresh, problem);
            if (problem) fail_on_disk(fresh, "cannot be copied", problem.value());
            fs::rename(fresh, layout.blob(blob), problem);
            if (problem) fail_on_disk(layout.blob(blob), "cannot be made", problem.value());
        }
        blocking_link(layout, commit, name, blob, symlinks);
        paths.push_back(name);
        tree_file one;
        one.sha256 = blob;
        one.lfs_size = one.size = blocking_size(layout.blob(blob)).value_or(0);
        listing.emplace(name, std::move(one));
    }
    blocking_write_tree(layout, commit, listing);
    blocking_write_ref(layout, repo.revision(), commit);
    return snapshot{repo.id(), commit, layout.snapshot(commit), std::move(paths)};
}

}  // namespace modelpool::fetching

#pragma once

#include <modelpool/hub/cache.hpp>
#include <modelpool/hub/fetch_options.hpp>
#include <modelpool/hub/fetcher.hpp>
#include <modelpool/hub/hub_options.hpp>

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace modelpool {

/// Fetches files of model repositories from the Hugging Face hub, or from a mirror of it, into the
/// cache that Python's huggingface_hub uses too.
///
/// A file is downloaded over several connections where that helps, checked against the hub's hash
/// before it gets its name, and resumed where an earlier download of any process stopped, whether
/// it was cancelled, killed or cut off. Callers that want the same file at the same time share one
/// download, which ends when the last of them has left; processes take turns through the lock files
/// that Python's client uses, but the result is right without them too. What is in the cache stays
/// usable while the hub cannot be asked; `fetched::stale` says so then.
///
/// Work runs on threads of the hub's own. A resource: not copied, not moved, and safe to use from
/// any thread. Destroying it stops what is under way with errc::closed. A child of fork() must not
/// use it (errc::unsupported).
class hub final : public fetcher {
public:
    /// A hub as the environment describes it. Errors: those of `hub_options::from_environment`.
    hub();
    explicit hub(hub_options options);
    /// The same; every operation completes on its caller's executor, so `ex` is not kept.
    explicit hub(const executor& ex);
    hub(const executor& ex, hub_options options);
    ~hub() override;
    hub(const hub&) = delete;
    hub& operator=(const hub&) = delete;
    hub(hub&&) = delete;
    hub& operator=(hub&&) = delete;

    const hub_options& options() const noexcept;

    using fetcher::fetch;
    /// Makes the selected files of a revision available in one folder of the cache.
    /// Result: complete, as far as the hub or a cached listing can tell. Patterns are those of
    /// Python's fnmatch (`*` crosses folders, `?`, `[abc]`, `[!abc]`); one that ends in "/" means
    /// all below. Selecting a shard of a split GGUF selects all of them. Files that are named and
    /// do not exist are left out, where others do (`fetch_files` can demand them).
    /// Runs: on the hub's threads; completes on the caller's executor, where `progress` is called
    /// too, at most ten times a second, and once with the final state before the result is given.
    /// Errors: hub_errc::not_found for a repository, revision or file that does not exist, or an
    /// empty selection; hub_errc::denied for what needs a token or an accepted licence;
    /// hub_errc::unavailable where the hub could not be asked, or not well enough, and the cache
    /// has not all; hub_errc::corrupt where the bytes differ from the hub's own hash twice;
    /// hub_errc::io_failed where the disk refuses (a full one before the download);
    /// errc::invalid_argument for ids, revisions and patterns of a wrong form; errc::closed;
    /// errc::unsupported.
    /// Cancellation: terminal, partial and total at any time; the caller leaves at once, and what
    /// was downloaded is kept for the next fetch.
    /// Lifetime: owns its arguments.
    awaitable<snapshot>
    fetch(repository repo, file_selection selection, on_fetch_progress progress) override;

    /// As `fetch`, with options, and what is known about each file.
    awaitable<fetched> fetch_files(
        repository repo,
        file_selection selection,
        fetch_options options,
        on_fetch_progress progress);
    awaitable<fetched> fetch_files(repository repo, file_selection selection, fetch_options options)
    {
        return fetch_files(
            std::move(repo), std::move(selection), std::move(options), on_fetch_progress{});
    }

    /// Makes one file available, asking the hub for that file alone: no listing is needed, so that
    /// mirrors without one will do.
    /// Result: its place in the cache. Errors, runs, cancellation: as `fetch`.
    awaitable<std::filesystem::path> fetch_file(
        repository repo, std::string path, fetch_options options, on_fetch_progress progress);
    awaitable<std::filesystem::path> fetch_file(repository repo, std::string path)
    {
        return fetch_file(std::move(repo), std::move(path), fetch_options{}, on_fetch_progress{});
    }

    /// Downloads one URL into memory. The hub's token and cache have no part in it. Only http and
    /// https; unless `limits` allow private addresses, no proxy is used, and every address is
    /// checked when it is connected to, so that a name that leads to a private one fails too.
    /// Runs: on the hub's threads; completes on the caller's executor.
    /// Errors: errc::invalid_argument for a URL of another form or scheme; hub_errc::denied for an
    /// address that is not allowed and for 401 and 403; hub_errc::not_found for 404 and 410;
    /// hub_errc::corrupt where the body is larger than the limit; hub_errc::unavailable otherwise;
    /// errc::timed_out; errc::closed; errc::unsupported where the hub is offline.
    /// Cancellation: terminal, partial and total at any time.
    /// Lifetime: owns its arguments.
    awaitable<std::vector<std::byte>> get(std::string url, url_limits limits) override;

    /// What is in the cache, sorted by id; files of other programs in its folder are left out.
    /// Runs: on the hub's threads. Errors: hub_errc::io_failed. Cancellation: at any time.
    awaitable<std::vector<cached_repository>> cached();

    /// Reads every file of a cached repository, of all its commits, and compares it with its hash.
    /// Result: what is wrong; empty: nothing. An empty id: of all repositories.
    /// Runs: on the hub's threads. Errors: hub_errc::not_found, hub_errc::io_failed.
    /// Cancellation: at any time.
    awaitable<std::vector<cache_fault>> verify(std::string id);

    /// Removes from the cache what `options` name, and contents that no commit needs any more.
    /// Runs: on the hub's threads. Errors: hub_errc::not_found, hub_errc::io_failed.
    /// Cancellation: at any time; what is removed stays removed.
    awaitable<pruned> prune(prune_options options);

    /// Copies the files of a folder into the cache, as the given repository and revision, for
    /// machines without a network. The commit is made up from the contents.
    /// Result: as `fetch`. Errors: hub_errc::io_failed, hub_errc::not_found,
    /// errc::invalid_argument.
    /// Runs: on the hub's threads. Cancellation: at any time.
    awaitable<snapshot> import_folder(std::filesystem::path dir, repository repo);

private:
    class core;
    std::shared_ptr<core> core_;
};

}  // namespace modelpool

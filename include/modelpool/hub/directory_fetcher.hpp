#pragma once

#include <modelpool/hub/fetcher.hpp>

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace modelpool {

/// A fetcher without a network: repositories are folders that lie on this machine already.
///
/// A repository "org/name" or "name" is looked up first among those given to `add`, then as
/// `<root>/org/name`, then as `<root>/name`. The revision is not looked at, since a plain folder
/// has one. Nothing is copied. The files of a folder are all regular files below it, through links
/// to files but not to folders; what lies in its `.git` and `.cache` belongs to tools and is left
/// out. A resource: not copied, not moved. Thread-safe.
class directory_fetcher final : public fetcher {
public:
    directory_fetcher();
    /// Looks repositories up below `root`, which need not exist yet.
    explicit directory_fetcher(std::filesystem::path root);
    ~directory_fetcher() override;
    directory_fetcher(const directory_fetcher&) = delete;
    directory_fetcher& operator=(const directory_fetcher&) = delete;
    directory_fetcher(directory_fetcher&&) = delete;
    directory_fetcher& operator=(directory_fetcher&&) = delete;

    /// Serves the repository `repo` ("org/name") from the folder `dir`, in place of an earlier one.
    /// Errors: errc::invalid_argument where `repo` is no name of a repository.
    void add(std::string repo, std::filesystem::path dir);

    using fetcher::fetch;
    /// Finds the selected files of a repository.
    /// Result: the folder they lie in and their names; no commit. `progress` is called once, when
    /// all is found.
    /// Runs: on a thread of the fetcher's own; completes on the caller's executor.
    /// Errors: errc::invalid_argument where the id has another form than "org/name" or "name", or a
    /// component ".."; hub_errc::not_found where no folder of that name exists, or no file of it is
    /// selected (the sentence lists the places looked at); hub_errc::io_failed where the folder
    /// cannot be read, or a selected file is a link to nowhere.
    /// Cancellation: terminal, partial and total at any time.
    /// Lifetime: owns its arguments; the fetcher may be destroyed while it runs.
    awaitable<snapshot>
    fetch(repository repo, file_selection selection, on_fetch_progress progress) override;

    /// Errors: always errc::unsupported: there is no network here.
    awaitable<std::vector<std::byte>> get(std::string url, url_limits limits) override;

private:
    struct state;
    std::shared_ptr<state> state_;
};

}  // namespace modelpool

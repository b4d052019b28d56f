#pragma once

#include <modelpool/async/awaitable.hpp>
#include <modelpool/hub/snapshot.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace modelpool {

/// A file that is on its way. A value.
struct file_progress {
    std::string path;
    std::uint64_t done_bytes{0};
    std::uint64_t total_bytes{0};  ///< 0: not known yet
};

/// Where a fetch stands. A value.
struct fetch_progress {
    std::string repo;
    std::string path;              ///< the file the event is about; empty: the whole selection
    std::uint64_t done_bytes{0};   ///< of the whole selection
    std::uint64_t total_bytes{0};  ///< of the whole selection; 0: not known yet
    std::size_t n_files_done{0};
    std::size_t n_files{0};
    double bytes_per_second{0};                     ///< of late; 0: nothing was measured yet
    std::optional<std::chrono::seconds> time_left;  ///< at that rate; empty: not known
    std::vector<file_progress> in_flight;           ///< sorted by path
};

/// Receives progress on the executor of the coroutine that awaits the fetch; it should not block.
using on_fetch_progress = std::function<void(const fetch_progress&)>;

/// Limits of a plain download.
class url_limits {
public:
    url_limits& max_bytes(std::uint64_t value)
    {
        max_bytes_ = value;
        return *this;
    }
    std::uint64_t max_bytes() const noexcept { return max_bytes_; }

    url_limits& timeout(std::chrono::milliseconds value)
    {
        timeout_ = value;
        return *this;
    }
    std::chrono::milliseconds timeout() const noexcept { return timeout_; }

    url_limits& max_redirects(int value)
    {
        max_redirects_ = value;
        return *this;
    }
    int max_redirects() const noexcept { return max_redirects_; }

    /// Whether loopback, link-local and private addresses may be reached, at any redirect.
    url_limits& allow_private(bool value)
    {
        allow_private_ = value;
        return *this;
    }
    bool allow_private() const noexcept { return allow_private_; }

private:
    std::uint64_t max_bytes_{32U << 20U};
    std::chrono::milliseconds timeout_{30'000};
    int max_redirects_{5};
    bool allow_private_{false};
};

/// Gets files of model repositories onto this machine. The core knows the network only through this
/// interface. Implementations may be called from any thread; they outlive every operation they return.
class fetcher {
public:
    fetcher() = default;
    fetcher(const fetcher&) = delete;
    fetcher& operator=(const fetcher&) = delete;
    fetcher(fetcher&&) = delete;
    fetcher& operator=(fetcher&&) = delete;
    virtual ~fetcher() = default;

    /// Makes the selected files of a repository available in one directory.
    /// Result: the directory, the commit and the files, complete: a missing file is an error.
    /// Runs: off the caller's thread; completes on the caller's executor, where `progress` is called too.
    /// Errors: hub_errc.
    /// Cancellation: terminal and partial at any time; total until bytes were written.
    virtual awaitable<snapshot>
    fetch(repository repo, file_selection selection, on_fetch_progress progress) = 0;

    /// Downloads one URL into memory, within the limits; the address is checked at each redirect.
    /// Errors: hub_errc, errc::timed_out, errc::unsupported.
    /// Cancellation: terminal, partial and total at any time.
    virtual awaitable<std::vector<std::byte>> get(std::string url, url_limits limits) = 0;

    /// All files of a repository, without progress.
    awaitable<snapshot> fetch(repository repo)
    {
        return fetch(std::move(repo), file_selection{}, on_fetch_progress{});
    }
    awaitable<snapshot> fetch(repository repo, file_selection selection)
    {
        return fetch(std::move(repo), std::move(selection), on_fetch_progress{});
    }
};

}  // namespace modelpool

#pragma once

#include <modelpool/hub/fetcher.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <utility>

namespace modelpool::fetching {

/// How fast bytes come, over about the last five seconds. Fed with the time.
class rate_meter {
public:
    using time_point = std::chrono::steady_clock::time_point;
    void add(time_point now, std::uint64_t n_bytes);
    /// 0: nothing was measured yet.
    double bytes_per_second() const noexcept { return rate_; }

private:
    time_point since_{};
    std::uint64_t n_bytes_{0};
    double rate_{0};
};

/// Adds up what is done of a fetch, and passes it on at most ten times a second; never less than
/// before, and at most the total. Thread-safe.
class meter {
public:
    using sink = std::function<void(const fetch_progress&)>;

    meter(std::string repo, sink to)
        : to_{std::move(to)}
    {
        now_.repo = std::move(repo);
    }

    /// The totals, once, before anything is done.
    void begin(std::size_t n_files, std::uint64_t total_bytes);
    /// A file's length is known only now.
    void add_total(std::uint64_t bytes);
    /// A file's download begins; 0 where its length is not known.
    void file_begin(const std::string& path, std::uint64_t total_bytes);
    /// So much of a file is there. What the first call for a file says was there before.
    void file_bytes(const std::string& path, std::uint64_t bytes);
    void file_done(const std::string& path, std::uint64_t bytes);
    fetch_progress last() const;

private:
    struct file {
        std::uint64_t done_bytes{0};
        std::uint64_t total_bytes{0};
        bool measured{false};
        bool in_flight{false};
    };
    std::uint64_t raise(file& one, std::uint64_t bytes);
    void pass_on(const std::string& path, bool at_once);
    fetch_progress describe() const;

    const sink to_;
    mutable std::mutex mutex_;
    fetch_progress now_;
    rate_meter rate_;
    std::map<std::string, file> files_;
    std::chrono::steady_clock::time_point passed_on_{};
};

}  // namespace modelpool::fetching

#pragma once

#include <modelpool/hub/hub_options.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "hub/client.hpp"
#include "hub/digest.hpp"
#include "hub/engine.hpp"
#include "hub/partial_file.hpp"
#include "hub/range_plan.hpp"
#include "hub/retry_plan.hpp"

namespace modelpool::fetching {

/// Connections that all downloads of a hub may add to the one that each has.
class stream_budget {
public:
    explicit stream_budget(int n_most)
        : n_left_{n_most}
    {}
    bool try_take() noexcept
    {
        int left = n_left_.load();
        while (left > 0)
            if (n_left_.compare_exchange_weak(left, left - 1)) return true;
        return false;
    }
    void give_back() noexcept { ++n_left_; }

private:
    std::atomic<int> n_left_;
};

/// Notices a connection that brings nothing, or next to nothing. Fed with the time.
class stall_watch {
public:
    using time_point = std::chrono::steady_clock::time_point;
    stall_watch(time_point begin, std::chrono::milliseconds idle, std::chrono::milliseconds slow)
        : idle_{idle}
        , slow_{slow}
        , last_byte_{begin}
        , window_{begin}
    {}
    /// Whether the connection, which brought `n_bytes` so far, is to be given up.
    bool stalled(time_point now, std::uint64_t n_bytes);

private:
    std::chrono::milliseconds idle_;
    std::chrono::milliseconds slow_;
    time_point last_byte_;
    time_point window_;
    std::uint64_t seen_{0};
    std::uint64_t window_bytes_{0};
};

/// Downloads one file into a partial file: over as many connections as help, hashing what is there
/// while the rest comes.
class transfer {
public:
    transfer(
        const hub_options& options,
        client& hub,
        engine& http,
        stream_budget& budget,
        file_address address,
        opened_file source,
        partial_file& target);
    ~transfer();
    transfer(const transfer&) = delete;
    transfer& operator=(const transfer&) = delete;
    transfer(transfer&&) = delete;
    transfer& operator=(transfer&&) = delete;

    /// Result: the length. The journal is up to date however this ends.
    /// Errors: hub_fault; operation_aborted.
    std::uint64_t
    blocking_run(const std::stop_token& stop, const std::function<void(std::uint64_t)>& on_bytes);
    /// The hash of what was downloaded, as the blob's name wants it; empty where it wants none.
    std::optional<std::string> blocking_finish_hash(const std::stop_token& stop);
    std::uint64_t resumed_bytes() const noexcept { return resumed_bytes_; }

private:
    struct ending;
    struct board;  // what the thread of the transfer shares with the engine's
    class piece_sink;
    struct stream {
        engine::id exchange{0};
        stall_watch watch;
        std::uint64_t begin{0};
        int generation{0};
        bool budgeted{false};
        int n_seconds{0};             ///< that it has run
        std::uint64_t seen_bytes{0};  ///< at the end of the last of them
        bool stalled{false};          ///< given up: that counts as a failure
        bool dropped{false};          ///< no longer wanted
    };
    using time_point = std::chrono::steady_clock::time_point;

    void blocking_download(
        const std::stop_token& stop, const std::function<void(std::uint64_t)>& on_bytes);
    void start_streams(time_point now);
    bool start_one();
    void take_ends(const std::stop_token& stop);
    void take_ending(const stream& ended, const ending& one, const std::stop_token& stop);
    void use_one_stream();
    void blocking_restart();
    void blocking_renew(const hub_fault& problem, const std::stop_token& stop);
    void give_up_stalled(time_point now);
    void cancel_all();
    void blocking_end_all();
    bool blocking_follow();
    void save_if_due(time_point now);
    void save_at_end() noexcept;
    void count_second(time_point now);
    void rescue_slowest();
    void pause_for(const hub_fault& problem);

    const hub_options& options_;
    client& hub_;
    engine& http_;
    stream_budget& budget_;
    const file_address address_;
    opened_file source_;
    partial_file& target_;
    const bool size_known_;
    const std::string blob_;
    std::shared_ptr<board> board_;
    std::map<range_plan::piece_id, stream> streams_;
    stream_control control_;
    retry_plan retries_;
    std::optional<digest> hash_;
    std::vector<char> block_;  // what is hashed next
    std::uint64_t hashed_bytes_{0};
    std::uint64_t resumed_bytes_{0};
    std::uint64_t progress_mark_{0};
    std::uint64_t renew_mark_{0};
    std::uint64_t saved_bytes_{0};
    std::uint64_t second_bytes_{0};
    std::uint64_t best_second_bytes_{0};  // of one connection
    time_point not_before_;
    time_point saved_at_;
    time_point second_began_;
    int generation_{0};
    int n_refused_{0};
    int n_rescued_{0};
    bool all_started_{false};  // no piece is left for another connection
    bool renewed_{false};
    bool ended_{false};  // an answer without a length came to its end
    bool restarted_{false};
    bool no_ranges_{false};
};

}  // namespace modelpool::fetching

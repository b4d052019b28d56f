#pragma once

#include <modelpool/capability/model.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <list>
#include <mutex>
#include <utility>

namespace modelpool {

/// Shares the cores among the workers that compute. Busy workers never run more compute threads
/// than there are cores, as long as there are not more busy workers than cores (each has at least
/// one thread). A worker that starts takes threads from the others, who give them up at their next
/// step. Thread-safe.
class core_governor {
    struct share {
        int wanted{1};
        int current{0};
        int target{1};
    };

public:
    /// A newcomer waits this long for a thread of its own. Who reports no step for longer than that
    /// holds nobody up: the newcomer then computes on one thread beside it.
    static constexpr std::chrono::milliseconds patience{100};

    explicit core_governor(int n_cores)
        : n_cores_{std::max(1, n_cores)}
    {}
    core_governor(const core_governor&) = delete;
    core_governor& operator=(const core_governor&) = delete;
    core_governor(core_governor&&) = delete;
    core_governor& operator=(core_governor&&) = delete;
    ~core_governor() = default;

    int n_cores() const noexcept { return n_cores_; }

    /// Compute threads in use now.
    int n_busy_threads() const
    {
        const std::lock_guard lock{mutex_};
        return n_in_use();
    }

    /// The threads of one worker while it computes, and the monitor of that computation. Stays
    /// where it was made; destroying it gives the threads back. Used by one thread.
    class lease final : public run_monitor {
    public:
        /// Blocks until a thread is free, at most `patience`. `wanted`: the most threads of use.
        /// `n_steps` counts the steps done, for who watches from outside; it outlives the lease.
        lease(core_governor& governor, int wanted, std::atomic<std::uint64_t>& n_steps)
            : governor_{governor}
            , n_steps_{n_steps}
            , share_{governor.enter(wanted, generation_)}
            , n_threads_{share_->current}
        {}
        ~lease() { governor_.leave(share_); }
        lease(const lease&) = delete;
        lease& operator=(const lease&) = delete;
        lease(lease&&) = delete;
        lease& operator=(lease&&) = delete;

        int n_threads() const noexcept override { return n_threads_; }
        void step_done() noexcept override
        {
            n_steps_.fetch_add(1, std::memory_order_relaxed);
            if (generation_ != governor_.generation_.load(std::memory_order_relaxed))
                n_threads_ = governor_.adjust(*share_, generation_);
        }

    private:
        core_governor& governor_;
        std::atomic<std::uint64_t>& n_steps_;
        std::uint64_t generation_{0};  // before share_, which sets it
        std::list<share>::iterator share_;
        int n_threads_;
    };

private:
    std::list<share>::iterator enter(int wanted, std::uint64_t& generation)
    {
        std::unique_lock lock{mutex_};
        const auto place = shares_.insert(shares_.end(), share{std::clamp(wanted, 1, n_cores_)});
        rebalance();
        const auto has_room = [this] {
            const int allowed = std::max(n_cores_, static_cast<int>(shares_.size()));
            return n_in_use() < allowed;
        };
        if (!has_room()) {
            ++n_waiting_;
            changed_.wait_for(lock, patience, has_room);
            --n_waiting_;
        }
        take_threads(*place, generation);
        return place;
    }

    void leave(std::list<share>::iterator place)
    {
        bool awaited = false;
        {
            const std::lock_guard lock{mutex_};
            shares_.erase(place);
            rebalance();
            awaited = n_waiting_ > 0;
        }
        if (awaited) changed_.notify_all();
    }

    int adjust(share& mine, std::uint64_t& generation)
    {
        int now = 0;
        bool awaited = false;
        {
            const std::lock_guard lock{mutex_};
            now = take_threads(mine, generation);
            awaited = n_waiting_ > 0;
        }
        if (awaited) changed_.notify_all();
        return now;
    }

    /// As many of its target as are free now; what others have yet to give up is taken at a later
    /// step. Under the lock.
    int take_threads(share& mine, std::uint64_t& generation) noexcept
    {
        const int others = n_in_use() - mine.current;
        mine.current = std::clamp(n_cores_ - others, 1, mine.target);
        generation = generation_.load(std::memory_order_relaxed);
        if (mine.current < mine.target) --generation;
        return mine.current;
    }

    int n_in_use() const noexcept
    {
        int sum = 0;
        for (const share& one : shares_)
            sum += one.current;
        return sum;
    }

    /// Gives everybody one thread, then the rest in turn to those who want more, the oldest first.
    void rebalance() noexcept
    {
        int left = n_cores_;
        for (share& one : shares_) {
            one.target = 1;
            --left;
        }
        for (bool given = true; left > 0 && given;) {
            given = false;
            for (share& one : shares_) {
                if (left == 0 || one.target >= one.wanted) continue;
                ++one.target;
                --left;
                given = true;
            }
        }
        generation_.fetch_add(1, std::memory_order_relaxed);
    }

    const int n_cores_;
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    std::list<share> shares_;
    int n_waiting_{0};
    std::atomic<std::uint64_t> generation_{1};
};

}  // namespace modelpool

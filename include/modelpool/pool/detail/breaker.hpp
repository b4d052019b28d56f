#pragma once

#include <modelpool/assert.hpp>
#include <modelpool/pool/breaker_options.hpp>
#include <modelpool/pool/stats.hpp>
#include <modelpool/runtime/clock.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <mutex>
#include <optional>

namespace modelpool::detail {

/// Decides whether a model that keeps failing takes requests. Thread-safe; while all goes well it
/// takes no lock.
///
/// Only trials close it: a request let in before it opened may succeed as late as it likes. A
/// failure that comes while it is open is news of the failures that opened it, and does not prolong
/// the rest.
class breaker {
public:
    using time_point = clock::time_point;

    explicit breaker(breaker_options options)
        : n_failures_to_open_{options.n_failures()}
        , n_successes_to_close_{std::max<std::size_t>(1, options.n_successes())}
        , open_for_{std::max(options.open_for(), std::chrono::nanoseconds{0})}
    {}

    enum class admission {
        closed = 1,  ///< let in
        trial,       ///< let in, and `end_trial` must be told how it ended
        refused,
    };

    /// Decides about one request.
    admission admit(time_point now)
    {
        if (calm_.load(std::memory_order_relaxed)) return admission::closed;
        const std::lock_guard lock{mutex_};
        enter_half_open_if_due(now);
        if (state_ == breaker_state::closed) return admission::closed;
        if (state_ == breaker_state::open) return admission::refused;
        // Trials of an earlier half-open time, if any still run, take places too.
        if (n_trials_ + n_successes_ >= n_successes_to_close_) return admission::refused;
        ++n_trials_;
        return admission::trial;
    }

    enum class trial_end {
        succeeded = 1,
        failed,
        neither,  ///< cancelled, or its input was at fault: says nothing about the model
    };

    /// A request that was let in as a trial has ended. Called once for each.
    void end_trial(trial_end how, time_point now)
    {
        const std::lock_guard lock{mutex_};
        MODELPOOL_ASSERT(n_trials_ > 0);
        --n_trials_;
        enter_half_open_if_due(now);
        if (state_ != breaker_state::half_open) return;
        if (how == trial_end::failed) open(now);
        if (how == trial_end::succeeded && ++n_successes_ == n_successes_to_close_) close();
    }

    /// The model computed a batch: failures that came before were not in a row.
    void succeeded() noexcept
    {
        if (calm_.load(std::memory_order_relaxed)) return;
        const std::lock_guard lock{mutex_};
        if (state_ == breaker_state::closed) close();
    }

    /// A batch or a load failed.
    void failed(time_point now)
    {
        if (n_failures_to_open_ == 0) return;
        const std::lock_guard lock{mutex_};
        enter_half_open_if_due(now);
        if (state_ == breaker_state::half_open) {
            open(now);
        } else if (state_ == breaker_state::closed) {
            calm_.store(false, std::memory_order_relaxed);
            if (++n_failures_ >= n_failures_to_open_) open(now);
        }
    }

    breaker_state state(time_point now) const
    {
        if (calm_.load(std::memory_order_relaxed)) return breaker_state::closed;
        const std::lock_guard lock{mutex_};
        return is_due(now) ? breaker_state::half_open : state_;
    }

    /// How long it stays open; 0 where it is not.
    std::chrono::nanoseconds open_left(time_point now) const
    {
        const std::lock_guard lock{mutex_};
        if (state_ != breaker_state::open || is_due(now)) return std::chrono::nanoseconds{0};
        const time_point zero{};
        const bool wraps = now < zero && open_until_ > time_point::max() + (now - zero);
        return wraps ? std::chrono::nanoseconds::max() : open_until_ - now;
    }

    /// The state, where it changed since this was last asked: what an event tells. That a rest is
    /// over shows with the first request after it.
    std::optional<breaker_state> take_change()
    {
        if (!changed_.load(std::memory_order_relaxed)) return std::nullopt;
        const std::lock_guard lock{mutex_};
        if (!changed_.exchange(false, std::memory_order_relaxed)) return std::nullopt;
        return state_;
    }

private:
    // The rest is under the lock.

    bool is_due(time_point now) const noexcept
    {
        return state_ == breaker_state::open && now >= open_until_ &&
               open_until_ != time_point::max();
    }

    void enter_half_open_if_due(time_point now) noexcept
    {
        if (!is_due(now)) return;
        n_successes_ = 0;
        enter(breaker_state::half_open);
    }

    void open(time_point now) noexcept
    {
        const bool wraps = now > time_point::max() - open_for_;
        open_until_ = wraps ? time_point::max() : now + open_for_;
        enter(breaker_state::open);
    }

    void close() noexcept
    {
        n_failures_ = 0;
        enter(breaker_state::closed);
        calm_.store(true, std::memory_order_relaxed);
    }

    void enter(breaker_state next) noexcept
    {
        if (state_ == next) return;
        state_ = next;
        changed_.store(true, std::memory_order_relaxed);
    }

    const std::size_t n_failures_to_open_;
    const std::size_t n_successes_to_close_;
    const std::chrono::nanoseconds open_for_;
    std::atomic<bool> calm_{true};  ///< closed, and no failure since the last success
    std::atomic<bool> changed_{false};
    mutable std::mutex mutex_;
    breaker_state state_{breaker_state::closed};
    std::size_t n_failures_{0};   ///< in a row, while closed
    std::size_t n_successes_{0};  ///< of trials, while half-open
    std::size_t n_trials_{0};     ///< let in and not ended
    time_point open_until_{};
};

}  // namespace modelpool::detail

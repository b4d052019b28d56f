#pragma once

#include <modelpool/runtime/clock.hpp>

#include <cstddef>
#include <functional>
#include <map>
#include <mutex>
#include <utility>

namespace modelpool::testing {

/// A clock that stands still until the test advances it. Alarms ring on the thread that does so.
class test_clock final : public clock {
public:
    time_point now() const noexcept override
    {
        const std::lock_guard lock{mutex_};
        return now_;
    }

    alarm_id call_at(time_point when, std::function<void()> ring) override
    {
        const std::lock_guard lock{mutex_};
        const alarm_id id = next_id_++;
        alarms_.emplace(std::pair{when, id}, std::move(ring));
        return id;
    }

    void forget(alarm_id id) noexcept override { cancel(id); }

    void cancel(alarm_id id) noexcept override
    {
        const std::lock_guard lock{mutex_};
        std::erase_if(alarms_, [&](const auto& one) { return one.first.second == id; });
    }

    /// Moves the time on, and rings what has come due.
    void advance(duration by)
    {
        std::unique_lock lock{mutex_};
        now_ += by;
        while (!alarms_.empty() && alarms_.begin()->first.first <= now_) {
            const std::function<void()> ring = std::move(alarms_.begin()->second);
            alarms_.erase(alarms_.begin());
            lock.unlock();
            ring();
            lock.lock();
        }
    }

    std::size_t n_alarms() const
    {
        const std::lock_guard lock{mutex_};
        return alarms_.size();
    }

private:
    mutable std::mutex mutex_;
    time_point now_{std::chrono::hours{1000}};
    alarm_id next_id_{1};
    std::map<std::pair<time_point, alarm_id>, std::function<void()>> alarms_;
};

}  // namespace modelpool::testing

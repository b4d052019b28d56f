#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

namespace modelpool {

/// The time as a runtime sees it, and its alarms. Tests give a runtime one whose time they set.
class clock {
public:
    using time_point = std::chrono::steady_clock::time_point;
    using duration = std::chrono::steady_clock::duration;
    /// Identifies an alarm; 0 is none.
    using alarm_id = std::uint64_t;

    clock() = default;
    clock(const clock&) = delete;
    clock& operator=(const clock&) = delete;
    clock(clock&&) = delete;
    clock& operator=(clock&&) = delete;
    virtual ~clock() = default;

    virtual time_point now() const noexcept = 0;
    /// Calls `ring` once `when` has come, on a thread of the clock's; `ring` is short and does not
    /// throw.
    virtual alarm_id call_at(time_point when, std::function<void()> ring) = 0;
    /// Forgets an alarm. Returns once it neither rings nor will ring, except when called from that
    /// very alarm. An unknown id is ignored.
    virtual void cancel(alarm_id id) noexcept = 0;
    /// Forgets an alarm unless it rings already; returns at once. An unknown id is ignored.
    virtual void forget(alarm_id id) noexcept = 0;
};

/// The machine's steady clock. Its thread starts with the first alarm and sleeps until the next is
/// due: with no alarm set it never wakes.
class steady_clock final : public clock {
public:
    steady_clock() = default;
    steady_clock(const steady_clock&) = delete;
    steady_clock& operator=(const steady_clock&) = delete;
    steady_clock(steady_clock&&) = delete;
    steady_clock& operator=(steady_clock&&) = delete;
    ~steady_clock() override
    {
        {
            const std::lock_guard lock{mutex_};
            closed_ = true;
        }
        wake_.notify_all();
        if (thread_.joinable()) thread_.join();
    }

    time_point now() const noexcept override { return std::chrono::steady_clock::now(); }

    alarm_id call_at(time_point when, std::function<void()> ring) override
    {
        alarm_id id = 0;
        bool is_next = false;
        {
            const std::lock_guard lock{mutex_};
            if (!thread_.joinable()) thread_ = std::thread{[this] { run(); }};
            id = next_id_++;
            due_of_.emplace(id, when);
            const auto place = alarms_.emplace(std::pair{when, id}, std::move(ring)).first;
            is_next = place == alarms_.begin();
        }
        if (is_next) wake_.notify_one();
        return id;
    }

    void forget(alarm_id id) noexcept override
    {
        std::function<void()> gone;  // destroyed outside the lock
        const std::lock_guard lock{mutex_};
        const auto due = due_of_.find(id);
        if (due == due_of_.end()) return;
        const auto place = alarms_.find(std::pair{due->second, id});
        gone = std::move(place->second);
        alarms_.erase(place);
        due_of_.erase(due);
    }

    void cancel(alarm_id id) noexcept override
    {
        std::function<void()> gone;  // destroyed outside the lock
        std::unique_lock lock{mutex_};
        const auto due = due_of_.find(id);
        if (due != due_of_.end()) {
            const auto place = alarms_.find(std::pair{due->second, id});
            gone = std::move(place->second);
            alarms_.erase(place);
            due_of_.erase(due);
        } else if (id != 0 && std::this_thread::get_id() != thread_.get_id()) {
            rung_.wait(lock, [this, id] { return ringing_ != id; });
        }
    }

private:
    void run()
    {
        std::unique_lock lock{mutex_};
        while (!closed_) {
            if (alarms_.empty()) {
                wake_.wait(lock);
                continue;
            }
            const time_point due = alarms_.begin()->first.first;
            if (now() < due) {
                wake_.wait_until(lock, due);
                continue;
            }
            ringing_ = alarms_.begin()->first.second;
            std::function<void()> ring = std::move(alarms_.begin()->second);
            alarms_.erase(alarms_.begin());
            due_of_.erase(ringing_);
            lock.unlock();
            ring();
            ring = nullptr;
            lock.lock();
            ringing_ = 0;
            rung_.notify_all();
        }
    }

    std::mutex mutex_;
    std::condition_variable wake_;
    std::condition_variable rung_;
    std::map<std::pair<time_point, alarm_id>, std::function<void()>> alarms_;
    std::map<alarm_id, time_point> due_of_;
    std::thread thread_;
    alarm_id next_id_{1};
    alarm_id ringing_{0};
    bool closed_{false};
};

}  // namespace modelpool

#pragma once

#include <modelpool/async/detail/latest.hpp>
#include <modelpool/async/detail/reply.hpp>
#include <modelpool/pool/options.hpp>
#include <modelpool/runtime/clock.hpp>
#include <modelpool/runtime/events.hpp>

#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <utility>

namespace modelpool::detail {

class group;

/// How a request ended.
enum class job_end { succeeded, failed, cancelled };

/// One request in a model's queue, or on a worker. It owns all it touches, so its caller may vanish
/// at any time.
class job {
public:
    job(std::weak_ptr<group> home, request_options request)
        : home_{std::move(home)}
        , request_{std::move(request)}
    {}
    job(const job&) = delete;
    job& operator=(const job&) = delete;
    job(job&&) = delete;
    job& operator=(job&&) = delete;
    virtual ~job() = default;

    /// True once nothing need be done for it any more: its caller has the answer, or has left.
    virtual bool ended() const noexcept = 0;
    /// Whether it asks what the model says of itself, rather than for work.
    virtual bool is_question() const noexcept { return false; }
    /// Answers with a failure, unless answered already.
    virtual void fail(std::exception_ptr why) noexcept = 0;
    /// Answers with the result, which is complete.
    virtual void deliver() noexcept = 0;

    const request_options& request() const noexcept { return request_; }

    // Under the group's lock:

    /// A worker has begun it: a `total` cancellation comes too late, and so does its deadline.
    void set_begun(clock::time_point now) noexcept
    {
        if (begun_.load(std::memory_order_relaxed)) return;
        begun_at_.store(now, std::memory_order_relaxed);
        begun_.store(true, std::memory_order_release);
    }
    bool begun() const noexcept { return begun_.load(std::memory_order_acquire); }
    /// Its group takes it on: from now on how it ends is counted. Called before others can see the
    /// job. `trial`: the model's breaker watches how it ends.
    void set_accepted(clock::time_point now, bool trial) noexcept
    {
        accepted_ = true;
        accepted_at_ = now;
        trial_ = trial;
    }

    /// Tells its caller of the load it waits for, where that asked to be told. Any thread.
    void report(const load_progress& progress)
    {
        if (progress_) progress_->offer(progress);
    }

    clock::time_point accepted_at() const noexcept { return accepted_at_; }
    /// Precondition: begun.
    clock::time_point begun_at() const noexcept
    {
        return begun_at_.load(std::memory_order_relaxed);
    }
    bool trial() const noexcept { return trial_; }

protected:
    /// Queues `self` with its model; answers it where that is refused. `ex`: where its caller
    /// waits.
    static void submit(std::shared_ptr<job> self, const executor& ex);
    /// Takes a cancelled job out of its model's queue.
    void withdraw() noexcept;
    /// Counts how it ended; called once, before its caller hears. `why`: of a failed one.
    void finish(job_end how, const std::exception_ptr& why = nullptr) noexcept;
    const std::weak_ptr<group>& home() const noexcept { return home_; }

private:
    std::weak_ptr<group> home_;
    request_options request_;
    std::shared_ptr<latest<load_progress>> progress_;  // set before it is published
    std::atomic<bool> begun_{false};
    std::atomic<clock::time_point> begun_at_{clock::time_point{}};
    clock::time_point accepted_at_;
    bool accepted_{false};
    bool trial_{false};
};

/// A request with one answer.
template <class T>
class reply_job : public job {
public:
    using job::job;

    void start(std::shared_ptr<job> self) { submit(std::move(self), answer.get_executor()); }

    void cancel(cancellation_type type)
    {
        const bool gentle = (type & (cancellation_type::terminal | cancellation_type::partial)) ==
                            cancellation_type::none;
        if ((gentle && begun()) || !answer.claim()) return;
        withdraw();
        finish(job_end::cancelled);
        answer.send(aborted(), T{});
    }

    bool ended() const noexcept override { return answer.claimed(); }

    void fail(std::exception_ptr why) noexcept override
    {
        if (!answer.claim()) return;
        finish(job_end::failed, why);
        answer.send(std::move(why), T{});
    }

    void succeed(T value)
    {
        if (!answer.claim()) return;
        finish(job_end::succeeded);
        answer.send(nullptr, std::move(value));
    }

    reply<T> answer;
};

}  // namespace modelpool::detail

#pragma once

#include <modelpool/async/detail/reply.hpp>
#include <modelpool/pool/options.hpp>

#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <utility>

namespace modelpool::detail {

class group;

/// How requests of one model ended. Written from any thread.
struct request_counters {
    std::atomic<std::uint64_t> n_accepted{0};
    std::atomic<std::uint64_t> n_succeeded{0};
    std::atomic<std::uint64_t> n_failed{0};
    std::atomic<std::uint64_t> n_cancelled{0};
    std::atomic<std::uint64_t> n_rejected{0};
};

/// One request in a model's queue, or on a worker. It owns all it touches, so its caller may vanish at any time.
class job {
public:
    job(std::weak_ptr<group> home, request_options request)
        : home_{std::move(home)}
        , request_{request}
    {}
    job(const job&) = delete;
    job& operator=(const job&) = delete;
    job(job&&) = delete;
    job& operator=(job&&) = delete;
    virtual ~job() = default;

    /// True once the caller has its answer: nothing need be done for it any more.
    virtual bool ended() const noexcept = 0;
    /// Answers with a failure, unless answered already.
    virtual void fail(std::exception_ptr why) noexcept = 0;
    /// Answers with the result, which is complete.
    virtual void deliver() noexcept = 0;

    const request_options& request() const noexcept { return request_; }
    /// A worker has begun it: a `total` cancellation comes too late, and so does its deadline.
    void set_begun() noexcept { begun_.store(true, std::memory_order_relaxed); }
    bool begun() const noexcept { return begun_.load(std::memory_order_relaxed); }
    /// Its group takes it on: from now on how it ends is counted. Called before others can see the job.
    void set_accepted() noexcept { accepted_ = true; }

protected:
    /// Queues `self` with its model; answers it where that is refused.
    static void submit(std::shared_ptr<job> self);
    /// Takes a cancelled job out of its model's queue, and counts it.
    void withdraw() noexcept;
    void count(std::atomic<std::uint64_t> request_counters::*which) noexcept;

private:
    std::weak_ptr<group> home_;
    request_options request_;
    std::atomic<bool> begun_{false};
    bool accepted_{false};
};

/// A request with one answer.
template <class T>
class reply_job : public job {
public:
    using job::job;

    void start(std::shared_ptr<job> self) { submit(std::move(self)); }

    void cancel(cancellation_type type)
    {
        const bool gentle = (type & (cancellation_type::terminal | cancellation_type::partial)) ==
                            cancellation_type::none;
        if ((gentle && begun()) || !answer.claim()) return;
        withdraw();
        answer.send(aborted(), T{});
    }

    bool ended() const noexcept override { return answer.claimed(); }

    void fail(std::exception_ptr why) noexcept override
    {
        if (!answer.claim()) return;
        count(&request_counters::n_failed);
        answer.send(std::move(why), T{});
    }

    void succeed(T value)
    {
        if (!answer.claim()) return;
        count(&request_counters::n_succeeded);
        answer.send(nullptr, std::move(value));
    }

    reply<T> answer;
};

}  // namespace modelpool::detail

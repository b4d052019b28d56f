#pragma once

#include <modelpool/async/awaitable.hpp>
#include <modelpool/async/detail/reply.hpp>
#include <modelpool/async/thread_pool.hpp>

#include <exception>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

namespace modelpool {
namespace detail {

template <class F>
using offload_value = std::conditional_t<
    std::is_void_v<std::invoke_result_t<F&>>,
    std::monostate,
    std::invoke_result_t<F&>>;

template <class F>
class offload_task final : public blocking_task,
                           public std::enable_shared_from_this<offload_task<F>> {
public:
    using value_type = offload_value<F>;

    offload_task(std::shared_ptr<task_sink> sink, F job)
        : sink_{std::move(sink)}
        , job_{std::in_place, std::move(job)}
    {}

    void start(std::shared_ptr<offload_task> self) { sink_->submit(std::move(self)); }

    void cancel(cancellation_type)
    {
        if (!answer.claim()) return;
        sink_->withdraw(*this);
        answer.send(aborted(), value_type{});
    }

    void run() noexcept override
    {
        // A job that nobody waits for any more is not begun; one that ended unwanted dies here, on
        // the thread it ran on, with whatever it made.
        if (answer.claimed()) {
            job_.reset();
            return;
        }
        std::exception_ptr failure;
        value_type value{};
        try {
            if constexpr (std::is_void_v<std::invoke_result_t<F&>>)
                (*job_)();
            else
                value = (*job_)();
        } catch (...) {
            failure = std::current_exception();
        }
        job_.reset();
        answer.answer(std::move(failure), std::move(value));
    }

    void abandon(std::exception_ptr why) noexcept override
    {
        job_.reset();
        answer.answer(std::move(why), value_type{});
    }

    reply<value_type> answer;

private:
    std::shared_ptr<task_sink> sink_;
    std::optional<F> job_;
};

/// `offload` to a sink that the operation keeps alive.
template <class F>
awaitable<std::invoke_result_t<F&>> offload_to(std::shared_ptr<task_sink> sink, F job)
{
    using task = offload_task<F>;
    auto operation = std::make_shared<task>(std::move(sink), std::move(job));
    auto answer = await_reply<typename task::value_type>(std::move(operation));
    if constexpr (std::is_void_v<std::invoke_result_t<F&>>)
        co_await std::move(answer);
    else
        co_return co_await std::move(answer);
}

}  // namespace detail

/// Runs `job()` on a thread of `sink`, where it may block, and gives what it returns.
/// Result: must be default-constructible and movable.
/// Runs: on the sink's thread; completes on the caller's executor.
/// Errors: what the job throws; pool_errc::queue_full, pool_errc::shut_down.
/// Cancellation: terminal, partial and total at any time. A job that has not begun never begins;
/// one that runs goes on, and its result is destroyed on the sink's thread.
/// Lifetime: owns `job`; `sink` must outlive the call.
template <class F>
awaitable<std::invoke_result_t<F&>> offload(task_sink& sink, F job)
{
    std::shared_ptr<task_sink> borrowed{std::shared_ptr<void>{}, &sink};
    return detail::offload_to(std::move(borrowed), std::move(job));
}

}  // namespace modelpool

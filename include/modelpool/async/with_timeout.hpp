#pragma once

#include <modelpool/async/awaitable.hpp>
#include <modelpool/async/detail/launch.hpp>
#include <modelpool/async/detail/reply.hpp>
#include <modelpool/error.hpp>

#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/this_coro.hpp>

#include <chrono>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

namespace modelpool {
namespace detail {

/// `limit` in nanoseconds, or the longest (shortest) time they can say.
template <class Rep, class Period>
std::chrono::nanoseconds to_nanoseconds(std::chrono::duration<Rep, Period> limit)
{
    using std::chrono::nanoseconds;
    using wide = std::chrono::duration<double, std::nano>;
    if (wide{limit} >= wide{nanoseconds::max()}) return nanoseconds::max();
    if (wide{limit} <= wide{nanoseconds::min()}) return nanoseconds::min();
    return std::chrono::duration_cast<nanoseconds>(limit);
}

/// An operation against an alarm. Everything but the answer happens on one strand.
template <class T>
class timed_call : public std::enable_shared_from_this<timed_call<T>> {
public:
    timed_call(const executor& ex, std::chrono::nanoseconds limit, awaitable<T> operation)
        : limit_{limit}
        , strand_{boost::asio::make_strand(ex)}
        , alarm_{strand_}
        , operation_{std::move(operation)}
    {}

    void start(std::shared_ptr<timed_call> self)
    {
        const auto strand = strand_;
        boost::asio::dispatch(strand, [self = std::move(self)] { begin(self); });
    }

    /// The operation is told; the caller is answered once it has ended.
    void cancel(cancellation_type type)
    {
        boost::asio::post(strand_, [self = this->shared_from_this(), type] {
            launched::cancel(self->running_, type);
        });
    }

    reply<T> answer;

private:
    static void begin(const std::shared_ptr<timed_call>& self)
    {
        self->alarm_.expires_after(self->limit_);
        self->alarm_.async_wait([self](boost::system::error_code problem) {
            if (!problem && !self->answer.claimed()) {
                self->timed_out_ = true;
                launched::cancel(self->running_);
            }
        });
        auto on_done = [self](std::exception_ptr failure, T value) {
            self->finish(std::move(failure), std::move(value));
        };
        self->running_ =
            launched::start<T>(self->strand_, std::move(*self->operation_), std::move(on_done));
    }

    void finish(std::exception_ptr failure, T value)
    {
        alarm_.cancel();
        // A result that came in the very moment of the alarm still counts.
        if (failure && timed_out_) {
            const double seconds = std::chrono::duration<double>(limit_).count();
            failure = std::make_exception_ptr(
                error{errc::timed_out, "no result within " + std::to_string(seconds) + " seconds"});
        }
        answer.answer(std::move(failure), std::move(value));
    }

    const std::chrono::nanoseconds limit_;
    boost::asio::strand<executor> strand_;
    boost::asio::steady_timer alarm_;
    std::optional<awaitable<T>> operation_;
    std::shared_ptr<launched> running_;
    bool timed_out_{false};
};

// A template only so that g++ 12 leaves it out of units that do not use it.
template <class Void>
awaitable<std::monostate> with_value(awaitable<Void> operation)
{
    co_await std::move(operation);
    co_return std::monostate{};
}

template <class T>
awaitable<T> run_timed(std::chrono::nanoseconds limit, awaitable<T> operation)
{
    const executor ex = co_await boost::asio::this_coro::executor;
    auto call = std::make_shared<timed_call<T>>(ex, limit, std::move(operation));
    auto answer = await_reply<T>(std::move(call));
    co_return co_await std::move(answer);
}

}  // namespace detail

/// Awaits `operation`, but no longer than `limit`.
/// Result: that of `operation`, also where it ended in the very moment of the alarm;
/// default-constructible and movable.
/// Runs: `operation` runs on a strand of its own over the caller's executor, with every kind of
/// cancellation let through; the caller resumes on its own executor, after `operation` has answered
/// its cancellation.
/// Errors: errc::timed_out; whatever `operation` throws.
/// Cancellation: what reaches the caller reaches `operation`. The caller must run on one thread or
/// a strand.
/// Lifetime: owns `operation`.
template <class T, class Rep, class Period>
awaitable<T> with_timeout(std::chrono::duration<Rep, Period> limit, awaitable<T> operation)
{
    const std::chrono::nanoseconds nanoseconds = detail::to_nanoseconds(limit);
    if constexpr (std::is_void_v<T>) {
        auto timed = detail::run_timed(nanoseconds, detail::with_value(std::move(operation)));
        co_await std::move(timed);
    } else {
        auto timed = detail::run_timed(nanoseconds, std::move(operation));
        co_return co_await std::move(timed);
    }
}

}  // namespace modelpool

#pragma once

#include <modelpool/assert.hpp>
#include <modelpool/async/awaitable.hpp>
#include <modelpool/error.hpp>

#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/execution/outstanding_work.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/prefer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <atomic>
#include <exception>
#include <memory>
#include <optional>
#include <utility>

namespace modelpool::detail {

using boost::asio::cancellation_type;

/// The exception of a cancelled operation.
inline std::exception_ptr aborted()
{
    return std::make_exception_ptr(error{boost::asio::error::operation_aborted, "cancelled"});
}

/// The suspended end of one awaiting coroutine, resumed exactly once, from any thread, by a post to
/// the coroutine's executor. Several parties may race to answer (a worker, a cancellation, a
/// shutdown): whoever claims it first answers, the others do nothing.
template <class T>
class reply {
public:
    using signature = void(std::exception_ptr, T);
    using handler_type = typename boost::asio::
        async_result<boost::asio::use_awaitable_t<executor>, signature>::handler_type;

    /// True for the first caller only, who must then call `send`.
    bool claim() noexcept { return !claimed_.exchange(true, std::memory_order_acq_rel); }
    bool claimed() const noexcept { return claimed_.load(std::memory_order_acquire); }
    /// Where the coroutine will be resumed. Precondition: armed, and not published yet.
    const executor& get_executor() const noexcept { return work_; }

    /// Resumes the coroutine on its executor. Precondition: this caller claimed.
    void send(std::exception_ptr failure, T value)
    {
        MODELPOOL_ASSERT(handler_.has_value());
        handler_type handler = std::move(*handler_);
        handler_.reset();
        executor work = std::move(work_);
        // Clearing the slot on the coroutine's own executor keeps a late cancellation from reaching
        // the operation that comes next.
        auto resume = [handler = std::move(handler),
                       failure = std::move(failure),
                       value = std::move(value)]() mutable {
            boost::asio::get_associated_cancellation_slot(handler).clear();
            std::move(handler)(std::move(failure), std::move(value));
        };
        boost::asio::post(work, std::move(resume));
    }

    /// Claims and sends in one; false where somebody else had answered.
    bool answer(std::exception_ptr failure, T value)
    {
        if (!claim()) return false;
        send(std::move(failure), std::move(value));
        return true;
    }

    /// Called once, before the operation is published to other threads.
    void arm(handler_type handler)
    {
        const executor ex = boost::asio::get_associated_executor(handler);
        work_ = boost::asio::prefer(ex, boost::asio::execution::outstanding_work.tracked);
        handler_.emplace(std::move(handler));
    }

private:
    std::atomic<bool> claimed_{false};
    std::optional<handler_type> handler_;
    executor work_;
};

/// Suspends the calling coroutine until `op->answer` is answered. `op` is shared and has
/// - `reply<T> answer`,
/// - `void start(std::shared_ptr<Op>)`: publishes the operation; it may be answered before this
///   returns,
/// - `void cancel(cancellation_type)`: a cancellation arrived, on the coroutine's executor; it may
///   claim.
template <class T, class Op>
awaitable<T> await_reply(std::shared_ptr<Op> op)
{
    auto begin = [](auto handler, std::shared_ptr<Op> operation) {
        auto slot = boost::asio::get_associated_cancellation_slot(handler);
        operation->answer.arm(std::move(handler));
        if (slot.is_connected()) {
            slot.assign([weak = std::weak_ptr<Op>{operation}](cancellation_type type) {
                if (const std::shared_ptr<Op> alive = weak.lock()) alive->cancel(type);
            });
        }
        Op* const self = operation.get();
        self->start(std::move(operation));
    };
    return boost::asio::
        async_initiate<const boost::asio::use_awaitable_t<executor>&, typename reply<T>::signature>(
            std::move(begin), boost::asio::use_awaitable_t<executor>{}, std::move(op));
}

}  // namespace modelpool::detail

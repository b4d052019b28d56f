#pragma once

#include <modelpool/async/awaitable.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/cancellation_state.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/this_coro.hpp>

#include <exception>
#include <functional>
#include <memory>
#include <utility>

namespace modelpool::detail {

/// Lets every kind of cancellation reach `operation`. Awaited at the root of a coroutine that the
/// library itself spawned, so that nobody else's filter changes.
template <class T>
awaitable<T> with_open_filter(awaitable<T> operation)
{
    co_await boost::asio::this_coro::reset_cancellation_state(
        boost::asio::enable_total_cancellation());
    co_return co_await std::move(operation);
}

/// A coroutine that runs on a strand of its own for an owner that is no coroutine. The owner may
/// ask it to stop from any thread; `on_done` is called once, on the strand, when it has ended.
class launched {
public:
    template <class T>
    static std::shared_ptr<launched> start(
        const executor& ex,
        awaitable<T> operation,
        std::function<void(std::exception_ptr, T)> on_done)
    {
        return start(boost::asio::make_strand(ex), std::move(operation), std::move(on_done));
    }

    /// On a strand that the owner uses too.
    template <class T>
    static std::shared_ptr<launched> start(
        const boost::asio::strand<executor>& strand,
        awaitable<T> operation,
        std::function<void(std::exception_ptr, T)> on_done)
    {
        std::shared_ptr<launched> self{new launched{strand}};
        auto finish = [self, on_done = std::move(on_done)](std::exception_ptr failure, T value) {
            on_done(std::move(failure), std::move(value));
        };
        boost::asio::co_spawn(
            self->strand_,
            with_open_filter(std::move(operation)),
            boost::asio::bind_cancellation_slot(
                self->signal_.slot(),
                boost::asio::bind_executor(self->strand_, std::move(finish))));
        return self;
    }

    /// Asks the coroutine to end; returns at once.
    static void cancel(
        const std::shared_ptr<launched>& self,
        boost::asio::cancellation_type type = boost::asio::cancellation_type::all)
    {
        auto emit = [self, type] { self->signal_.emit(type); };
        boost::asio::post(self->strand_, std::move(emit));
    }

private:
    explicit launched(const boost::asio::strand<executor>& strand)
        : strand_{strand}
    {}

    boost::asio::strand<executor> strand_;
    boost::asio::cancellation_signal signal_;
};

}  // namespace modelpool::detail

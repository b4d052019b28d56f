#pragma once

#include <modelpool/async/awaitable.hpp>
#include <modelpool/async/detail/launch.hpp>
#include <modelpool/error.hpp>

#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <catch2/catch.hpp>

#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

#include "leak_check.hpp"

namespace modelpool::testing {

/// Long enough for any test on a slow machine under a sanitizer; only a test that hangs meets it.
constexpr std::chrono::seconds patience{40};

/// Runs a coroutine on an io_context of its own; fails where it does not end, or leaves work,
/// threads or counted objects behind.
void run_async_test(awaitable<void> (*body)());

/// Lets other handlers run until `condition` holds; the test's own deadline ends it otherwise.
awaitable<void> until(std::function<bool()> condition);

/// How an operation ended.
struct outcome {
    boost::system::error_code code;  // none: it succeeded
    std::string text;

    bool ok() const { return !code; }
};

template <class T>
awaitable<outcome> outcome_of(awaitable<T> operation)
{
    outcome seen;
    try {
        co_await std::move(operation);
    } catch (const boost::system::system_error& problem) {
        seen.code = problem.code();
        seen.text = problem.what();
    }
    co_return seen;
}

/// An operation that runs beside its test, and may be cancelled.
template <class T>
class started {
public:
    started(const executor& ex, awaitable<T> operation)
        : state_{std::make_shared<state>(ex)}
    {
        boost::asio::co_spawn(
            ex, detail::with_open_filter(std::move(operation)), completion{state_});
    }

    bool done() const { return state_->done; }
    /// Reaches the operation before this returns.
    void
    cancel(boost::asio::cancellation_type type = boost::asio::cancellation_type::terminal) const
    {
        state_->signal.emit(type);
    }
    /// Its value, or what it threw. Once.
    awaitable<T> get() const { return wait(state_); }
    awaitable<outcome> end() const { return outcome_of(wait(state_)); }

private:
    using value_type = std::conditional_t<std::is_void_v<T>, std::monostate, T>;
    struct state {
        explicit state(const executor& ex)
            : changed{ex, boost::asio::steady_timer::time_point::max()}
        {}
        boost::asio::cancellation_signal signal;
        boost::asio::steady_timer changed;
        std::exception_ptr failure;
        std::optional<value_type> value;
        bool done{false};
    };

    /// Without an executor of its own, so that a cancellation is not queued behind other handlers.
    struct completion {
        using cancellation_slot_type = boost::asio::cancellation_slot;
        cancellation_slot_type get_cancellation_slot() const noexcept
        {
            return self->signal.slot();
        }
        template <class... Value>
        void operator()(std::exception_ptr failure, Value... value)
        {
            self->failure = std::move(failure);
            if constexpr (sizeof...(value) != 0) (self->value.emplace(std::move(value)), ...);
            self->done = true;
            self->changed.cancel();
        }
        std::shared_ptr<state> self;
    };

    static awaitable<T> wait(std::shared_ptr<state> self)
    {
        boost::system::error_code ignored;
        auto token = boost::asio::redirect_error(boost::asio::use_awaitable, ignored);
        while (!self->done)
            co_await self->changed.async_wait(token);
        if (self->failure) std::rethrow_exception(self->failure);
        if constexpr (!std::is_void_v<T>) co_return std::move(*self->value);
    }

    std::shared_ptr<state> state_;
};

}  // namespace modelpool::testing

#define MODELPOOL_TEST_JOIN_(a, b) a##b
#define MODELPOOL_TEST_JOIN(a, b) MODELPOOL_TEST_JOIN_(a, b)
#define MODELPOOL_ASYNC_TEST_AS(body, name, tags)                                                  \
    static ::modelpool::awaitable<void> body();                                                    \
    TEST_CASE(name, tags)                                                                          \
    {                                                                                              \
        ::modelpool::testing::run_async_test(&body);                                               \
    }                                                                                              \
    static ::modelpool::awaitable<void> body()

/// A test case whose body is a coroutine: MODELPOOL_ASYNC_TEST("name", "[tags]") { … co_await …; }
#define MODELPOOL_ASYNC_TEST(name, tags)                                                           \
    MODELPOOL_ASYNC_TEST_AS(MODELPOOL_TEST_JOIN(async_test_body_, __COUNTER__), name, tags)

#include <modelpool/async/as_result.hpp>
#include <modelpool/async/offload.hpp>
#include <modelpool/async/queue.hpp>
#include <modelpool/async/with_timeout.hpp>

#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>

#include "support/async_test.hpp"
#include "support/cancel_sweep.hpp"

namespace modelpool {
namespace {

using namespace std::chrono_literals;
using boost::asio::error::operation_aborted;
using testing::counted;
using testing::outcome;
using testing::started;

/// A value whose copies and moves are counted.
struct tracked : counted {
    int number{0};
};

awaitable<int> number_later(std::chrono::milliseconds delay, int number)
{
    boost::asio::steady_timer timer{co_await boost::asio::this_coro::executor, delay};
    co_await timer.async_wait(boost::asio::use_awaitable);
    co_return number;
}

awaitable<void> fail_now(std::string sentence)
{
    throw error{model_errc::failed, std::move(sentence)};
    co_return;
}

awaitable<int> throw_logic_error()
{
    throw std::logic_error{"not ours"};
    co_return 1;
}

awaitable<tracked> track()
{
    tracked made;
    made.number = 7;
    co_return made;
}

awaitable<void> wait_for_ever()
{
    boost::asio::steady_timer timer{
        co_await boost::asio::this_coro::executor, boost::asio::steady_timer::time_point::max()};
    co_await timer.async_wait(boost::asio::use_awaitable);
}

/// Ends only a while after it was told to stop.
awaitable<void> stop_slowly(std::shared_ptr<bool> ended)
{
    try {
        auto waiting = wait_for_ever();
        co_await std::move(waiting);
    } catch (const boost::system::system_error&) {
        *ended = true;
        throw;
    }
}

MODELPOOL_ASYNC_TEST("as_result: gives the value, or the code of the error", "[async]")
{
    auto good = as_result(number_later(0ms, 3));
    const result<int> value = co_await std::move(good);
    CHECK(value.value() == 3);
    auto bad = as_result(fail_now("broken"));
    const result<void> failure = co_await std::move(bad);
    CHECK(failure.has_error());
    CHECK(failure.error() == model_errc::failed);
    auto fine = as_result(number_later(0ms, 3));
    const auto fine_seen = co_await std::move(fine);
    CHECK(fine_seen.has_value());
}

MODELPOOL_ASYNC_TEST("as_result: an exception without a code passes through", "[async]")
{
    bool seen = false;
    try {
        auto strange = as_result(throw_logic_error());
        co_await std::move(strange);
    } catch (const std::logic_error& problem) {
        seen = std::string{problem.what()} == "not ours";
    }
    CHECK(seen);
}

MODELPOOL_ASYNC_TEST("with_timeout: a value that comes in time passes through", "[async]")
{
    auto timed = with_timeout(30s, number_later(1ms, 5));
    const int value = co_await std::move(timed);
    CHECK(value == 5);
    auto at_once = with_timeout(1h, track());
    const tracked got = co_await std::move(at_once);
    CHECK(got.number == 7);
}

MODELPOOL_ASYNC_TEST("with_timeout: an error surfaces at once and as it was", "[async]")
{
    // A limit of an hour: the test's own deadline would end it if the error waited for the alarm.
    auto timed = testing::outcome_of(with_timeout(1h, fail_now("broken")));
    const outcome seen = co_await std::move(timed);
    CHECK(seen.code == model_errc::failed);
    CHECK(seen.text == "broken");
}

MODELPOOL_ASYNC_TEST("with_timeout: an exception that is not the library's surfaces too", "[async]")
{
    bool seen = false;
    try {
        auto timed = with_timeout(1h, throw_logic_error());
        co_await std::move(timed);
    } catch (const std::logic_error&) {
        seen = true;
    }
    CHECK(seen);
}

MODELPOOL_ASYNC_TEST(
    "with_timeout: what takes too long fails with timed_out and is stopped", "[async]")
{
    auto stopped = std::make_shared<bool>(false);
    auto timed = testing::outcome_of(with_timeout(5ms, stop_slowly(stopped)));
    const outcome seen = co_await std::move(timed);
    CHECK(seen.code == errc::timed_out);
    CHECK(seen.text.find("0.005") != std::string::npos);
    CHECK(*stopped);
}

MODELPOOL_ASYNC_TEST("with_timeout: limits of zero, below zero and for ever", "[async]")
{
    for (const auto limit : {0ms, -5ms}) {
        auto timed = testing::outcome_of(with_timeout(limit, wait_for_ever()));
        const outcome seen = co_await std::move(timed);
        CHECK(seen.code == errc::timed_out);
    }
    auto long_hours = with_timeout(std::chrono::hours::max(), number_later(1ms, 1));
    const auto long_hours_seen = co_await std::move(long_hours);
    CHECK(long_hours_seen == 1);
    auto longest = with_timeout(std::chrono::nanoseconds::max(), number_later(1ms, 2));
    const auto longest_seen = co_await std::move(longest);
    CHECK(longest_seen == 2);
    auto earliest = testing::outcome_of(with_timeout(std::chrono::hours::min(), wait_for_ever()));
    const auto earliest_seen = co_await std::move(earliest);
    CHECK(earliest_seen.code == errc::timed_out);
}

MODELPOOL_ASYNC_TEST("with_timeout: a cancelled caller gets operation_aborted", "[async]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    using boost::asio::cancellation_type;
    for (const auto type :
         {cancellation_type::terminal, cancellation_type::partial, cancellation_type::total}) {
        auto stopped = std::make_shared<bool>(false);
        const started<void> call{ex, with_timeout(1h, stop_slowly(stopped))};
        call.cancel(type);
        auto ending = call.end();
        const outcome seen = co_await std::move(ending);
        CHECK(seen.code == operation_aborted);
        CHECK(*stopped);
    }
}

MODELPOOL_ASYNC_TEST("with_timeout: the shorter of two nested limits counts", "[async]")
{
    auto inner_first = with_timeout(1h, with_timeout(5ms, wait_for_ever()));
    auto inner_end = testing::outcome_of(std::move(inner_first));
    const auto inner_end_seen = co_await std::move(inner_end);
    CHECK(inner_end_seen.code == errc::timed_out);
    auto outer_first = with_timeout(5ms, with_timeout(1h, wait_for_ever()));
    auto outer_end = testing::outcome_of(std::move(outer_first));
    const outcome seen = co_await std::move(outer_end);
    CHECK(seen.code == errc::timed_out);
    CHECK(seen.text.find("0.005") != std::string::npos);
}

MODELPOOL_ASYNC_TEST(
    "with_timeout: a caller that runs out of time takes no value from a queue", "[async]")
{
    queue<int> values{2};
    auto timed = testing::outcome_of(with_timeout(2ms, values.pop()));
    const auto timed_seen = co_await std::move(timed);
    CHECK(timed_seen.code == errc::timed_out);
    int value = 4;
    CHECK(values.try_push(value));
    auto next = with_timeout(1h, values.pop());
    const auto next_seen = co_await std::move(next);
    CHECK(next_seen == 4);
}

awaitable<void> timeout_scenario(testing::sweep_step step)
{
    auto slow = with_timeout(1h, number_later(1ms, 5));
    auto running = step.cancellable(std::move(slow));
    co_await std::move(running);
}

awaitable<void> nested_timeout_scenario(testing::sweep_step step)
{
    auto slow = with_timeout(1h, with_timeout(2h, number_later(1ms, 5)));
    auto running = step.cancellable(std::move(slow));
    co_await std::move(running);
}

TEST_CASE("with_timeout: cancelled at every point", "[async]")
{
    testing::sweep_cancellation(&timeout_scenario);
    testing::sweep_cancellation(&nested_timeout_scenario);
}

}  // namespace
}  // namespace modelpool

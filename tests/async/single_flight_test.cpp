#include <modelpool/async/single_flight.hpp>

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/async_test.hpp"
#include "support/cancel_sweep.hpp"
#include "support/leak_check.hpp"

namespace modelpool {
namespace {

using boost::asio::error::operation_aborted;
using testing::outcome;
using testing::started;
using flights = single_flight<std::string, int>;

/// Shared work that ends when the test says so.
struct work : testing::counted {
    int n_begun{0};
    int n_stopped{0};
    bool may_end{false};
    std::exception_ptr failure;
};

awaitable<int> run_work(std::shared_ptr<work> state)
{
    const int mine = ++state->n_begun;
    try {
        auto waiting = testing::until([state] { return state->may_end; });
        co_await std::move(waiting);
    } catch (const boost::system::system_error&) {
        ++state->n_stopped;
        throw;
    }
    if (state->failure) std::rethrow_exception(state->failure);
    co_return mine;
}

std::function<awaitable<int>()> maker(const std::shared_ptr<work>& state)
{
    return [state] { return run_work(state); };
}

MODELPOOL_ASYNC_TEST("single_flight: many callers share one run", "[async]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    flights shared;
    auto state = std::make_shared<work>();
    std::vector<started<int>> callers;
    for (int i = 0; i < 5; ++i)
        callers.emplace_back(ex, shared.run("a", maker(state)));
    CHECK(shared.size() == 1);
    state->may_end = true;
    for (const auto& one : callers) {
        auto ending = one.get();
        const int got = co_await std::move(ending);
        CHECK(got == 1);
    }
    CHECK(state->n_begun == 1);
    CHECK(shared.size() == 0);
    auto again = shared.run("a", maker(state));
    const int second = co_await std::move(again);
    CHECK(second == 2);  // nothing is remembered
}

MODELPOOL_ASYNC_TEST("single_flight: keys do not share", "[async]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    flights shared;
    auto state = std::make_shared<work>();
    const started<int> a{ex, shared.run("a", maker(state))};
    const started<int> b{ex, shared.run("b", maker(state))};
    CHECK(shared.size() == 2);
    CHECK(state->n_begun == 2);
    state->may_end = true;
    for (const auto& one : {a, b}) {
        auto ending = one.get();
        co_await std::move(ending);
    }
}

MODELPOOL_ASYNC_TEST("single_flight: an exception reaches every caller as it is", "[async]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    flights shared;
    auto state = std::make_shared<work>();
    state->failure = std::make_exception_ptr(std::logic_error{"theirs"});
    std::vector<started<int>> callers;
    for (int i = 0; i < 3; ++i)
        callers.emplace_back(ex, shared.run("a", maker(state)));
    state->may_end = true;
    int n_seen = 0;
    for (const auto& one : callers) {
        try {
            auto ending = one.get();
            co_await std::move(ending);
        } catch (const std::logic_error& problem) {
            n_seen += std::string{problem.what()} == "theirs" ? 1 : 0;
        }
    }
    CHECK(n_seen == 3);
}

MODELPOOL_ASYNC_TEST(
    "single_flight: work goes on while one caller is left, even not the first", "[async]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    flights shared;
    auto state = std::make_shared<work>();
    const started<int> first{ex, shared.run("a", maker(state))};
    const started<int> second{ex, shared.run("a", maker(state))};
    first.cancel();
    auto left = first.end();
    const outcome seen = co_await std::move(left);
    CHECK(seen.code == operation_aborted);
    CHECK(state->n_stopped == 0);
    state->may_end = true;
    auto ending = second.get();
    const int got = co_await std::move(ending);
    CHECK(got == 1);
}

MODELPOOL_ASYNC_TEST("single_flight: the last caller to leave stops the work", "[async]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    flights shared;
    auto state = std::make_shared<work>();
    const started<int> first{ex, shared.run("a", maker(state))};
    const started<int> second{ex, shared.run("a", maker(state))};
    first.cancel();
    second.cancel(boost::asio::cancellation_type::total);
    CHECK(shared.size() == 0);
    auto stopped = testing::until([state] { return state->n_stopped == 1; });
    co_await std::move(stopped);
    CHECK(state->n_begun == 1);
}

MODELPOOL_ASYNC_TEST(
    "single_flight: who comes while work is being stopped starts afresh", "[async]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    flights shared;
    auto state = std::make_shared<work>();
    const started<int> first{ex, shared.run("a", maker(state))};
    first.cancel();
    const started<int> newcomer{ex, shared.run("a", maker(state))};
    CHECK(state->n_begun == 2);
    auto stopped = testing::until([state] { return state->n_stopped == 1; });
    co_await std::move(stopped);
    state->may_end = true;
    auto ending = newcomer.get();
    const int got = co_await std::move(ending);
    CHECK(got == 2);
}

MODELPOOL_ASYNC_TEST("single_flight: work that ends without waiting is fine", "[async]")
{
    flights shared;
    auto make = []() -> awaitable<int> { co_return 9; };
    auto running = shared.run("a", std::move(make));
    const int got = co_await std::move(running);
    CHECK(got == 9);
    CHECK(shared.size() == 0);
}

MODELPOOL_ASYNC_TEST("single_flight: a maker that throws at once fails its caller", "[async]")
{
    flights shared;
    std::function<awaitable<int>()> nothing;
    bool seen = false;
    try {
        auto running = shared.run("a", nothing);
        co_await std::move(running);
    } catch (const std::bad_function_call&) {
        seen = true;
    }
    CHECK(seen);
    CHECK(shared.size() == 0);
}

MODELPOOL_ASYNC_TEST("single_flight: may be destroyed while callers wait", "[async]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    auto shared = std::make_unique<flights>();
    auto state = std::make_shared<work>();
    const started<int> caller{ex, shared->run("a", maker(state))};
    shared.reset();
    state->may_end = true;
    auto ending = caller.get();
    const int got = co_await std::move(ending);
    CHECK(got == 1);
}

awaitable<void> flight_scenario(testing::sweep_step step)
{
    const executor ex = co_await boost::asio::this_coro::executor;
    auto shared = std::make_shared<flights>();
    auto state = std::make_shared<work>();
    state->may_end = true;
    auto running = step.cancellable(shared->run("a", maker(state)));
    co_await std::move(running);
    auto again = shared->run("a", maker(state));
    co_await std::move(again);
    CHECK(shared->size() == 0);
}

TEST_CASE("single_flight: cancelled at every point", "[async]")
{
    testing::sweep_cancellation(&flight_scenario);
}

}  // namespace
}  // namespace modelpool

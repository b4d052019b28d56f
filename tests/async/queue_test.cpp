#include <modelpool/async/gate.hpp>
#include <modelpool/async/queue.hpp>

#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "support/async_test.hpp"
#include "support/cancel_sweep.hpp"
#include "support/failure.hpp"

namespace modelpool {
namespace {

using boost::asio::error::operation_aborted;
using testing::outcome;
using testing::started;

MODELPOOL_ASYNC_TEST("queue: first in, first out, and no more than its limit", "[async]")
{
    queue<int> values{2};
    for (int value : {1, 2})
        CHECK(values.try_push(value));
    int third = 3;
    CHECK_FALSE(values.try_push(third));
    CHECK(third == 3);
    CHECK(values.size() == 2);
    for (const int wanted : {1, 2}) {
        auto popping = values.pop();
        const std::optional<int> got = co_await std::move(popping);
        CHECK(got == wanted);
    }
    CHECK_FALSE(values.try_pop().has_value());
}

MODELPOOL_ASYNC_TEST("queue: a limit of zero is a limit of one", "[async]")
{
    queue<int> values{0};
    int value = 1;
    CHECK(values.try_push(value));
    CHECK_FALSE(values.try_push(value));
    co_return;
}

MODELPOOL_ASYNC_TEST("queue: a refused value is left as it was", "[async]")
{
    queue<std::unique_ptr<int>> values{1};
    auto first = std::make_unique<int>(1);
    auto second = std::make_unique<int>(2);
    CHECK(values.try_push(first));
    CHECK_FALSE(first);
    CHECK_FALSE(values.try_push(second));
    REQUIRE(second);
    CHECK(*second == 2);
    co_return;
}

MODELPOOL_ASYNC_TEST("queue: writers wait for room in their order", "[async]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    queue<int> values{1};
    std::vector<started<void>> writers;
    for (const int value : {1, 2, 3})
        writers.emplace_back(ex, values.push(value));
    CHECK(values.size() == 1);
    CHECK_FALSE(writers[1].done());
    for (const int wanted : {1, 2, 3}) {
        auto popping = values.pop();
        const std::optional<int> got = co_await std::move(popping);
        CHECK(got == wanted);
    }
    for (const auto& one : writers) {
        auto ending = one.get();
        co_await std::move(ending);
    }
}

MODELPOOL_ASYNC_TEST("queue: readers that wait get values in their order", "[async]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    queue<int> values{1};
    const started<std::optional<int>> a{ex, values.pop()};
    const started<std::optional<int>> b{ex, values.pop()};
    for (int value : {1, 2, 3}) {
        CHECK(values.try_push(value));  // two of them go to the readers at once
    }
    auto first = a.get();
    const std::optional<int> got_a = co_await std::move(first);
    auto second = b.get();
    const std::optional<int> got_b = co_await std::move(second);
    CHECK(got_a == 1);
    CHECK(got_b == 2);
    CHECK(values.size() == 1);
}

MODELPOOL_ASYNC_TEST(
    "queue: closing ends readers after what is left, and refuses writers", "[async]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    queue<int> values{1};
    int value = 1;
    CHECK(values.try_push(value));
    const started<void> writer{ex, values.push(2)};
    values.close();
    values.close();
    auto refused = writer.end();
    const outcome seen = co_await std::move(refused);
    CHECK(seen.code == errc::closed);
    auto late = testing::outcome_of(values.push(3));
    const outcome later = co_await std::move(late);
    CHECK(later.code == errc::closed);
    CHECK_FALSE(values.try_push(value));
    auto left = values.pop();
    const std::optional<int> got = co_await std::move(left);
    CHECK(got == 1);
    auto end = values.pop();
    const std::optional<int> none = co_await std::move(end);
    CHECK_FALSE(none.has_value());
}

MODELPOOL_ASYNC_TEST("queue: destroying it closes it for readers that wait", "[async]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    auto values = std::make_unique<queue<int>>(1U);
    const started<std::optional<int>> reader{ex, values->pop()};
    values.reset();
    auto end = reader.get();
    const std::optional<int> none = co_await std::move(end);
    CHECK_FALSE(none.has_value());
}

MODELPOOL_ASYNC_TEST(
    "queue: a cancelled reader takes nothing, a cancelled writer leaves nothing", "[async]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    queue<int> values{1};
    const started<std::optional<int>> reader{ex, values.pop()};
    reader.cancel();
    auto gone = reader.end();
    const outcome seen = co_await std::move(gone);
    CHECK(seen.code == operation_aborted);
    int value = 1;
    CHECK(values.try_push(value));
    CHECK(values.size() == 1);
    const started<void> writer{ex, values.push(2)};
    writer.cancel();
    auto left = writer.end();
    const outcome after = co_await std::move(left);
    CHECK(after.code == operation_aborted);
    CHECK(values.try_pop() == 1);
    CHECK_FALSE(values.try_pop().has_value());
}

awaitable<void> pop_scenario(testing::sweep_step step)
{
    const executor ex = co_await boost::asio::this_coro::executor;
    auto values = std::make_shared<queue<int>>(4U);
    const started<void> writer{ex, values->push(7)};
    auto running = step.cancellable(values->pop());
    const bool taken = co_await std::move(running);
    auto written = writer.get();
    co_await std::move(written);
    CHECK(values->size() == (taken ? 0 : 1));  // neither lost nor doubled
}

awaitable<void> push_scenario(testing::sweep_step step)
{
    const executor ex = co_await boost::asio::this_coro::executor;
    auto values = std::make_shared<queue<int>>(1U);
    int first = 1;
    values->try_push(first);
    const started<std::optional<int>> reader{ex, values->pop()};
    auto running = step.cancellable(values->push(2));
    const bool written = co_await std::move(running);
    auto read = reader.get();
    const std::optional<int> got = co_await std::move(read);
    CHECK(got == 1);
    CHECK(values->size() == (written ? 1 : 0));
}

awaitable<void> full_push_scenario(testing::sweep_step step)
{
    const executor ex = co_await boost::asio::this_coro::executor;
    auto values = std::make_shared<queue<int>>(1U);
    int first = 1;
    values->try_push(first);
    auto pop_later = [](std::shared_ptr<queue<int>> from) -> awaitable<std::optional<int>> {
        auto pause = testing::until([n = 0]() mutable { return ++n > 2; });
        co_await std::move(pause);
        auto popping = from->pop();
        co_return co_await std::move(popping);
    };
    const started<std::optional<int>> reader{ex, pop_later(values)};
    auto running = step.cancellable(values->push(2));
    const bool written = co_await std::move(running);
    auto read = reader.get();
    const std::optional<int> got = co_await std::move(read);
    CHECK(got == 1);
    CHECK(values->size() == (written ? 1 : 0));
}

TEST_CASE("queue: cancelled at every point, nothing is lost or doubled", "[async]")
{
    testing::sweep_cancellation(&pop_scenario);
    testing::sweep_cancellation(&push_scenario);
    testing::sweep_cancellation(&full_push_scenario);
}

MODELPOOL_ASYNC_TEST("gate: counts who is inside", "[async]")
{
    gate door;
    gate::pass a = door.enter();
    gate::pass b = door.try_enter();
    CHECK(a);
    CHECK(b);
    CHECK(door.n_inside() == 2);
    gate::pass moved = std::move(a);
    CHECK(door.n_inside() == 2);
    moved = std::move(b);
    CHECK(door.n_inside() == 1);
    moved.release();
    moved.release();
    CHECK(door.n_inside() == 0);
    co_return;
}

MODELPOOL_ASYNC_TEST("gate: a closed one lets nobody in", "[async]")
{
    gate door;
    door.close();
    door.close();
    CHECK(door.closed());
    CHECK_FALSE(door.try_enter());
    testing::failure(errc::closed, [&] { door.enter(); });
    auto closing = door.close_and_wait();
    co_await std::move(closing);  // nobody inside: at once
}

MODELPOOL_ASYNC_TEST(
    "gate: closing waits for the last one, who may leave on another thread", "[async]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    auto door = std::make_unique<gate>();
    gate::pass inside = door->enter();
    const started<void> closing{ex, door->close_and_wait()};
    CHECK(door->closed());
    CHECK_FALSE(closing.done());
    door.reset();  // a pass may outlive its gate
    std::thread other{[pass = std::move(inside)]() mutable { pass.release(); }};
    auto closed = closing.get();
    co_await std::move(closed);
    other.join();
}

MODELPOOL_ASYNC_TEST("gate: nothing closes before the wait is awaited", "[async]")
{
    gate door;
    {
        auto never = door.close_and_wait();
        CHECK_FALSE(door.closed());
    }
    CHECK(door.try_enter());
    co_return;
}

MODELPOOL_ASYNC_TEST("gate: who waits may leave, and the gate stays closed", "[async]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    gate door;
    const gate::pass inside = door.enter();
    const started<void> closing{ex, door.close_and_wait()};
    closing.cancel();
    auto ending = closing.end();
    const outcome seen = co_await std::move(ending);
    CHECK(seen.code == operation_aborted);
    CHECK(door.closed());
}

}  // namespace
}  // namespace modelpool

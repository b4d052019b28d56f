#include <modelpool/async/mutex.hpp>
#include <modelpool/async/shared_mutex.hpp>

#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_future.hpp>

#include <memory>
#include <string>
#include <vector>

#include "support/async_test.hpp"
#include "support/cancel_sweep.hpp"

namespace modelpool {
namespace {

using boost::asio::error::operation_aborted;
using testing::outcome;
using testing::started;

/// Takes a turn, notes its name, and gives the turn back.
awaitable<void> note_turn(awaitable<async_lock> turn, std::shared_ptr<std::string> log, char name)
{
    const async_lock lock = co_await std::move(turn);
    CHECK(lock.owns_lock());
    log->push_back(name);
}

awaitable<void> join(std::vector<started<void>> all)
{
    for (const started<void>& one : all) {
        auto ending = one.get();
        co_await std::move(ending);
    }
}

MODELPOOL_ASYNC_TEST("mutex: turns come in the order they were asked for", "[async]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    mutex turns;
    async_lock mine = turns.try_lock();
    CHECK(mine.owns_lock());
    CHECK_FALSE(turns.try_lock().owns_lock());
    auto log = std::make_shared<std::string>();
    std::vector<started<void>> all;
    for (const char name : {'a', 'b', 'c'})
        all.emplace_back(ex, note_turn(turns.lock(), log, name));
    CHECK(log->empty());
    mine.unlock();
    CHECK_FALSE(mine.owns_lock());
    CHECK(log->empty());  // by a post, never inline
    CHECK_FALSE(
        turns.try_lock().owns_lock());  // it went to the one that waits, not to who comes by
    auto joined = join(all);
    co_await std::move(joined);
    CHECK(*log == "abc");
    CHECK(turns.try_lock().owns_lock());
}

MODELPOOL_ASYNC_TEST("mutex: a cancelled waiter leaves the queue", "[async]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    mutex turns;
    async_lock mine = turns.try_lock();
    auto log = std::make_shared<std::string>();
    const started<void> a{ex, note_turn(turns.lock(), log, 'a')};
    const started<void> b{ex, note_turn(turns.lock(), log, 'b')};
    a.cancel();
    auto ending = a.end();
    const auto ending_seen = co_await std::move(ending);
    CHECK(ending_seen.code == operation_aborted);
    mine.unlock();
    auto rest = b.get();
    co_await std::move(rest);
    CHECK(*log == "b");
}

MODELPOOL_ASYNC_TEST("mutex: a lock may outlive it, and waiters still get their turns", "[async]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    auto turns = std::make_unique<mutex>();
    async_lock mine = turns->try_lock();
    auto log = std::make_shared<std::string>();
    const started<void> a{ex, note_turn(turns->lock(), log, 'a')};
    turns.reset();
    mine = async_lock{};
    auto rest = a.get();
    co_await std::move(rest);
    CHECK(*log == "a");
}

MODELPOOL_ASYNC_TEST("shared_mutex: readers share, a writer is alone", "[async]")
{
    shared_mutex state;
    auto first = state.lock_shared();
    async_lock one = co_await std::move(first);
    auto second = state.lock_shared();
    async_lock two = co_await std::move(second);
    CHECK_FALSE(state.try_lock().owns_lock());
    one.unlock();
    CHECK_FALSE(state.try_lock().owns_lock());
    two.unlock();
    async_lock alone = state.try_lock();
    CHECK(alone.owns_lock());
    CHECK_FALSE(state.try_lock_shared().owns_lock());
}

MODELPOOL_ASYNC_TEST("shared_mutex: a writer that waits is not starved by later readers", "[async]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    shared_mutex state;
    async_lock reading = state.try_lock_shared();
    auto log = std::make_shared<std::string>();
    std::vector<started<void>> all;
    all.emplace_back(ex, note_turn(state.lock(), log, 'W'));
    all.emplace_back(ex, note_turn(state.lock_shared(), log, 'r'));
    all.emplace_back(ex, note_turn(state.lock_shared(), log, 's'));
    CHECK_FALSE(state.try_lock_shared().owns_lock());
    reading.unlock();
    auto joined = join(all);
    co_await std::move(joined);
    CHECK(*log == "Wrs");
}

MODELPOOL_ASYNC_TEST(
    "shared_mutex: a writer that gives up lets the readers behind it pass", "[async]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    shared_mutex state;
    const async_lock reading = state.try_lock_shared();
    auto log = std::make_shared<std::string>();
    const started<void> writer{ex, note_turn(state.lock(), log, 'W')};
    const started<void> reader{ex, note_turn(state.lock_shared(), log, 'r')};
    writer.cancel();
    auto rest = reader.get();
    co_await std::move(rest);
    CHECK(*log == "r");
    auto gone = writer.end();
    const auto gone_seen = co_await std::move(gone);
    CHECK(gone_seen.code == operation_aborted);
}

awaitable<void> add_many(std::shared_ptr<mutex> turns, std::shared_ptr<long> sum, int n)
{
    for (int i = 0; i < n; ++i) {
        auto turn = turns->lock();
        const async_lock lock = co_await std::move(turn);
        *sum += 1;
    }
}

TEST_CASE("mutex: coroutines on several threads exclude each other", "[async]")
{
    const testing::leak_check nothing_left;
    {
        auto turns = std::make_shared<mutex>();
        auto sum = std::make_shared<long>(0);
        boost::asio::thread_pool threads{4};
        std::vector<std::future<void>> ends;
        for (int i = 0; i < 8; ++i)
            ends.push_back(boost::asio::co_spawn(
                boost::asio::make_strand(threads.get_executor()),
                add_many(turns, sum, 200),
                boost::asio::use_future));
        for (auto& one : ends)
            one.get();
        threads.join();
        CHECK(*sum == 1600);
    }
    nothing_left.require();
}

awaitable<void> hold_briefly(std::shared_ptr<mutex> turns)
{
    auto turn = turns->lock();
    const async_lock lock = co_await std::move(turn);
    boost::asio::steady_timer timer{
        co_await boost::asio::this_coro::executor, std::chrono::milliseconds{1}};
    co_await timer.async_wait(boost::asio::use_awaitable);
}

awaitable<void> mutex_scenario(testing::sweep_step step)
{
    const executor ex = co_await boost::asio::this_coro::executor;
    auto turns = std::make_shared<mutex>();
    const started<void> other{ex, hold_briefly(turns)};
    auto running = step.cancellable(hold_briefly(turns));
    co_await std::move(running);
    auto turn = turns->lock();
    const async_lock lock = co_await std::move(turn);
    CHECK(lock.owns_lock());
    auto rest = other.get();
    co_await std::move(rest);
}

TEST_CASE("mutex: cancelled at every point", "[async]")
{
    testing::sweep_cancellation(&mutex_scenario);
}

}  // namespace
}  // namespace modelpool

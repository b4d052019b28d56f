#include <modelpool/async/offload.hpp>
#include <modelpool/async/thread_pool.hpp>

#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "support/async_test.hpp"
#include "support/cancel_sweep.hpp"
#include "support/fakes.hpp"

namespace modelpool {
namespace {

using boost::asio::error::operation_aborted;
using testing::counted;
using testing::door;
using testing::outcome;
using testing::started;

/// A result that notes the thread it dies on.
struct witness : counted {
    witness() = default;
    explicit witness(std::shared_ptr<testing::thread_journal> journal)
        : died{std::move(journal)}
    {}
    witness(witness&&) = default;
    witness& operator=(witness&&) = default;
    ~witness()
    {
        if (died) died->note();
    }
    std::shared_ptr<testing::thread_journal> died;
};

MODELPOOL_ASYNC_TEST("offload: runs on a thread of the sink and comes back", "[async]")
{
    thread_pool threads{1};
    const auto here = std::this_thread::get_id();
    auto job = [] { return std::this_thread::get_id(); };
    auto away = offload(threads, std::move(job));
    const std::thread::id there = co_await std::move(away);
    CHECK(there != here);
    CHECK(std::this_thread::get_id() == here);
    auto ran = std::make_shared<bool>(false);
    auto nothing = offload(threads, [ran] { *ran = true; });
    co_await std::move(nothing);
    CHECK(*ran);
}

MODELPOOL_ASYNC_TEST("offload: what the job throws surfaces, of whatever type", "[async]")
{
    thread_pool threads{1};
    auto ours = testing::outcome_of(offload(threads, [] {
        throw error{hub_errc::io_failed, "disk full"};
    }));
    const outcome seen = co_await std::move(ours);
    CHECK(seen.code == hub_errc::io_failed);
    CHECK(seen.text == "disk full");
    bool logic = false;
    try {
        auto strange = offload(threads, []() -> int { throw std::logic_error{"theirs"}; });
        co_await std::move(strange);
    } catch (const std::logic_error&) {
        logic = true;
    }
    CHECK(logic);
    bool memory = false;
    try {
        auto large = offload(threads, []() -> int { throw std::bad_alloc{}; });
        co_await std::move(large);
    } catch (const std::bad_alloc&) {
        memory = true;
    }
    CHECK(memory);
}

MODELPOOL_ASYNC_TEST("offload: a job cancelled in the queue never begins", "[async]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    thread_pool threads{1};
    auto gate = std::make_shared<door>();
    gate->shut();
    const started<void> first{ex, offload(threads, [gate] { gate->blocking_pass({}); })};
    auto busy = testing::until([gate] { return gate->n_waiting() == 1; });
    co_await std::move(busy);
    auto ran = std::make_shared<std::atomic<bool>>(false);
    const started<void> second{ex, offload(threads, [ran, c = counted{}] { *ran = true; })};
    second.cancel();
    auto ending = second.end();
    const auto ending_seen = co_await std::move(ending);
    CHECK(ending_seen.code == operation_aborted);
    gate->open();
    auto rest = first.get();
    co_await std::move(rest);
    auto last = offload(threads, [] {});
    co_await std::move(last);
    CHECK_FALSE(ran->load());
}

MODELPOOL_ASYNC_TEST("offload: a result nobody waits for dies on the sink's thread", "[async]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    thread_pool threads{1};
    auto gate = std::make_shared<door>();
    auto died = std::make_shared<testing::thread_journal>();
    gate->shut();
    auto job = [gate, died] {
        gate->blocking_pass({});
        return witness{died};
    };
    const started<witness> call{ex, offload(threads, std::move(job))};
    auto busy = testing::until([gate] { return gate->n_waiting() == 1; });
    co_await std::move(busy);
    call.cancel();
    auto ending = call.end();
    const auto ending_seen = co_await std::move(ending);
    CHECK(ending_seen.code == operation_aborted);
    gate->open();
    auto id = offload(threads, [] { return std::this_thread::get_id(); });
    const std::thread::id worker = co_await std::move(id);
    CHECK(died->threads() == std::set<std::thread::id>{worker});
}

MODELPOOL_ASYNC_TEST("offload: a full queue refuses with queue_full", "[async]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    thread_pool threads{1, 1};
    auto gate = std::make_shared<door>();
    gate->shut();
    const started<void> running{ex, offload(threads, [gate] { gate->blocking_pass({}); })};
    auto busy = testing::until([gate] { return gate->n_waiting() == 1; });
    co_await std::move(busy);
    const started<void> queued{ex, offload(threads, [] {})};
    auto third = testing::outcome_of(offload(threads, [] {}));
    const outcome seen = co_await std::move(third);
    CHECK(seen.code == pool_errc::queue_full);
    CHECK(seen.text.find("1 pieces") != std::string::npos);
    gate->open();
    for (const started<void>& one : {running, queued}) {
        auto rest = one.get();
        co_await std::move(rest);
    }
}

MODELPOOL_ASYNC_TEST("offload: jobs that wait when their sink goes fail with shut_down", "[async]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    std::optional<thread_pool> threads{std::in_place, 1U};
    auto gate = std::make_shared<door>();
    gate->shut();
    const started<void> running{ex, offload(*threads, [gate] { gate->blocking_pass({}); })};
    auto busy = testing::until([gate] { return gate->n_waiting() == 1; });
    co_await std::move(busy);
    auto job = std::make_shared<counted>();
    std::thread opener{[gate, left = std::weak_ptr<counted>{job}] {
        while (!left.expired())
            std::this_thread::yield();
        gate->open();
    }};
    const started<void> queued{ex, offload(*threads, [job = std::move(job)] {})};
    threads.reset();  // drops the job that waits before it joins the thread that runs the other one
    opener.join();
    auto rest = running.end();
    const auto rest_seen = co_await std::move(rest);
    CHECK(rest_seen.ok());
    auto refused = queued.end();
    const auto refused_seen = co_await std::move(refused);
    CHECK(refused_seen.code == pool_errc::shut_down);
}

MODELPOOL_ASYNC_TEST("offload: several threads run several jobs at once", "[async]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    thread_pool threads{3};
    auto gate = std::make_shared<door>();
    gate->shut();
    std::vector<started<void>> calls;
    for (int i = 0; i < 3; ++i)
        calls.emplace_back(ex, offload(threads, [gate] { gate->blocking_pass({}); }));
    auto busy = testing::until([gate] { return gate->n_waiting() == 3; });
    co_await std::move(busy);
    gate->open();
    for (const auto& call : calls) {
        auto rest = call.get();
        co_await std::move(rest);
    }
}

awaitable<void> offload_scenario(testing::sweep_step step)
{
    thread_pool threads{1};
    auto job = offload(threads, [] { return counted{}; });
    auto running = step.cancellable(std::move(job));
    co_await std::move(running);
    auto after = offload(threads, [] { return 3; });
    const auto after_seen = co_await std::move(after);
    CHECK(after_seen == 3);
}

TEST_CASE("offload: cancelled at every point", "[async]")
{
    testing::sweep_cancellation(&offload_scenario);
}

}  // namespace
}  // namespace modelpool

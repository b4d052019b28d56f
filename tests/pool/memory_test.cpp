// How the workers of all pools share one budget.

#include "pool/steps.hpp"

namespace modelpool {
namespace {

using namespace std::chrono_literals;
using namespace testing;

MODELPOOL_ASYNC_TEST("pool: what does not fit fails with the budget and its holders", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex, runtime_options{}.memory_limit_bytes(1000)};
    embed_pool models{rt};
    auto spawning =
        models.spawn_worker("first", fake_loader(plan_of(600)), needing(600).pinned(true));
    co_await std::move(spawning);
    auto second =
        outcome_of(models.spawn_worker("second", fake_loader(plan_of(500)), needing(500)));
    const outcome seen = co_await std::move(second);
    CHECK(seen.code == pool_errc::memory_exhausted);
    CHECK(
        seen.text ==
        "model 'second': the memory budget has no room for model 'second' worker 1: 500 bytes "
        "requested, 400 bytes of 1000 bytes available; held by model 'first' worker 1 (600 bytes)");
    const embed_handle model =
        models.add("third", fake_loader(plan_of(500)), model_options{}.worker(needing(500)));
    auto request = outcome_of(model.embed("x"));
    const outcome refused = co_await std::move(request);
    CHECK(refused.code == pool_errc::memory_exhausted);
    co_await shut(models);
}

MODELPOOL_ASYNC_TEST(
    "pool: a worker that is spawned to help evicts others, never those it copies", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    test_clock time;
    runtime rt{ex, runtime_options{}.memory_limit_bytes(120).time(time)};
    embed_pool models{rt};
    auto plan = plan_of(60, 30);
    for (const char* key : {"m", "other"}) {  // the first one has rested longest
        auto spawning =
            models.spawn_worker(key, fake_loader(key[0] == 'm' ? plan : plan_of(25)), needing(25));
        co_await std::move(spawning);
        time.advance(1s);
    }
    auto helping = models.spawn_worker("m", fake_loader(plan), needing(25));
    co_await std::move(helping);
    CHECK(stats_of(models, "m").workers.size() == 2);
    CHECK(stats_of(models, "m").n_replicated == 1);
    CHECK(stats_of(models, "m").n_evicted == 0);
    CHECK(stats_of(models, "other").n_evicted == 1);
    auto third = outcome_of(models.spawn_worker("m", fake_loader(plan), needing(25)));
    const outcome seen = co_await std::move(third);
    CHECK(seen.code == pool_errc::memory_exhausted);
    CHECK(stats_of(models, "m").n_evicted == 0);
    CHECK(n_resting(models, "m") == 2);
    CHECK(plan->n_builds == 1);
    co_await shut(models);
}

MODELPOOL_ASYNC_TEST(
    "pool: who finds no memory starts no thread, until there may be some", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex, runtime_options{}.memory_limit_bytes(100)};
    embed_pool models{rt};
    auto busy_plan = plan_of(80);
    const embed_handle busy = models.add("busy", fake_loader(busy_plan), limited(1, needing(80)));
    busy_plan->run_door.shut();
    const started<embeddings> running{ex, busy.embed("x")};
    auto begun = until([busy_plan] { return busy_plan->run_door.n_waiting() == 1; });
    co_await std::move(begun);
    auto plan = plan_of(50);
    const embed_handle model = models.add("m", fake_loader(plan), limited(1, needing(50)));
    outcome first;
    for (int i = 0; i < 10; ++i) {
        auto call = outcome_of(model.embed("y"));
        const outcome seen = co_await std::move(call);
        CHECK(seen.code == pool_errc::memory_exhausted);
        if (i == 0) first = seen;
        CHECK(seen.text == first.text);
        auto gone = until_gone(models, "m");
        co_await std::move(gone);
    }
    CHECK(stats_of(models, "m").n_spawned == 1);
    CHECK(stats_of(models, "m").n_load_failures == 1);
    busy_plan->run_door.open();
    auto answered = running.end();
    const outcome end = co_await std::move(answered);
    CHECK(end.ok());
    co_await until_resting(models, "busy", 1);  // now it can be evicted
    co_await serve(model, "z");
    CHECK(stats_of(models, "busy").n_evicted == 1);
    co_await shut(models);
}

MODELPOOL_ASYNC_TEST(
    "pool: idle workers of any pool make room, the least recently used first", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    test_clock time;
    runtime rt{ex, runtime_options{}.memory_limit_bytes(1000).time(time)};
    embed_pool one{rt};
    embed_pool other{rt};
    for (const char* key : {"a", "b"}) {
        auto spawning = one.spawn_worker(key, fake_loader(plan_of(300)), needing(300));
        co_await std::move(spawning);
        time.advance(1s);
    }
    auto third = other.spawn_worker("c", fake_loader(plan_of(300)), needing(300));
    co_await std::move(third);
    time.advance(1s);
    auto use = one.find("a").embed("x");  // now b is the least recently used
    co_await std::move(use);
    auto fourth = other.spawn_worker("d", fake_loader(plan_of(300)), needing(300));
    co_await std::move(fourth);
    CHECK(stats_of(one, "a").workers.size() == 1);
    CHECK(stats_of(one, "b").workers.empty());
    CHECK(stats_of(one, "b").n_evicted == 1);
    CHECK(stats_of(other, "c").workers.size() == 1);
    auto back = one.find("b").embed("x");  // it comes back when it is asked for, and c goes
    co_await std::move(back);
    CHECK(stats_of(other, "c").workers.empty());
    co_await shut(one);
    co_await shut(other);
    CHECK(rt.memory().reserved_bytes() == 0);
}

MODELPOOL_ASYNC_TEST("pool: neither pinned nor busy workers make room", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex, runtime_options{}.memory_limit_bytes(1000)};
    embed_pool models{rt};
    auto busy_plan = plan_of(400);
    auto pinned =
        models.spawn_worker("pinned", fake_loader(plan_of(400)), needing(400).pinned(true));
    co_await std::move(pinned);
    auto busy = models.spawn_worker("busy", fake_loader(busy_plan), needing(400));
    co_await std::move(busy);
    busy_plan->run_door.shut();
    const started<embeddings> call{ex, models.find("busy").embed("x")};
    auto computing = until([&] { return busy_plan->run_door.n_waiting() == 1; });
    co_await std::move(computing);
    auto refused =
        outcome_of(models.spawn_worker("large", fake_loader(plan_of(500)), needing(500)));
    const outcome seen = co_await std::move(refused);
    CHECK(seen.code == pool_errc::memory_exhausted);
    busy_plan->run_door.open();
    auto done = call.get();
    co_await std::move(done);
    auto fits = models.spawn_worker("large", fake_loader(plan_of(500)), needing(500));
    co_await std::move(fits);
    CHECK(stats_of(models, "busy").workers.empty());
    CHECK(stats_of(models, "pinned").workers.size() == 1);
    co_await shut(models);
}

MODELPOOL_ASYNC_TEST(
    "pool: workers that share weights give them back with the last of them", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex, runtime_options{}.memory_limit_bytes(1000)};
    embed_pool models{rt};
    auto plan = plan_of(500, 20);
    for (int i = 0; i < 3; ++i) {
        auto spawning =
            models.spawn_worker("shared", fake_loader(plan), worker_options{}.memory({500, 20, 0}));
        co_await std::move(spawning);
    }
    CHECK(rt.memory().reserved_bytes() == 560);
    CHECK(stats_of(models, "shared").shared_bytes == 500);
    auto large = models.spawn_worker("large", fake_loader(plan_of(900)), needing(900));
    co_await std::move(large);
    CHECK(stats_of(models, "shared").workers.empty());
    CHECK(rt.memory().reserved_bytes() == 900);
    co_await shut(models);
}

MODELPOOL_ASYNC_TEST("pool: the measured bytes take the place of the estimate", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex, runtime_options{}.memory_limit_bytes(1000)};
    embed_pool models{rt};
    auto small = models.spawn_worker("small", fake_loader(plan_of(100, 10)), needing(600));
    co_await std::move(small);
    CHECK(rt.memory().reserved_bytes() == 110);
    auto large = models.spawn_worker("large", fake_loader(plan_of(700, 10)), needing(10));
    co_await std::move(large);
    CHECK(rt.memory().reserved_bytes() == 820);
    auto unmeasured = models.spawn_worker(
        "unmeasured", fake_loader(plan_of(0)), worker_options{}.memory({40, 5, 1'000'000}));
    co_await std::move(unmeasured);
    CHECK(rt.memory().reserved_bytes() == 865);  // mapped bytes do not count
    auto much = plan_of(5000);
    auto huge = outcome_of(models.spawn_worker("huge", fake_loader(much), needing(10)));
    const outcome seen = co_await std::move(huge);
    CHECK(seen.code == pool_errc::memory_exhausted);
    auto destroyed = until([much] { return much->n_alive == 0; });
    co_await std::move(destroyed);
    co_await shut(models);
    CHECK(rt.memory().reserved_bytes() == 0);
}

MODELPOOL_ASYNC_TEST("pool: a worker lives on what its caller reserved for it", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex, runtime_options{}.memory_limit_bytes(1000)};
    embed_pool models{rt};
    reservation mine = rt.memory().reserve(800, "caller");
    auto options = needing(700).reserved(std::move(mine));
    auto spawning = models.spawn_worker("m", fake_loader(plan_of(700)), options);
    co_await std::move(spawning);
    CHECK(rt.memory().reserved_bytes() == 700);
    auto second =
        outcome_of(models.spawn_worker("n", fake_loader(plan_of(700)), options.pinned(true)));
    const outcome other = co_await std::move(second);  // the reservation was for one: m had to go
    CHECK(other.ok());
    CHECK(stats_of(models, "m").workers.empty());
    CHECK(rt.memory().reserved_bytes() == 700);
    co_await shut(models);
    CHECK(rt.memory().reserved_bytes() == 0);
}

MODELPOOL_ASYNC_TEST("pool: a failed load gives back exactly what it took", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex, runtime_options{}.memory_limit_bytes(1000)};
    embed_pool models{rt};
    auto plan = plan_of(300);
    plan->on_build = [] { throw error{model_errc::bad_file, "no"}; };
    const embed_handle model =
        models.add("m", fake_loader(plan), model_options{}.worker(needing(300)));
    for (int i = 0; i < 5; ++i) {
        auto call = outcome_of(model.embed("x"));
        const outcome seen = co_await std::move(call);
        CHECK(seen.code == model_errc::bad_file);
    }
    auto gone = until([&] { return stats_of(models, "m").workers.empty(); });
    co_await std::move(gone);
    CHECK(rt.memory().reserved_bytes() == 0);
    CHECK(rt.memory().available_bytes() == 1000);
    co_await shut(models);
}

MODELPOOL_ASYNC_TEST("pool: a caller right after an abandoned load waits for its bytes", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex, runtime_options{}.memory_limit_bytes(1000)};
    embed_pool models{rt};
    auto plan = plan_of(900);
    plan->build_door.shut();
    plan->obeys_stop = false;  // the load goes on for a while
    const embed_handle model =
        models.add("m", fake_loader(plan), model_options{}.worker(needing(900)));
    const started<embeddings> first{ex, model.embed("x")};
    auto loading = until([&] { return plan->build_door.n_waiting() == 1; });
    co_await std::move(loading);
    first.cancel();
    const started<embeddings> second{ex, model.embed("x")};
    plan->build_door.open();
    auto ending_second = second.end();
    const outcome seen = co_await std::move(ending_second);
    CHECK(seen.ok());
    co_await shut(models);
    CHECK(adds_up(stats_of(models, "m")));
}

}  // namespace
}  // namespace modelpool

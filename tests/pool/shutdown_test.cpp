// How a pool ends.

#include <modelpool/async/as_result.hpp>
#include <modelpool/async/with_timeout.hpp>

#include <boost/asio/strand.hpp>

#include <optional>
#include <stdexcept>
#include <thread>

#include "pool/fixture.hpp"

namespace modelpool {
namespace {

using namespace std::chrono_literals;
using namespace testing;
using boost::asio::error::operation_aborted;

awaitable<std::unique_ptr<embedder>> never_load(load_context)
{
    boost::asio::steady_timer timer{
        co_await boost::asio::this_coro::executor, boost::asio::steady_timer::time_point::max()};
    co_await timer.async_wait(boost::asio::use_awaitable);
    co_return nullptr;
}

/// Takes no notice of a cancellation for a while.
awaitable<std::unique_ptr<embedder>> load_deafly(std::shared_ptr<bool> may_end)
{
    while (!*may_end) {
        try {
            co_await boost::asio::this_coro::reset_cancellation_state(
                boost::asio::disable_cancellation());
            auto waiting = until([may_end] { return *may_end; });
            co_await std::move(waiting);
        } catch (const boost::system::system_error&) {
            continue;
        }
    }
    co_return nullptr;
}

/// Hands one job over after the other, whatever it is told.
awaitable<std::unique_ptr<embedder>> load_busily(std::shared_ptr<bool> may_end, load_context at)
{
    co_await boost::asio::this_coro::reset_cancellation_state(boost::asio::disable_cancellation());
    while (!*may_end) {
        auto job = outcome_of(at.offload([] { std::this_thread::sleep_for(5ms); }));
        co_await std::move(job);
    }
    co_return nullptr;
}

MODELPOOL_ASYNC_TEST(
    "pool: shutdown does not wait for ever for a loader that always has one more job", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    embed_pool models{rt};
    auto may_end = std::make_shared<bool>(false);
    auto load = [may_end](load_context at) { return load_busily(may_end, std::move(at)); };
    const started<void> spawning{ex, models.spawn_worker("m", load)};
    auto ending = models.shutdown(1ms);
    co_await std::move(ending);
    *may_end = true;
    auto spawned = spawning.end();
    const outcome seen = co_await std::move(spawned);
    CHECK(seen.code == pool_errc::shut_down);
}

MODELPOOL_ASYNC_TEST("pool: shutdown lets what waits and runs end, and then destroys", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    embed_pool models{rt, pool_options{}.batch_tokens(4)};
    auto plan = new_plan();
    const embed_handle model = models.add("m", fake_loader(plan), workers(1, 1));
    plan->run_door.shut();
    std::vector<started<embeddings>> calls;
    for (int i = 0; i < 5; ++i)
        calls.emplace_back(ex, model.embed("call"));
    auto busy = until([plan] { return plan->run_door.n_waiting() == 1; });
    co_await std::move(busy);
    const started<void> ending{ex, models.shutdown(1h)};
    auto late = outcome_of(model.embed("late"));
    const outcome refused = co_await std::move(late);
    CHECK(refused.code == pool_errc::shut_down);
    auto spawn = outcome_of(models.spawn_worker("n", fake_loader(plan)));
    const outcome no_more = co_await std::move(spawn);
    CHECK(no_more.code == pool_errc::shut_down);
    failure(pool_errc::shut_down, [&] { models.add("n", fake_loader(plan)); });
    CHECK_FALSE(ending.done());
    plan->run_door.open();
    for (const auto& one : calls) {
        auto end = one.end();
        const outcome seen = co_await std::move(end);
        CHECK(seen.ok());
    }
    auto ended = ending.get();
    co_await std::move(ended);
    CHECK(plan->n_alive == 0);
    CHECK(stats_of(models, "m").workers.empty());
    CHECK(stats_of(models, "m").n_rejected == 1);
    CHECK(adds_up(stats_of(models, "m")));
    for (int i = 0; i < 2; ++i) {
        auto again = models.shutdown(0s);
        co_await std::move(again);
    }
}

MODELPOOL_ASYNC_TEST("pool: once the grace has passed the rest fails with shut_down", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    embed_pool models{rt, pool_options{}.batch_tokens(4)};
    auto plan = new_plan();
    const embed_handle model = models.add("m", fake_loader(plan), workers(1, 1));
    plan->run_door.shut();
    const started<embeddings> running{ex, model.embed("running a long batch of its own")};
    auto busy = until([plan] { return plan->run_door.n_waiting() == 1; });
    co_await std::move(busy);
    const started<embeddings> queued{ex, model.embed("queued")};
    auto ending = models.shutdown(1ms);
    co_await std::move(ending);  // the model heard the stop flag
    auto queued_end = queued.end();
    const outcome seen = co_await std::move(queued_end);
    CHECK(seen.code == pool_errc::shut_down);
    CHECK(seen.text.find("'m'") != std::string::npos);
    auto running_end = running.end();
    co_await std::move(running_end);
    CHECK(plan->n_alive == 0);
    CHECK(adds_up(stats_of(models, "m")));
}

MODELPOOL_ASYNC_TEST("pool: a grace for ever is a grace", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    embed_pool models{rt};
    auto plan = new_plan();
    const embed_handle model = models.add("m", fake_loader(plan));
    const started<embeddings> call{ex, model.embed("x")};
    auto ending = models.shutdown(std::chrono::nanoseconds::max());
    co_await std::move(ending);
    auto served = call.end();
    const outcome seen = co_await std::move(served);
    CHECK(seen.ok());
}

MODELPOOL_ASYNC_TEST(
    "pool: shutdown during a load waits for it within the grace, then stops it", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    for (const bool in_time : {true, false}) {
        runtime rt{ex};
        embed_pool models{rt};
        auto plan = new_plan();
        plan->build_door.shut();
        const embed_handle model = models.add("m", fake_loader(plan));
        const started<embeddings> call{ex, model.embed("x")};
        auto loading = until([&] { return plan->build_door.n_waiting() == 1; });
        co_await std::move(loading);
        const started<void> ending{ex, models.shutdown(in_time ? 1h : 1ms)};
        if (in_time) plan->build_door.open();
        auto served = call.end();
        const outcome seen = co_await std::move(served);
        CHECK(seen.ok() == in_time);
        CHECK((in_time || seen.code == pool_errc::shut_down));
        auto ended = ending.get();
        co_await std::move(ended);
        CHECK(plan->n_alive == 0);
    }
}

MODELPOOL_ASYNC_TEST(
    "pool: shutdown ends spawn_worker calls and loaders that never answer", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    embed_pool models{rt};
    const started<void> spawning{ex, models.spawn_worker("m", &never_load)};
    auto ending = models.shutdown(1ms);
    co_await std::move(ending);
    auto spawned = spawning.end();
    const outcome seen = co_await std::move(spawned);
    CHECK(seen.code == pool_errc::shut_down);
}

MODELPOOL_ASYNC_TEST(
    "pool: shutdown does not wait for ever for a loader that will not stop", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    embed_pool models{rt};
    auto may_end = std::make_shared<bool>(false);
    auto load = [may_end](load_context) { return load_deafly(may_end); };
    const started<void> spawning{ex, models.spawn_worker("m", load)};
    auto ending = models.shutdown(1ms);
    co_await std::move(ending);
    *may_end = true;
    auto spawned = spawning.end();
    const outcome seen = co_await std::move(spawned);
    CHECK(seen.code == pool_errc::shut_down);
}

MODELPOOL_ASYNC_TEST(
    "pool: a destructor without shutdown joins idle and busy and loading workers", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    log_lines log;
    runtime rt{ex, runtime_options{}.log(log.sink())};
    auto idle = new_plan();
    auto busy = new_plan();
    auto loading = new_plan();
    busy->run_door.shut();
    loading->build_door.shut();
    std::vector<started<embeddings>> calls;
    std::optional<embed_pool> models{std::in_place, rt};
    auto first = models->add("idle", fake_loader(idle)).embed("x");
    co_await std::move(first);
    calls.emplace_back(ex, models->add("busy", fake_loader(busy)).embed("x"));
    calls.emplace_back(ex, models->add("loading", fake_loader(loading)).embed("x"));
    calls.emplace_back(ex, models->add("stuck", &never_load).embed("x"));
    auto there = until([&] {
        return busy->run_door.n_waiting() == 1 && loading->build_door.n_waiting() == 1 &&
               !stats_of(*models, "stuck").workers.empty();
    });
    co_await std::move(there);
    models.reset();
    CHECK(idle->n_alive + busy->n_alive + loading->n_alive == 0);
    CHECK(log.n_with("destroyed without shutdown") == 1);
    for (std::size_t i = 1; i < calls.size(); ++i) {
        auto end = calls[i].end();
        const outcome seen = co_await std::move(end);
        CHECK(seen.code == pool_errc::shut_down);
    }
    auto ran = calls[0].end();  // its batch ended when the model heard the stop flag
    co_await std::move(ran);
}

MODELPOOL_ASYNC_TEST("pool: a handle outlives its pool", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    embed_handle model;
    auto never = outcome_of(model.embed("x"));
    const outcome unset = co_await std::move(never);
    CHECK(unset.code == pool_errc::shut_down);
    auto plan = new_plan();
    {
        embed_pool models{rt};
        model = models.add("m", fake_loader(plan));
        auto call = model.embed("x");
        co_await std::move(call);
        auto ending = models.shutdown(5s);
        co_await std::move(ending);
        auto late = outcome_of(model.embed("x"));
        const outcome after = co_await std::move(late);
        CHECK(after.code == pool_errc::shut_down);
    }
    CHECK_FALSE(model);
    CHECK(model.key() == "m");
    auto gone = outcome_of(model.embed("x"));
    const outcome seen = co_await std::move(gone);
    CHECK(seen.code == pool_errc::shut_down);
    auto question = outcome_of(model.info());
    const outcome about = co_await std::move(question);
    CHECK(about.code == pool_errc::shut_down);
}

MODELPOOL_ASYNC_TEST("pool: remove drains one model and forgets it", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    embed_pool models{rt};
    auto plan = new_plan();
    auto other = new_plan();
    const embed_handle model = models.add("m", fake_loader(plan), workers(1, 1));
    const embed_handle staying = models.add("n", fake_loader(other));
    plan->run_door.shut();
    const started<embeddings> call{ex, model.embed("x")};
    auto busy = until([plan] { return plan->run_door.n_waiting() == 1; });
    co_await std::move(busy);
    const started<bool> removing{ex, models.remove("m", 1h)};
    CHECK_FALSE(models.has("m"));
    auto refused = outcome_of(model.embed("x"));
    const outcome late = co_await std::move(refused);
    CHECK(late.code == pool_errc::shut_down);
    plan->run_door.open();
    auto served = call.end();
    const outcome seen = co_await std::move(served);
    CHECK(seen.ok());
    auto removed = removing.get();
    const bool had = co_await std::move(removed);
    CHECK(had);
    CHECK(plan->n_alive == 0);
    const embed_handle again = models.add("m", fake_loader(plan));
    auto fresh = again.embed("x");
    co_await std::move(fresh);
    auto stays = staying.embed("x");
    co_await std::move(stays);
    auto ending = models.shutdown(5s);
    co_await std::move(ending);
}

MODELPOOL_ASYNC_TEST("pool: a cancelled remove ends the model all the same", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    embed_pool models{rt};
    auto plan = new_plan();
    const embed_handle model = models.add("m", fake_loader(plan), workers(1, 1));
    plan->run_door.shut();
    const started<embeddings> call{ex, model.embed("x")};
    auto busy = until([plan] { return plan->run_door.n_waiting() == 1; });
    co_await std::move(busy);
    const started<bool> removing{ex, models.remove("m", 1h)};
    removing.cancel();
    auto removed = removing.end();
    const outcome seen = co_await std::move(removed);
    CHECK(seen.code == operation_aborted);
    auto gone = until([plan] { return plan->n_alive == 0; });
    co_await std::move(gone);
    auto ended = call.end();
    co_await std::move(ended);
}

MODELPOOL_ASYNC_TEST("pool: two shutdowns at once both end", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    embed_pool models{rt};
    auto plan = new_plan();
    auto call = models.add("m", fake_loader(plan)).embed("x");
    co_await std::move(call);
    const started<void> first{ex, models.shutdown(5s)};
    const started<void> second{ex, models.shutdown(0s)};
    for (const auto& one : {first, second}) {
        auto end = one.get();
        co_await std::move(end);
    }
    CHECK(plan->n_alive == 0);
}

MODELPOOL_ASYNC_TEST("pool: an executor with nothing to do runs out of work", "[pool]")
{
    // The runtime, the pool and its idle workers live on outside the coroutine's own io_context.
    boost::asio::io_context io;
    runtime rt{io.get_executor()};
    embed_pool models{rt};
    auto plan = new_plan();
    const embed_handle model = models.add("m", fake_loader(plan), workers(1, 1));
    bool served = false;
    boost::asio::co_spawn(
        io, model.embed("x"), [&](std::exception_ptr failure, const embeddings& rows) {
            served = !failure && rows.size() == 1;
        });
    io.run_for(patience);
    CHECK(served);
    CHECK(io.stopped());  // idle workers are no work
    CHECK(plan->n_alive == 1);
    co_return;
}

awaitable<void> shutdown_scenario(sweep_step step)
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    embed_pool models{rt};
    auto plan = new_plan();
    const embed_handle model = models.add("m", fake_loader(plan));
    const started<embeddings> call{ex, model.embed("x")};
    auto running = step.cancellable(models.shutdown(1h));
    co_await std::move(running);
    auto end = call.end();
    const outcome seen = co_await std::move(end);
    CHECK((seen.ok() || seen.code == pool_errc::shut_down));
    auto again = models.shutdown(5s);
    co_await std::move(again);
    CHECK(plan->n_alive == 0);
    CHECK(adds_up(stats_of(models, "m")));
}

TEST_CASE("pool: a shutdown cancelled at every point can be repeated", "[pool]")
{
    sweep_cancellation(&shutdown_scenario);
}

/// Calls again and again; every third time with a limit that may or may not be met.
awaitable<void> call_often(embed_handle model, int seed)
{
    for (int i = 0; i < 25; ++i) {
        const std::string text = std::to_string(seed) + ":" + std::to_string(i);
        auto limited = as_result(with_timeout(
            (seed + i) % 3 == 0 ? std::chrono::nanoseconds{200us} : std::chrono::nanoseconds{1h},
            model.embed(text, raw_rows())));
        const result<embeddings> rows = co_await std::move(limited);
        const bool right = rows.has_value() ? rows->to_f32(0) == fake_row(text, 4)
                                            : rows.error() == errc::timed_out;
        if (!right) throw std::runtime_error{"wrong rows for " + text};
    }
}

TEST_CASE("pool: serves callers on several threads, each on a strand", "[pool]")
{
    const leak_check nothing_left;
    {
        boost::asio::io_context io;
        runtime rt{io.get_executor()};
        auto models = std::make_unique<embed_pool>(rt, pool_options{}.batch_tokens(16));
        auto plan = new_plan();
        const embed_handle model = models->add("m", fake_loader(plan), workers(2, 3));
        std::atomic<int> n_failed{0};
        for (int i = 0; i < 8; ++i)
            boost::asio::co_spawn(
                boost::asio::make_strand(io),
                call_often(model, i),
                [&](std::exception_ptr failure) { n_failed += failure ? 1 : 0; });
        std::vector<std::thread> threads;
        for (int i = 0; i < 4; ++i)
            threads.emplace_back([&] { io.run(); });
        for (std::thread& one : threads)
            one.join();
        CHECK(n_failed == 0);
        CHECK(adds_up(stats_of(*models, "m")));
        CHECK(stats_of(*models, "m").n_requests == 200);
        models.reset();
        CHECK(plan->n_alive == 0);
    }
    nothing_left.require();
}

}  // namespace
}  // namespace modelpool

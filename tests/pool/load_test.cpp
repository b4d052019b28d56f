// How a pool's workers come: loads, replicas, failures.

#include <stdexcept>
#include <thread>

#include "pool/steps.hpp"
#include "support/fake_devices.hpp"

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

awaitable<std::unique_ptr<embedder>> load_nothing(load_context)
{
    co_return nullptr;
}

/// A user's own exception, which the library knows nothing of.
struct users_problem : std::runtime_error {
    using std::runtime_error::runtime_error;
};

awaitable<std::unique_ptr<embedder>> throw_users_problem(load_context)
{
    throw users_problem{"theirs"};
    co_return nullptr;
}

/// A user's exception that builds on the library's.
struct users_error : error {
    users_error()
        : error{hub_errc::denied, "licence"}
    {}
};

awaitable<std::unique_ptr<embedder>> throw_users_error(load_context)
{
    throw users_error{};
    co_return nullptr;
}

MODELPOOL_ASYNC_TEST("cold start spawns two workers", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex, runtime_options{}.memory_limit_bytes(1000)};
    embed_pool models{rt};
    auto plan = new_plan();
    plan->bytes = footprint{400, 10, 0};
    const embed_handle model = models.add("m", fake_loader(plan));
    auto call = model.embed("x");
    co_await std::move(call);
    auto both = until([&] { return stats_of(models, "m").n_replicated == 1; });
    co_await std::move(both);
    const model_stats seen = stats_of(models, "m");
    CHECK(seen.n_spawned == 2);
    CHECK(seen.n_loads == 1);
    CHECK(plan->n_builds == 1);
    CHECK(seen.shared_bytes == 400);
    CHECK(rt.memory().reserved_bytes() == 420);  // the weights once, the rest for each
    co_await shut(models);
    CHECK(rt.memory().reserved_bytes() == 0);
}

MODELPOOL_ASYNC_TEST("pool: a model that cannot share is loaded for each worker", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex, runtime_options{}.memory_limit_bytes(1000)};
    embed_pool models{rt};
    auto plan = new_plan();
    plan->shares = false;
    plan->bytes = footprint{300, 10, 0};
    const embed_handle model = models.add("m", fake_loader(plan));
    auto call = model.embed("x");
    co_await std::move(call);
    auto both = until([&] { return stats_of(models, "m").n_loads == 2; });
    co_await std::move(both);
    CHECK(rt.memory().reserved_bytes() == 620);
    CHECK(stats_of(models, "m").n_replicated == 0);
    co_await shut(models);
    CHECK(rt.memory().reserved_bytes() == 0);
}

MODELPOOL_ASYNC_TEST("pool: where two do not fit, one worker serves", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex, runtime_options{}.memory_limit_bytes(500)};
    embed_pool models{rt};
    auto plan = new_plan();
    plan->shares = false;
    plan->bytes = footprint{300, 0, 0};
    const auto options = model_options{}.worker(worker_options{}.memory({300, 0, 0}));
    const embed_handle model = models.add("m", fake_loader(plan), options);
    // The second time the pool knows that the model cannot share, and starts both loads at once.
    for (int round = 0; round < 2; ++round) {
        auto call = model.embed("x");
        co_await std::move(call);
        CHECK(rt.memory().reserved_bytes() == 300);
        auto other = new_plan();
        other->bytes = footprint{450, 0, 0};
        auto spawning = models.spawn_worker(
            "large " + std::to_string(round),
            fake_loader(other),
            worker_options{}.memory({450, 0, 0}));
        co_await std::move(spawning);
        auto evicted = until([&] { return stats_of(models, "m").workers.empty(); });
        co_await std::move(evicted);
        auto removing = models.remove("large " + std::to_string(round), 5s);
        co_await std::move(removing);
    }
    co_await shut(models);
}

MODELPOOL_ASYNC_TEST("concurrent requests spawn more workers", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    embed_pool models{rt, pool_options{}.batch_tokens(4)};
    auto plan = new_plan();
    plan->shares = false;
    const embed_handle model = models.add("m", fake_loader(plan), workers(1, 3));
    plan->build_door.shut();
    plan->run_door.shut();
    std::vector<started<embeddings>> calls;
    for (int i = 0; i < 8; ++i)
        calls.emplace_back(ex, model.embed("call " + std::to_string(i)));
    auto loading = until([plan] { return plan->build_door.n_waiting() == 1; });
    co_await std::move(loading);
    CHECK(stats_of(models, "m").n_spawned == 1);  // a slow load is not started again
    plan->build_door.open();
    auto all_busy = until([plan] { return plan->run_door.n_waiting() == 3; });
    co_await std::move(all_busy);
    CHECK(stats_of(models, "m").n_spawned == 3);
    plan->run_door.open();
    for (const auto& one : calls) {
        auto ending = one.get();
        co_await std::move(ending);
    }
    CHECK(stats_of(models, "m").n_spawned == 3);
    co_await shut(models);
}

MODELPOOL_ASYNC_TEST(
    "pool: a load that fails reaches every caller with its own words, and is tried again", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    embed_pool models{rt};
    auto plan = new_plan();
    plan->build_door.shut();
    plan->on_build = [] { throw error{model_errc::bad_file, "model.safetensors is truncated"}; };
    const embed_handle model = models.add("m", fake_loader(plan));
    std::vector<started<embeddings>> calls;
    for (int i = 0; i < 5; ++i)
        calls.emplace_back(ex, model.embed("x"));
    const started<embedder_info> question{ex, model.info()};
    plan->build_door.open();
    for (const auto& one : calls) {
        auto ending = one.end();
        const outcome seen = co_await std::move(ending);
        CHECK(seen.code == model_errc::bad_file);
        CHECK(seen.text == "model 'm': model.safetensors is truncated");
    }
    auto answer = question.end();
    const outcome answered = co_await std::move(answer);
    CHECK(answered.code == model_errc::bad_file);
    auto gone = until([&] { return stats_of(models, "m").workers.empty(); });
    co_await std::move(gone);
    plan->on_build = nullptr;
    auto again = model.embed("x");
    co_await std::move(again);
    co_await shut(models);
    const model_stats seen = stats_of(models, "m");
    CHECK(seen.n_failed == 6);
    CHECK(seen.n_load_failures >= 1);
    CHECK(adds_up(seen));
}

MODELPOOL_ASYNC_TEST("pool: exceptions of a user's loader arrive as they are", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    embed_pool models{rt};
    const embed_handle model = models.add("m", &throw_users_problem);
    bool seen = false;
    try {
        auto call = model.embed("x");
        co_await std::move(call);
    } catch (const users_problem& problem) {
        seen = std::string{problem.what()} == "theirs";
    }
    CHECK(seen);
    bool derived = false;
    try {
        auto spawning = models.spawn_worker("other", &throw_users_error);
        co_await std::move(spawning);
    } catch (const users_error&) {
        derived = true;
    }
    CHECK(derived);
    auto plan = new_plan();
    plan->on_build = [] { throw std::bad_alloc{}; };
    bool memory = false;
    try {
        auto spawning = models.spawn_worker("third", fake_loader(plan));
        co_await std::move(spawning);
    } catch (const std::bad_alloc&) {
        memory = true;
    }
    CHECK(memory);
    co_await shut(models);
}

MODELPOOL_ASYNC_TEST("pool: a loader that gives no model is load_failed", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    embed_pool models{rt};
    auto spawning = outcome_of(models.spawn_worker("m", &load_nothing));
    const outcome seen = co_await std::move(spawning);
    CHECK(seen.code == pool_errc::load_failed);
    CHECK(seen.text.find("'m'") != std::string::npos);
    auto none = outcome_of(models.spawn_worker("n", loader<text_embedding>{}));
    const outcome refused = co_await std::move(none);
    CHECK(refused.code == errc::invalid_argument);
    CHECK_FALSE(models.has("n"));
    co_await shut(models);
}

MODELPOOL_ASYNC_TEST(
    "pool: spawn_worker completes when the worker is ready, warm if asked for", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    embed_pool models{rt};
    auto plan = new_plan();
    auto spawning = models.spawn_worker("m", fake_loader(plan), worker_options{}.warm_up(true));
    co_await std::move(spawning);
    CHECK(plan->n_builds == 1);
    CHECK(plan->n_warm_ups == 1);
    const model_stats seen = stats_of(models, "m");
    REQUIRE(seen.workers.size() == 1);
    CHECK(seen.workers[0].state == worker_state::ready);
    auto second = models.spawn_worker("m", fake_loader(plan));
    co_await std::move(second);
    CHECK(plan->n_replicas == 1);
    const embed_handle model = models.find("m");
    CHECK(model.key() == "m");
    CHECK(model);
    auto call = model.embed("x");
    co_await std::move(call);
    plan->on_warm_up = [] { throw error{model_errc::failed, "cold"}; };
    auto third =
        outcome_of(models.spawn_worker("m", fake_loader(plan), worker_options{}.warm_up(true)));
    const outcome cold = co_await std::move(third);
    CHECK(cold.code == model_errc::failed);
    auto gone = until([&] { return stats_of(models, "m").workers.size() == 2; });
    co_await std::move(gone);
    co_await shut(models);
}

MODELPOOL_ASYNC_TEST("pool: models have one name each", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    embed_pool models{rt};
    auto plan = new_plan();
    models.add("m", fake_loader(plan));
    failure(pool_errc::duplicate_model, [&] { models.add("m", fake_loader(plan)); });
    failure(pool_errc::unknown_model, [&] { models.find("n"); });
    CHECK(models.has("m"));
    CHECK_FALSE(models.has("n"));
    CHECK(plan->n_loader_calls == 0);  // nothing is loaded before it is needed
    auto removing = models.remove("n", 1s);
    const bool had = co_await std::move(removing);
    CHECK_FALSE(had);
}

MODELPOOL_ASYNC_TEST("pool: the last waiter to leave stops the load", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    embed_pool models{rt};
    auto plan = new_plan();
    plan->build_door.shut();
    const embed_handle model = models.add("m", fake_loader(plan));
    const started<embeddings> a{ex, model.embed("a")};
    const started<embeddings> b{ex, model.embed("b")};
    auto loading = until([plan] { return plan->build_door.n_waiting() == 1; });
    co_await std::move(loading);
    a.cancel();
    auto a_end = a.end();
    const outcome a_seen = co_await std::move(a_end);
    CHECK(a_seen.code == operation_aborted);
    CHECK(stats_of(models, "m").workers.size() == 2);
    b.cancel();
    auto stopped = until([&] { return stats_of(models, "m").workers.empty(); });
    co_await std::move(stopped);  // the door was never opened: the load heard of it
    CHECK(plan->n_alive == 0);
    plan->build_door.open();
    auto fresh = model.embed("c");
    co_await std::move(fresh);
    co_await shut(models);
    CHECK(adds_up(stats_of(models, "m")));
}

MODELPOOL_ASYNC_TEST(
    "pool: a cancelled spawn_worker stops its load, unless requests wait for it", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    embed_pool models{rt};
    auto plan = new_plan();
    plan->build_door.shut();
    const started<void> alone{ex, models.spawn_worker("m", fake_loader(plan))};
    auto loading = until([plan] { return plan->build_door.n_waiting() == 1; });
    co_await std::move(loading);
    alone.cancel();
    auto ending_alone = alone.end();
    const outcome seen = co_await std::move(ending_alone);
    CHECK(seen.code == operation_aborted);
    auto stopped = until([&] { return stats_of(models, "m").workers.empty(); });
    co_await std::move(stopped);
    const started<void> spawning{ex, models.spawn_worker("m", fake_loader(plan))};
    const started<embeddings> request{ex, models.find("m").embed("x")};
    spawning.cancel();
    CHECK(stats_of(models, "m").workers.size() == 1);
    request.cancel();  // now nobody wants it
    auto stopped_too = until([&] { return stats_of(models, "m").workers.empty(); });
    co_await std::move(stopped_too);
    co_await shut(models);
    CHECK(plan->n_alive == 0);
}

MODELPOOL_ASYNC_TEST("pool: a loader that never answers is stopped by its last waiter", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    embed_pool models{rt};
    const embed_handle model = models.add("m", &never_load, workers(1, 1));
    const started<embeddings> call{ex, model.embed("x")};
    auto loading = until([&] {
        const model_stats seen = stats_of(models, "m");
        return !seen.workers.empty() && seen.workers[0].state == worker_state::loading;
    });
    co_await std::move(loading);
    call.cancel();
    auto stopped = until([&] { return stats_of(models, "m").workers.empty(); });
    co_await std::move(stopped);
}

MODELPOOL_ASYNC_TEST(
    "pool: a spawn_worker that fails leaves the requests to another's load", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    const fake_devices devices{1000};
    runtime rt{ex, runtime_options{}.devices(devices)};
    embed_pool models{rt};
    auto plan = new_plan();
    plan->shares = false;
    plan->build_door.shut();
    const embed_handle model = models.add("m", fake_loader(plan), workers(1, 1));
    const started<embeddings> request{ex, model.embed("x")};
    auto loading = until([plan] { return plan->build_door.n_waiting() == 1; });
    co_await std::move(loading);
    const started<void> bad{
        ex, models.spawn_worker("m", &throw_users_error, worker_options{}.device(device::cuda(0)))};
    bool denied = false;
    try {
        auto bad_end = bad.get();
        co_await std::move(bad_end);
    } catch (const users_error&) {
        denied = true;
    }
    CHECK(denied);
    plan->build_door.open();
    auto served = request.end();
    const outcome seen = co_await std::move(served);
    CHECK(seen.ok());
    co_await shut(models);
}

MODELPOOL_ASYNC_TEST(
    "pool: a loader sees its key, its device, and that there is no fetcher", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    const fake_devices devices{1000};
    runtime rt{ex, runtime_options{}.devices(devices)};
    embed_pool models{rt};
    auto plan = new_plan();
    auto told = std::make_shared<std::string>();
    auto load = [plan, told](load_context context) {
        *told = context.key() + " " + context.device().str() + " " +
                std::string{to_string(context.dtype())} + " " + context.source().repo.id();
        try {
            context.hub();
        } catch (const error& problem) {
            *told += problem.code() == hub_errc::no_fetcher ? " no fetcher" : " ?";
        }
        return load_fake(plan, std::move(context));
    };
    const auto options = model_options{}
                             .worker(worker_options{}.device("cuda:3").dtype(dtype::bf16))
                             .source(model_source{repository{"org/name"}, file_selection{}});
    const embed_handle model = models.add("m", load, options);
    auto call = model.embed("x");
    co_await std::move(call);
    CHECK(*told == "m cuda:3 bf16 org/name no fetcher");
    co_await shut(models);
}

awaitable<void> spawn_scenario(sweep_step step)
{
    runtime rt{
        co_await boost::asio::this_coro::executor, runtime_options{}.memory_limit_bytes(100)};
    embed_pool models{rt};
    auto plan = new_plan();
    plan->bytes = footprint{60, 10, 0};
    auto running = step.cancellable(
        models.spawn_worker("m", fake_loader(plan), worker_options{}.memory({60, 10, 0})));
    co_await std::move(running);
    // Whether it was stopped or not, there is room for one of these, and only one.
    auto after = models.find("m").embed("after", raw_rows());
    const embeddings rows = co_await std::move(after);
    CHECK(rows.to_f32(0) == fake_row("after", 4));
    co_await shut(models);
    CHECK(rt.memory().reserved_bytes() == 0);
    CHECK(plan->n_alive == 0);
}

TEST_CASE("pool: a spawn_worker cancelled at every point", "[pool]")
{
    sweep_cancellation(&spawn_scenario);
}

}  // namespace
}  // namespace modelpool

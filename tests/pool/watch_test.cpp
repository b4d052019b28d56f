// What a pool does when the clock calls, and what it tells of itself.

#include <modelpool/pool/pool.hpp>
#include <modelpool/runtime/events.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "pool/steps.hpp"
#include "support/fake_devices.hpp"

namespace modelpool::testing {
namespace {

using namespace std::chrono_literals;

// --- idle eviction -------------------------------------------------------------------------------------------

MODELPOOL_ASYNC_TEST("pool: a worker that rests for its idle limit is unloaded", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    test_clock time;
    runtime rt{ex, runtime_options{}.time(time).memory_limit_bytes(1000)};
    embed_pool models{rt};
    auto plan = new_plan();
    plan->bytes = footprint{100, 10, 0};
    auto options = workers(1, 1);
    options.worker(worker_options{}.memory({100, 10, 0}));
    const embed_handle model = models.add("m", fake_loader(plan), options);
    co_await serve(model, "x");
    co_await until_resting(models, "m", 1);
    time.advance(59s);
    CHECK(stats_of(models, "m").workers.size() == 1);
    co_await serve(model, "y");  // idleness counts from the last request
    co_await until_resting(models, "m", 1);
    time.advance(59s);
    CHECK(stats_of(models, "m").workers.size() == 1);
    time.advance(1s);
    auto gone = until([&] { return stats_of(models, "m").workers.empty(); });
    co_await std::move(gone);
    CHECK(rt.memory().reserved_bytes() == 0);
    CHECK(plan->n_alive == 0);
    CHECK(stats_of(models, "m").n_evicted == 1);
    CHECK(time.n_alarms() == 0);  // nothing is due any more
    co_await serve(model, "z");   // the next request loads it again
    CHECK(plan->n_builds == 2);
    co_await shut(models);
}

MODELPOOL_ASYNC_TEST("pool: idle workers go one by one, the least recently used first", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    test_clock time;
    runtime rt{ex, runtime_options{}.time(time)};
    embed_pool models{rt};
    auto plan = new_plan();
    const embed_handle model = models.add("m", fake_loader(plan), workers(2, 2));
    co_await serve(model, "x");
    co_await until_resting(models, "m", 2);
    time.advance(30s);
    co_await serve(model, "y");  // by one of the two
    co_await until_resting(models, "m", 2);
    time.advance(30s);
    auto first_gone = until([&] {
        time.advance(0s);  // one that was just looking for work sets its alarm a moment later
        return stats_of(models, "m").workers.size() == 1;
    });
    co_await std::move(first_gone);
    CHECK(stats_of(models, "m").workers.at(0).n_batches >= 1);
    time.advance(29s);
    CHECK(stats_of(models, "m").workers.size() == 1);
    time.advance(1s);
    auto all_gone = until([&] {
        time.advance(0s);
        return stats_of(models, "m").workers.empty();
    });
    co_await std::move(all_gone);
    co_await shut(models);
}

MODELPOOL_ASYNC_TEST("pool: pinned workers and busy ones are not unloaded for idleness", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    test_clock time;
    runtime rt{ex, runtime_options{}.time(time)};
    embed_pool models{rt};
    auto pinned_plan = new_plan();
    auto plan = new_plan();
    auto spawning =
        models.spawn_worker("pinned", fake_loader(pinned_plan), worker_options{}.pinned(true));
    co_await std::move(spawning);
    const embed_handle model = models.add("m", fake_loader(plan), workers(1, 1));
    plan->run_door.shut();
    const started<embeddings> running{ex, model.embed("x")};
    auto busy = until([plan] { return plan->run_door.n_waiting() == 1; });
    co_await std::move(busy);
    time.advance(4min);
    CHECK(stats_of(models, "pinned").workers.size() == 1);
    CHECK(stats_of(models, "m").workers.size() == 1);
    plan->run_door.open();
    auto ending = running.end();
    const outcome seen = co_await std::move(ending);
    CHECK(seen.ok());
    co_await shut(models);
}

MODELPOOL_ASYNC_TEST("pool: no alarm is armed for models that never go idle", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    test_clock time;
    runtime rt{ex, runtime_options{}.time(time)};
    embed_pool models{
        rt,
        pool_options{}
            .scaling(
                scaling_options{}.cold_start_workers(1).idle_limit(std::chrono::nanoseconds::max()))
            .stall_limit(std::chrono::nanoseconds::max())};
    auto plan = new_plan();
    const embed_handle model = models.add("m", fake_loader(plan));
    co_await serve(model, "x");
    co_await until_resting(models, "m", 1);
    CHECK(time.n_alarms() == 0);
    co_await shut(models);
}

MODELPOOL_ASYNC_TEST("pool: deadlines that pass leave no alarms behind", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    test_clock time;
    runtime rt{ex, runtime_options{}.time(time)};
    embed_pool models{rt};
    auto plan = new_plan();
    const embed_handle model = models.add("m", fake_loader(plan), workers(1, 1));
    for (int i = 0; i < 50; ++i) {
        auto call = model.embed("x", {}, request_options{}.deadline(time.now() + 1s));
        co_await std::move(call);
        co_await until_resting(models, "m", 1);
        time.advance(2s);
    }
    CHECK(time.n_alarms() <= 1);
    co_await shut(models);
}

// --- stalls ---------------------------------------------------------------------------------------------------

MODELPOOL_ASYNC_TEST(
    "pool: a worker that makes no progress is reported, replaced, and goes once it is back",
    "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    test_clock time;
    log_lines lines;
    runtime rt{ex, runtime_options{}.time(time).log(lines.sink())};
    event_subscription events = rt.events({event_kind::stalled});
    embed_pool models{rt, pool_options{}.stall_limit(10s)};
    auto plan = new_plan();
    plan->run_door.shut();
    const embed_handle model = models.add("m", fake_loader(plan), workers(1, 1));
    const started<embeddings> hung{ex, model.embed("hung")};
    auto busy = until([plan] { return plan->run_door.n_waiting() == 1; });
    co_await std::move(busy);
    time.advance(10s);  // the limit counts from the last step that was seen
    time.advance(9s);
    CHECK(stats_of(models, "m").n_stalled == 0);
    time.advance(1s);
    const model_stats seen = stats_of(models, "m");
    CHECK(seen.n_stalled == 1);
    CHECK(seen.workers.at(0).stalled);
    CHECK(seen.workers.at(0).state == worker_state::processing);
    CHECK(lines.n_with("no progress for 10 s") == 1);
    const std::optional<event> told = events.try_next();
    REQUIRE(told);
    CHECK(told->model == "m");
    CHECK(told->worker == seen.workers.at(0).id);
    // It does not count against the largest number of workers: another one takes the next request.
    const started<embeddings> next{ex, model.embed("next")};
    auto second = until([plan] { return plan->run_door.n_waiting() == 2; });
    co_await std::move(second);
    plan->run_door.open();
    for (const auto& one : {hung, next}) {
        auto ending = one.end();
        const outcome end = co_await std::move(ending);
        CHECK(end.ok());  // late, but right
    }
    auto gone = until([&] { return stats_of(models, "m").workers.size() == 1; });
    co_await std::move(gone);
    CHECK_FALSE(stats_of(models, "m").workers.at(0).stalled);
    co_await shut(models);
}

MODELPOOL_ASYNC_TEST("pool: a long batch that reports its steps is not taken for hung", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    test_clock time;
    runtime rt{ex, runtime_options{}.time(time)};
    embed_pool models{rt, pool_options{}.stall_limit(10s)};
    auto plan = new_plan();
    std::atomic<int> n_advanced{0};
    plan->on_row = [&] {  // twelve rows, five seconds each
        time.advance(5s);
        ++n_advanced;
    };
    const embed_handle model = models.add("m", fake_loader(plan), workers(1, 1));
    std::vector<std::string> texts(12, "x");
    auto call = model.embed(std::move(texts));
    co_await std::move(call);
    CHECK(n_advanced == 12);
    CHECK(stats_of(models, "m").n_stalled == 0);
    co_await shut(models);
}

MODELPOOL_ASYNC_TEST(
    "pool: a load that makes no progress is reported, and marked until it comes further", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    test_clock time;
    log_lines lines;
    runtime rt{ex, runtime_options{}.time(time).log(lines.sink()).memory_limit_bytes(100)};
    event_subscription events = rt.events({event_kind::stalled});
    embed_pool models{rt, pool_options{}.stall_limit(10s)};
    auto plan = new_plan();
    plan->build_door.shut();
    auto where = std::make_shared<std::optional<load_context>>();
    const loader<text_embedding> load = [plan, where](load_context at) {
        where->emplace(at);
        return load_fake(plan, std::move(at));
    };
    const embed_handle model =
        models.add("m", load, workers(1, 4).worker(worker_options{}.memory({70, 0, 0})));
    const started<embeddings> call{ex, model.embed("x")};
    auto loading = until([plan] { return plan->build_door.n_waiting() == 1; });
    co_await std::move(loading);
    time.advance(9s);
    CHECK(stats_of(models, "m").n_stalled == 0);
    time.advance(1s);
    CHECK(stats_of(models, "m").n_stalled == 1);
    CHECK(stats_of(models, "m").workers.at(0).stalled);
    CHECK(lines.n_with("no progress for 10 s") == 1);
    CHECK(events.try_next());
    // It may only be slow: no other is started in its place, and its bytes stay reserved.
    const started<embeddings> other{ex, model.embed("y")};
    auto queued = until([&] { return stats_of(models, "m").n_waiting == 2; });
    co_await std::move(queued);
    CHECK(stats_of(models, "m").workers.size() == 1);
    CHECK(stats_of(models, "m").breaker == breaker_state::closed);
    CHECK(rt.memory().reserved_bytes() == 70);
    (*where)->report("tensors");
    CHECK_FALSE(stats_of(models, "m").workers.at(0).stalled);
    time.advance(9s);
    CHECK(stats_of(models, "m").n_stalled == 1);
    time.advance(1s);
    CHECK(stats_of(models, "m").n_stalled == 2);
    where->reset();
    plan->build_door.open();
    for (const auto& one : {call, other}) {
        auto ending = one.end();
        const outcome end = co_await std::move(ending);
        CHECK(end.ok());
    }
    CHECK_FALSE(stats_of(models, "m").workers.at(0).stalled);
    CHECK(stats_of(models, "m").workers.size() == 1);
    co_await shut(models);
}

// --- the breaker -------------------------------------------------------------------------------------------------

MODELPOOL_ASYNC_TEST("pool: a model that keeps failing is given a rest, then tried again", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    test_clock time;
    runtime rt{ex, runtime_options{}.time(time)};
    event_subscription events = rt.events({event_kind::breaker});
    embed_pool models{rt};
    auto plan = new_plan();
    auto broken = std::make_shared<std::atomic<bool>>(true);
    plan->on_build = [broken] {
        if (*broken) throw error{model_errc::bad_file, "the file is bad"};
    };
    const embed_handle model = models.add("m", fake_loader(plan), workers(1, 1));
    for (int i = 0; i < 5; ++i) {
        auto call = outcome_of(model.embed("x"));
        const outcome seen = co_await std::move(call);
        CHECK(seen.code == model_errc::bad_file);
    }
    auto refused = outcome_of(model.embed("x"));
    const outcome seen = co_await std::move(refused);
    CHECK(seen.code == pool_errc::circuit_open);
    CHECK(seen.text.find("60 s") != std::string::npos);
    CHECK(plan->n_builds == 0);
    CHECK(stats_of(models, "m").breaker == breaker_state::open);
    CHECK(stats_of(models, "m").n_circuit_rejections == 1);
    time.advance(60s);
    *broken = false;
    for (int i = 0; i < 3; ++i)
        co_await serve(model, "x");
    CHECK(stats_of(models, "m").breaker == breaker_state::closed);
    std::vector<std::string> told;
    while (const std::optional<event> one = events.try_next())
        told.push_back(one->text);
    CHECK(told == std::vector<std::string>{"open", "half-open", "closed"});
    co_await shut(models);
}

MODELPOOL_ASYNC_TEST("pool: bad requests and full memory do not open the breaker", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex, runtime_options{}.memory_limit_bytes(100)};
    embed_pool models{rt};
    auto plan = new_plan();
    const embed_handle model = models.add("m", fake_loader(plan), workers(1, 1));
    for (int i = 0; i < 8; ++i) {
        auto call = outcome_of(model.embed("bad text"));
        const outcome seen = co_await std::move(call);
        CHECK(seen.code == text_errc::not_utf8);
    }
    auto options = workers(1, 1);
    options.worker(worker_options{}.memory({200, 0, 0}));
    const embed_handle large = models.add("large", fake_loader(plan), options);
    for (int i = 0; i < 8; ++i) {
        auto call = outcome_of(large.embed("x"));
        const outcome seen = co_await std::move(call);
        CHECK(seen.code == pool_errc::memory_exhausted);
    }
    co_await serve(model, "x");
    CHECK(stats_of(models, "m").breaker == breaker_state::closed);
    CHECK(stats_of(models, "large").breaker == breaker_state::closed);
    co_await shut(models);
}

// --- failures -----------------------------------------------------------------------------------------------------

MODELPOOL_ASYNC_TEST(
    "pool: a worker whose model fails for good is retired, and a spawned one is replaced", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    log_lines lines;
    runtime rt{ex, runtime_options{}.log(lines.sink())};
    event_subscription events = rt.events({event_kind::worker_failed});
    embed_pool models{rt};
    auto plan = new_plan();
    auto spawning = models.spawn_worker("m", fake_loader(plan));
    co_await std::move(spawning);
    const embed_handle model = models.find("m");
    for (int i = 0; i < 3; ++i) {
        auto call = outcome_of(model.embed("bad batch"));
        const outcome seen = co_await std::move(call);
        CHECK(seen.code == model_errc::failed);
    }
    auto replaced = until([&] {
        const model_stats seen = stats_of(models, "m");
        return seen.n_retired == 1 && seen.workers.size() == 1 &&
               seen.workers[0].state == worker_state::ready;
    });
    co_await std::move(replaced);
    CHECK(plan->n_builds == 2);
    CHECK(lines.n_with("failed for good") == 1);
    const std::optional<event> told = events.try_next();
    REQUIRE(told);
    CHECK(told->failure != nullptr);
    co_await serve(model, "x");
    co_await shut(models);
}

MODELPOOL_ASYNC_TEST(
    "pool: who comes straight back after a failed batch finds the worker free, and its books kept",
    "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    embed_pool models{rt};
    auto plan = new_plan();
    const embed_handle model = models.add("m", fake_loader(plan), workers(1, 2));
    for (std::uint64_t i = 1; i <= 400; ++i) {
        auto call = outcome_of(model.embed(i % 2 == 0 ? "good" : "bad batch"));
        const outcome seen = co_await std::move(call);
        CHECK(seen.ok() == (i % 2 == 0));
        const model_stats books = stats_of(models, "m");
        REQUIRE(books.workers.size() == 1);
        CHECK(books.workers[0].n_batches == i);
        CHECK(books.workers[0].state != worker_state::processing);
    }
    CHECK(stats_of(models, "m").n_spawned == 1);
    co_await shut(models);
}

MODELPOOL_ASYNC_TEST(
    "pool: a lost device closes its models until it is revived, and no others", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    const fake_devices devices{1000};
    runtime rt{ex, runtime_options{}.devices(devices)};
    event_subscription events = rt.events({event_kind::device_lost});
    embed_pool models{rt};
    auto lost_plan = new_plan();
    auto other_plan = new_plan();
    auto cpu_plan = new_plan();
    auto on = [](const char* where) {
        auto options = workers(1, 1);
        options.worker(worker_options{}.device(where).memory({100, 0, 0}));
        return options;
    };
    const embed_handle bad = models.add("bad", fake_loader(lost_plan), on("cuda:0"));
    const embed_handle beside = models.add("beside", fake_loader(other_plan), on("cuda:0"));
    const embed_handle cpu = models.add("cpu", fake_loader(cpu_plan), on("cpu"));
    co_await serve(beside, "x");
    co_await serve(cpu, "x");
    CHECK(rt.memory(device::cuda(0)).reserved_bytes() == 100);
    CHECK(rt.memory().reserved_bytes() == 100);
    lost_plan->on_run = [] { throw error{model_errc::device_lost, "sticky error"}; };
    auto call = outcome_of(bad.embed("x"));
    const outcome seen = co_await std::move(call);
    CHECK(seen.code == model_errc::device_lost);
    auto gone = until([&] {
        return stats_of(models, "bad").workers.empty() &&
               stats_of(models, "beside").workers.empty();
    });
    co_await std::move(gone);
    CHECK(rt.memory(device::cuda(0)).reserved_bytes() == 0);
    for (const embed_handle& model : {bad, beside}) {
        auto refused = outcome_of(model.embed("x"));
        const outcome end = co_await std::move(refused);
        CHECK(end.code == model_errc::device_lost);
    }
    CHECK(lost_plan->n_builds + other_plan->n_builds == 2);
    co_await serve(cpu, "y");
    const std::optional<event> told = events.try_next();
    REQUIRE(told);
    CHECK(told->text == "cuda:0");
    rt.devices().revive(device::cuda(0));
    co_await serve(beside, "y");
    co_await shut(models);
}

// --- what it tells ---------------------------------------------------------------------------------------------------

MODELPOOL_ASYNC_TEST("pool: the states of a worker can be followed", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    test_clock time;
    runtime rt{ex, runtime_options{}.time(time)};
    event_subscription events = rt.events({event_kind::worker_state, event_kind::evicted});
    embed_pool models{rt};
    auto plan = new_plan();
    const embed_handle model = models.add("m", fake_loader(plan), workers(1, 1));
    co_await serve(model, "x");
    co_await until_resting(models, "m", 1);
    time.advance(60s);
    std::vector<std::string> told;
    while (told.size() < 7) {
        auto coming = events.next();
        const event one = co_await std::move(coming);
        CHECK(one.pool == "text_embedding");
        CHECK(one.model == "m");
        told.push_back(
            one.kind == event_kind::evicted ? "evicted: " + one.text
                                            : std::string{to_string(one.to)});
    }
    CHECK(
        told == std::vector<std::string>{
                    "loading", "ready", "processing", "idle", "evicting", "evicted: idle", "dead"});
    co_await shut(models);
}

MODELPOOL_ASYNC_TEST("pool: a slow reader of events keeps the newest", "[pool]")
{
    runtime rt{co_await boost::asio::this_coro::executor};
    event_subscription events = rt.events({}, 3);
    event_subscription others = rt.events({event_kind::breaker});
    for (std::uint64_t i = 1; i <= 10; ++i) {
        event one;
        one.kind = event_kind::evicted;
        one.worker = i;
        rt.publisher().publish(one);
    }
    std::vector<std::uint64_t> told;
    while (const std::optional<event> one = events.try_next())
        told.push_back(one->worker);
    CHECK(told == std::vector<std::uint64_t>{8, 9, 10});
    CHECK(events.n_dropped() == 7);
    CHECK_FALSE(others.try_next());
}

awaitable<std::unique_ptr<embedder>>
load_in_stages(std::shared_ptr<fake_plan> plan, load_context at)
{
    const on_fetch_progress fetched = at.fetch_reporter();
    fetch_progress half;
    half.repo = "org/name";
    half.done_bytes = 50;
    half.total_bytes = 100;
    fetched(half);
    auto loading = load_fake(plan, std::move(at));
    co_return co_await std::move(loading);
}

MODELPOOL_ASYNC_TEST("pool: a first request hears how far its load has come", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    event_subscription events = rt.events({event_kind::load_progress});
    embed_pool models{rt};
    auto plan = new_plan();
    plan->build_door.shut();
    auto load = [plan](load_context at) { return load_in_stages(plan, std::move(at)); };
    const embed_handle model = models.add("m", load, workers(1, 1));
    auto heard = std::make_shared<std::vector<load_progress>>();
    const auto hear = [heard](const load_progress& one) { heard->push_back(one); };
    const auto request = request_options{}.on_progress(hear);
    const started<embeddings> first{ex, model.embed("x", {}, request)};
    auto loading = until([plan] { return plan->build_door.n_waiting() == 1; });
    co_await std::move(loading);
    const started<embeddings> second{ex, model.embed("y", {}, request)};  // told where it stands
    auto told = until([heard] { return heard->size() >= 2; });
    co_await std::move(told);
    CHECK(heard->back().stage == "fetch");
    CHECK(heard->back().model == "m");
    CHECK(heard->back().files.done_bytes == 50);
    plan->build_door.open();
    for (const auto& one : {first, second}) {
        auto ending = one.end();
        const outcome end = co_await std::move(ending);
        CHECK(end.ok());
    }
    const std::size_t n_heard = heard->size();
    co_await serve(model, "z");
    CHECK(heard->size() == n_heard);  // a model that is loaded has nothing to report
    CHECK(events.try_next().has_value());
    co_await shut(models);
}

MODELPOOL_ASYNC_TEST(
    "pool: a load that fails with nobody waiting is logged, counted and told", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    log_lines lines;
    runtime rt{ex, runtime_options{}.log(lines.sink())};
    event_subscription events = rt.events({event_kind::load_failed});
    embed_pool models{rt};
    auto plan = new_plan();
    plan->shares = false;
    plan->run_door.shut();
    const embed_handle model = models.add("m", fake_loader(plan), workers(1, 2));
    const started<embeddings> running{ex, model.embed("x")};
    auto busy = until([plan] { return plan->run_door.n_waiting() == 1; });
    co_await std::move(busy);
    plan->on_build = [] { throw error{model_errc::bad_file, "gone bad"}; };
    const started<embeddings> waiting{ex, model.embed("y")};  // starts a second worker
    auto failed = until([&] { return stats_of(models, "m").n_load_failures == 1; });
    co_await std::move(failed);
    auto logged = until([&] { return lines.n_with("gone bad") == 1; });
    co_await std::move(logged);
    const std::optional<event> told = events.try_next();
    REQUIRE(told);
    CHECK(told->model == "m");
    plan->run_door.open();
    for (const auto& one : {running, waiting}) {
        auto ending = one.end();
        const outcome end = co_await std::move(ending);
        CHECK(end.ok());
    }
    co_await shut(models);
}

MODELPOOL_ASYNC_TEST("pool: stats say how requests ended and how long they took", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    test_clock time;
    runtime rt{ex, runtime_options{}.time(time)};
    embed_pool models{rt};
    auto plan = new_plan();
    plan->run_door.shut();
    const embed_handle model = models.add("m", fake_loader(plan), workers(1, 1));
    const started<embeddings> first{ex, model.embed("x")};
    auto busy = until([plan] { return plan->run_door.n_waiting() == 1; });
    co_await std::move(busy);
    const started<embeddings> second{ex, model.embed("y")};
    const started<embeddings> late{
        ex, model.embed("z", {}, request_options{}.deadline(time.now() + 1s))};
    auto queued = until([&] { return stats_of(models, "m").n_waiting == 2; });
    co_await std::move(queued);
    time.advance(2s);
    plan->run_door.open();
    for (const auto& one : {first, second, late}) {
        auto ending = one.end();
        co_await std::move(ending);
    }
    auto bad = outcome_of(model.embed("bad text"));
    co_await std::move(bad);
    const model_stats seen = stats_of(models, "m");
    CHECK(seen.pool == "text_embedding");
    CHECK(seen.n_succeeded == 2);
    CHECK(seen.n_timeouts == 1);
    CHECK(seen.errors.at("pool.deadline_missed") == 1);
    CHECK(seen.errors.at("text.not_utf8") == 1);
    CHECK(seen.total_time.count() == 4);
    CHECK(seen.queue_time.count() == 3);
    CHECK(seen.queue_time.quantile(1.0) >= 1900ms);
    CHECK(seen.run_time.quantile(1.0) >= 1900ms);
    CHECK(seen.run_time.quantile(1.0) < 2500ms);
    CHECK(adds_up(seen));
    co_await shut(models);
}

}  // namespace
}  // namespace modelpool::testing

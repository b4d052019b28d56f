// Mistakes that pools like this one have been seen to make, each with the test that would meet it
// again: what models share.

#include <modelpool/pool/pool.hpp>
#include <modelpool/pool/prometheus.hpp>
#include <modelpool/registry/registry.hpp>

#include <boost/asio/io_context.hpp>

#include <catch2/catch.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "pool/steps.hpp"
#include "support/fake_image_embedder.hpp"

namespace modelpool {
namespace {

using namespace std::chrono_literals;
using namespace testing;

using image_pool = pool<image_embedding>;

/// Waits until `condition` holds, but no longer than a while: for what a defect would keep from
/// happening, or would let happen.
awaitable<bool> soon(std::function<bool()> condition)
{
    auto n_rounds = std::make_shared<int>(0);
    auto waiting = until([condition, n_rounds] { return condition() || ++*n_rounds > 1000; });
    co_await std::move(waiting);
    co_return condition();
}

// --- the memory budget ---------------------------------------------------------------------------------------------

MODELPOOL_ASYNC_TEST("governor: reservations of exited workers and probes are given back", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    test_clock time;
    runtime rt{ex, runtime_options{}.time(time).memory_limit_bytes(1000)};
    embed_pool models{rt};
    for (const bool shares : {true, false}) {
        const std::string key = shares ? "shared" : "copied";
        auto plan = plan_of(600, 10);
        plan->shares = shares;
        const embed_handle model = models.add(key, fake_loader(plan), limited(2, needing(600, 10)));
        for (int i = 0; i < 10; ++i) {
            co_await serve(model, "x");
            // Where the weights are not shared, the second worker of the cold start finds no room.
            const std::size_t n_fit = shares ? 2 : 1;
            auto settled = until([&, n_fit] {
                return n_resting(models, key) == n_fit &&
                       stats_of(models, key).workers.size() == n_fit;
            });
            co_await std::move(settled);
            CHECK(rt.memory().reserved_bytes() == (shares ? 620 : 610));
            time.advance(60s);
            co_await until_gone(models, key, &time);
            CHECK(rt.memory().reserved_bytes() == 0);
            CHECK(rt.memory().holders().empty());
        }
    }
    co_await shut(models);
}

MODELPOOL_ASYNC_TEST(
    "governor: a load that fails late gives back exactly what it took, once", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex, runtime_options{}.memory_limit_bytes(1000)};
    embed_pool models{rt};
    auto kept = models.spawn_worker("kept", fake_loader(plan_of(300)), needing(300).pinned(true));
    co_await std::move(kept);
    for (const std::size_t measured_bytes :
         {std::size_t{10}, std::size_t{400}, std::size_t{5000}}) {  // less and more than expected
        auto plan = plan_of(measured_bytes, 5);
        plan->on_warm_up = [] { throw error{model_errc::failed, "the first forward failed"}; };
        for (int i = 0; i < 3; ++i) {
            auto spawning = outcome_of(
                models.spawn_worker("m", fake_loader(plan), needing(200, 5).warm_up(true)));
            const outcome seen = co_await std::move(spawning);
            CHECK_FALSE(seen.ok());
            co_await until_gone(models, "m");
            CHECK(rt.memory().reserved_bytes() == 300);
        }
    }
    co_await shut(models);
    CHECK(rt.memory().reserved_bytes() == 0);
}

MODELPOOL_ASYNC_TEST("pool: one budget holds across pools", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex, runtime_options{}.memory_limit_bytes(1000)};
    embed_pool texts{rt};
    image_pool images{rt};
    auto first = texts.spawn_worker("t", fake_loader(plan_of(600)), needing(600).pinned(true));
    co_await std::move(first);
    auto plan = std::make_shared<fake_picture_plan>();
    plan->bytes = footprint{600, 0, 0};
    auto second = outcome_of(images.spawn_worker("i", fake_loader(plan), needing(600)));
    const outcome seen = co_await std::move(second);
    CHECK(seen.code == pool_errc::memory_exhausted);
    CHECK(seen.text.find("model 't' worker 1 (600 bytes)") != std::string::npos);
    CHECK(rt.memory().reserved_bytes() == 600);
    co_await shut(texts);
    auto again = images.spawn_worker("i", fake_loader(plan), needing(600));
    co_await std::move(again);
    CHECK(rt.memory().reserved_bytes() == 600);
    auto ending = images.shutdown(5s);
    co_await std::move(ending);
}

MODELPOOL_ASYNC_TEST("governor: a limit below the reserve does not wrap around", "[pool]")
{
    // Hosts with less memory than is kept free get a small budget, not an endless one.
    for (const std::uint64_t machine_bytes : {0ULL, 1ULL, 4096ULL, 1ULL << 30U, 2ULL << 30U})
        CHECK(default_memory_limit_bytes(machine_bytes) <= machine_bytes);
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex, runtime_options{}.memory_limit_bytes(1)};
    embed_pool models{rt};
    for (const std::uint64_t bytes : {std::uint64_t{2}, ~std::uint64_t{0}, ~std::uint64_t{0} - 1}) {
        auto spawning =
            outcome_of(models.spawn_worker("m", fake_loader(plan_of(2)), needing(bytes)));
        const outcome seen = co_await std::move(spawning);
        CHECK(seen.code == pool_errc::memory_exhausted);
        co_await until_gone(models, "m");
        CHECK(rt.memory().available_bytes() == 1);
    }
    // What turns out larger than it was said to be takes no more than there is, either.
    auto spawning = outcome_of(models.spawn_worker("m", fake_loader(plan_of(50)), needing(1)));
    const outcome seen = co_await std::move(spawning);
    CHECK(seen.code == pool_errc::memory_exhausted);
    co_await until_gone(models, "m");
    CHECK(rt.memory().reserved_bytes() == 0);
    co_await shut(models);
}

bool shows(const runtime& rt, const std::string& line)
{
    const std::string text = prometheus_text(rt.stats(), {});
    return text.find(line + "\n") != std::string::npos;
}

MODELPOOL_ASYNC_TEST("governor: the memory pressure follows what workers hold", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex, runtime_options{}.memory_limit_bytes(1000)};
    embed_pool models{rt};
    const auto expect = [&](const std::string& pressure) {
        CHECK(shows(rt, "pool_memory_pressure{device=\"cpu\"} " + pressure));
    };
    expect("0");
    auto first = models.spawn_worker("a", fake_loader(plan_of(500)), needing(500));
    co_await std::move(first);
    expect("1");
    auto second = models.spawn_worker("b", fake_loader(plan_of(450)), needing(450));
    co_await std::move(second);
    expect("3");
    auto removing = models.remove("a", 5s);
    co_await std::move(removing);
    expect("0");
    co_await shut(models);
}

MODELPOOL_ASYNC_TEST("pool: the second worker of a cold start evicts nobody", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    test_clock time;
    runtime rt{ex, runtime_options{}.time(time).memory_limit_bytes(1000)};
    embed_pool models{rt};
    auto other = models.spawn_worker("other", fake_loader(plan_of(300)), needing(300));
    co_await std::move(other);
    auto plan = plan_of(400);
    plan->shares = false;
    const embed_handle model = models.add("m", fake_loader(plan), limited(2, needing(400)));
    co_await serve(model, "x");
    auto one_failed = until([&] { return stats_of(models, "m").n_load_failures == 1; });
    co_await std::move(one_failed);
    co_await until_resting(models, "m", 1);
    time.advance(30s);
    co_await serve(models.find("other"), "y");
    co_await until_resting(models, "other", 1);
    time.advance(30s);
    co_await until_gone(models, "m", &time);
    // Now the pool knows that the model cannot share, and starts both loads at once.
    plan->build_door.shut();
    const started<embeddings> call{ex, model.embed("x")};
    auto decided = until([&] {
        return stats_of(models, "m").n_load_failures == 2 ||
               stats_of(models, "other").n_evicted == 1;
    });
    co_await std::move(decided);
    CHECK(stats_of(models, "other").n_evicted == 0);
    plan->build_door.open();
    auto served = call.get();
    co_await std::move(served);
    co_await shut(models);
}

MODELPOOL_ASYNC_TEST("pool: idle workers of a model that is being removed make room", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex, runtime_options{}.memory_limit_bytes(1000).n_cores(1)};
    embed_pool models{rt};
    auto plan = plan_of(300);
    plan->shares = false;
    for (int i = 0; i < 2; ++i) {
        auto spawning = models.spawn_worker("m", fake_loader(plan), needing(300));
        co_await std::move(spawning);
    }
    plan->run_door.shut();
    const started<embeddings> call{ex, models.find("m").embed("x")};
    auto busy = until([plan] { return plan->run_door.n_waiting() == 1; });
    co_await std::move(busy);
    const started<bool> removing{ex, models.remove("m", 1h)};
    auto newcomer = outcome_of(models.spawn_worker("n", fake_loader(plan_of(500)), needing(500)));
    const outcome seen = co_await std::move(newcomer);
    INFO(seen.text);
    CHECK(seen.ok());
    plan->run_door.open();
    auto served = call.get();
    co_await std::move(served);
    auto removed = removing.get();
    co_await std::move(removed);
    co_await shut(models);
}

// --- maintenance -----------------------------------------------------------------------------------------------------

MODELPOOL_ASYNC_TEST("maintenance: a cycle with live workers completes", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    test_clock time;
    runtime rt{ex, runtime_options{}.time(time)};
    embed_pool models{rt};
    auto plan = new_plan();
    const auto key_of = [](int i) { return "m" + std::to_string(i); };
    for (int i = 0; i < 10; ++i) {
        const embed_handle model = models.add(key_of(i), fake_loader(plan), workers(2, 2));
        co_await serve(model, "x");
        co_await until_resting(models, key_of(i), 2);
        time.advance(7s);  // the first ones go while the last ones come
    }
    time.advance(59s);
    models.add("late", fake_loader(plan));
    co_await until_gone(models, key_of(9), &time);
    co_await serve(models.find(key_of(9)), "y");
    co_await until_resting(models, key_of(9), 2);
    time.advance(10min);
    for (int i = 0; i < 10; ++i)
        co_await until_gone(models, key_of(i), &time);
    CHECK(plan->n_alive == 0);
    co_await serve(models.find(key_of(3)), "z");
    co_await shut(models);
}

MODELPOOL_ASYNC_TEST(
    "maintenance: a worker that was woken for nothing goes in its time all the same", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    test_clock time;
    runtime rt{ex, runtime_options{}.time(time)};
    embed_pool models{rt};
    auto plan = new_plan();
    const embed_handle model = models.add("m", fake_loader(plan), workers(1, 1));
    bool all_went = true;
    for (int i = 0; i < 20 && all_went; ++i) {
        co_await serve(model, "x");
        co_await until_resting(models, "m", 1);
        // Its time comes between the request that wakes it and the moment it looks; the request is
        // gone by then.
        const started<embeddings> call{ex, model.embed("x")};
        call.cancel();
        time.advance(60s);
        auto settled = until([&] {
            const model_stats seen = stats_of(models, "m");
            return seen.workers.size() == n_resting(models, "m");
        });
        co_await std::move(settled);
        auto gone = soon([&] {
            time.advance(60s);
            return stats_of(models, "m").workers.empty();
        });
        all_went = co_await std::move(gone);
    }
    CHECK(all_went);
    co_await shut(models);
}

MODELPOOL_ASYNC_TEST("maintenance: the end of one pool does not stop it for the others", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    test_clock time;
    runtime rt{ex, runtime_options{}.time(time)};
    auto one = std::make_unique<embed_pool>(rt);
    embed_pool other{rt};
    auto plan = new_plan();
    co_await serve(one->add("m", fake_loader(plan), workers(1, 1)), "x");
    co_await serve(other.add("m", fake_loader(plan), workers(1, 1)), "x");
    co_await until_resting(other, "m", 1);
    co_await shut(*one);
    one.reset();
    time.advance(60s);
    co_await until_gone(other, "m", &time);
    co_await shut(other);
}

MODELPOOL_ASYNC_TEST("maintenance: a pool that ended leaves no alarm behind", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    test_clock time;
    runtime rt{ex, runtime_options{}.time(time)};
    auto models = std::make_unique<embed_pool>(rt);
    auto plan = new_plan();
    for (const char* key : {"removed", "shut"}) {
        const embed_handle model = models->add(key, fake_loader(plan), workers(1, 1));
        co_await serve(model, "x");
        co_await until_resting(*models, key, 1);
    }
    auto removing = models->remove("removed", 5s);
    co_await std::move(removing);
    co_await shut(*models);
    models.reset();
    CHECK(time.n_alarms() == 0);
}

/// A log that stands before a door with each line.
struct held_log {
    door before;
    std::atomic<bool> done{false};
};

MODELPOOL_ASYNC_TEST(
    "maintenance: the end of a pool waits for what the clock does for it", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    auto lines = std::make_shared<held_log>();
    lines->before.shut();
    const auto sink = [lines](log_level, std::string_view) {
        lines->before.blocking_pass(stop_flag{});
        lines->done = true;
    };
    runtime rt{ex, runtime_options{}.log(sink)};
    std::optional<embed_pool> models{std::in_place, rt, pool_options{}.stall_limit(1ms)};
    auto plan = new_plan();
    plan->run_door.shut();
    const embed_handle model = models->add("m", fake_loader(plan), workers(1, 1));
    const started<embeddings> call{ex, model.embed("x")};
    auto telling = until([lines] { return lines->before.n_waiting() == 1; });
    co_await std::move(telling);  // the clock's thread reports that the worker stalls
    plan->run_door.open();
    auto served = call.get();
    co_await std::move(served);
    // After the pool the runtime may go, and the log with it.
    std::atomic<bool> ended{false};
    std::atomic<bool> told_in_time{false};
    const started<void> ending{ex, shut(*models)};
    auto drained = soon([&] { return ending.done(); });
    const bool shut_early = co_await std::move(drained);
    if (!shut_early) lines->before.open();
    auto shut_end = ending.get();
    co_await std::move(shut_end);
    std::thread ender{[&] {
        models.reset();
        told_in_time = lines->done.load();
        ended = true;
    }};
    auto early = soon([&] { return ended.load(); });
    co_await std::move(early);
    lines->before.open();
    ender.join();
    CHECK(told_in_time);
}

// --- the breaker ----------------------------------------------------------------------------------------------------

MODELPOOL_ASYNC_TEST(
    "breaker: failing batches count, and those who try again bring it to a decision", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    test_clock time;
    runtime rt{ex, runtime_options{}.time(time)};
    embed_pool models{rt, pool_options{}.breaker(breaker_options{}.n_failures(2))};
    auto plan = new_plan();
    const embed_handle model = models.add("m", fake_loader(plan), workers(1, 1));
    const auto attempt = [&](std::string text) -> awaitable<boost::system::error_code> {
        auto call = outcome_of(model.embed(std::move(text)));
        const outcome seen = co_await std::move(call);
        co_return seen.code;
    };
    // A batch is counted a moment after its callers heard of it.
    const auto settled = [&]() -> awaitable<void> {
        auto waiting = until([&] {
            const model_stats seen = stats_of(models, "m");
            return seen.workers.size() == n_resting(models, "m");
        });
        co_await std::move(waiting);
    };
    // Successes in between begin the count afresh.
    for (const char* text : {"bad batch", "good", "bad batch", "good"})
        co_await attempt(text);
    CHECK(stats_of(models, "m").breaker == breaker_state::closed);
    for (int i = 0; i < 2; ++i)
        co_await attempt("bad batch");
    for (const bool works : {false, false, true}) {
        co_await settled();
        CHECK(stats_of(models, "m").breaker == breaker_state::open);
        const auto refused = co_await attempt("good");
        CHECK(refused == pool_errc::circuit_open);
        time.advance(60s);
        CHECK(stats_of(models, "m").breaker == breaker_state::half_open);
        const auto tried = co_await attempt(works ? "good" : "bad batch");
        CHECK(tried.failed() != works);
    }
    for (int i = 0; i < 2; ++i)
        co_await attempt("good");
    CHECK(stats_of(models, "m").breaker == breaker_state::closed);
    co_await shut(models);
}

// --- beginnings ------------------------------------------------------------------------------------------------------

TEST_CASE("runtime: pools and registries are made, and go, without a running loop", "[pool]")
{
    const leak_check nothing_left;
    for (const bool runs : {true, false}) {
        boost::asio::io_context io;
        runtime rt{io.get_executor()};
        embed_pool models{rt};
        registry names{rt};
        names.use(models);
        auto plan = new_plan();
        const embed_handle model = models.add("m", fake_loader(plan));
        std::size_t n_served = 0;
        boost::asio::co_spawn(
            io, model.embed("x"), [&](std::exception_ptr failure, const embeddings&) {
                n_served += failure ? 0 : 1;
            });
        if (runs) io.run_for(patience);
        CHECK(n_served == (runs ? 1 : 0));
    }
    nothing_left.require();
}

// --- the registry ------------------------------------------------------------------------------------------------------

MODELPOOL_ASYNC_TEST("registry: a listing claims no model that its pool has lost", "[registry]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    embed_pool models{rt};
    registry names{rt};
    names.use(models);
    auto plan = new_plan();
    models.add("hand", fake_loader(plan));
    auto adding = names.add("hand", models);
    co_await std::move(adding);
    auto before = names.find("hand");
    const listing known = co_await std::move(before);
    CHECK(known.has_group);
    auto removing = models.remove("hand", 5s);
    co_await std::move(removing);
    auto after = names.find("hand");
    const listing lost = co_await std::move(after);
    CHECK_FALSE(lost.has_group);
    co_await shut(models);
}

/// A clock that stands still. Once it has told the time to an alarm, the threads of workers stand
/// before a door when they ask for it.
class held_clock final : public clock {
public:
    time_point now() const noexcept override
    {
        if (std::this_thread::get_id() != loop_) {
            if (told_) before.blocking_pass(stop_flag{});
        } else if (rings_) {
            told_ = true;
        }
        return time_.now();
    }
    alarm_id call_at(time_point when, std::function<void()> ring) override
    {
        return time_.call_at(when, std::move(ring));
    }
    void cancel(alarm_id id) noexcept override { time_.cancel(id); }
    void forget(alarm_id id) noexcept override { time_.forget(id); }
    void advance(duration by)
    {
        rings_ = true;
        time_.advance(by);
        rings_ = false;
    }

    mutable door before;

private:
    const std::thread::id loop_{std::this_thread::get_id()};
    bool rings_{false};
    mutable std::atomic<bool> told_{false};
    test_clock time_;
};

/// Runs a coroutine on a thread and a loop of its own.
template <class T>
class elsewhere {
public:
    explicit elsewhere(awaitable<T> operation)
        : thread_{[this, operation = std::move(operation)]() mutable {
            boost::asio::io_context io;
            boost::asio::co_spawn(
                io, outcome_of(std::move(operation)), [this](std::exception_ptr, outcome end) {
                    end_ = std::move(end);
                });
            io.run();
            done_ = true;
        }}
    {}
    elsewhere(const elsewhere&) = delete;
    elsewhere& operator=(const elsewhere&) = delete;
    ~elsewhere() { thread_.join(); }

    bool done() const { return done_; }
    /// Precondition: done.
    const outcome& end() const { return end_; }

private:
    outcome end_;
    std::atomic<bool> done_{false};
    std::thread thread_;
};

MODELPOOL_ASYNC_TEST(
    "registry: a revision that makes room for another takes no request with it", "[registry]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    held_clock time;
    runtime rt{ex, runtime_options{}.time(time)};
    event_subscription events = rt.events({event_kind::worker_state});
    embed_pool models{rt};
    registry names{rt};
    names.use(models);
    auto plan = new_plan();
    card about;
    about.key = "org/name";
    about.repo = repository{about.key};
    about.load = any_loader::of<text_embedding>(fake_loader(plan));
    about.scaling = scaling_options{}.cold_start_workers(1).max_workers(1);
    auto adding = names.add(std::move(about));
    co_await std::move(adding);
    std::vector<embed_handle> handles;
    for (std::size_t i = 0; i < detail::registry_core::n_most_revisions; ++i) {
        auto finding = names.find<text_embedding>("org/name@r" + std::to_string(i));
        handles.push_back(co_await std::move(finding));
    }
    co_await serve(handles[0], "x");
    co_await until_resting(models, "org/name@r0", 1);
    // The worker of the oldest revision goes; in its last moment one caller names a new revision,
    // for which the oldest must make room, and another uses the oldest.
    time.before.shut();
    time.advance(60s);
    auto leaving = until([&] { return time.before.n_waiting() == 1; });
    co_await std::move(leaving);
    const elsewhere<embed_handle> finding{names.find<text_embedding>("org/name@new")};
    auto first_pause = soon([&] { return finding.done(); });
    co_await std::move(first_pause);
    const elsewhere<embeddings> calling{handles[0].embed("x")};
    auto second_pause = soon([&] { return calling.done(); });
    co_await std::move(second_pause);
    time.before.open();
    auto called = until([&] { return calling.done(); });
    co_await std::move(called);
    auto found = soon([&] { return finding.done(); });
    const bool in_time = co_await std::move(found);
    CHECK(in_time);
    time.advance(10min);  // whoever waits for the oldest one's worker waits no more
    auto found_at_last = until([&] { return finding.done(); });
    co_await std::move(found_at_last);
    CHECK(finding.end().ok());
    CHECK((calling.end().ok() || calling.end().code == pool_errc::shut_down));
    co_await shut(models);
    CHECK(plan->n_alive == 0);
}

}  // namespace
}  // namespace modelpool

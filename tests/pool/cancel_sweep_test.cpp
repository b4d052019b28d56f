// Operations cancelled at every point they can be cancelled at, besides those swept beside their
// own tests: a pool serves the next request, and nothing is left.

#include <modelpool/async/gate.hpp>
#include <modelpool/async/shared_mutex.hpp>
#include <modelpool/async/with_timeout.hpp>
#include <modelpool/pool/pool.hpp>
#include <modelpool/registry/registry.hpp>

#include <catch2/catch.hpp>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "pool/steps.hpp"

namespace modelpool {
namespace {

using namespace std::chrono_literals;
using namespace testing;

/// Lets the loop turn a few times.
awaitable<void> pause()
{
    auto pausing = until([n = 0]() mutable { return ++n > 2; });
    co_await std::move(pausing);
}

// --- async -----------------------------------------------------------------------------------------------------------

enum class side { reader, writer };

awaitable<void> hold(std::shared_ptr<shared_mutex> turns, side which)
{
    auto turn = which == side::reader ? turns->lock_shared() : turns->lock();
    const async_lock lock = co_await std::move(turn);
    auto pausing = pause();
    co_await std::move(pausing);
}

/// A writer in front of, and readers and a writer behind the one that is cancelled.
awaitable<void> wait_in_line(sweep_step step, side which)
{
    const executor ex = co_await boost::asio::this_coro::executor;
    auto turns = std::make_shared<shared_mutex>();
    std::vector<started<void>> others;
    others.emplace_back(ex, hold(turns, side::writer));
    auto running = step.cancellable(hold(turns, which));
    const started<bool> cancelled{ex, std::move(running)};
    for (const side one : {side::reader, side::reader, side::writer})
        others.emplace_back(ex, hold(turns, one));
    for (const auto& one : others) {
        auto ending = one.get();
        co_await std::move(ending);
    }
    auto ended = cancelled.get();
    co_await std::move(ended);
    CHECK(turns->try_lock().owns_lock());
}

awaitable<void> reader_scenario(sweep_step step)
{
    return wait_in_line(step, side::reader);
}

awaitable<void> writer_scenario(sweep_step step)
{
    return wait_in_line(step, side::writer);
}

TEST_CASE("shared_mutex: a reader and a writer cancelled at every point", "[async]")
{
    sweep_cancellation(&reader_scenario);
    sweep_cancellation(&writer_scenario);
}

awaitable<void> stay_inside(gate::pass inside)
{
    auto pausing = pause();
    co_await std::move(pausing);
    inside.release();
}

awaitable<void> gate_scenario(sweep_step step)
{
    const executor ex = co_await boost::asio::this_coro::executor;
    gate door;
    const started<void> visitor{ex, stay_inside(door.enter())};
    auto running = step.cancellable(door.close_and_wait());
    const bool waited = co_await std::move(running);
    CHECK((!waited || door.n_inside() == 0));
    CHECK(door.closed());
    auto again = door.close_and_wait();
    co_await std::move(again);
    CHECK(door.n_inside() == 0);
    auto left = visitor.get();
    co_await std::move(left);
}

TEST_CASE("gate: closing cancelled at every point", "[async]")
{
    sweep_cancellation(&gate_scenario);
}

awaitable<void> limited_pause_scenario(sweep_step step)
{
    auto running = step.cancellable(with_timeout(1h, pause()));
    co_await std::move(running);
}

TEST_CASE("with_timeout: work without a result cancelled at every point", "[async]")
{
    sweep_cancellation(&limited_pause_scenario);
}

// --- pool ------------------------------------------------------------------------------------------------------------

awaitable<void> check_serves(embed_handle model)
{
    auto call = model.embed("after", raw_rows());
    const embeddings rows = co_await std::move(call);
    CHECK(rows.to_f32(0) == fake_row("after", 4));
}

awaitable<void> remove_scenario(sweep_step step)
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex, runtime_options{}.memory_limit_bytes(100)};
    embed_pool models{rt};
    auto plan = plan_of(60, 10);
    const auto options = limited(2, needing(60, 10));
    const started<embeddings> call{ex, models.add("m", fake_loader(plan), options).embed("x")};
    auto running = step.cancellable(models.remove("m", 1h));
    co_await std::move(running);
    CHECK_FALSE(models.has("m"));
    auto end = call.end();
    const outcome seen = co_await std::move(end);
    CHECK((seen.ok() || seen.code == pool_errc::shut_down));
    // The name is free, and the bytes are, or are about to be.
    co_await check_serves(models.add("m", fake_loader(plan), options));
    co_await shut(models);
    CHECK(rt.memory().reserved_bytes() == 0);
    CHECK(plan->n_alive == 0);
}

awaitable<void> info_scenario(sweep_step step)
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    embed_pool models{rt};
    auto plan = new_plan();
    const embed_handle model = models.add("m", fake_loader(plan));
    auto running = step.cancellable(model.info());
    co_await std::move(running);
    co_await check_serves(model);
    co_await shut(models);
    CHECK(adds_up(stats_of(models, "m")));
    CHECK(plan->n_alive == 0);
}

awaitable<void> full_queue_scenario(sweep_step step)
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    embed_pool models{rt, pool_options{}.queue_limit(1)};
    auto plan = new_plan();
    const embed_handle model = models.add("m", fake_loader(plan), workers(1, 1));
    const started<embeddings> first{ex, model.embed("first")};
    const auto patient = request_options{}.wait_for_place(true);
    auto running = step.cancellable(model.embed("swept", {}, patient));
    const started<bool> swept{ex, std::move(running)};
    const started<embeddings> last{ex, model.embed("last", {}, patient)};
    for (const auto& one : {first, last}) {
        auto ending = one.get();
        co_await std::move(ending);
    }
    auto ended = swept.get();
    co_await std::move(ended);
    CHECK(stats_of(models, "m").n_waiting == 0);
    co_await check_serves(model);
    co_await shut(models);
    CHECK(adds_up(stats_of(models, "m")));
}

awaitable<void> second_worker_scenario(sweep_step step)
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex, runtime_options{}.memory_limit_bytes(100)};
    embed_pool models{rt};
    auto plan = plan_of(60, 10);
    auto first = models.spawn_worker("m", fake_loader(plan), needing(60, 10));
    co_await std::move(first);
    auto running = step.cancellable(models.spawn_worker("m", fake_loader(plan), needing(60, 10)));
    const bool came = co_await std::move(running);
    auto settled =
        until([&, came] { return stats_of(models, "m").workers.size() == (came ? 2 : 1); });
    if (came) co_await std::move(settled);
    // The first one's model was not harmed by being copied.
    co_await check_serves(models.find("m"));
    co_await shut(models);
    CHECK(rt.memory().reserved_bytes() == 0);
    CHECK(plan->n_alive == 0);
}

/// A loader whose first blocking job is swept; the worker's thread then does the next one.
awaitable<std::unique_ptr<embedder>>
load_swept(sweep_step step, std::shared_ptr<fake_plan> plan, load_context at)
{
    auto swept = step.cancellable(at.offload([] { return 7; }));
    co_await std::move(swept);
    auto loading = load_fake(std::move(plan), std::move(at));
    co_return co_await std::move(loading);
}

awaitable<void> offload_scenario(sweep_step step)
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    embed_pool models{rt};
    auto plan = new_plan();
    const loader<text_embedding> load = [step, plan](load_context at) {
        return load_swept(step, plan, std::move(at));
    };
    auto spawning = models.spawn_worker("m", load);
    co_await std::move(spawning);
    co_await check_serves(models.find("m"));
    co_await shut(models);
    CHECK(plan->n_alive == 0);
}

TEST_CASE("load_context: a blocking job cancelled at every point", "[pool]")
{
    sweep_cancellation(&offload_scenario);
}

TEST_CASE("pool: a remove cancelled at every point", "[pool]")
{
    sweep_cancellation(&remove_scenario);
}

TEST_CASE("pool: an info call cancelled at every point", "[pool]")
{
    sweep_cancellation(&info_scenario);
}

TEST_CASE("pool: a wait for a place in the queue cancelled at every point", "[pool]")
{
    sweep_cancellation(&full_queue_scenario);
}

TEST_CASE("pool: the spawning of a second worker cancelled at every point", "[pool]")
{
    sweep_cancellation(&second_worker_scenario);
}

// --- registry, events ------------------------------------------------------------------------------------------------

card card_of(std::string key, const std::shared_ptr<fake_plan>& plan)
{
    card one;
    one.key = key;
    one.aliases = {key + " alias"};
    one.repo = repository{key};
    one.load = any_loader::of<text_embedding>(fake_loader(plan));
    return one;
}

/// All that a registry does without waiting, with turns of the loop in between.
awaitable<void>
use_registry(std::shared_ptr<registry> names, embed_pool& models, std::shared_ptr<fake_plan> plan)
{
    std::vector<card> cards{card_of("a", plan), card_of("b", plan)};
    auto adding = names->add(std::move(cards));
    co_await std::move(adding);
    co_await pause();
    models.add("hand", fake_loader(plan));
    auto by_hand = names->add("hand", models);
    co_await std::move(by_hand);
    co_await pause();
    for (const char* name : {"a", "b alias", "a@v2", "hand"}) {
        auto finding = names->find<text_embedding>(name);
        co_await std::move(finding);
        auto describing = names->find(name);
        co_await std::move(describing);
        co_await pause();
    }
    auto listing_all = names->list();
    co_await std::move(listing_all);
    co_await pause();
    auto clearing = names->clear();
    co_await std::move(clearing);
}

awaitable<void> registry_scenario(sweep_step step)
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    embed_pool models{rt};
    auto names = std::make_shared<registry>(rt);
    names->use(models);
    auto plan = new_plan();
    auto running = step.cancellable(use_registry(names, models, plan));
    const bool whole = co_await std::move(running);
    auto listing_all = names->list();
    const std::vector<listing> left = co_await std::move(listing_all);
    CHECK((!whole || left.empty()));
    for (const listing& one : left) {
        auto finding = names->find<text_embedding>(one.key);
        const embed_handle model = co_await std::move(finding);
        co_await check_serves(model);
    }
    auto clearing = names->clear();
    co_await std::move(clearing);
    std::vector<card> cards{card_of("a", plan), card_of("b", plan)};
    auto adding = names->add(std::move(cards));  // no name is taken any more
    co_await std::move(adding);
    co_await shut(models);
    CHECK(plan->n_alive == 0);
}

TEST_CASE("registry: its use cancelled at every point", "[registry]")
{
    sweep_cancellation(&registry_scenario);
}

awaitable<void> publish_later(runtime& rt)
{
    auto pausing = pause();
    co_await std::move(pausing);
    event one;
    one.kind = event_kind::evicted;
    one.worker = 7;
    rt.publisher().publish(one);
}

awaitable<void> events_scenario(sweep_step step)
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    event_subscription events = rt.events();
    const started<void> publisher{ex, publish_later(rt)};
    auto running = step.cancellable(events.next());
    const bool taken = co_await std::move(running);
    auto published = publisher.get();
    co_await std::move(published);
    const std::optional<event> left = events.try_next();
    CHECK(left.has_value() != taken);  // neither lost nor doubled
    CHECK((!left || left->worker == 7));
}

TEST_CASE("events: the wait for the next one cancelled at every point", "[pool]")
{
    sweep_cancellation(&events_scenario);
}

}  // namespace
}  // namespace modelpool

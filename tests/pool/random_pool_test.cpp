// Ten thousand random operations on two pools over one tight memory budget, from coroutines on four
// threads.

#include <modelpool/pool/pool.hpp>

#include <catch2/catch.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "pool/random_pool.hpp"

namespace modelpool {
namespace {

using namespace std::chrono_literals;
using namespace testing;

constexpr std::uint64_t limit_bytes = 1000;
constexpr std::size_t queue_limit = 8;
constexpr std::size_t n_callers = 16;
constexpr std::size_t n_phases = 40;  // after each of which the books are balanced
constexpr std::size_t n_operations = 10'000;

/// Models that are there from the beginning to the end of a pool. Not all fit at once.
constexpr std::array<random_model, 4> staying{
    random_model{200, 10, true, 0},
    random_model{150, 20, true, 10},
    random_model{120, 0, false, 0},
    random_model{300, 5, false, 20}};

std::string staying_key(std::size_t index)
{
    return "staying " + std::to_string(index);
}

/// How requests of staying models ended, as their callers saw it, and as their pools counted it;
/// and what else the pools counted.
struct tally {
    std::atomic<std::uint64_t> n_begun{0};
    std::atomic<std::uint64_t> n_ok{0};
    std::atomic<std::uint64_t> n_cancelled{0};
    std::atomic<std::uint64_t> n_failed{0};
    std::atomic<std::uint64_t> n_counted_ok{0};
    std::atomic<std::uint64_t> n_counted_cancelled{0};
    std::atomic<std::uint64_t> n_evicted{0};
    std::atomic<std::uint64_t> n_load_failures{0};
    std::atomic<std::uint64_t> n_replicated{0};
};

/// Everything of one run. It outlives what runs in it.
struct world {
    explicit world(std::uint64_t seed)
        : run{seed, limit_bytes}
    {
        for (pool_place<embed_pool>& one : places)
            one.replace(make_pool());
    }

    std::shared_ptr<embed_pool> make_pool()
    {
        auto made = std::make_shared<embed_pool>(
            rt, pool_options{}.queue_limit(queue_limit).batch_tokens(32));
        for (std::size_t i = 0; i < staying.size(); ++i)
            made->add(
                staying_key(i),
                random_loader(run, staying.at(i)),
                workers(1 + i % 2, 3).worker(random_worker(staying.at(i))));
        return made;
    }

    /// A pool that is being shut down stays until nobody calls any more.
    void keep(std::shared_ptr<embed_pool> old)
    {
        const std::lock_guard lock{mutex};
        ended.push_back(std::move(old));
    }

    /// What the models of old pools counted goes into the tally. Nobody calls any more.
    void count_ended()
    {
        for (const std::shared_ptr<embed_pool>& one : std::exchange(ended, {}))
            count(*one);
    }

    void count(const embed_pool& old)
    {
        for (const model_stats& one : old.stats()) {
            if (!adds_up(one)) run.wrong.note("requests of '" + one.key + "' have not ended");
            if (one.key.starts_with("staying")) {
                requests.n_counted_ok += one.n_succeeded;
                requests.n_counted_cancelled += one.n_cancelled;
            }
            requests.n_evicted += one.n_evicted;
            requests.n_load_failures += one.n_load_failures;
            requests.n_replicated += one.n_replicated;
        }
    }

    random_run run;
    tally requests;
    test_clock time;
    boost::asio::io_context io;
    runtime rt{
        io.get_executor(), runtime_options{}.memory_limit_bytes(limit_bytes).time(time).n_cores(2)};
    std::array<pool_place<embed_pool>, 2> places;
    std::mutex mutex;
    std::vector<std::shared_ptr<embed_pool>> ended;
    std::atomic<std::uint64_t> n_names{0};
    std::atomic<std::uint64_t> n_operations_done{0};
};

// --- operations ----------------------------------------------------------------------------------------------------

std::vector<std::string> random_texts(dice& chance)
{
    std::vector<std::string> texts;
    for (std::size_t n_left = 1 + chance.below(6); n_left > 0; --n_left)
        texts.emplace_back(1 + chance.below(20), 'x');
    const std::size_t trouble = chance.below(60);
    if (trouble == 0) texts.emplace_back("bad batch");
    if (trouble == 1) texts.emplace_back("bad row");
    if (trouble == 2) texts.emplace_back("bad text");
    return texts;
}

request_options random_request(world& all, dice& chance)
{
    request_options made;
    made.rank(static_cast<priority>(chance.below(3)));
    if (chance.percent(30)) made.deadline(all.time.now() + chance.below(10) * 500ms);
    return made.wait_for_place(chance.percent(30));
}

/// Embeds, and looks whether each row is that of its text.
awaitable<void>
embed_and_look(world& all, embed_handle model, std::vector<std::string> texts, request_options how)
{
    auto call = model.embed(texts, raw_rows(), how);
    const embeddings rows = co_await std::move(call);
    bool right = rows.size() == texts.size();
    for (std::size_t i = 0; right && i < texts.size(); ++i)
        right = rows.to_f32(i) == std::vector<float>{static_cast<float>(texts[i].size())};
    all.run.wrong.expect(right, "a request got rows that are not its own");
}

awaitable<void> ask(embed_handle model)
{
    auto call = model.info();
    co_await std::move(call);
}

awaitable<void> request(world& all, dice& chance, embed_pool& models)
{
    const std::string key = staying_key(chance.below(staying.size()));
    auto call = chance.percent(90)
                    ? embed_and_look(
                          all, models.find(key), random_texts(chance), random_request(all, chance))
                    : ask(models.find(key));
    ++all.requests.n_begun;
    auto ending = cancelled_at_times(chance, 35, std::move(call));
    const random_end seen = co_await std::move(ending);
    if (seen.end.ok())
        ++all.requests.n_ok;
    else if (seen.end.code == boost::asio::error::operation_aborted)
        ++all.requests.n_cancelled;
    else
        ++all.requests.n_failed;
}

/// Adds a model and embeds with it. Another caller may end the pool at any time.
awaitable<void>
add_and_embed(world& all, dice& chance, embed_pool& models, std::string key, random_model about)
{
    const embed_handle model =
        models.add(key, random_loader(all.run, about), workers(2, 2).worker(random_worker(about)));
    auto call = embed_and_look(all, model, random_texts(chance), random_request(all, chance));
    co_await std::move(call);
}

/// A model that comes and goes, by its first request or by a worker that is asked for.
awaitable<void> visit(world& all, dice& chance, embed_pool& models)
{
    const std::string key = "visitor " + std::to_string(all.n_names++);
    const random_model about{50 + chance.below(500), chance.below(20), chance.percent(50), 10};
    auto coming =
        chance.percent(50)
            ? add_and_embed(all, chance, models, key, about)
            : models.spawn_worker(key, random_loader(all.run, about), random_worker(about));
    auto come = cancelled_at_times(chance, 40, std::move(coming));
    co_await std::move(come);
    auto removing = models.remove(key, chance.percent(50) ? std::chrono::nanoseconds{1h} : 0ns);
    auto gone = cancelled_at_times(chance, 30, std::move(removing));
    co_await std::move(gone);
    all.run.wrong.expect(!models.has(key), "a removed model is still known");
}

/// One more worker of a model that stays.
awaitable<void> help(world& all, dice& chance, embed_pool& models)
{
    const std::size_t index = chance.below(staying.size());
    auto spawning = models.spawn_worker(
        staying_key(index),
        random_loader(all.run, staying.at(index)),
        random_worker(staying.at(index)));
    auto ending = cancelled_at_times(chance, 40, std::move(spawning));
    co_await std::move(ending);
}

awaitable<void> renew(world& all, dice& chance, pool_place<embed_pool>& place)
{
    const std::shared_ptr<embed_pool> old = place.replace(all.make_pool());
    all.keep(old);
    random_end seen;
    do {
        auto shutting = old->shutdown(chance.percent(50) ? std::chrono::nanoseconds{1h} : 0ns);
        auto ending = cancelled_at_times(chance, 30, std::move(shutting));
        seen = co_await std::move(ending);
    } while (!seen.end.ok());
}

/// A pool that is destroyed with all it has to do.
awaitable<void> pass_by(world& all, dice& chance)
{
    const executor ex = co_await boost::asio::this_coro::executor;
    auto models = std::make_unique<embed_pool>(all.rt);
    // What a loader has made at the moment the pool goes is left to the loader's executor.
    const random_model about{50 + chance.below(300), 5, chance.percent(50), 10, false};
    const embed_handle model = models->add(
        "brief", random_loader(all.run, about), workers(2, 2).worker(random_worker(about)));
    std::vector<started<embeddings>> calls;
    for (int i = 0; i < 3; ++i)
        calls.emplace_back(ex, model.embed(random_texts(chance)));
    for (std::size_t n_left = chance.below(20); n_left > 0; --n_left)
        co_await boost::asio::post(ex, boost::asio::use_awaitable);
    models.reset();
    all.run.wrong.expect(!model, "a handle believes in a pool that is gone");
    for (const auto& one : calls) {
        auto ending = one.end();
        co_await std::move(ending);
    }
}

/// What holds whatever the others are doing.
void look(world& all, const embed_pool& models)
{
    problems& wrong = all.run.wrong;
    wrong.expect(all.rt.memory().reserved_bytes() <= limit_bytes, "the budget is overdrawn");
    for (const model_stats& one : models.stats()) {
        wrong.expect(one.n_waiting <= queue_limit, "a queue is longer than its limit");
        wrong.expect(
            one.n_requests >= one.n_succeeded + one.n_failed + one.n_cancelled,
            "more requests ended than began");
    }
}

awaitable<void> operate(world& all, dice& chance)
{
    pool_place<embed_pool>& place = all.places.at(chance.below(all.places.size()));
    const std::shared_ptr<embed_pool> models = place.get();
    const std::size_t which = chance.below(1000);
    auto operation = which < 700   ? request(all, chance, *models)
                     : which < 800 ? visit(all, chance, *models)
                     : which < 880 ? help(all, chance, *models)
                     : which < 885 ? renew(all, chance, place)
                     : which < 890 ? pass_by(all, chance)
                                   : awaitable<void>{};
    if (which < 890) {
        co_await std::move(operation);
    } else if (which < 940) {
        all.time.advance(chance.below(40) * 500ms);
    } else {
        all.run.wrong.expect(
            models->find(staying_key(0)).key() == staying_key(0), "a handle of another model");
        all.run.wrong.expect(!models->has("nobody"), "the pool knows a model that is none");
    }
    look(all, *models);
    ++all.n_operations_done;
}

awaitable<void> call_often(world& all, std::uint64_t seed, std::size_t n_times)
{
    dice chance{seed};
    for (std::size_t i = 0; i < n_times; ++i) {
        auto operation = operate(all, chance);
        co_await std::move(operation);
    }
}

// --- the run -------------------------------------------------------------------------------------------------------

/// Whether the workers of both pools rest, and hold together what the budget says.
bool at_rest(world& all)
{
    std::uint64_t sum_bytes = 0;
    for (const pool_place<embed_pool>& place : all.places)
        for (const model_stats& model : place.get()->stats()) {
            sum_bytes += model.shared_bytes;
            for (const worker_stats& one : model.workers) {
                if (one.state != worker_state::ready && one.state != worker_state::idle)
                    return false;
                sum_bytes += one.reserved_bytes;
            }
            if (model.n_waiting != 0 || !adds_up(model)) return false;
        }
    const std::uint64_t reserved_bytes = all.rt.memory().reserved_bytes();
    return sum_bytes == reserved_bytes && all.run.bytes.held() == reserved_bytes;
}

/// Nobody calls any more: what the workers still do comes to its end.
void settle(world& all)
{
    const auto until = std::chrono::steady_clock::now() + patience;
    while (!at_rest(all) && std::chrono::steady_clock::now() < until) {
        all.io.restart();
        all.io.run_for(1ms);
    }
    all.run.wrong.expect(at_rest(all), "at a quiet moment the books do not balance");
}

void spawn(world& all, awaitable<void> operation)
{
    boost::asio::co_spawn(
        boost::asio::make_strand(all.io),
        std::move(operation),
        [&all](const std::exception_ptr& failure) {
            if (failure) all.run.wrong.note("an operation threw: " + detail::text_of(failure));
        });
}

awaitable<void> end_all(world& all)
{
    for (const pool_place<embed_pool>& place : all.places) {
        const std::shared_ptr<embed_pool> models = place.get();
        auto ending = models->shutdown(1h);
        co_await std::move(ending);
        all.keep(models);
    }
}

TEST_CASE("pool: ten thousand random operations from four threads", "[pool]")
{
    const std::uint64_t seed = test_seed();
    INFO("MODELPOOL_TEST_SEED=" << seed << " repeats this run's operations");
    const leak_check nothing_left;
    {
        world all{seed};
        const auto report = [&] {
            std::string text = "MODELPOOL_TEST_SEED=" + std::to_string(seed);
            for (const auto& one : all.ended)
                text += "\nold pool:" + describe(*one);
            for (const pool_place<embed_pool>& place : all.places)
                text += "\npool:" + describe(*place.get());
            return text;
        };
        for (std::size_t phase = 0; phase < n_phases; ++phase) {
            for (std::size_t i = 0; i < n_callers; ++i)
                spawn(
                    all,
                    call_often(
                        all,
                        seed * 10'000 + phase * 100 + i,
                        n_operations / n_phases / n_callers + 1));
            run_on_threads(all.io, 4, report);
            settle(all);
            all.count_ended();
        }
        spawn(all, end_all(all));
        run_on_threads(all.io, 1, report);
        all.count_ended();
        INFO(all.run.wrong.first());
        CHECK(all.run.wrong.n() == 0);
        CHECK(all.n_operations_done >= n_operations);
        CHECK(all.rt.memory().reserved_bytes() == 0);
        CHECK(all.run.bytes.held() == 0);
        const tally& seen = all.requests;
        CHECK(seen.n_begun == seen.n_ok + seen.n_cancelled + seen.n_failed);
        CHECK(seen.n_ok == seen.n_counted_ok);
        CHECK(seen.n_cancelled == seen.n_counted_cancelled);
        CHECK(seen.n_ok > n_operations / 4);
        CHECK(seen.n_cancelled > n_operations / 100);
        CHECK(seen.n_failed > n_operations / 100);
        CHECK(seen.n_evicted > n_operations / 100);
        CHECK(seen.n_load_failures > n_operations / 100);
        CHECK(seen.n_replicated > n_operations / 100);
    }
    nothing_left.require();
}

}  // namespace
}  // namespace modelpool

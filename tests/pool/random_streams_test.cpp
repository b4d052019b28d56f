// Ten thousand random operations on pools of texts and of images over one tight memory budget, from
// coroutines on four threads.

#include <modelpool/pool/generation_handle.hpp>
#include <modelpool/pool/text_to_image_handle.hpp>

#include <catch2/catch.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "pool/generation_fixture.hpp"
#include "pool/random_pool.hpp"
#include "support/fake_image_generator.hpp"

namespace modelpool {
namespace {

using namespace std::chrono_literals;
using namespace testing;
using image_pool = pool<text_to_image>;

constexpr std::uint64_t limit_bytes = 1000;
constexpr std::size_t queue_limit = 8;
constexpr std::size_t n_callers = 16;
constexpr std::size_t n_phases = 40;  // after each of which the books are balanced
constexpr std::size_t n_operations = 10'000;

/// Pools of one capability that came after one another, and their fakes. Not all of its models fit
/// at once.
template <class C, class Plan>
struct line_of_pools {
    pool_place<pool<C>> place;
    std::array<std::shared_ptr<Plan>, 3> plans;
    std::shared_ptr<Plan> visitors;
    std::mutex mutex;
    std::vector<std::shared_ptr<pool<C>>> ended;

    void keep(std::shared_ptr<pool<C>> old)
    {
        const std::lock_guard lock{mutex};
        ended.push_back(std::move(old));
    }
    int n_alive() const
    {
        int n = visitors->n_alive;
        for (const auto& one : plans)
            n += one->n_alive;
        return n;
    }
};

using text_line = line_of_pools<text_to_text, fake_text_plan>;
using image_line = line_of_pools<text_to_image, fake_image_plan>;

struct tally {
    std::atomic<std::uint64_t> n_operations{0};
    std::atomic<std::uint64_t> n_begun{0};
    std::atomic<std::uint64_t> n_ok{0};
    std::atomic<std::uint64_t> n_cancelled{0};
    std::atomic<std::uint64_t> n_failed{0};
    std::uint64_t n_evicted{0};
};

std::string key_of(std::size_t index)
{
    return "staying " + std::to_string(index);
}

worker_options room_for(std::size_t index)
{
    return worker_options{}.memory({150 + 100 * index, 10, 0});
}

loader<text_to_text> loader_of(const std::shared_ptr<fake_text_plan>& plan)
{
    return fake_text_loader(plan);
}
loader<text_to_image> loader_of(const std::shared_ptr<fake_image_plan>& plan)
{
    return fake_image_loader(plan);
}

/// Everything of one run. It outlives what runs in it.
struct world {
    world()
    {
        for (std::size_t i = 0; i < texts.plans.size(); ++i) {
            texts.plans.at(i) = new_text_plan();
            texts.plans.at(i)->bytes = footprint{150 + 100 * i, 10, 0};
            texts.plans.at(i)->shares = i != 1;
            images.plans.at(i) = std::make_shared<fake_image_plan>();
            images.plans.at(i)->shares = i != 1;
        }
        texts.visitors = new_text_plan();
        texts.visitors->bytes = footprint{150, 10, 0};
        images.visitors = std::make_shared<fake_image_plan>();
        texts.place.replace(make_pool(texts));
        images.place.replace(make_pool(images));
    }

    template <class C, class Plan>
    std::shared_ptr<pool<C>> make_pool(const line_of_pools<C, Plan>& line)
    {
        const auto batching = sched::generation_options{}.kv_budget_bytes(128).limits(
            sched::scheduler_options{}.max_sequences(4).prefill_chunk(16));
        auto made = std::make_shared<pool<C>>(
            rt, pool_options{}.queue_limit(queue_limit).generation(batching));
        for (std::size_t i = 0; i < line.plans.size(); ++i)
            made->add(
                key_of(i), loader_of(line.plans.at(i)), workers(1 + i % 2, 3).worker(room_for(i)));
        return made;
    }

    problems wrong;
    tally seen;
    test_clock time;
    boost::asio::io_context io;
    runtime rt{
        io.get_executor(), runtime_options{}.memory_limit_bytes(limit_bytes).time(time).n_cores(2)};
    text_line texts;
    image_line images;
    std::atomic<std::uint64_t> n_names{0};
};

// --- operations ------------------------------------------------------------------------------------

request_options random_request(world& all, dice& chance)
{
    request_options made;
    made.rank(static_cast<priority>(chance.below(3)));
    if (chance.percent(20)) made.deadline(all.time.now() + chance.below(10) * 500ms);
    return made.wait_for_place(chance.percent(30));
}

/// Reads an answer to its end, or a piece of it.
awaitable<void> use(world& all, dice& chance, handle<text_to_text> model)
{
    constexpr std::array<const char*, 6> prompts{
        "count 5", "say hello", "tell me", "count 9", "fail after 2", "bad prompt"};
    const std::string prompt = prompts.at(chance.below(chance.percent(20) ? 6 : 4));
    auto starting = model.complete(prompt, {}, random_request(all, chance));
    token_stream stream = co_await std::move(starting);
    if (chance.percent(20)) {
        auto piece = stream.next();
        co_await std::move(piece);
        co_return;  // the stream goes, and stops its generation
    }
    auto reading = stream.collect();
    const generation_result whole = co_await std::move(reading);
    all.wrong.expect(
        begins_with(fake_answer(prompt), whole.text), "a prompt got an answer that is not its own");
}

awaitable<void> use(world& all, dice& chance, handle<text_to_image> model)
{
    constexpr std::array<const char*, 5> prompts{"a", "b", "c", "fail at 2", "bad prompt"};
    const std::string prompt = prompts.at(chance.below(chance.percent(20) ? 5 : 3));
    auto starting = model.imagine(prompt, random_request(all, chance));
    image_stream stream = co_await std::move(starting);
    if (chance.percent(20)) {
        auto step = stream.next();
        co_await std::move(step);
        co_return;
    }
    auto reading = stream.collect();
    const generated_image made = co_await std::move(reading);
    all.wrong.expect(
        !made.pixels.rgb.empty() && made.pixels.rgb[0] == static_cast<std::uint8_t>(prompt[0]),
        "a prompt got an image that is not its own");
}

template <class C>
awaitable<void> request(world& all, dice& chance, pool<C>& models)
{
    auto call = use(all, chance, models.find(key_of(chance.below(3))));
    ++all.seen.n_begun;
    auto ending = cancelled_at_times(chance, 30, std::move(call));
    const random_end end = co_await std::move(ending);
    if (end.end.ok())
        ++all.seen.n_ok;
    else if (end.end.code == boost::asio::error::operation_aborted)
        ++all.seen.n_cancelled;
    else
        ++all.seen.n_failed;
}

template <class C>
awaitable<void> come(
    world& all, dice& chance, pool<C>& models, std::string key, loader<C> load, worker_options room)
{
    const handle<C> model = models.add(key, std::move(load), workers(1, 2).worker(std::move(room)));
    auto call = use(all, chance, model);
    co_await std::move(call);
}

/// A model that comes and goes. Another caller may end the pool at any time.
template <class C, class Plan>
awaitable<void> visit(world& all, dice& chance, line_of_pools<C, Plan>& line, pool<C>& models)
{
    const std::string key = "visitor " + std::to_string(all.n_names++);
    auto coming = chance.percent(50)
                      ? come(all, chance, models, key, loader_of(line.visitors), room_for(0))
                      : models.spawn_worker(key, loader_of(line.visitors), room_for(0));
    auto came = cancelled_at_times(chance, 40, std::move(coming));
    co_await std::move(came);
    auto removing = models.remove(key, chance.percent(50) ? std::chrono::nanoseconds{1h} : 0ns);
    auto gone = cancelled_at_times(chance, 30, std::move(removing));
    co_await std::move(gone);
    all.wrong.expect(!models.has(key), "a removed model is still known");
}

template <class C, class Plan>
awaitable<void> help(dice& chance, line_of_pools<C, Plan>& line, pool<C>& models)
{
    const std::size_t index = chance.below(3);
    auto spawning =
        models.spawn_worker(key_of(index), loader_of(line.plans.at(index)), room_for(index));
    auto ending = cancelled_at_times(chance, 40, std::move(spawning));
    co_await std::move(ending);
}

template <class C, class Plan>
awaitable<void> renew(world& all, dice& chance, line_of_pools<C, Plan>& line)
{
    const std::shared_ptr<pool<C>> old = line.place.replace(all.make_pool(line));
    line.keep(old);
    random_end seen;
    do {
        auto shutting = old->shutdown(chance.percent(50) ? std::chrono::nanoseconds{1h} : 0ns);
        auto ending = cancelled_at_times(chance, 30, std::move(shutting));
        seen = co_await std::move(ending);
    } while (!seen.end.ok());
}

/// What holds whatever the others are doing.
template <class C>
void look(world& all, const pool<C>& models)
{
    all.wrong.expect(all.rt.memory().reserved_bytes() <= limit_bytes, "the budget is overdrawn");
    for (const model_stats& one : models.stats()) {
        all.wrong.expect(one.n_waiting <= queue_limit, "a queue is longer than its limit");
        all.wrong.expect(
            one.n_requests >= one.n_succeeded + one.n_failed + one.n_cancelled,
            "more requests ended than began");
    }
}

template <class C, class Plan>
awaitable<void> operate(world& all, dice& chance, line_of_pools<C, Plan>& line)
{
    const std::shared_ptr<pool<C>> models = line.place.get();
    const std::size_t which = chance.below(1000);
    auto operation = which < 750   ? request(all, chance, *models)
                     : which < 850 ? visit(all, chance, line, *models)
                     : which < 920 ? help(chance, line, *models)
                     : which < 925 ? renew(all, chance, line)
                                   : awaitable<void>{};
    if (which < 925)
        co_await std::move(operation);
    else
        all.time.advance(chance.below(40) * 500ms);
    look(all, *models);
    ++all.seen.n_operations;
}

awaitable<void> call_often(world& all, std::uint64_t seed, std::size_t n_times)
{
    dice chance{seed};
    for (std::size_t i = 0; i < n_times; ++i) {
        auto operation =
            chance.percent(70) ? operate(all, chance, all.texts) : operate(all, chance, all.images);
        co_await std::move(operation);
    }
}

// --- the run ---------------------------------------------------------------------------------------

/// What the workers of a pool hold, where they all rest; nothing otherwise.
template <class C>
std::optional<std::uint64_t> bytes_at_rest(const pool<C>& models)
{
    std::uint64_t sum = 0;
    for (const model_stats& model : models.stats()) {
        sum += model.shared_bytes;
        for (const worker_stats& one : model.workers) {
            if (one.state != worker_state::ready && one.state != worker_state::idle)
                return std::nullopt;
            sum += one.reserved_bytes;
        }
        if (model.n_waiting != 0 || !adds_up(model)) return std::nullopt;
    }
    return sum;
}

template <class C>
int n_workers(const pool<C>& models)
{
    std::size_t n = 0;
    for (const model_stats& model : models.stats())
        n += model.workers.size();
    return static_cast<int>(n);
}

/// Whether all workers rest, hold together what the budget says, and nothing else is alive.
bool at_rest(world& all)
{
    const auto texts = all.texts.place.get();
    const auto images = all.images.place.get();
    const auto text_bytes = bytes_at_rest(*texts);
    const auto image_bytes = bytes_at_rest(*images);
    if (!text_bytes || !image_bytes) return false;
    int n_open = all.images.visitors->n_open;
    for (const auto& one : all.images.plans)
        n_open += one->n_open;
    return *text_bytes + *image_bytes == all.rt.memory().reserved_bytes() && n_open == 0 &&
           all.texts.n_alive() == n_workers(*texts) && all.images.n_alive() == n_workers(*images);
}

/// Nobody calls any more: what the workers still do comes to its end.
void settle(world& all)
{
    const auto until = std::chrono::steady_clock::now() + patience;
    while (!at_rest(all) && std::chrono::steady_clock::now() < until) {
        all.io.restart();
        all.io.run_for(1ms);
    }
    all.wrong.expect(at_rest(all), "at a quiet moment the books do not balance");
}

template <class C, class Plan>
void count_ended(world& all, line_of_pools<C, Plan>& line)
{
    for (const auto& one : std::exchange(line.ended, {}))
        for (const model_stats& model : one->stats()) {
            all.wrong.expect(adds_up(model), "requests of a pool that ended have not");
            all.seen.n_evicted += model.n_evicted;
        }
}

void spawn(world& all, awaitable<void> operation)
{
    boost::asio::co_spawn(
        boost::asio::make_strand(all.io),
        std::move(operation),
        [&all](const std::exception_ptr& failure) {
            if (failure) all.wrong.note("an operation threw: " + detail::text_of(failure));
        });
}

template <class C, class Plan>
awaitable<void> end(line_of_pools<C, Plan>& line)
{
    const auto models = line.place.get();
    auto ending = models->shutdown(1h);
    co_await std::move(ending);
    line.keep(models);
}

void check(const world& all)
{
    INFO(all.wrong.first());
    CHECK(all.wrong.n() == 0);
    const tally& seen = all.seen;
    CHECK(seen.n_operations >= n_operations);
    CHECK(seen.n_begun == seen.n_ok + seen.n_cancelled + seen.n_failed);
    CHECK(seen.n_ok > n_operations / 4);
    CHECK(seen.n_cancelled > n_operations / 100);
    CHECK(seen.n_failed > n_operations / 100);
    CHECK(seen.n_evicted > n_operations / 100);
    CHECK(all.texts.n_alive() + all.images.n_alive() == 0);
    for (const auto& one : all.texts.plans)
        CHECK(one->n_faults == 0);  // no generation read the cache of another
}

TEST_CASE("pool: ten thousand random generations and images from four threads", "[pool]")
{
    const std::uint64_t seed = test_seed();
    INFO("MODELPOOL_TEST_SEED=" << seed << " repeats this run's operations");
    const leak_check nothing_left;
    {
        world all;
        const auto report = [&] {
            return "MODELPOOL_TEST_SEED=" + std::to_string(seed) +
                   "\ntexts:" + describe(*all.texts.place.get()) +
                   "\nimages:" + describe(*all.images.place.get());
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
            count_ended(all, all.texts);
            count_ended(all, all.images);
        }
        spawn(all, end(all.texts));
        spawn(all, end(all.images));
        run_on_threads(all.io, 1, report);
        count_ended(all, all.texts);
        count_ended(all, all.images);
        CHECK(all.rt.memory().reserved_bytes() == 0);
        check(all);
    }
    nothing_left.require();
}

}  // namespace
}  // namespace modelpool

// A hundred thousand random cancellations.

#include <modelpool/async/gate.hpp>
#include <modelpool/async/mutex.hpp>
#include <modelpool/async/queue.hpp>
#include <modelpool/async/single_flight.hpp>
#include <modelpool/async/with_timeout.hpp>
#include <modelpool/pool/pool.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "pool/random_pool.hpp"

namespace modelpool {
namespace {

using namespace std::chrono_literals;
using namespace testing;

constexpr std::size_t n_cancels = 100'000;
constexpr std::size_t n_callers = 16;
constexpr std::uint64_t limit_bytes = 1000;

constexpr std::array<random_model, 3> kinds{
    random_model{300, 10, true, 0}, random_model{200, 10, false, 5}, random_model{400, 5, true, 5}};

/// What the callers use. It outlives them.
struct storm {
    explicit storm(std::uint64_t seed)
        : run{seed, limit_bytes}
    {
        for (std::size_t i = 0; i < kinds.size(); ++i)
            models.add(
                std::to_string(i),
                random_loader(run, kinds.at(i)),
                workers(2, 3).worker(random_worker(kinds.at(i))));
    }

    random_run run;
    std::atomic<std::size_t> n_cancelled{0};
    boost::asio::io_context io;
    runtime rt{io.get_executor(), runtime_options{}.memory_limit_bytes(limit_bytes).n_cores(2)};
    mutex turns;
    queue<int> numbers{4};
    single_flight<std::size_t, int> flights;
    embed_pool models{rt, pool_options{}.queue_limit(12).breaker(breaker_options{}.n_failures(0))};
};

awaitable<void> hold_turn(storm& all)
{
    auto turn = all.turns.lock();
    const async_lock lock = co_await std::move(turn);
    const executor ex = co_await boost::asio::this_coro::executor;
    co_await boost::asio::post(ex, boost::asio::use_awaitable);
}

awaitable<void> pass_number(storm& all)
{
    auto pushing = all.numbers.push(1);
    co_await std::move(pushing);
    auto popping = all.numbers.pop();
    co_await std::move(popping);
}

awaitable<int> one_later()
{
    const executor ex = co_await boost::asio::this_coro::executor;
    co_await boost::asio::post(ex, boost::asio::use_awaitable);
    co_return 1;
}

awaitable<void> share(storm& all, std::size_t key)
{
    auto flight = all.flights.run(key, &one_later);
    co_await std::move(flight);
}

awaitable<void> work_on_files(storm& all)
{
    auto working = offload(all.rt.file_threads(), [] { return std::string{"done"}; });
    co_await std::move(working);
}

awaitable<void> embed_within(embed_handle model, std::chrono::microseconds limit)
{
    auto call = with_timeout(limit, model.embed("some text"));
    co_await std::move(call);
}

awaitable<void> embed(embed_handle model, std::size_t n_texts, request_options how)
{
    std::vector<std::string> texts(n_texts, "some text");
    auto call = model.embed(std::move(texts), {}, how);
    co_await std::move(call);
}

awaitable<void> any_operation(storm& all, dice& chance)
{
    const std::size_t kind = chance.below(kinds.size());
    const std::string key = std::to_string(kind);
    const std::size_t which = chance.below(100);
    if (which < 5) return hold_turn(all);
    if (which < 10) return pass_number(all);
    if (which < 15) return share(all, chance.below(3));
    if (which < 20) return work_on_files(all);
    if (which < 30)
        return embed_within(
            all.models.find(key), std::chrono::microseconds{1 + chance.below(2000)});
    if (which < 38)
        return all.models.spawn_worker(
            key, random_loader(all.run, kinds.at(kind)), random_worker(kinds.at(kind)));
    auto how = request_options{}.rank(static_cast<priority>(chance.below(3)));
    return embed(all.models.find(key), 1 + chance.below(8), how.wait_for_place(chance.percent(50)));
}

awaitable<void> cancel_often(storm& all, std::uint64_t seed)
{
    dice chance{seed};
    while (all.n_cancelled < n_cancels) {
        auto ending = cancelled_at_times(chance, 100, any_operation(all, chance));
        const random_end seen = co_await std::move(ending);
        if (seen.cancelled) ++all.n_cancelled;
    }
}

void spawn(storm& all, awaitable<void> operation)
{
    boost::asio::co_spawn(
        boost::asio::make_strand(all.io),
        std::move(operation),
        [&all](const std::exception_ptr& failure) {
            if (failure) all.run.wrong.note("an operation threw: " + detail::text_of(failure));
        });
}

// Whether no worker loads or computes any more, be it for nobody.
bool at_rest(const storm& all)
{
    const auto rests = [](const worker_stats& one) {
        return one.state == worker_state::ready || one.state == worker_state::idle;
    };
    const std::vector<model_stats> models = all.models.stats();
    return std::all_of(models.begin(), models.end(), [&](const model_stats& model) {
        return std::all_of(model.workers.begin(), model.workers.end(), rests);
    });
}

awaitable<void> serve_and_end(storm& all)
{
    for (std::size_t i = 0; i < kinds.size(); ++i) {
        // Workers that were asked for and not wanted any more may hold the memory for a moment.
        auto wait = until([&] { return all.rt.memory().releasing_bytes() == 0 && at_rest(all); });
        co_await std::move(wait);
        auto call = outcome_of(all.models.find(std::to_string(i)).embed("after"));
        const outcome seen = co_await std::move(call);
        const bool by_chance =
            seen.code == hub_errc::unavailable || seen.code == model_errc::bad_file;
        if (!seen.ok() && !by_chance) all.run.wrong.note("a model serves no more: " + seen.text);
    }
    auto ending = all.models.shutdown(1h);
    co_await std::move(ending);
}

TEST_CASE("pool: a hundred thousand random cancellations", "[pool][slow]")
{
    const std::uint64_t seed = test_seed();
    INFO("MODELPOOL_TEST_SEED=" << seed << " repeats this run's operations");
    const leak_check nothing_left;
    {
        storm all{seed};
        const auto report = [&] {
            return "MODELPOOL_TEST_SEED=" + std::to_string(seed) + describe(all.models);
        };
        for (std::size_t i = 0; i < n_callers; ++i)
            spawn(all, cancel_often(all, seed * 1000 + i));
        run_on_threads(all.io, 4, report);
        spawn(all, serve_and_end(all));
        run_on_threads(all.io, 1, report);
        INFO(all.run.wrong.first());
        CHECK(all.run.wrong.n() == 0);
        CHECK(all.n_cancelled >= n_cancels);
        CHECK(all.rt.memory().reserved_bytes() == 0);
        CHECK(all.run.bytes.held() == 0);
        CHECK(all.flights.size() == 0);
        for (const model_stats& one : all.models.stats())
            CHECK(adds_up(one));
    }
    nothing_left.require();
}

}  // namespace
}  // namespace modelpool

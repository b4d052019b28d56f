// What the library does to an event loop beside it, and to a machine that has nothing to do.

#include <chrono>
#include <cstddef>

#include "quiet_figures.hpp"
#include "support.hpp"

#include <benchmark/benchmark.h>

namespace modelpool::bench {
namespace {

// A timer of 1 kHz on the pool's loop, against one on a loop that other threads give as much to do
// without the library, and against one on a loop that has nothing to do beside such threads; in
// turns of a second. The percentiles are those of a turn, of which the median counts. Goal:
// ratio_p999, of the first two, at most 1.2.
void BM_heartbeat(benchmark::State& state)
{
    constexpr std::size_t n_rounds = 15;
    heartbeat_stand here;
    heartbeat_figures all;
    for (auto _ : state)
        all = here.blocking_measure(std::chrono::seconds{1}, n_rounds);
    state.counters["with_p50_us"] = to_us(all.with_pool.quantile(0.5));
    state.counters["with_p999_us"] = to_us(all.with_pool.quantile(0.999));
    state.counters["without_p50_us"] = to_us(all.without.quantile(0.5));
    state.counters["without_p999_us"] = to_us(all.without.quantile(0.999));
    state.counters["idle_p50_us"] = to_us(all.idle.quantile(0.5));
    state.counters["idle_p999_us"] = to_us(all.idle.quantile(0.999));
    state.counters["ratio_to_idle_p999"] = all.ratio_to_idle_at(0.999);
    state.counters["ratio_p50"] = all.ratio_at(0.5);
    state.counters["ratio_p999"] = all.ratio_at(0.999);
    state.counters["requests"] = static_cast<double>(all.n_requests);
    state.counters["workers"] = static_cast<double>(all.n_spawned);
    state.counters["loads"] = static_cast<double>(all.n_loads);
    state.counters["evictions"] = static_cast<double>(all.n_evictions);
    state.counters["cancelled"] = static_cast<double>(all.n_cancelled);
    here.blocking_close();
}
BENCHMARK(BM_heartbeat)->Iterations(1)->UseRealTime()->Unit(benchmark::kSecond);

// Twenty loaded models over ten seconds. Goal: no wake-up at all.
void BM_idle_wake_ups(benchmark::State& state)
{
    wake_ups found;
    for (auto _ : state)
        found = blocking_count_wake_ups(20, std::chrono::seconds{10});
    state.counters["models"] = static_cast<double>(found.n_models);
    state.counters["threads"] = static_cast<double>(found.n_threads);
    state.counters["wake_ups"] = static_cast<double>(found.n);
}
BENCHMARK(BM_idle_wake_ups)->Iterations(1)->UseRealTime()->Unit(benchmark::kSecond);

}  // namespace
}  // namespace modelpool::bench

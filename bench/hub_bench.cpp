// What fetching costs, from a hub on loopback in this very process, to files in memory where there
// is a file system there. bench/hub_compare.py has the same beside curl and Python's client.

#include <chrono>
#include <cstddef>
#include <cstdint>

#include "hub_figures.hpp"

#include <benchmark/benchmark.h>

namespace modelpool::bench {
namespace {

void set_time(benchmark::State& state, std::chrono::nanoseconds value)
{
    state.SetIterationTime(std::chrono::duration<double>(value).count());
}

// Arguments: files, MiB of each, and whether they are verified.
void BM_large_files(benchmark::State& state)
{
    hub_stand here{
        static_cast<std::size_t>(state.range(0)),
        static_cast<std::size_t>(state.range(1)) << 20U,
        true};
    const auto how = state.range(2) != 0 ? verification::full : verification::length;
    for (auto _ : state)
        set_time(state, here.blocking_fetch(how));
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(here.n_bytes()));
}
BENCHMARK(BM_large_files)
    ->Args({1, 1024, 1})
    ->Args({1, 1024, 0})
    ->Args({16, 64, 1})
    ->Args({16, 64, 0})
    ->Iterations(3)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);

// Argument: files of 2 KiB.
void BM_small_files(benchmark::State& state)
{
    hub_stand here{static_cast<std::size_t>(state.range(0)), 2048, false};
    for (auto _ : state)
        set_time(state, here.blocking_fetch(verification::full));
    state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_small_files)->Arg(2000)->Iterations(3)->UseManualTime()->Unit(benchmark::kMillisecond);

// Argument: whether the commit is named, so that nothing is asked.
void BM_hit(benchmark::State& state)
{
    constexpr std::size_t n_hits = 100;
    hub_stand here{1, 2048, false};
    for (auto _ : state)
        set_time(state, here.blocking_hits(n_hits, state.range(0) != 0) / n_hits);
}
BENCHMARK(BM_hit)->Arg(1)->Arg(0)->Iterations(20)->UseManualTime()->Unit(benchmark::kMicrosecond);

void BM_sha256(benchmark::State& state)
{
    const hub_stand here{1, std::size_t{256} << 20U, true};
    for (auto _ : state)
        set_time(state, here.blocking_hash());
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(here.n_bytes()));
}
BENCHMARK(BM_sha256)->Iterations(5)->UseManualTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace modelpool::bench

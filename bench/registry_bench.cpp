// What a look-up costs, and what models cost that nobody has loaded yet.

#include <chrono>
#include <cstddef>

#include "registry_figures.hpp"
#include "support.hpp"

#include <benchmark/benchmark.h>

namespace modelpool::bench {
namespace {

// The argument: threads that look up at once, among a thousand models. Goal: below 1 us on one.
void BM_look_up(benchmark::State& state)
{
    constexpr std::size_t n_look_ups = 50'000;
    const auto n_threads = static_cast<std::size_t>(state.range(0));
    registry_stand here{1000};
    here.blocking_add_cards();
    here.blocking_find_all();
    for (auto _ : state) {
        const nanoseconds took = here.blocking_time_look_ups(n_threads, n_look_ups);
        state.SetIterationTime(std::chrono::duration<double>(took).count());
    }
    here.blocking_close();
}
BENCHMARK(BM_look_up)->Arg(1)->Arg(2)->Arg(4)->UseManualTime()->Iterations(10);

// Goal: a thousand models below 1 MiB.
void BM_pool_memory(benchmark::State& state)
{
    const auto n_models = static_cast<std::size_t>(state.range(0));
    std::size_t bytes = 0;
    for (auto _ : state)
        bytes = blocking_pool_bytes(n_models);
    state.counters["KiB"] = static_cast<double>(bytes) / 1024;
    state.counters["bytes_a_model"] = static_cast<double>(bytes) / static_cast<double>(n_models);
}
BENCHMARK(BM_pool_memory)->Arg(1000)->Iterations(3);

void BM_registry_memory(benchmark::State& state)
{
    const auto n_models = static_cast<std::size_t>(state.range(0));
    registry_bytes bytes;
    for (auto _ : state)
        bytes = blocking_registry_bytes(n_models);
    state.counters["cards_KiB"] = static_cast<double>(bytes.cards) / 1024;
    state.counters["handles_KiB"] = static_cast<double>(bytes.handles) / 1024;
}
BENCHMARK(BM_registry_memory)->Arg(1000)->Iterations(3);

}  // namespace
}  // namespace modelpool::bench

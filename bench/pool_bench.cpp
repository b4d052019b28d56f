// What a request costs beside its model's computing.
//
// The figures to look at are the counters: the time of an iteration is that of one request, on
// average. Percentiles are over all iterations of a run, --benchmark_repetitions=N repeats the
// runs.

#include <algorithm>
#include <chrono>
#include <cstddef>

#include "pool_figures.hpp"
#include "support.hpp"

#include <benchmark/benchmark.h>

namespace modelpool::bench {
namespace {

constexpr std::size_t n_trips = 100;  // of each kind in a turn

void set_time(benchmark::State& state, nanoseconds value)
{
    state.SetIterationTime(std::chrono::duration<double>(value).count());
}

void report(benchmark::State& state, const round_trips& all)
{
    state.counters["hop_p50_us"] = to_us(all.hop.quantile(0.5));
    state.counters["hop_p99_us"] = to_us(all.hop.quantile(0.99));
    state.counters["embed_p50_us"] = to_us(all.embed.quantile(0.5));
    state.counters["embed_p99_us"] = to_us(all.embed.quantile(0.99));
    state.counters["ratio_p50"] = all.ratio_at(0.5);
    state.counters["ratio_p99"] = all.ratio_at(0.99);
}

// The argument of both: cores that the two threads have. One shows what the library computes, two
// what a wake-up across cores costs besides.
placement placement_of(const benchmark::State& state)
{
    return state.range(0) == 1 ? placement::one_core : placement::two_cores;
}

// The bare trip alone: what the machine gives at best.
void BM_thread_hop(benchmark::State& state)
{
    round_trip_stand here{placement_of(state)};
    samples all;
    for (auto _ : state) {
        const samples hops = here.blocking_measure_hops(n_trips);
        set_time(state, hops.quantile(0.5));
        all.add(hops);
    }
    state.counters["p50_us"] = to_us(all.quantile(0.5));
    state.counters["p99_us"] = to_us(all.quantile(0.99));
    here.blocking_close();
}
BENCHMARK(BM_thread_hop)
    ->Arg(1)
    ->Arg(2)
    ->UseManualTime()
    ->Iterations(200)
    ->Unit(benchmark::kMicrosecond);

// Goal: ratio_p50 at most 1.3.
void BM_embed_round_trip(benchmark::State& state)
{
    round_trip_stand here{placement_of(state)};
    round_trips all;
    for (auto _ : state) {
        const round_trips turn = here.blocking_measure(n_trips);
        set_time(state, turn.embed.quantile(0.5));
        all.add(turn);
    }
    report(state, all);
    here.blocking_close();
}
BENCHMARK(BM_embed_round_trip)
    ->Arg(1)
    ->Arg(2)
    ->UseManualTime()
    ->Iterations(200)
    ->Unit(benchmark::kMicrosecond);

// The argument: callers that ask again and again. A request in a long queue must not cost more than
// one alone.
void BM_request_in_queue(benchmark::State& state)
{
    constexpr std::size_t n_requests = 10'000;
    const auto n_callers = static_cast<std::size_t>(state.range(0));
    queue_stand here;
    nanoseconds cpu{0};
    for (auto _ : state) {
        const request_cost cost = here.blocking_measure(n_callers, n_requests / n_callers);
        set_time(state, cost.wall);
        cpu += cost.cpu;
    }
    state.counters["cpu_ns"] = to_ns(cpu) / static_cast<double>(state.iterations());
    here.blocking_close();
}
BENCHMARK(BM_request_in_queue)
    ->Arg(1)
    ->Arg(10)
    ->Arg(100)
    ->Arg(1000)
    ->UseManualTime()
    ->Iterations(10);

// The argument: requests that wait, all of which are cancelled, the last first.
void BM_cancel_in_queue(benchmark::State& state)
{
    const auto n_waiting = static_cast<std::size_t>(state.range(0));
    queue_stand here;
    for (auto _ : state)
        set_time(state, here.blocking_measure_cancels(n_waiting).wall);
    here.blocking_close();
}
BENCHMARK(BM_cancel_in_queue)->Arg(1)->Arg(100)->Arg(1000)->UseManualTime()->Iterations(50);

// The argument: threads that count at once. Goal: below 100 ns on one.
void BM_count_request(benchmark::State& state)
{
    constexpr std::size_t n_requests = 100'000;
    const auto n_threads = static_cast<std::size_t>(state.range(0));
    for (auto _ : state)
        set_time(state, blocking_time_counting(n_threads, n_requests));
}
BENCHMARK(BM_count_request)->Arg(1)->Arg(2)->Arg(4)->UseManualTime()->Iterations(10);

}  // namespace
}  // namespace modelpool::bench

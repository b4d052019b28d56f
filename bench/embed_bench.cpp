// What embedding costs with a checkpoint: embed_bench --model=FOLDER [--benchmark_…]. The peers'
// figures come from bench/peers.

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <iostream>
#include <string>
#include <string_view>

#include "embed_figures.hpp"

#include <benchmark/benchmark.h>

namespace modelpool::bench {
namespace {

embed_setup setup_of(const std::string& folder, dtype precision)
{
    embed_setup setup;
    setup.folder = folder;
    setup.precision = precision;
    return setup;
}

void set_time(benchmark::State& state, std::chrono::nanoseconds value)
{
    state.SetIterationTime(std::chrono::duration<double>(value).count());
}

void measure_texts(benchmark::State& state, const embed_setup& setup, workload which)
{
    embed_stand here{setup};
    const auto texts = texts_of(which);
    std::int64_t n_tokens = 0;
    for (auto _ : state) {
        const embed_time took = here.blocking_embed(texts);
        set_time(state, took.wall);
        n_tokens += static_cast<std::int64_t>(took.n_tokens);
    }
    state.SetItemsProcessed(n_tokens);
}

void measure_callers(benchmark::State& state, const embed_setup& setup)
{
    embed_stand here{setup};
    const auto texts = texts_of(workload::short_texts);
    std::int64_t n_texts = 0;
    for (auto _ : state) {
        const latencies found = here.blocking_callers(texts, 16, std::chrono::seconds{1});
        set_time(state, found.wall);
        n_texts += static_cast<std::int64_t>(found.each.size());
    }
    state.SetItemsProcessed(n_texts);
}

void add_benchmarks(const std::string& folder)
{
    for (const dtype precision : {dtype::f32, dtype::bf16}) {
        const embed_setup setup = setup_of(folder, precision);
        const std::string suffix = "/" + std::string{to_string(precision)};
        const auto add = [&](const std::string& name, auto measure) {
            benchmark::RegisterBenchmark((name + suffix).c_str(), measure)
                ->UseManualTime()
                ->Unit(benchmark::kMillisecond);
        };
        const auto texts = [setup](workload which) {
            return [setup, which](benchmark::State& state) { measure_texts(state, setup, which); };
        };
        add("one_text", texts(workload::one_short));
        add("short", texts(workload::short_texts));
        add("mixed", texts(workload::mixed));
        add("long", texts(workload::long_texts));
        add("callers_16", [setup](benchmark::State& state) { measure_callers(state, setup); });
    }
}

}  // namespace
}  // namespace modelpool::bench

int main(int argc, char** argv)
{
    benchmark::Initialize(&argc, argv);
    constexpr std::string_view flag = "--model=";
    const std::string_view given = argc == 2 ? argv[1] : "";
    if (!given.starts_with(flag)) {
        std::cerr << "usage: embed_bench --model=FOLDER [--benchmark_filter=REGEX]\n";
        return 2;
    }
    modelpool::bench::add_benchmarks(std::string{given.substr(flag.size())});
    benchmark::RunSpecifiedBenchmarks();
    return 0;
}

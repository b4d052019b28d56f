#include <algorithm>
#include <chrono>
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include "bench.hpp"
#include "bench_process.hpp"
#include "embed_figures.hpp"
#include "support.hpp"

namespace modelpool::cli {
namespace {

using bench::embed_stand;
using bench::workload;

constexpr int n_best = 3;  // the best of so many

constexpr std::pair<workload, const char*> workloads[] = {
    {workload::short_texts, "short"}, {workload::mixed, "mixed"}, {workload::long_texts, "long"}};

double to_ms(std::chrono::nanoseconds value)
{
    return std::chrono::duration<double, std::milli>(value).count();
}

void add_throughput(std::vector<figure>& found, embed_stand& here, const std::string& suffix)
{
    for (const auto& [which, name] : workloads) {
        const auto texts = bench::texts_of(which);
        double best = 0;
        for (int i = 0; i != n_best; ++i)
            best = std::max(best, here.blocking_embed(texts).tokens_per_second());
        found.push_back({name + suffix, "tokens/s", best});
    }
}

void add_latency(std::vector<figure>& found, embed_stand& here, const std::string& suffix)
{
    const std::string one = bench::texts_of(workload::one_short).front();
    const bench::latencies alone = here.blocking_one_by_one(one, 500);
    found.push_back({"one_text_p50" + suffix, "ms", to_ms(alone.quantile(0.5))});
    found.push_back({"one_text_p99" + suffix, "ms", to_ms(alone.quantile(0.99))});
}

void add_callers(std::vector<figure>& found, embed_stand& here, const std::string& suffix)
{
    const auto texts = bench::texts_of(workload::short_texts);
    const auto callers = here.blocking_callers(texts, 16, std::chrono::seconds{5});
    found.push_back({"callers_16" + suffix, "texts/s", callers.per_second()});
    found.push_back({"callers_16_p99" + suffix, "ms", to_ms(callers.quantile(0.99))});
}

void add_crowd(std::vector<figure>& found, embed_stand& here, std::size_t n_texts)
{
    const std::string one = bench::texts_of(workload::one_short).front();
    const bench::latencies alone = here.blocking_one_by_one(one, 200);
    const double before = peak_mib();
    const bench::latencies beside = here.blocking_beside(one, n_texts);
    found.push_back({"alone_p95", "ms", to_ms(alone.quantile(0.95))});
    found.push_back({"beside_crowd_p95", "ms", to_ms(beside.quantile(0.95))});
    found.push_back({"crowd_memory", "MiB", peak_mib() - before});
}

}  // namespace

std::vector<figure> blocking_measure_embedding(const embed_bench& wanted)
{
    std::vector<figure> found;
    const auto texts = bench::texts_of(workload::mixed);
    std::vector<std::vector<float>> exact;
    for (const auto& [precision, suffix] : wanted.dtypes) {
        embed_stand here{{wanted.folder, precision, wanted.n_threads, wanted.n_workers}};
        found.push_back({"first_row" + suffix, "ms", to_ms(here.first_row())});
        add_throughput(found, here, suffix);
        add_latency(found, here, suffix);
        add_callers(found, here, suffix);
        const auto rows = here.blocking_rows(texts);
        if (exact.empty())
            exact = rows;
        else
            found.push_back({"least_cosine" + suffix, "", bench::least_cosine(exact, rows)});
        if (suffix == wanted.dtypes.front().second && wanted.n_crowd > 0)
            add_crowd(found, here, wanted.n_crowd);
    }
    found.push_back({"peak", "MiB", peak_mib()});
    return found;
}

}  // namespace modelpool::cli

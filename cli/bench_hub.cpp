#include <algorithm>
#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

#include "bench.hpp"
#include "hub_figures.hpp"

namespace modelpool::cli {
namespace {

using figures = std::vector<figure>;
using std::chrono::nanoseconds;
constexpr std::size_t mebibyte = std::size_t{1} << 20U;

double gigabytes_per_second(std::size_t n_bytes, nanoseconds time)
{
    return static_cast<double>(n_bytes) / static_cast<double>(time.count());
}

// The best of some: whatever else the machine does only makes it slower.
template <class F>
nanoseconds best_of(int n, F measure)
{
    nanoseconds best = nanoseconds::max();
    for (int i = 0; i < n; ++i)
        best = std::min(best, measure());
    return best;
}

void add_large(figures& found, const std::string& name, std::size_t n_files, std::size_t n_bytes)
{
    bench::hub_stand here{n_files, n_bytes, true};
    for (const verification how : {verification::full, verification::length}) {
        const nanoseconds time = best_of(3, [&] { return here.blocking_fetch(how); });
        const std::string suffix = how == verification::full ? "" : "_unverified";
        found.push_back({name + suffix, "GB/s", gigabytes_per_second(here.n_bytes(), time)});
    }
    if (n_files > 1) return;
    const nanoseconds time = best_of(3, [&] { return here.blocking_hash(); });
    found.push_back({"sha256", "GB/s", gigabytes_per_second(here.n_bytes(), time)});
}

void add_small(figures& found)
{
    constexpr std::size_t n_files = 1000;
    bench::hub_stand here{n_files, 2048, false};
    const nanoseconds time = best_of(3, [&] { return here.blocking_fetch(verification::full); });
    found.push_back({"small_files", "1/s", n_files / std::chrono::duration<double>(time).count()});
}

void add_hits(figures& found)
{
    constexpr std::size_t n_hits = 200;
    bench::hub_stand here{1, 2048, false};
    for (const bool by_commit : {true, false}) {
        const nanoseconds time = best_of(5, [&] { return here.blocking_hits(n_hits, by_commit); });
        const double us = std::chrono::duration<double, std::micro>(time).count();
        found.push_back({by_commit ? "hit_by_commit" : "hit_by_branch", "us", us / n_hits});
    }
}

}  // namespace

std::vector<figure> blocking_measure_hub()
{
    figures found;
    add_large(found, "large_file", 1, 512 * mebibyte);
    add_large(found, "large_files_16", 16, 32 * mebibyte);
    add_small(found);
    add_hits(found);
    return found;
}

}  // namespace modelpool::cli

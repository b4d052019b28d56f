#include <modelpool/pool/histogram.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

namespace modelpool {
namespace {

using namespace std::chrono_literals;
using std::chrono::nanoseconds;
using buckets = detail::duration_buckets;

histogram of(const std::vector<nanoseconds>& values)
{
    detail::atomic_histogram all;
    for (const nanoseconds value : values)
        all.add(value);
    return all.snapshot();
}

const nanoseconds longest{static_cast<std::int64_t>(buckets::largest_ns)};

TEST_CASE("histogram: of nothing is all zeros", "[pool]")
{
    for (const histogram& none : {histogram{}, detail::atomic_histogram{}.snapshot()}) {
        CHECK(none.empty());
        CHECK(none.count() == 0);
        CHECK(none.sum() == 0ns);
        CHECK(none.max() == 0ns);
        CHECK(none.mean() == 0ns);
        CHECK(none.quantile(0.5) == 0ns);
        CHECK(none.cumulative(1h) == 0);
        CHECK(none.filled().empty());
    }
    STATIC_REQUIRE(std::is_nothrow_move_constructible_v<histogram>);
}

TEST_CASE("histogram: buckets follow one another without a gap", "[pool]")
{
    for (std::size_t i = 0; i < buckets::count; ++i) {
        INFO("bucket " << i);
        const std::uint64_t lower = buckets::lower_ns(i);
        const std::uint64_t upper = buckets::upper_ns(i);
        REQUIRE(lower < upper);
        CHECK(buckets::index_of(lower + 1) == i);
        CHECK(buckets::index_of(lower + (upper - lower) / 2) == i);
        CHECK(buckets::index_of(upper) == i);
        if (lower >= 1000) CHECK((upper - lower) * 4 <= lower);
    }
    CHECK(buckets::index_of(0) == 0);
    CHECK(buckets::upper_ns(buckets::count - 1) == buckets::largest_ns);
    CHECK(longest == std::chrono::microseconds{std::int64_t{1} << 40U});
}

TEST_CASE("histogram: counts, sum and largest are exact", "[pool]")
{
    const histogram some = of({3ms, 1us, 0ns, 17s, 1us});
    CHECK(some.count() == 5);
    CHECK_FALSE(some.empty());
    CHECK(some.sum() == 17s + 3ms + 2us);
    CHECK(some.max() == 17s);
    CHECK(some.mean() == 3400600400ns);
    CHECK(some.quantile(1.0) == 17s);
}

TEST_CASE("histogram: negative durations count as none, huge ones as the longest", "[pool]")
{
    const histogram low = of({-1ns, nanoseconds::min()});
    CHECK(low.count() == 2);
    CHECK(low.sum() == 0ns);
    CHECK(low.max() == 0ns);
    CHECK(low.cumulative(0ns) == 2);
    const histogram high = of({nanoseconds::max(), longest + 1ns, longest});
    CHECK(high.count() == 3);
    CHECK(high.max() == longest);
    CHECK(high.sum() == 3 * longest);
    CHECK(high.cumulative(longest - 1ns) == 0);
    CHECK(high.cumulative(longest) == 3);
    CHECK(high.cumulative(nanoseconds::max()) == 3);
}

TEST_CASE("histogram: counts up to a bucket's limit are exact, the limit included", "[pool]")
{
    std::vector<nanoseconds> values;
    for (std::int64_t us = 1; us < (std::int64_t{1} << 20U); us *= 2)
        for (const nanoseconds off : {-1ns, 0ns, 1ns})
            values.push_back(std::chrono::microseconds{us} + off);
    const histogram some = of(values);
    for (std::int64_t us = 1; us < (std::int64_t{1} << 20U); us *= 2)
        for (const std::int64_t quarters : {4, 5, 6, 7}) {
            const nanoseconds le{us * quarters * 250};
            const auto within = [le](nanoseconds value) { return value <= le; };
            INFO(le.count() << " ns");
            CHECK(
                some.cumulative(le) ==
                static_cast<std::uint64_t>(std::count_if(values.begin(), values.end(), within)));
        }
    CHECK(some.cumulative(-1ns) == 0);
    CHECK(some.cumulative(1h) == values.size());
}

TEST_CASE("histogram: between limits it counts what is certain, and all from the largest", "[pool]")
{
    const histogram some = of({100us, 1050us, 1100us});
    CHECK(some.cumulative(1060us) == 1);
    CHECK(some.cumulative(1100us) == 3);
}

/// The smallest value that at least the share `q` do not exceed.
nanoseconds exact_quantile(std::vector<nanoseconds> values, double q)
{
    std::sort(values.begin(), values.end());
    const auto rank = static_cast<std::size_t>(std::ceil(q * static_cast<double>(values.size())));
    return values[std::max<std::size_t>(1, rank) - 1];
}

TEST_CASE("histogram: a quantile is off by at most an eighth", "[pool]")
{
    std::mt19937_64 random{7};
    std::uniform_real_distribution<double> exponent{3.0, 14.0};
    std::lognormal_distribution<double> latency{std::log(2e6), 1.5};
    std::exponential_distribution<double> rare{1e-8};
    for (int round = 0; round < 40; ++round) {
        std::vector<nanoseconds> values;
        const std::size_t n = 1 + random() % 3000;
        for (std::size_t i = 0; i < n; ++i) {
            const double ns = round % 3 == 0   ? std::pow(10.0, exponent(random))
                              : round % 3 == 1 ? latency(random)
                                               : rare(random);
            values.emplace_back(std::max<std::int64_t>(1000, std::llround(ns)));
        }
        const histogram some = of(values);
        for (const double q : {0.0, 0.001, 0.01, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0}) {
            const nanoseconds exact = exact_quantile(values, q);
            const nanoseconds found = some.quantile(q);
            INFO(
                "q " << q << " of " << n << ": exact " << exact.count() << ", found "
                     << found.count());
            CHECK(std::chrono::abs(found - exact) * 8 <= exact + 8ns);
            CHECK(found <= some.max());
        }
    }
}

TEST_CASE("histogram: below a microsecond a quantile is off by at most 125 ns", "[pool]")
{
    for (const nanoseconds value : {0ns, 1ns, 125ns, 250ns, 251ns, 499ns, 760ns, 1000ns}) {
        const histogram some = of({value, value, 1s});
        INFO(value.count());
        CHECK(std::chrono::abs(some.quantile(0.5) - value) <= 125ns);
    }
}

TEST_CASE("histogram: quantiles outside the unit interval are its ends", "[pool]")
{
    const histogram some = of({1ms, 2ms, 4ms, 8ms});
    CHECK(some.quantile(-3.0) == some.quantile(0.0));
    CHECK(some.quantile(0.0) < 1100us);
    CHECK(some.quantile(7.0) == 8ms);
    CHECK(some.quantile(std::numeric_limits<double>::quiet_NaN()) == 8ms);
    // Rank 2 of 4 is the second, not the third.
    CHECK(some.quantile(0.5) < 3ms);
    CHECK(some.quantile(0.51) > 3ms);
}

TEST_CASE("histogram: gives its filled buckets in order", "[pool]")
{
    const histogram some = of({1500us, 0ns, 90s, 1500us});
    const std::vector<histogram::bucket> filled = some.filled();
    REQUIRE(filled.size() == 3);
    CHECK(filled[0].lower == 0ns);
    CHECK(filled[0].upper == 250ns);
    CHECK(filled[1].n == 2);
    CHECK(filled[1].lower < 1500us);
    CHECK(filled[1].upper >= 1500us);
    CHECK(filled[2].n == 1);
    CHECK(filled[2].lower >= filled[1].upper);
}

TEST_CASE("histogram: two add up to what one of both would be", "[pool]")
{
    const std::vector<nanoseconds> a{1us, 3ms, 9s};
    const std::vector<nanoseconds> b{2us, 3ms, 40min, 1ns};
    std::vector<nanoseconds> both = a;
    both.insert(both.end(), b.begin(), b.end());
    const histogram whole = of(both);
    for (const bool swapped : {false, true}) {
        histogram sum = of(swapped ? b : a);
        sum += of(swapped ? a : b);
        CHECK(sum.count() == whole.count());
        CHECK(sum.sum() == whole.sum());
        CHECK(sum.max() == whole.max());
        for (const double q : {0.1, 0.5, 0.9})
            CHECK(sum.quantile(q) == whole.quantile(q));
        sum += histogram{};
        CHECK(sum.count() == whole.count());
    }
    histogram none;
    none += whole;
    CHECK(none.cumulative(3ms) == whole.cumulative(3ms));
}

TEST_CASE("histogram: its sum saturates", "[pool]")
{
    histogram sum = of({longest});
    for (int i = 0; i < 40; ++i) {
        const histogram same = sum;
        sum += same;
    }
    CHECK(sum.sum() == nanoseconds::max());
    CHECK(sum.count() == std::uint64_t{1} << 40U);
}

TEST_CASE("histogram: a snapshot stays as it was", "[pool]")
{
    detail::atomic_histogram all;
    all.add(1ms);
    const histogram before = all.snapshot();
    all.add(1h);
    CHECK(before.count() == 1);
    CHECK(before.max() == 1ms);
    CHECK(all.snapshot().count() == 2);
}

TEST_CASE("histogram: threads that add lose nothing", "[pool]")
{
    detail::atomic_histogram all;
    constexpr int n_each = 5000;
    const auto work = [&all](int seed) {
        for (int i = 0; i < n_each; ++i)
            all.add(std::chrono::microseconds{seed + i});
    };
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
        threads.emplace_back(work, t);
    for (int i = 0; i < 100; ++i) {
        const histogram meanwhile = all.snapshot();
        CHECK(meanwhile.cumulative(meanwhile.max()) == meanwhile.count());
        CHECK(meanwhile.quantile(0.99) <= meanwhile.max());
    }
    for (std::thread& thread : threads)
        thread.join();
    const histogram some = all.snapshot();
    CHECK(some.count() == std::uint64_t{4} * n_each);
    CHECK(some.max() == std::chrono::microseconds{n_each + 2});
    nanoseconds sum{0};
    for (int t = 0; t < 4; ++t)
        for (int i = 0; i < n_each; ++i)
            sum += std::chrono::microseconds{t + i};
    CHECK(some.sum() == sum);
}

}  // namespace
}  // namespace modelpool

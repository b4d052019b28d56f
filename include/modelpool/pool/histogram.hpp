#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

namespace modelpool {
namespace detail {

/// How durations fall into buckets: four of 250 ns, then four in each octave from 1 us to 2^40 us
/// (12.7 days). A bucket holds the durations above its lower limit up to its upper limit, that one
/// included, so that what is counted up to a limit is exactly what `le` asks for.
struct duration_buckets {
    static constexpr std::uint64_t unit_ns = 250;
    static constexpr std::size_t n_octaves = 40;
    static constexpr std::size_t count = 4 + 4 * n_octaves;
    static constexpr std::uint64_t largest_ns = (std::uint64_t{4} << n_octaves) * unit_ns;

    /// A duration as it is counted: negative ones as none, huge ones as the largest there is.
    static constexpr std::uint64_t counted(std::chrono::nanoseconds value) noexcept
    {
        return value.count() <= 0 ? 0
                                  : std::min(static_cast<std::uint64_t>(value.count()), largest_ns);
    }

    static constexpr std::size_t index_of(std::uint64_t counted_ns) noexcept
    {
        if (counted_ns == 0) return 0;
        const std::uint64_t units = (counted_ns - 1) / unit_ns;
        if (units < 4) return static_cast<std::size_t>(units);
        const auto octave = static_cast<unsigned>(std::bit_width(units)) - 3U;
        return 4 + 4 * std::size_t{octave} + static_cast<std::size_t>((units >> octave) & 3U);
    }

    static constexpr std::uint64_t upper_ns(std::size_t index) noexcept
    {
        if (index < 4) return (index + 1) * unit_ns;
        const std::size_t octave = (index - 4) / 4;
        const std::uint64_t quarters = 5 + (index - 4) % 4;
        return (quarters << octave) * unit_ns;
    }

    static constexpr std::uint64_t lower_ns(std::size_t index) noexcept
    {
        return index == 0 ? 0 : upper_ns(index - 1);
    }
};

class atomic_histogram;

}  // namespace detail

/// How long many things took: a snapshot, as a value. From 1 us on, a quantile is off by at most an
/// eighth; below, by at most 125 ns. The number, the sum and the largest are exact for durations up
/// to 12.7 days; longer ones count as that.
class histogram {
public:
    using nanoseconds = std::chrono::nanoseconds;

    /// The durations in (lower, upper]; the first bucket also has those of zero.
    struct bucket {
        nanoseconds lower{0};
        nanoseconds upper{0};
        std::uint64_t n{0};
    };

    /// Of nothing.
    histogram() = default;

    std::uint64_t count() const noexcept { return count_; }
    bool empty() const noexcept { return count_ == 0; }
    /// Of all durations; saturates.
    nanoseconds sum() const noexcept { return to_duration(sum_ns_); }
    /// The largest; 0 where there is none.
    nanoseconds max() const noexcept { return to_duration(max_ns_); }
    /// 0 where there is none.
    nanoseconds mean() const noexcept { return to_duration(count_ == 0 ? 0 : sum_ns_ / count_); }

    /// About the smallest duration that at least the share `q` of all do not exceed; 0 where there
    /// is none. `q` outside [0, 1] counts as the nearer end.
    nanoseconds quantile(double q) const noexcept
    {
        if (count_ == 0 || !(q < 1.0)) return max();
        const double wanted = q > 0.0 ? std::ceil(q * static_cast<double>(count_)) : 1.0;
        std::uint64_t n_seen = 0;
        for (std::size_t i = 0; i < counts_.size(); ++i) {
            n_seen += counts_[i];
            if (static_cast<double>(n_seen) < wanted) continue;
            // Nothing lies between the largest and its bucket's end.
            const std::uint64_t lower = buckets::lower_ns(i);
            const std::uint64_t upper = std::min(buckets::upper_ns(i), max_ns_);
            return to_duration(lower + (upper - lower) / 2);
        }
        return max();
    }

    /// How many do not exceed `le`: exact where that is a bucket's limit (1, 1.25, 1.5 or 1.75 us
    /// times a power of two is one), and where it is the largest or more; otherwise those up to the
    /// limit below it.
    std::uint64_t cumulative(nanoseconds le) const noexcept
    {
        if (le.count() < 0) return 0;
        const std::uint64_t limit = buckets::counted(le);
        if (limit >= max_ns_) return count_;
        std::uint64_t n = 0;
        for (std::size_t i = 0; i < counts_.size() && buckets::upper_ns(i) <= limit; ++i)
            n += counts_[i];
        return n;
    }

    /// Those that hold something, in ascending order.
    std::vector<bucket> filled() const
    {
        std::vector<bucket> found;
        for (std::size_t i = 0; i < counts_.size(); ++i)
            if (counts_[i] > 0)
                found.push_back(bucket{
                    to_duration(buckets::lower_ns(i)),
                    to_duration(buckets::upper_ns(i)),
                    counts_[i]});
        return found;
    }

    /// Adds the durations of another one.
    histogram& operator+=(const histogram& other)
    {
        if (counts_.size() < other.counts_.size()) counts_.resize(other.counts_.size());
        for (std::size_t i = 0; i < other.counts_.size(); ++i)
            counts_[i] += other.counts_[i];
        count_ += other.count_;
        sum_ns_ += std::min(other.sum_ns_, std::numeric_limits<std::uint64_t>::max() - sum_ns_);
        max_ns_ = std::max(max_ns_, other.max_ns_);
        return *this;
    }

private:
    friend class detail::atomic_histogram;
    using buckets = detail::duration_buckets;

    static constexpr nanoseconds to_duration(std::uint64_t ns) noexcept
    {
        constexpr std::uint64_t most = std::numeric_limits<std::int64_t>::max();
        return nanoseconds{static_cast<std::int64_t>(std::min(ns, most))};
    }

    histogram(std::vector<std::uint64_t> counts, std::uint64_t sum_ns, std::uint64_t max_ns)
        : counts_{std::move(counts)}
        , count_{std::accumulate(counts_.begin(), counts_.end(), std::uint64_t{0})}
        , sum_ns_{sum_ns}
        , max_ns_{max_ns}
    {}

    std::vector<std::uint64_t> counts_;  ///< up to the last bucket that holds something
    std::uint64_t count_{0};
    std::uint64_t sum_ns_{0};
    std::uint64_t max_ns_{0};
};

namespace detail {

/// Collects durations from any thread without a lock.
class atomic_histogram {
public:
    /// Negative durations count as none, those beyond 12.7 days as that.
    void add(std::chrono::nanoseconds value) noexcept
    {
        const std::uint64_t ns = duration_buckets::counted(value);
        counts_[duration_buckets::index_of(ns)].fetch_add(1, std::memory_order_relaxed);
        sum_ns_.fetch_add(ns, std::memory_order_relaxed);
        std::uint64_t largest = max_ns_.load(std::memory_order_relaxed);
        while (ns > largest &&
               !max_ns_.compare_exchange_weak(largest, ns, std::memory_order_relaxed)) {
        }
    }

    /// What was added so far. One that is being added meanwhile may be in a part of the figures
    /// only.
    histogram snapshot() const
    {
        std::size_t n_used = counts_.size();
        while (n_used > 0 && counts_[n_used - 1].load(std::memory_order_relaxed) == 0)
            --n_used;
        if (n_used == 0) return histogram{};
        std::vector<std::uint64_t> counts(n_used);
        for (std::size_t i = 0; i < n_used; ++i)
            counts[i] = counts_[i].load(std::memory_order_relaxed);
        // The largest lies in the last bucket, or is about to arrive there.
        const std::uint64_t largest = std::clamp(
            max_ns_.load(std::memory_order_relaxed),
            duration_buckets::lower_ns(n_used - 1),
            duration_buckets::upper_ns(n_used - 1));
        return histogram{std::move(counts), sum_ns_.load(std::memory_order_relaxed), largest};
    }

private:
    std::array<std::atomic<std::uint64_t>, duration_buckets::count> counts_{};
    std::atomic<std::uint64_t> sum_ns_{0};
    std::atomic<std::uint64_t> max_ns_{0};
};

}  // namespace detail
}  // namespace modelpool

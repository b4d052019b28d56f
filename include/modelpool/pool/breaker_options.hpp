#pragma once

#include <chrono>
#include <cstddef>

namespace modelpool {

/// When a model that keeps failing is given a rest, and when it is back.
class breaker_options {
public:
    /// Refuses requests after so many failures in a row of loads and batches. 0: never.
    breaker_options& n_failures(std::size_t value)
    {
        n_failures_ = value;
        return *this;
    }
    std::size_t n_failures() const noexcept { return n_failures_; }

    /// For so long every request is refused with pool_errc::circuit_open; then a few may try.
    /// Negative ones count as none. Longer than a century: for ever.
    breaker_options& open_for(std::chrono::nanoseconds value)
    {
        open_for_ = value;
        return *this;
    }
    std::chrono::nanoseconds open_for() const noexcept { return open_for_; }

    /// So many of those that try must succeed before all are let in again, and at most so many try
    /// at once; one that fails starts another rest. 0 counts as 1.
    breaker_options& n_successes(std::size_t value)
    {
        n_successes_ = value;
        return *this;
    }
    std::size_t n_successes() const noexcept { return n_successes_; }

private:
    std::size_t n_failures_{5};
    std::size_t n_successes_{3};
    std::chrono::nanoseconds open_for_{std::chrono::seconds{60}};
};

}  // namespace modelpool

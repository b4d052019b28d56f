#pragma once

#include <modelpool/capability/generation.hpp>
#include <modelpool/sched/scheduler_options.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>

namespace modelpool::sched {

/// How one worker generates.
class generation_options {
public:
    /// Bytes that the KV cache may take.
    generation_options& kv_budget_bytes(std::size_t value)
    {
        kv_budget_bytes_ = value;
        return *this;
    }
    std::size_t kv_budget_bytes() const noexcept { return kv_budget_bytes_; }

    generation_options& kv_format(kv_dtype value)
    {
        kv_format_ = value;
        return *this;
    }
    kv_dtype kv_format() const noexcept { return kv_format_; }

    /// How prompts are computed. With `fast`, larger chunks (`limits`) pay: about 512 rows.
    generation_options& prefill(prefill_mode value)
    {
        prefill_ = value;
        return *this;
    }
    prefill_mode prefill() const noexcept { return prefill_; }

    /// Limits of a step, and the size of a block. Context length and number of blocks are not
    /// looked at: they come from the model and the budget.
    generation_options& limits(const scheduler_options& value)
    {
        limits_ = value;
        return *this;
    }
    const scheduler_options& limits() const noexcept { return limits_; }

    /// Where the seeds of requests that name none come from; none: the operating system's random
    /// numbers.
    generation_options& entropy(std::uint64_t value)
    {
        entropy_ = value;
        return *this;
    }
    const std::optional<std::uint64_t>& entropy() const noexcept { return entropy_; }

private:
    std::size_t kv_budget_bytes_{std::size_t{1} << 30U};
    kv_dtype kv_format_{kv_dtype::f32};
    prefill_mode prefill_{prefill_mode::exact};
    scheduler_options limits_;
    std::optional<std::uint64_t> entropy_;
};

}  // namespace modelpool::sched

#pragma once

#include <modelpool/pool/pool.hpp>
#include <modelpool/runtime.hpp>

#include <algorithm>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "support/async_test.hpp"
#include "support/cancel_sweep.hpp"
#include "support/failure.hpp"
#include "support/fakes.hpp"
#include "support/test_clock.hpp"

namespace modelpool::testing {

/// The lines a runtime logged.
class log_lines {
public:
    log_sink sink()
    {
        return [this](log_level, std::string_view line) {
            const std::lock_guard lock{mutex_};
            lines_.emplace_back(line);
        };
    }
    std::size_t n_with(std::string_view part) const
    {
        const std::lock_guard lock{mutex_};
        const auto has = [&](const std::string& line) {
            return line.find(part) != std::string::npos;
        };
        return static_cast<std::size_t>(std::count_if(lines_.begin(), lines_.end(), has));
    }

private:
    mutable std::mutex mutex_;
    std::vector<std::string> lines_;
};

using embed_pool = pool<text_embedding>;
using embed_handle = handle<text_embedding>;

/// A plan of embedders that need no memory.
inline std::shared_ptr<fake_plan> new_plan()
{
    return std::make_shared<fake_plan>();
}

/// `n_workers` at a cold start, `n_most` at most.
inline model_options workers(std::size_t n_workers, std::size_t n_most)
{
    return model_options{}.scaling(
        scaling_options{}.cold_start_workers(n_workers).max_workers(n_most));
}

inline embed_options raw_rows()
{
    return embed_options{}.normalize(false);
}

/// What a pool says of one model; fails the test where it has none of that key.
template <class C>
model_stats stats_of(const pool<C>& models, const std::string& key)
{
    for (const model_stats& one : models.stats())
        if (one.key == key) return one;
    throw std::out_of_range{"the pool has no model '" + key + "'"};
}

/// What a pool says of its only model; fails the test where it has none, or several.
template <class C>
model_stats stats_in(const pool<C>& models)
{
    const std::vector<model_stats> all = models.stats();
    if (all.size() != 1)
        throw std::out_of_range{"the pool has " + std::to_string(all.size()) + " models, not one"};
    return all.front();
}

/// Every request that was taken on has ended in one of three ways.
inline bool adds_up(const model_stats& seen)
{
    return seen.n_requests == seen.n_succeeded + seen.n_failed + seen.n_cancelled;
}

inline std::vector<std::string> strings(std::string a, std::string b)
{
    std::vector<std::string> both;
    both.push_back(std::move(a));
    both.push_back(std::move(b));
    return both;
}

}  // namespace modelpool::testing

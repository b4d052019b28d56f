#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "pool/fixture.hpp"

namespace modelpool::testing {

/// Ends a pool within a limit that only a test that hangs meets.
template <class C>
awaitable<void> shut(pool<C>& models)
{
    auto ending = models.shutdown(patience);
    co_await std::move(ending);
}

/// Embeds a text, and fails the test where that fails.
inline awaitable<void> serve(embed_handle model, std::string text)
{
    auto call = model.embed(std::move(text));
    co_await std::move(call);
}

inline std::size_t n_resting(const embed_pool& models, const std::string& key)
{
    const model_stats seen = stats_of(models, key);
    return seen.n_workers(worker_state::idle) + seen.n_workers(worker_state::ready);
}

inline awaitable<void>
until_resting(const embed_pool& models, std::string key, std::size_t n_workers)
{
    auto resting = until([&models, key, n_workers] { return n_resting(models, key) == n_workers; });
    co_await std::move(resting);
}

/// Rings what `time` has due meanwhile: a worker that was just looking for work when its time came
/// sets its alarm a moment later.
inline awaitable<void>
until_gone(const embed_pool& models, std::string key, test_clock* time = nullptr)
{
    auto gone = until([&models, key, time] {
        if (time != nullptr) time->advance(test_clock::duration::zero());
        return stats_of(models, key).workers.empty();
    });
    co_await std::move(gone);
}

/// A plan of embedders that measure so many bytes.
inline std::shared_ptr<fake_plan> plan_of(std::size_t shared_bytes, std::size_t replica_bytes = 0)
{
    auto plan = new_plan();
    plan->bytes = footprint{shared_bytes, replica_bytes, 0};
    return plan;
}

/// Workers that are expected to take so many bytes.
inline worker_options needing(std::uint64_t resident_bytes, std::uint64_t replica_bytes = 0)
{
    return worker_options{}.memory({resident_bytes, replica_bytes, 0});
}

/// `n_workers` at a cold start and at most.
inline model_options limited(std::size_t n_workers, worker_options options)
{
    return workers(n_workers, n_workers).worker(std::move(options));
}

}  // namespace modelpool::testing

#pragma once

#include <modelpool/pool/generation_handle.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "pool/fixture.hpp"
#include "support/fake_pool_generator.hpp"

namespace modelpool::testing {

using text_pool = pool<text_to_text>;
using text_handle = handle<text_to_text>;

inline std::shared_ptr<fake_text_plan> new_text_plan()
{
    return std::make_shared<fake_text_plan>();
}

/// A pool whose workers generate at most so many sequences at once.
inline pool_options most_sequences(std::size_t n)
{
    return pool_options{}.generation(
        sched::generation_options{}.limits(sched::scheduler_options{}.max_sequences(n)));
}

/// Steps that the only worker of a pool's only model has done.
template <class C>
std::uint64_t steps_in(const pool<C>& models)
{
    const model_stats seen = stats_in(models);
    return seen.workers.empty() ? 0 : seen.workers.front().n_batches;
}

/// Waits until the only generation of a worker that had done `n_before` steps is held: its reader
/// is behind by a whole buffer, of one token a step.
template <class C>
awaitable<void> until_held(const pool<C>& models, std::uint64_t n_before = 0)
{
    const auto full = [&models, n_before] {
        return steps_in(models) >= n_before + detail::token_buffer_limit;
    };
    return until(full);
}

inline awaitable<generation_result>
ask(text_handle model, std::string prompt, generation_params params = {})
{
    auto starting = model.complete(std::move(prompt), std::move(params));
    token_stream stream = co_await std::move(starting);
    auto reading = stream.collect();
    co_return co_await std::move(reading);
}

/// Whether a text could be the beginning of another one.
inline bool begins_with(const std::string& whole, const std::string& text)
{
    return whole.compare(0, text.size(), text) == 0;
}

}  // namespace modelpool::testing

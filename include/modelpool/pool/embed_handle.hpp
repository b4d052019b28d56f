#pragma once

#include <modelpool/async/awaitable.hpp>
#include <modelpool/capability/text_embedding.hpp>
#include <modelpool/config.hpp>
#include <modelpool/pool/any_handle.hpp>
#include <modelpool/pool/options.hpp>

#include <string>
#include <utility>
#include <vector>

namespace modelpool {

/// Embeds texts.
template <>
class handle<text_embedding> : public any_handle {
public:
    using any_handle::any_handle;

    /// Embeds texts: loads the model first where no worker has it.
    /// Result: [texts.size(), dim] rows in the order of `texts`, of unit length unless the options
    /// say otherwise.
    /// Runs: tokenised and computed on the workers' own threads, in batches with whatever else
    /// waits; completes on the caller's executor.
    /// Errors: errc::invalid_argument (no texts, unknown prompt or dimension, with the choices);
    /// text_errc::not_utf8 and text_errc::too_long, naming the text by its index;
    /// model_errc::failed, out_of_memory, device_lost; pool_errc::queue_full, shut_down,
    /// memory_exhausted, deadline_missed, worker_lost, circuit_open; where the model had to be
    /// loaded, whatever its loader threw.
    /// Cancellation: terminal and partial at any time; total until a worker has begun. The caller
    /// leaves at once, and the worker stays healthy.
    /// Lifetime: owns its arguments; the handle may be destroyed while it runs.
    awaitable<embeddings> embed(
        std::vector<std::string> texts,
        embed_options options = {},
        request_options request = {}) const;

    /// Embeds one text: loads the model first where no worker has it.
    /// Result: [1, dim], of unit length unless the options say otherwise.
    /// Runs: tokenised and computed on a worker's own thread, in a batch with whatever else waits;
    /// completes on the caller's executor.
    /// Errors: errc::invalid_argument (unknown prompt or dimension, with the choices);
    /// text_errc::not_utf8, text_errc::too_long; model_errc::failed, out_of_memory, device_lost;
    /// pool_errc::queue_full, shut_down, memory_exhausted, deadline_missed, worker_lost,
    /// circuit_open; where the model had to be loaded, whatever its loader threw.
    /// Cancellation: terminal and partial at any time; total until a worker has begun. The caller
    /// leaves at once, and the worker stays healthy.
    /// Lifetime: owns its arguments; the handle may be destroyed while it runs.
    awaitable<embeddings>
    embed(std::string text, embed_options options = {}, request_options request = {}) const
    {
        std::vector<std::string> texts;
        texts.push_back(std::move(text));
        return embed(std::move(texts), std::move(options), std::move(request));
    }

    /// What the model says of itself; loads it first where no worker has it.
    /// Runs: on a worker's own thread; completes on the caller's executor.
    /// Errors: model_errc::device_lost; pool_errc::queue_full, shut_down, memory_exhausted,
    /// deadline_missed, worker_lost, circuit_open; where the model had to be loaded, whatever its
    /// loader threw.
    /// Cancellation: terminal and partial at any time; total until a worker has begun. The caller
    /// leaves at once, and the worker stays healthy.
    /// Lifetime: owns its arguments; the handle may be destroyed while it runs.
    awaitable<embedder_info> info(request_options request = {}) const;
};

}  // namespace modelpool

#if defined(MODELPOOL_HEADER_ONLY)
#include <modelpool/pool/impl/handles.hpp>
#endif

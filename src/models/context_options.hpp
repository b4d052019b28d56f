#pragma once

#include <modelpool/models/load_options.hpp>
#include <modelpool/pool/load_context.hpp>

#include <cstdint>
#include <utility>

namespace modelpool::models {

/// How a pool's load wants a checkpoint read; progress is reported as stage "load".
inline load_options options_of(const load_context& context)
{
    load_options options;
    options.device(context.device()).dtype(context.dtype()).stop(context.stop());
    options.n_threads(context.n_threads());
    options.on_progress([context](std::uint64_t done, std::uint64_t total) {
        fetch_progress read;
        read.done_bytes = done;
        read.total_bytes = total;
        context.report("load", std::move(read));
    });
    return options;
}

}  // namespace modelpool::models

#pragma once

#include <modelpool/capability/model.hpp>

#include <cstdint>
#include <functional>
#include <utility>

namespace modelpool::decoder {

/// Told how many bytes of a model's weights have been read, of how many; at most about a hundred
/// times a load.
using load_progress_function = std::function<void(std::uint64_t done, std::uint64_t total)>;

/// How a load is followed and ended: asked and told at each tensor, on the loading thread.
struct load_watch {
    // NOLINTNEXTLINE(google-explicit-constructor): a stop flag is enough
    load_watch(stop_flag asked, load_progress_function told = {}, int threads = 1)
        : stop{std::move(asked)}
        , progress{std::move(told)}
        , n_threads{threads}
    {}

    stop_flag stop;
    load_progress_function progress;
    int n_threads;  ///< for packing and quantising; at least 1
};

}  // namespace modelpool::decoder

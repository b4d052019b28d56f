#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/bf16_tiles.hpp"
#include "torch/activation.hpp"

namespace modelpool::nn {

/// Rows of a part that a thread computes alone: enough for the weights to be worth their way into
/// the cache, few enough for the part's own numbers to stay there.
inline constexpr std::int64_t part_rows = 256;

/// The numbers of an encoder of BERT's shape.
struct tile_shape {
    std::int64_t hidden_size{0};
    std::int64_t n_heads{0};
    std::int64_t inner_size{0};
    activation function{activation::gelu};
    float norm_eps{0};
    kernels::bf16_parts parts{kernels::bf16_parts::two};

    /// Whether this machine computes it in tiles.
    bool runs_here() const noexcept;
    /// The same, wherever.
    bool fits_tiles() const noexcept;
    /// Bytes of one replica's buffers, where a text has up to `max_tokens` and `n_threads` compute.
    std::size_t scratch_bytes(std::int64_t max_tokens, int n_threads) const noexcept;
};

}  // namespace modelpool::nn

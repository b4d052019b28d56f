#include "torch/clip_config.hpp"

namespace modelpool::nn {

std::size_t
clip_tower_config::scratch_bytes(std::int64_t n_rows, std::size_t element_bytes) const noexcept
{
    const auto rows = static_cast<std::size_t>(n_rows);
    const auto hidden = static_cast<std::size_t>(hidden_size);
    const auto inner = static_cast<std::size_t>(intermediate_size);
    // The hidden states, and what a norm makes of them.
    const std::size_t residual = 2 * hidden * sizeof(float);
    const std::size_t narrowed = element_bytes == sizeof(float) ? 0 : hidden * element_bytes;
    // Queries, keys, values, what attention makes of them, and the inner states.
    const std::size_t layer = (5 * hidden + inner) * element_bytes;
    return rows * (residual + narrowed + layer);
}

}  // namespace modelpool::nn

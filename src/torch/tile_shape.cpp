#include "torch/tile_shape.hpp"

#include <algorithm>

namespace modelpool::nn {

bool tile_shape::fits_tiles() const noexcept
{
    return hidden_size % 32 == 0 && inner_size % 32 == 0 && hidden_size % n_heads == 0 &&
           hidden_size / n_heads % 16 == 0;
}

bool tile_shape::runs_here() const noexcept
{
    return fits_tiles() && kernels::has_bf16_tiles();
}

std::size_t tile_shape::scratch_bytes(std::int64_t max_tokens, int n_threads) const noexcept
{
    const auto rows = static_cast<std::size_t>(std::max(max_tokens, part_rows));
    const auto hidden = static_cast<std::size_t>(hidden_size);
    const auto inner = static_cast<std::size_t>(inner_size);
    const std::size_t number = parts == kernels::bf16_parts::two ? 4 : 2;
    const std::size_t row = (2 * hidden + inner) * number + 3 * hidden * sizeof(float);
    return static_cast<std::size_t>(n_threads) * rows * row;
}

}  // namespace modelpool::nn

#include "torch/llama_encoder_config.hpp"

#include <algorithm>

#include "torch/packing.hpp"

namespace modelpool::nn {

std::size_t
llama_encoder_config::scratch_bytes(std::int64_t n_rows, std::size_t element_bytes) const noexcept
{
    const auto rows = static_cast<std::size_t>(n_rows);
    const auto hidden = static_cast<std::size_t>(hidden_size);
    const auto heads = static_cast<std::size_t>((2 * n_heads + 2 * n_kv_heads) * head_size);
    const std::size_t narrowed = element_bytes == sizeof(float) ? 0 : hidden * element_bytes;
    const std::size_t token = 2 * hidden * sizeof(float) + narrowed + heads * element_bytes;
    const auto inner_rows = static_cast<std::size_t>(std::min(n_rows, default_block_rows));
    const auto inner = 2 * static_cast<std::size_t>(intermediate_size);
    return rows * token + inner_rows * inner * element_bytes;
}

}  // namespace modelpool::nn

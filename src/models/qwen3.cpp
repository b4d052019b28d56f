// Qwen3: queries and keys are normed head by head before they are rotated, and the size of a head is
// its own.
// Paper: arXiv:2505.09388
// Upstream: https://github.com/huggingface/transformers, models/qwen3/modeling_qwen3.py
// Checkpoint: https://huggingface.co/Qwen/Qwen3-1.7B

#include <cmath>
#include <utility>

#include "models/decoder_families.hpp"

namespace modelpool::models {

decoder::decoder_config qwen3_decoder(decoder::hyperparameters sizes)
{
    decoder::decoder_config config;
    config.softmax_scale = static_cast<float>(1 / std::sqrt(static_cast<double>(sizes.key_size)));
    config.takes_biases = true;
    config.takes_head_norms = true;
    config.sizes = std::move(sizes);
    return config;
}

}  // namespace modelpool::models

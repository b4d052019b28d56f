// Qwen3's mixtures of experts.
// Paper: arXiv:2505.09388
// Upstream: https://github.com/huggingface/transformers, models/qwen3_moe/modeling_qwen3_moe.py
// Checkpoint: https://huggingface.co/Qwen/Qwen3-Coder-30B-A3B-Instruct

#include <cmath>
#include <utility>

#include "models/decoder_families.hpp"

namespace modelpool::models {

decoder::decoder_config qwen3moe_decoder(decoder::hyperparameters sizes)
{
    decoder::decoder_config config;
    config.softmax_scale = static_cast<float>(1 / std::sqrt(static_cast<double>(sizes.key_size)));
    config.takes_biases = true;
    config.takes_head_norms = true;
    if (sizes.n_experts == 0) sizes.fail("the number of experts is not given");
    // GGUF files need not say what all checkpoints do.
    if (!sizes.expert_normalise_given) sizes.expert_normalise = sizes.from_gguf;
    config.sizes = std::move(sizes);
    return config;
}

}  // namespace modelpool::models

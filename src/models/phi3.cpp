// Phi-3, and Phi-4, which keeps its architecture: queries, keys and values from one matrix, gate
// and up from another.
// Papers: arXiv:2404.14219, arXiv:2412.08905
// Upstream: https://github.com/huggingface/transformers, models/phi3/modeling_phi3.py
// Checkpoint: https://huggingface.co/microsoft/Phi-4-reasoning

#include <cmath>
#include <utility>

#include "models/decoder_families.hpp"

namespace modelpool::models {

decoder::decoder_config phi3_decoder(decoder::hyperparameters sizes)
{
    decoder::decoder_config config;
    config.softmax_scale = static_cast<float>(1 / std::sqrt(static_cast<double>(sizes.key_size)));
    config.fused_qkv = true;
    config.fused_gate_up = true;
    config.sizes = std::move(sizes);
    return config;
}

}  // namespace modelpool::models

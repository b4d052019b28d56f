// Qwen2 and Qwen2.5: Llama with biases of queries, keys and values.
// Paper: arXiv:2407.10671
// Upstream: https://github.com/huggingface/transformers, models/qwen2/modeling_qwen2.py
// Checkpoint: https://huggingface.co/Qwen/Qwen2.5-7B-Instruct

#include <cmath>
#include <utility>

#include "models/decoder_families.hpp"

namespace modelpool::models {

decoder::decoder_config qwen2_decoder(decoder::hyperparameters sizes)
{
    decoder::decoder_config config;
    config.softmax_scale = static_cast<float>(1 / std::sqrt(static_cast<double>(sizes.key_size)));
    config.takes_biases = true;
    config.sizes = std::move(sizes);
    return config;
}

}  // namespace modelpool::models

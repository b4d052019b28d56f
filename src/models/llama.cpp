// Llama 2 and 3, Mistral and Mixtral, and what was made after them.
// Papers: arXiv:2302.13971, arXiv:2407.21783, arXiv:2310.06825, arXiv:2401.04088
// Upstream: https://github.com/huggingface/transformers, models/llama/modeling_llama.py
// Checkpoint: https://huggingface.co/meta-llama/Llama-3.1-8B-Instruct

#include <cmath>
#include <utility>

#include "models/decoder_families.hpp"

namespace modelpool::models {

decoder::decoder_config llama_decoder(decoder::hyperparameters sizes)
{
    decoder::decoder_config config;
    config.softmax_scale = static_cast<float>(1 / std::sqrt(static_cast<double>(sizes.key_size)));
    // The converter to GGUF reorders queries and keys so that neighbours make a pair.
    config.pairs = sizes.from_gguf ? decoder::rope_pairs::neighbours : decoder::rope_pairs::halves;
    config.takes_biases = true;
    sizes.expert_normalise = true;  // Mixtral
    config.sizes = std::move(sizes);
    return config;
}

}  // namespace modelpool::models

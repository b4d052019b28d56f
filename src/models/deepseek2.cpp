// DeepSeek-V2 and V3, and Kimi-K2: latent attention, experts beside shared ones, YaRN.
// Papers: arXiv:2405.04434, arXiv:2412.19437
// Upstream: https://github.com/huggingface/transformers, models/deepseek_v3/modeling_deepseek_v3.py
// Checkpoint: https://huggingface.co/moonshotai/Kimi-K2-Instruct

#include <cmath>
#include <utility>

#include "models/decoder_families.hpp"

namespace modelpool::models {

decoder::decoder_config deepseek2_decoder(decoder::hyperparameters sizes)
{
    decoder::decoder_config config;
    config.softmax_scale = static_cast<float>(1 / std::sqrt(static_cast<double>(sizes.key_size)));
    config.latent_attention = true;
    config.pairs = decoder::rope_pairs::neighbours;
    if (sizes.kv_rank == 0)
        sizes.refuse("has no latent attention; deepseek2 without it is not supported");
    const decoder::rope_scaling& scaling = sizes.scaling;
    if (scaling.type == decoder::rope_scaling::kind::yarn && scaling.factor > 1) {
        const double scale = 1 + scaling.log_multiplier * std::log(scaling.factor);
        config.softmax_scale *= static_cast<float>(scale * scale);
    }
    config.sizes = std::move(sizes);
    return config;
}

}  // namespace modelpool::models

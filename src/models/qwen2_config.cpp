#include "models/qwen2_config.hpp"

#include <string>

#include "models/config_fields.hpp"

namespace modelpool::models {

using support::json_file;

bool is_qwen2_encoder(const json_file& file)
{
    if (const auto causal = file.find_bool("is_causal")) return !*causal;
    const auto map = file.root().find("auto_map");
    return map != file.root().end() && map->is_object() && map->contains("AutoModel");
}

nn::llama_encoder_config read_qwen2_encoder_config(const json_file& file)
{
    need_model_type(file, "qwen2");
    if (!is_qwen2_encoder(file))
        refuse(
            file,
            "attention is causal, which is not supported for embeddings; supported: checkpoints "
            "whose "
            "'is_causal' is false or whose 'auto_map' names a model of their own");
    nn::llama_encoder_config config = read_llama_config(file);
    config.qkv_bias = true;
    return config;
}

}  // namespace modelpool::models

#include "models/new_config.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include "models/config_fields.hpp"
#include "support/printable.hpp"
#include "torch/packing.hpp"
#include "torch/rope_frequencies.hpp"

namespace modelpool::models {
namespace {

using support::in_quotes;
using support::json_file;

void need_choice(const json_file& file, const std::string& key, const std::string& only)
{
    const std::string found = file.find_string(key).value_or(only);
    if (found != only)
        refuse(
            file,
            in_quotes(key) + " " + in_quotes(found) + " is not supported; supported: " + only);
}

void refuse_switch(const json_file& file, const std::string& key)
{
    if (file.find_bool(key).value_or(false))
        refuse(file, in_quotes(key) + " is true, which is not supported");
}

double read_rope_factor(const json_file& file)
{
    const auto place = file.root().find("rope_scaling");
    if (place == file.root().end() || place->is_null()) return 1;
    const json_file scaling = inner_config(file, "rope_scaling");
    need_choice(scaling, "type", "ntk");
    if (scaling.find_number("mixed_b"))
        refuse(scaling, "'mixed_b' is not supported; supported: null");
    const double factor = scaling.find_number("factor").value_or(1);
    if (!(factor >= 1 && factor <= 1e6))
        scaling.fail("'factor' must lie in [1, 1e6], found " + std::to_string(factor));
    return factor;
}

}  // namespace

new_config new_config::read(const json_file& file)
{
    need_model_type(file, "new");
    need_encoder(file);
    need_choice(file, "position_embedding_type", "rope");
    need_choice(file, "layer_norm_type", "layer_norm");
    refuse_switch(file, "logn_attention_scale");
    need_multiple(file, "hidden_size", "num_attention_heads");
    new_config config;
    config.vocab_size = need_size(file, "vocab_size");
    config.hidden_size = need_size(file, "hidden_size");
    config.num_hidden_layers = file.need_int("num_hidden_layers", 1, 4096);
    config.num_attention_heads = need_size(file, "num_attention_heads");
    config.intermediate_size = need_size(file, "intermediate_size");
    config.max_position_embeddings =
        file.find_int("max_position_embeddings", 1, std::int64_t{1} << 24).value_or(8192);
    config.type_vocab_size = file.find_int("type_vocab_size", 0, 65536).value_or(0);
    config.layer_norm_eps = read_epsilon(file, "layer_norm_eps", 1e-12);
    config.rope_theta = read_rope_theta(file, 10000);
    config.rope_factor = read_rope_factor(file);
    config.pack_qkv = file.find_bool("pack_qkv").value_or(true);
    config.hidden_act = read_activation(file, "hidden_act", "gelu");
    if (config.hidden_size / config.num_attention_heads % 2 != 0)
        file.fail(
            "rotary positions need heads of an even size, found " +
            std::to_string(config.hidden_size / config.num_attention_heads));
    return config;
}

std::vector<float> new_config::frequencies() const
{
    const std::int64_t size = hidden_size / num_attention_heads;
    std::vector<float> result = nn::rope_frequencies(size, rope_theta * rope_factor);
    const double stretch = std::pow(rope_factor, 2.0 / static_cast<double>(size));
    for (float& frequency : result)
        frequency = static_cast<float>(static_cast<double>(frequency) / stretch);
    return result;
}

std::size_t new_config::scratch_bytes(std::int64_t n_rows, std::size_t element_bytes) const noexcept
{
    const auto rows = static_cast<std::size_t>(n_rows);
    const auto hidden = static_cast<std::size_t>(hidden_size);
    const std::size_t narrowed = element_bytes == sizeof(float) ? 0 : hidden * element_bytes;
    const std::size_t token = 2 * hidden * sizeof(float) + narrowed + 4 * hidden * element_bytes;
    const auto inner_rows = static_cast<std::size_t>(std::min(n_rows, nn::default_block_rows));
    const auto inner = 2 * static_cast<std::size_t>(intermediate_size);
    return rows * token + inner_rows * inner * element_bytes;
}

}  // namespace modelpool::models

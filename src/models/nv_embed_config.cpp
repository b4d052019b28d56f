#include "models/nv_embed_config.hpp"

#include <algorithm>
#include <string>

#include "models/config_fields.hpp"
#include "support/printable.hpp"
#include "torch/packing.hpp"

namespace modelpool::models {
namespace {

using support::in_quotes;
using support::json_file;

void need_same(const json_file& file, const std::string& key, std::int64_t expected)
{
    const std::int64_t found = file.find_int(key, 1, std::int64_t{1} << 28).value_or(expected);
    if (found != expected)
        file.fail(
            in_quotes(key) + " must be the hidden size, " + std::to_string(expected) + ", found " +
            std::to_string(found));
}

}  // namespace

nv_embed_config nv_embed_config::read(const json_file& file)
{
    need_model_type(file, "nvembed");
    const std::string side = file.find_string("padding_side").value_or("right");
    if (side != "right")
        refuse(file, "'padding_side' " + in_quotes(side) + " is not supported; supported: right");
    const json_file text = inner_config(file, "text_config");
    const json_file latent = inner_config(file, "latent_attention_config");
    nv_embed_config config;
    // The vendor's attention does not look at `sliding_window`.
    config.text = read_llama_config(text);
    need_same(file, "hidden_size", config.text.hidden_size);
    need_same(latent, "hidden_dim", config.text.hidden_size);
    need_same(latent, "latent_dim", config.text.hidden_size);
    config.n_latents = latent.find_int("num_latents_value", 1, 1 << 20).value_or(512);
    config.n_heads = latent.find_int("num_cross_heads", 1, 1 << 16).value_or(8);
    config.head_size = latent.find_int("cross_dim_head", 1, 1 << 20).value_or(4096);
    config.normalize = latent.find_bool("output_normalize").value_or(false);
    config.mask_instruction = file.find_bool("is_mask_instruction").value_or(true);
    return config;
}

std::size_t nv_embed_config::folded_bytes() const noexcept
{
    return 2 * sizeof(float) * static_cast<std::size_t>(latent_width() * text.hidden_size);
}

std::size_t
nv_embed_config::scratch_bytes(std::int64_t n_rows, std::size_t element_bytes) const noexcept
{
    const auto rows = static_cast<std::size_t>(std::min(n_rows, nn::default_block_rows));
    const auto hidden = static_cast<std::size_t>(text.hidden_size);
    const auto scores = static_cast<std::size_t>(latent_width());
    const std::size_t latent = rows * (2 * scores + 3 * hidden + 8 * hidden) * sizeof(float);
    return text.scratch_bytes(n_rows, element_bytes) + latent;
}

}  // namespace modelpool::models

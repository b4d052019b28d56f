#include "models/jina_bert_config.hpp"

#include <algorithm>
#include <string>

#include "models/config_fields.hpp"
#include "support/printable.hpp"
#include "torch/packing.hpp"

namespace modelpool::models {
namespace {

using support::in_quotes;
using support::json_file;

nn::activation read_gate(const json_file& file)
{
    const std::string type = file.find_string("feed_forward_type").value_or("geglu");
    if (type == "geglu") return nn::activation::gelu;
    if (type == "reglu") return nn::activation::relu;
    refuse(
        file,
        "'feed_forward_type' " + in_quotes(type) + " is not supported; supported: geglu, reglu");
}

}  // namespace

jina_bert_config jina_bert_config::read(const json_file& file)
{
    need_model_type(file, "bert");
    need_encoder(file);
    const std::string positions = file.find_string("position_embedding_type").value_or("absolute");
    if (positions != "alibi")
        refuse(
            file,
            "'position_embedding_type' " + in_quotes(positions) +
                " is not supported by jina-bert; supported: alibi");
    need_multiple(file, "hidden_size", "num_attention_heads");
    jina_bert_config config;
    config.vocab_size = need_size(file, "vocab_size");
    config.hidden_size = need_size(file, "hidden_size");
    config.num_hidden_layers = file.need_int("num_hidden_layers", 1, 4096);
    config.num_attention_heads = need_size(file, "num_attention_heads");
    config.intermediate_size = need_size(file, "intermediate_size");
    config.max_position_embeddings =
        file.find_int("max_position_embeddings", 1, std::int64_t{1} << 24).value_or(8192);
    config.type_vocab_size = file.find_int("type_vocab_size", 1, 65536).value_or(2);
    config.layer_norm_eps = read_epsilon(file, "layer_norm_eps", 1e-12);
    config.gate = read_gate(file);
    return config;
}

std::size_t
jina_bert_config::scratch_bytes(std::int64_t n_rows, std::size_t element_bytes) const noexcept
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

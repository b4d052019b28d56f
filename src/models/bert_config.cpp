#include "models/bert_config.hpp"

#include <modelpool/error.hpp>

#include <algorithm>
#include <string>
#include <thread>

#include "support/printable.hpp"

namespace modelpool::models {
namespace {

using support::in_quotes;
using support::json_file;

[[noreturn]] void refuse(const json_file& file, const std::string& sentence)
{
    throw error{model_errc::unsupported, file.name() + ": " + sentence};
}

// What would make this another architecture than BERT's encoder.
void refuse_variants(const json_file& file)
{
    const std::string type = file.find_string("model_type").value_or("bert");
    if (type != "bert") refuse(file, "'model_type' is " + in_quotes(type) + ", expected 'bert'");
    const std::string positions = file.find_string("position_embedding_type").value_or("absolute");
    if (positions != "absolute")
        refuse(
            file,
            "'position_embedding_type' " + in_quotes(positions) +
                " is not supported by bert; supported: absolute");
    for (const char* key : {"is_decoder", "add_cross_attention"})
        if (file.find_bool(key).value_or(false))
            refuse(
                file,
                "'" + std::string{key} + "' is true; supported are bidirectional encoders only");
}

nn::activation read_activation(const json_file& file)
{
    const std::string name = file.find_string("hidden_act").value_or("gelu");
    if (const auto known = nn::parse_activation(name)) return *known;
    refuse(
        file,
        "'hidden_act' " + in_quotes(name) +
            " is not supported; supported: " + std::string{nn::activation_names()});
}

}  // namespace

bert_config bert_config::read(const json_file& file)
{
    refuse_variants(file);
    bert_config config;
    config.vocab_size = file.need_int("vocab_size", 1, std::int64_t{1} << 28);
    config.hidden_size = file.need_int("hidden_size", 1, std::int64_t{1} << 20);
    config.num_hidden_layers = file.need_int("num_hidden_layers", 1, 4096);
    config.num_attention_heads = file.need_int("num_attention_heads", 1, std::int64_t{1} << 20);
    config.intermediate_size = file.need_int("intermediate_size", 1, std::int64_t{1} << 22);
    config.max_position_embeddings =
        file.find_int("max_position_embeddings", 1, std::int64_t{1} << 24).value_or(512);
    config.type_vocab_size = file.find_int("type_vocab_size", 1, 65536).value_or(2);
    if (config.hidden_size % config.num_attention_heads != 0)
        file.fail(
            "'hidden_size' must be a multiple of 'num_attention_heads', found " +
            std::to_string(config.hidden_size) + " and " +
            std::to_string(config.num_attention_heads));
    config.layer_norm_eps = file.find_number("layer_norm_eps").value_or(1e-12);
    if (!(config.layer_norm_eps >= 0 && config.layer_norm_eps < 1))
        file.fail(
            "'layer_norm_eps' must lie in [0, 1), found " + std::to_string(config.layer_norm_eps));
    config.hidden_act = read_activation(file);
    return config;
}

nn::tile_shape bert_config::tiles(kernels::bf16_parts parts) const noexcept
{
    return {
        hidden_size,
        num_attention_heads,
        intermediate_size,
        hidden_act,
        static_cast<float>(layer_norm_eps),
        parts};
}

std::size_t bert_config::replica_bytes(std::int64_t max_block_rows, std::size_t element_bytes) const
{
    const bool is_f32 = element_bytes == sizeof(float);
    const nn::tile_shape shape =
        tiles(is_f32 ? kernels::bf16_parts::two : kernels::bf16_parts::one);
    if (!shape.runs_here()) return scratch_bytes(max_block_rows, element_bytes);
    const auto n_cores = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
    return static_cast<std::size_t>(max_block_rows * hidden_size) * sizeof(float) +
           shape.scratch_bytes(max_position_embeddings, n_cores);
}

std::size_t
bert_config::scratch_bytes(std::int64_t n_rows, std::size_t element_bytes) const noexcept
{
    const auto rows = static_cast<std::size_t>(n_rows);
    const auto hidden = static_cast<std::size_t>(hidden_size);
    const auto inner = static_cast<std::size_t>(intermediate_size);
    // The hidden states, before and after a norm.
    const std::size_t residual = 2 * hidden * sizeof(float);
    const std::size_t narrowed = element_bytes == sizeof(float) ? 0 : hidden * element_bytes;
    // Queries, keys, values, what attention makes of them, and the inner states.
    const std::size_t layer = (5 * hidden + inner) * element_bytes;
    return rows * (residual + narrowed + layer);
}

}  // namespace modelpool::models

#include "models/config_fields.hpp"

#include <modelpool/error.hpp>

#include "support/printable.hpp"

namespace modelpool::models {

using support::in_quotes;
using support::json_file;

namespace {

constexpr std::int64_t most = std::int64_t{1} << 28;

}  // namespace

void refuse(const json_file& file, const std::string& sentence)
{
    throw error{model_errc::unsupported, file.name() + ": " + sentence};
}

void need_model_type(const json_file& file, const std::string& expected)
{
    const std::string found = file.find_string("model_type").value_or(expected);
    if (found != expected)
        refuse(file, "'model_type' is " + in_quotes(found) + ", expected " + in_quotes(expected));
}

void need_encoder(const json_file& file)
{
    for (const char* key : {"is_decoder", "add_cross_attention"})
        if (file.find_bool(key).value_or(false))
            refuse(
                file,
                "'" + std::string{key} + "' is true; supported are bidirectional encoders only");
}

nn::activation
read_activation(const json_file& file, const std::string& key, const std::string& usual)
{
    const std::string name = file.find_string(key).value_or(usual);
    if (const auto known = nn::parse_activation(name)) return *known;
    refuse(
        file,
        in_quotes(key) + " " + in_quotes(name) +
            " is not supported; supported: " + std::string{nn::activation_names()});
}

double read_epsilon(const json_file& file, const std::string& key, double usual)
{
    const double value = file.find_number(key).value_or(usual);
    if (!(value >= 0 && value < 1))
        file.fail(in_quotes(key) + " must lie in [0, 1), found " + std::to_string(value));
    return value;
}

std::int64_t need_size(const json_file& file, const std::string& key)
{
    return file.need_int(key, 1, most);
}

void need_multiple(const json_file& file, const std::string& whole_key, const std::string& part_key)
{
    const std::int64_t whole = need_size(file, whole_key);
    const std::int64_t part = need_size(file, part_key);
    if (whole % part != 0)
        file.fail(
            in_quotes(whole_key) + " must be a multiple of " + in_quotes(part_key) + ", found " +
            std::to_string(whole) + " and " + std::to_string(part));
}

nn::llama_encoder_config read_llama_config(const json_file& file)
{
    nn::llama_encoder_config config;
    config.vocab_size = need_size(file, "vocab_size");
    config.hidden_size = need_size(file, "hidden_size");
    config.n_layers = file.need_int("num_hidden_layers", 1, 4096);
    config.n_heads = need_size(file, "num_attention_heads");
    config.n_kv_heads = file.find_int("num_key_value_heads", 1, most).value_or(config.n_heads);
    if (config.n_heads % config.n_kv_heads != 0)
        file.fail(
            "'num_attention_heads' must be a multiple of 'num_key_value_heads', found " +
            std::to_string(config.n_heads) + " and " + std::to_string(config.n_kv_heads));
    if (const auto size = file.find_int("head_dim", 2, most)) {
        config.head_size = *size;
    } else {
        need_multiple(file, "hidden_size", "num_attention_heads");
        config.head_size = config.hidden_size / config.n_heads;
    }
    if (config.head_size % 2 != 0)
        file.fail(
            "rotary positions need heads of an even size, found " +
            std::to_string(config.head_size));
    config.intermediate_size = need_size(file, "intermediate_size");
    config.max_position_embeddings =
        file.need_int("max_position_embeddings", 1, std::int64_t{1} << 24);
    config.rms_norm_eps = read_epsilon(file, "rms_norm_eps", 1e-6);
    config.rope_theta = read_rope_theta(file, 10000);
    config.hidden_act = read_activation(file, "hidden_act", "silu");
    const auto scaling = file.root().find("rope_scaling");
    if (scaling != file.root().end() && !scaling->is_null())
        refuse(file, "'rope_scaling' is not supported here; supported: null");
    return config;
}

double read_rope_theta(const json_file& file, double usual)
{
    const double theta = file.find_number("rope_theta").value_or(usual);
    if (!(theta > 1 && theta < 1e12))
        file.fail("'rope_theta' must lie in (1, 1e12), found " + std::to_string(theta));
    return theta;
}

json_file inner_config(const json_file& file, const std::string& key)
{
    const auto place = file.root().find(key);
    if (place == file.root().end() || !place->is_object())
        file.fail(in_quotes(key) + " must be an object");
    return json_file{place->dump(), file.name() + ": " + key, model_errc::bad_config};
}

}  // namespace modelpool::models

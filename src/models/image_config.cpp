#include "models/image_config.hpp"

#include <cmath>

#include "models/config_fields.hpp"
#include "support/printable.hpp"

namespace modelpool::models {
namespace {

using support::in_quotes;
using support::json_file;

constexpr std::int64_t most = std::int64_t{1} << 20;
constexpr std::size_t max_levels = 8;

// Every one of the blocks is of the one kind.
void need_blocks(const json_file& file, const std::string& key, const std::string& expected)
{
    const auto place = file.root().find(key);
    if (place == file.root().end() || place->is_null()) return;
    if (!place->is_array()) file.fail(in_quotes(key) + " must be an array");
    for (const auto& one : *place)
        if (!one.is_string() || one.get_ref<const std::string&>() != expected)
            refuse(file, in_quotes(key) + " has a block that is not " + in_quotes(expected));
}

double finite_number(const json_file& file, const std::string& key, double usual)
{
    const double value = file.find_number(key).value_or(usual);
    if (!std::isfinite(value) || std::abs(value) > 1e6)
        file.fail(in_quotes(key) + " is out of range: " + std::to_string(value));
    return value;
}

void read_widths(const json_file& file, nn::autoencoder_config& config)
{
    const auto place = file.root().find("block_out_channels");
    if (place == file.root().end() || !place->is_array() || place->empty() ||
        place->size() > max_levels)
        file.fail("'block_out_channels' must be an array of 1 to 8 sizes");
    for (const auto& one : *place) {
        if (!one.is_number_unsigned() || one.get<std::uint64_t>() < 1 ||
            one.get<std::uint64_t>() > static_cast<std::uint64_t>(most))
            file.fail("'block_out_channels' must hold sizes, found " + one.dump());
        config.block_out_channels.push_back(one.get<std::int64_t>());
        if (config.block_out_channels.back() % config.norm_groups != 0)
            file.fail(
                "'block_out_channels' must be multiples of 'norm_num_groups', found " + one.dump() +
                " and " + std::to_string(config.norm_groups));
    }
}

}  // namespace

void need_class(const json_file& file, const std::string& expected)
{
    if (!file.root().is_object())
        file.fail(std::string{"expected an object, found "} + file.root().type_name());
    const std::string found = file.find_string("_class_name").value_or(expected);
    if (found != expected)
        refuse(file, "'_class_name' is " + in_quotes(found) + ", expected " + in_quotes(expected));
}

std::int64_t size_or(const json_file& file, const std::string& key, std::int64_t usual)
{
    return file.find_int(key, 1, most).value_or(usual);
}

nn::autoencoder_config read_autoencoder_config(const json_file& file)
{
    need_class(file, "AutoencoderKL");
    need_blocks(file, "down_block_types", "DownEncoderBlock2D");
    need_blocks(file, "up_block_types", "UpDecoderBlock2D");
    for (const char* key : {"in_channels", "out_channels"})
        if (file.find_int(key, 1, most).value_or(3) != 3)
            refuse(file, in_quotes(key) + " must be 3: images have red, green and blue");
    if (const std::string function = file.find_string("act_fn").value_or("silu");
        function != "silu" && function != "swish")
        refuse(file, "'act_fn' " + in_quotes(function) + " is not supported; supported: silu");
    nn::autoencoder_config config;
    config.norm_groups = size_or(file, "norm_num_groups", 32);
    read_widths(file, config);
    config.layers_per_block = file.find_int("layers_per_block", 1, 64).value_or(1);
    config.latent_channels = size_or(file, "latent_channels", 4);
    config.sample_size = file.find_int("sample_size", config.factor(), most)
                             .value_or(std::max<std::int64_t>(1024, config.factor()));
    config.scaling_factor = finite_number(file, "scaling_factor", 0.18215);
    if (config.scaling_factor == 0) file.fail("'scaling_factor' must not be 0");
    config.shift_factor = finite_number(file, "shift_factor", 0);
    config.use_quant_conv = file.find_bool("use_quant_conv").value_or(true);
    config.use_post_quant_conv = file.find_bool("use_post_quant_conv").value_or(true);
    config.mid_attention = file.find_bool("mid_block_add_attention").value_or(true);
    return config;
}

nn::t5_config read_t5_config(const json_file& file)
{
    if (!file.root().is_object())
        file.fail(std::string{"expected an object, found "} + file.root().type_name());
    need_model_type(file, "t5");
    const std::string kind = file.find_string("feed_forward_proj").value_or("relu");
    if (kind != "gated-gelu")
        refuse(
            file,
            "'feed_forward_proj' " + in_quotes(kind) + " is not supported; supported: gated-gelu");
    nn::t5_config config;
    config.vocab_size = need_size(file, "vocab_size");
    config.d_model = file.need_int("d_model", 1, most);
    config.d_kv = file.need_int("d_kv", 1, most);
    config.d_ff = file.need_int("d_ff", 1, most);
    config.n_layers = file.need_int("num_layers", 1, 4096);
    config.n_heads = file.need_int("num_heads", 1, most);
    config.n_buckets = file.find_int("relative_attention_num_buckets", 4, most).value_or(32);
    config.max_distance = file.find_int("relative_attention_max_distance", 2, most).value_or(128);
    if (config.max_distance <= config.n_buckets / 4)
        file.fail("'relative_attention_max_distance' must be more than a quarter of "
                  "'relative_attention_num_buckets'");
    config.epsilon = read_epsilon(file, "layer_norm_epsilon", 1e-6);
    return config;
}

}  // namespace modelpool::models

#include "models/clip_config.hpp"

#include <modelpool/error.hpp>

#include <algorithm>
#include <string>

#include "models/config_fields.hpp"
#include "support/printable.hpp"
#include "torch/packing.hpp"

namespace modelpool::models {
namespace {

using support::in_quotes;
using support::json_file;

constexpr std::int64_t most = std::int64_t{1} << 20;
constexpr std::int64_t most_image_side = 16'384;

// What a configuration leaves out, as the first CLIP models have it.
struct usual_sizes {
    std::int64_t hidden_size;
    std::int64_t intermediate_size;
    std::int64_t n_heads;
};

void read_tower(const json_file& file, const usual_sizes& usual, nn::clip_tower_config& config)
{
    config.hidden_size = file.find_int("hidden_size", 1, most).value_or(usual.hidden_size);
    config.intermediate_size =
        file.find_int("intermediate_size", 1, most).value_or(usual.intermediate_size);
    config.n_layers = file.find_int("num_hidden_layers", 1, 4096).value_or(12);
    config.n_heads = file.find_int("num_attention_heads", 1, most).value_or(usual.n_heads);
    if (config.hidden_size % config.n_heads != 0)
        file.fail(
            "'hidden_size' must be a multiple of 'num_attention_heads', found " +
            std::to_string(config.hidden_size) + " and " + std::to_string(config.n_heads));
    config.layer_norm_eps = read_epsilon(file, "layer_norm_eps", 1e-5);
    const std::string name = file.find_string("hidden_act").value_or("quick_gelu");
    if (name == "quick_gelu") return;
    config.hidden_act = nn::parse_activation(name);
    if (!config.hidden_act)
        refuse(
            file,
            "'hidden_act' " + in_quotes(name) + " is not supported; supported: quick_gelu, " +
                std::string{nn::activation_names()});
}

// The first configurations were saved with what they were made of beside the towers' own; where
// both say something, that goes first.
json_file tower_file(const json_file& file, const std::string& key)
{
    nlohmann::json merged = nlohmann::json::object();
    for (const std::string& part : {key, key + "_dict"}) {
        const auto place = file.root().find(part);
        if (place == file.root().end() || place->is_null()) continue;
        if (!place->is_object()) file.fail(in_quotes(part) + " must be an object");
        merged.update(*place);
    }
    return json_file{merged.dump(), file.name() + ": " + key, model_errc::bad_config};
}

}  // namespace

nn::clip_vision_config read_clip_vision(const json_file& file)
{
    nn::clip_vision_config config;
    read_tower(file, {768, 3072, 12}, config);
    config.image_size = file.find_int("image_size", 1, most_image_side).value_or(224);
    config.patch_size = file.find_int("patch_size", 1, most_image_side).value_or(32);
    if (config.patch_size > config.image_size)
        file.fail(
            "'patch_size' must be at most 'image_size', found " +
            std::to_string(config.patch_size) + " and " + std::to_string(config.image_size));
    const std::int64_t n_channels = file.find_int("num_channels", 1, most).value_or(3);
    if (n_channels != 3)
        refuse(
            file,
            "'num_channels' " + std::to_string(n_channels) + " is not supported; supported: 3");
    return config;
}

nn::clip_text_config read_clip_text(const json_file& file)
{
    nn::clip_text_config config;
    read_tower(file, {512, 2048, 8}, config);
    config.vocab_size = file.find_int("vocab_size", 1, std::int64_t{1} << 28).value_or(49'408);
    config.max_position_embeddings = file.find_int("max_position_embeddings", 1, most).value_or(77);
    config.eos_token_id = file.find_int("eos_token_id", 0, std::int64_t{1} << 28).value_or(49'407);
    return config;
}

clip_config clip_config::read(const json_file& file)
{
    if (!file.root().is_object())
        file.fail(std::string{"expected an object, found "} + file.root().type_name());
    need_model_type(file, "clip");
    clip_config config;
    config.vision = read_clip_vision(tower_file(file, "vision_config"));
    config.text = read_clip_text(tower_file(file, "text_config"));
    config.projection_dim = file.find_int("projection_dim", 1, most).value_or(512);
    return config;
}

images::image_preprocessor blocking_read_clip_preprocessor(
    const std::filesystem::path& dir, const nn::clip_vision_config& vision)
{
    images::image_preprocessor made = images::image_preprocessor::blocking_read(dir);
    const auto side = static_cast<std::size_t>(vision.image_size);
    const auto size = made.output_size();
    if (!size || *size != image_size{side, side})
        throw error{
            model_errc::bad_config,
            dir.string() + ": the preprocessing gives images of " +
                (size ? std::to_string(size->width) + " x " + std::to_string(size->height)
                      : std::string{"any number of"}) +
                " pixels, the model takes " + std::to_string(side) + " x " + std::to_string(side)};
    return made;
}

std::int64_t clip_config::n_block_images() const noexcept
{
    return std::max<std::int64_t>(1, nn::default_block_rows / vision.n_tokens());
}

std::int64_t clip_config::n_block_tokens() const noexcept
{
    return std::max(nn::default_block_rows, text.max_position_embeddings);
}

std::size_t clip_config::scratch_bytes(std::size_t element_bytes) const noexcept
{
    const std::int64_t n_images = n_block_images();
    // The pixels side by side, and cut into patches.
    const auto pixels =
        static_cast<std::size_t>(n_images * 3 * vision.image_size * vision.image_size);
    return vision.scratch_bytes(n_images * vision.n_tokens(), element_bytes) +
           text.scratch_bytes(n_block_tokens(), element_bytes) + 2 * pixels * sizeof(float);
}

}  // namespace modelpool::models

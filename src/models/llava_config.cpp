#include "models/llava_config.hpp"

#include <modelpool/error.hpp>

#include <algorithm>
#include <string>

#include "models/clip_config.hpp"
#include "models/config_fields.hpp"
#include "support/printable.hpp"

namespace modelpool::models {
namespace {

using support::in_quotes;
using support::json_file;

constexpr std::int64_t most = std::int64_t{1} << 20;

json_file object_or(const json_file& file, const std::string& key, nlohmann::json usual)
{
    const auto place = file.root().find(key);
    if (place != file.root().end() && !place->is_null()) {
        if (!place->is_object()) file.fail(in_quotes(key) + " must be an object");
        usual.update(*place);
    }
    return json_file{usual.dump(), file.name() + ": " + key, model_errc::bad_config};
}

nn::clip_vision_config read_vision(const json_file& file)
{
    const auto given = file.root().find("vision_config");
    const bool is_given = given != file.root().end() && !given->is_null();
    nlohmann::json usual = nlohmann::json::object();
    if (!is_given)
        usual = {
            {"hidden_size", 1024},
            {"intermediate_size", 4096},
            {"num_hidden_layers", 24},
            {"num_attention_heads", 16},
            {"image_size", 336},
            {"patch_size", 14}};
    const json_file inner = object_or(file, "vision_config", std::move(usual));
    const std::string type = inner.find_string("model_type").value_or("clip_vision_model");
    if (type != "clip_vision_model")
        refuse(
            inner,
            "'model_type' " + in_quotes(type) + " is not supported; supported: clip_vision_model");
    return read_clip_vision(inner);
}

// How many layers lie below the states that an index names: 0 are those that go into the first
// layer, -1 those behind the last one.
std::int64_t layer_of(const json_file& file, const nlohmann::json& value, std::int64_t n_layers)
{
    const char* const key = "'vision_feature_layer'";
    if (!value.is_number_integer())
        file.fail(std::string{key} + " must be an integer or an array of integers");
    const auto index = value.get<std::int64_t>();
    if (index < -(n_layers + 1) || index > n_layers)
        file.fail(
            std::string{key} + " must lie between " + std::to_string(-(n_layers + 1)) + " and " +
            std::to_string(n_layers) + ", found " + std::to_string(index));
    return index < 0 ? index + n_layers + 1 : index;
}

std::vector<std::int64_t> read_layers(const json_file& file, std::int64_t n_layers)
{
    const auto found = file.root().find("vision_feature_layer");
    if (found == file.root().end() || found->is_null()) return {layer_of(file, -2, n_layers)};
    if (!found->is_array()) return {layer_of(file, *found, n_layers)};
    constexpr std::size_t most_layers = 64;
    if (found->empty() || found->size() > most_layers)
        file.fail(
            "'vision_feature_layer' must name 1 to " + std::to_string(most_layers) + " layers");
    std::vector<std::int64_t> layers;
    for (const nlohmann::json& value : *found)
        layers.push_back(layer_of(file, value, n_layers));
    return layers;
}

std::int32_t read_image_token(const json_file& file)
{
    constexpr std::int64_t largest = (std::int64_t{1} << 31) - 1;
    for (const char* key : {"image_token_index", "image_token_id"})
        if (const auto id = file.find_int(key, 0, largest)) return static_cast<std::int32_t>(*id);
    return 32'000;
}

}  // namespace

json_file llava_text_config(const json_file& file)
{
    nlohmann::json usual = nlohmann::json::object();
    const auto given = file.root().find("text_config");
    bool is_llama = true;
    if (given != file.root().end() && given->is_object()) {
        const auto type = given->find("model_type");
        is_llama = type == given->end() || *type == nlohmann::json("llama");
    }
    // Source: configuration_llama.py beside the one above.
    if (is_llama)
        usual = {
            {"model_type", "llama"},
            {"vocab_size", 32'000},
            {"hidden_size", 4096},
            {"intermediate_size", 11'008},
            {"num_hidden_layers", 32},
            {"num_attention_heads", 32},
            {"max_position_embeddings", 2048},
            {"rms_norm_eps", 1e-6},
            {"eos_token_id", 2}};
    return object_or(file, "text_config", std::move(usual));
}

llava_config llava_config::read(const json_file& file)
{
    if (!file.root().is_object())
        file.fail(std::string{"expected an object, found "} + file.root().type_name());
    need_model_type(file, "llava");
    llava_config config;
    config.vision = read_vision(file);
    config.feature_layers = read_layers(file, config.vision.n_layers);
    config.vision.n_layers = *std::ranges::max_element(config.feature_layers);
    config.vision.has_pooled = false;
    const std::string strategy =
        file.find_string("vision_feature_select_strategy").value_or("default");
    if (strategy != "default" && strategy != "full")
        refuse(
            file,
            "'vision_feature_select_strategy' " + in_quotes(strategy) +
                " is not supported; supported: default, full");
    config.with_class = strategy == "full";
    config.projector_act = read_activation(file, "projector_hidden_act", "gelu");
    config.projector_bias = file.find_bool("multimodal_projector_bias").value_or(true);
    config.text_hidden = llava_text_config(file).need_int("hidden_size", 1, most);
    config.image_token = read_image_token(file);
    return config;
}

std::size_t llava_config::scratch_bytes() const noexcept
{
    const auto count = [](std::int64_t n) { return static_cast<std::size_t>(n); };
    // The pixels side by side, and cut into patches.
    const std::size_t pixels = 6 * count(vision.image_size) * count(vision.image_size);
    const std::size_t features =
        count(vision.n_tokens()) * (count(feature_width()) + 2 * count(text_hidden));
    return vision.scratch_bytes(vision.n_tokens(), sizeof(float)) +
           (pixels + features) * sizeof(float);
}

}  // namespace modelpool::models

#include "models/mmproj.hpp"

#include <modelpool/error.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kernels/block_type.hpp"
#include "support/json.hpp"
#include "support/printable.hpp"

namespace modelpool::models {
namespace {

using support::in_quotes;
using weights::gguf_header;
using weights::gguf_tensor;
using weights::gguf_type;
using name_pair = std::pair<std::string_view, std::string_view>;

constexpr std::int64_t most = std::int64_t{1} << 20;
constexpr std::int64_t most_image_side = 16'384;

[[noreturn]] void refuse(const gguf_header& header, const std::string& sentence)
{
    throw error{model_errc::unsupported, header.name() + ": " + sentence};
}

std::optional<nn::activation> read_activation(const gguf_header& header)
{
    if (header.find_bool("clip.use_silu").value_or(false)) return nn::activation::silu;
    if (header.find_bool("clip.use_gelu").value_or(false)) return nn::activation::gelu;
    return std::nullopt;  // quick_gelu
}

nn::clip_vision_config read_vision(const gguf_header& header)
{
    const auto need = [&](const char* key, std::int64_t largest) {
        return header.need_int("clip.vision." + std::string{key}, 1, largest);
    };
    nn::clip_vision_config vision;
    vision.hidden_size = need("embedding_length", most);
    vision.intermediate_size = need("feed_forward_length", most);
    vision.n_layers = need("block_count", 4096);
    vision.n_heads = need("attention.head_count", most);
    vision.image_size = need("image_size", most_image_side);
    vision.patch_size = need("patch_size", most_image_side);
    if (vision.patch_size > vision.image_size || vision.hidden_size % vision.n_heads != 0)
        header.fail(
            "an image of " + std::to_string(vision.image_size) + " pixels a side in patches of " +
            std::to_string(vision.patch_size) + ", and " + std::to_string(vision.hidden_size) +
            " numbers in " + std::to_string(vision.n_heads) + " heads, do not fit together");
    vision.layer_norm_eps =
        header.find_number("clip.vision.attention.layer_norm_epsilon").value_or(1e-5);
    if (!(vision.layer_norm_eps >= 0 && vision.layer_norm_eps < 1))
        header.fail("clip.vision.attention.layer_norm_epsilon must be a number from 0 to 1");
    vision.hidden_act = read_activation(header);
    vision.has_pooled = false;
    return vision;
}

const gguf_tensor& need_tensor(const gguf_header& header, const std::string& name)
{
    const auto found = header.tensors().find(name);
    if (found == header.tensors().end())
        throw error{
            model_errc::missing_tensor, header.name() + ": lacks the tensor " + in_quotes(name)};
    return found->second;
}

// Files of the first years have the two matrices of a layer under each other's names.
bool is_swapped(const gguf_tensor& up, const llava_config& config)
{
    return !up.dims.empty() && up.dims.front() != config.vision.hidden_size;
}

std::optional<std::string> layer_name(std::string_view rest, bool swapped)
{
    constexpr std::array<name_pair, 6> names{
        {{"attn_q.", "self_attn.q_proj."},
         {"attn_k.", "self_attn.k_proj."},
         {"attn_v.", "self_attn.v_proj."},
         {"attn_out.", "self_attn.out_proj."},
         {"ln1.", "layer_norm1."},
         {"ln2.", "layer_norm2."}}};
    for (const auto& [from, to] : names)
        if (rest.starts_with(from)) return std::string{to} + std::string{rest.substr(from.size())};
    for (const std::string_view from : {"ffn_up.", "ffn_down."}) {
        if (!rest.starts_with(from)) continue;
        const bool is_first = (from == "ffn_up.") != swapped;
        return (is_first ? "mlp.fc1." : "mlp.fc2.") + std::string{rest.substr(from.size())};
    }
    return std::nullopt;
}

// By the names that transformers gives a tower and a projector; nothing for what is not computed.
std::optional<std::string> translate(std::string_view name, bool swapped)
{
    constexpr std::array<name_pair, 6> outer{
        {{"v.class_embd", "vision_tower.embeddings.class_embedding"},
         {"v.patch_embd.", "vision_tower.embeddings.patch_embedding."},
         {"v.position_embd.", "vision_tower.embeddings.position_embedding."},
         {"v.pre_ln.", "vision_tower.pre_layrnorm."},
         {"mm.0.", "multi_modal_projector.linear_1."},
         {"mm.2.", "multi_modal_projector.linear_2."}}};
    for (const auto& [from, to] : outer)
        if (name.starts_with(from)) return std::string{to} + std::string{name.substr(from.size())};
    constexpr std::string_view block = "v.blk.";
    const std::size_t dot = name.find('.', block.size());
    if (!name.starts_with(block) || dot == std::string_view::npos) return std::nullopt;
    std::optional<std::string> inner = layer_name(name.substr(dot + 1), swapped);
    if (inner)
        *inner = "vision_tower.encoder.layers." +
                 std::string{name.substr(block.size(), dot - block.size())} + "." + *inner;
    return inner;
}

// What tensors view: the file, and those of its tensors that were widened.
struct mmproj_data {
    std::shared_ptr<const weights::gguf_file> file;
    std::vector<std::vector<float>> widened;
};

weights::tensor_view view_of(const gguf_header& header, const std::string& name, mmproj_data& keep)
{
    const gguf_tensor& tensor = need_tensor(header, name);
    weights::tensor_view made;
    made.shape.assign(tensor.dims.rbegin(), tensor.dims.rend());
    made.data = header.data_of(name);
    switch (tensor.type) {
    case gguf_type::f32:
        made.type = weights::element::f32;
        return made;
    case gguf_type::f16:
        made.type = weights::element::f16;
        return made;
    case gguf_type::bf16:
        made.type = weights::element::bf16;
        return made;
    default:
        break;
    }
    std::vector<float>& to =
        keep.widened.emplace_back(static_cast<std::size_t>(tensor.n_elements()));
    // Rows are whole blocks, so that all of them are one row.
    kernels::dequantize_row(
        static_cast<kernels::block_type>(tensor.type),
        made.data.data(),
        tensor.n_elements(),
        to.data());
    made.type = weights::element::f32;
    made.data = std::as_bytes(std::span{to});
    return made;
}

}  // namespace

llava_config read_mmproj_config(const gguf_header& header)
{
    const std::string_view architecture = header.need_string("general.architecture");
    if (architecture != "clip")
        refuse(
            header,
            "the architecture " + in_quotes(architecture) + " is no image encoder; expected clip");
    const std::string projector{header.find_string("clip.projector_type").value_or("mlp")};
    if (projector != "mlp")
        refuse(
            header, "the projector " + in_quotes(projector) + " is not supported; supported: mlp");
    if (!header.find_bool("clip.has_vision_encoder").value_or(false))
        refuse(header, "has no image encoder");
    llava_config config;
    config.vision = read_vision(header);
    const auto chosen = header.find_ints("clip.vision.feature_layer", 0, config.vision.n_layers);
    config.feature_layers = chosen.value_or(std::vector<std::int64_t>{config.vision.n_layers});
    if (config.feature_layers.empty()) config.feature_layers = {config.vision.n_layers};
    config.vision.n_layers = *std::ranges::max_element(config.feature_layers);
    const gguf_tensor& last = need_tensor(header, "mm.2.weight");
    config.text_hidden = last.dims.size() == 2 ? last.dims.back() : 0;
    if (config.text_hidden < 1 || config.text_hidden > most)
        header.fail("the tensor 'mm.2.weight' must be a matrix of at most 2^20 rows");
    config.projector_bias = header.tensors().contains("mm.2.bias");
    return config;
}

images::image_preprocessor
read_mmproj_preprocessor(const gguf_header& header, const llava_config& config)
{
    nlohmann::json asked{
        {"do_resize", true},
        {"size", {{"shortest_edge", config.vision.image_size}}},
        {"resample", 3},
        {"do_center_crop", true},
        {"crop_size", {{"height", config.vision.image_size}, {"width", config.vision.image_size}}},
        {"do_rescale", true},
        {"rescale_factor", 1.0 / 255},
        {"do_normalize", true}};
    for (const char* key : {"image_mean", "image_std"}) {
        const auto values = header.find_numbers("clip.vision." + std::string{key});
        if (values) asked[key] = *values;
    }
    return images::image_preprocessor::read(
        support::json_file{asked.dump(), header.name() + ": clip.vision", model_errc::bad_file});
}

std::shared_ptr<const weights::checkpoint>
read_mmproj_weights(std::shared_ptr<const weights::gguf_file> file, const llava_config& config)
{
    const auto keep = std::make_shared<mmproj_data>();
    keep->file = file;
    const gguf_header& header = file->header();
    const auto up = header.tensors().find("v.blk.0.ffn_up.weight");
    const bool swapped = up != header.tensors().end() && is_swapped(up->second, config);
    weights::tensor_map tensors;
    for (const auto& [name, tensor] : header.tensors())
        if (const std::optional<std::string> as = translate(name, swapped))
            tensors.emplace(*as, view_of(header, std::string{name}, *keep));
    return weights::checkpoint::of_tensors(file->path(), std::move(tensors), keep);
}

}  // namespace modelpool::models

#include "models/diffusion_config.hpp"

#include <modelpool/error.hpp>

#include <nlohmann/json.hpp>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "support/printable.hpp"
#include "weights/safetensors.hpp"

namespace modelpool::models {
namespace {

using nlohmann::json;

constexpr std::int64_t most_blocks = 1000;

class shapes {
public:
    explicit shapes(const weights::tensor_source& tensors)
        : tensors_{tensors}
    {}

    bool has(const std::string& name) const { return tensors_.find(name).has_value(); }

    /// One size of a tensor that must be there and have so many dimensions.
    std::int64_t need(const std::string& name, std::size_t rank, std::size_t axis) const
    {
        const std::optional<weights::stored_tensor> found = tensors_.find(name);
        const std::string where = tensors_.where() + ": the tensor " + support::in_quotes(name);
        if (!found)
            throw error{
                model_errc::missing_tensor,
                where + " is missing, from which the model's size would be read"};
        if (found->shape.size() != rank || found->shape[axis] <= 0)
            throw error{
                model_errc::shape_mismatch,
                where + " has shape " + weights::shape_text(found->shape) + ", expected " +
                    std::to_string(rank) + " dimensions above 0"};
        return found->shape[axis];
    }

    /// How many there are of tensors that are called `before`, a number, and `after`.
    std::int64_t count(const std::string& before, const std::string& after) const
    {
        std::int64_t n = 0;
        for (; n < most_blocks; ++n) {
            std::string name = before;
            name += std::to_string(n);
            name += after;
            if (!has(name)) break;
        }
        return n;
    }

    /// `whole` over `part`, where that leaves nothing over.
    std::int64_t divide(std::int64_t whole, std::int64_t part, const std::string& what) const
    {
        if (whole % part != 0)
            fail(
                what + " of " + std::to_string(whole) + " is no multiple of " +
                std::to_string(part));
        return whole / part;
    }

    [[noreturn]] void fail(const std::string& sentence) const
    {
        throw error{model_errc::bad_config, tensors_.where() + ": " + sentence};
    }

private:
    const weights::tensor_source& tensors_;
};

json flux_transformer(const shapes& of)
{
    const std::int64_t hidden = of.need("x_embedder.weight", 2, 0);
    const std::int64_t head = of.need("transformer_blocks.0.attn.norm_q.weight", 1, 0);
    // 128 is the width of a head in all published models; how it is shared out over time, rows and
    // columns, no tensor says.
    if (head != 128)
        of.fail(
            "heads of width " + std::to_string(head) +
            " need the transformer's config.json, for its axes_dims_rope");
    return {
        {"_class_name", "FluxTransformer2DModel"},
        {"patch_size", 1},
        {"in_channels", of.need("x_embedder.weight", 2, 1)},
        {"num_layers", of.count("transformer_blocks.", ".attn.to_q.weight")},
        {"num_single_layers", of.count("single_transformer_blocks.", ".attn.to_q.weight")},
        {"attention_head_dim", head},
        {"num_attention_heads", of.divide(hidden, head, "a width")},
        {"joint_attention_dim", of.need("context_embedder.weight", 2, 1)},
        {"pooled_projection_dim", of.need("time_text_embed.text_embedder.linear_1.weight", 2, 1)},
        {"guidance_embeds", of.has("time_text_embed.guidance_embedder.linear_1.weight")},
        {"axes_dims_rope", {16, 56, 56}}};
}

json sd3_transformer(const shapes& of)
{
    const std::int64_t hidden = of.need("pos_embed.proj.weight", 4, 0);
    const std::int64_t patch = of.need("pos_embed.proj.weight", 4, 2);
    const std::int64_t n_layers = of.count("transformer_blocks.", ".attn.to_q.weight");
    const bool normed = of.has("transformer_blocks.0.attn.norm_q.weight");
    // Of all published models heads are 64 wide.
    const std::int64_t head =
        normed ? of.need("transformer_blocks.0.attn.norm_q.weight", 1, 0) : 64;
    const std::int64_t n_places = of.need("pos_embed.pos_embed", 3, 1);
    const auto side =
        static_cast<std::int64_t>(std::llround(std::sqrt(static_cast<double>(n_places))));
    if (side * side != n_places)
        of.fail("the table of " + std::to_string(n_places) + " positions is no square");
    const std::int64_t out =
        of.divide(of.need("proj_out.weight", 2, 0), patch * patch, "an output");
    json dual_layers = json::array();  // of SD 3.5 Medium
    for (std::int64_t i = 0; i < n_layers; ++i)
        if (of.has("transformer_blocks." + std::to_string(i) + ".attn2.to_q.weight"))
            dual_layers.push_back(i);
    json made = {
        {"_class_name", "SD3Transformer2DModel"},
        {"sample_size", 128},
        {"patch_size", patch},
        {"in_channels", of.need("pos_embed.proj.weight", 4, 1)},
        {"num_layers", n_layers},
        {"attention_head_dim", head},
        {"num_attention_heads", of.divide(hidden, head, "a width")},
        {"joint_attention_dim", of.need("context_embedder.weight", 2, 1)},
        {"caption_projection_dim", of.need("context_embedder.weight", 2, 0)},
        {"pooled_projection_dim", of.need("time_text_embed.text_embedder.linear_1.weight", 2, 1)},
        {"out_channels", out},
        {"pos_embed_max_size", side},
        {"dual_attention_layers", std::move(dual_layers)}};
    made["qk_norm"] = normed ? json("rms_norm") : json(nullptr);
    return made;
}

json vae(pipeline_kind kind, const shapes& of)
{
    const std::int64_t n_blocks = of.count("decoder.up_blocks.", ".resnets.0.conv1.weight");
    json channels = json::array();
    json down_types = json::array();
    json up_types = json::array();
    for (std::int64_t i = n_blocks; i-- > 0;) {
        const std::string name = "decoder.up_blocks." + std::to_string(i);
        channels.push_back(of.need(name + ".resnets.0.conv1.weight", 4, 0));
        down_types.push_back("DownEncoderBlock2D");
        up_types.push_back("UpDecoderBlock2D");
    }
    const std::int64_t n_resnets = of.count("decoder.up_blocks.0.resnets.", ".conv1.weight");
    if (n_resnets < 2) of.fail("the decoder's first block has fewer than two convolutions");
    const bool is_flux = kind == pipeline_kind::flux;
    return {
        {"_class_name", "AutoencoderKL"},
        {"in_channels", 3},
        {"out_channels", of.need("decoder.conv_out.weight", 4, 0)},
        {"latent_channels", of.need("decoder.conv_in.weight", 4, 1)},
        {"block_out_channels", channels},
        {"down_block_types", down_types},
        {"up_block_types", up_types},
        {"layers_per_block", n_resnets - 1},
        {"act_fn", "silu"},
        {"norm_num_groups", 32},
        {"sample_size", 1024},
        {"scaling_factor", is_flux ? 0.3611 : 1.5305},
        {"shift_factor", is_flux ? 0.1159 : 0.0609},
        {"force_upcast", true},
        {"use_quant_conv", of.has("quant_conv.weight")},
        {"use_post_quant_conv", of.has("post_quant_conv.weight")},
        {"mid_block_add_attention", of.has("decoder.mid_block.attentions.0.to_q.weight")}};
}

json clip(diffusion_part part, const shapes& of)
{
    const std::string tokens = "text_model.embeddings.token_embedding.weight";
    const std::int64_t hidden = of.need(tokens, 2, 1);
    const bool projects = of.has("text_projection.weight");
    const std::string first = "text_model.encoder.layers.0.mlp.fc1.weight";
    return {
        {"architectures", {projects ? "CLIPTextModelWithProjection" : "CLIPTextModel"}},
        {"model_type", "clip_text_model"},
        {"vocab_size", of.need(tokens, 2, 0)},
        {"hidden_size", hidden},
        {"intermediate_size", of.need(first, 2, 0)},
        {"num_hidden_layers", of.count("text_model.encoder.layers.", ".mlp.fc1.weight")},
        // Heads of both published encoders are 64 wide.
        {"num_attention_heads", of.divide(hidden, 64, "a width")},
        {"max_position_embeddings",
         of.need("text_model.embeddings.position_embedding.weight", 2, 0)},
        {"hidden_act", part == diffusion_part::clip_l ? "quick_gelu" : "gelu"},
        {"layer_norm_eps", 1e-5},
        {"projection_dim", projects ? of.need("text_projection.weight", 2, 0) : hidden},
        {"bos_token_id", 0},
        {"eos_token_id", 2},
        {"pad_token_id", 1}};
}

json t5(const shapes& of)
{
    const std::string first = "encoder.block.0.layer.0.SelfAttention.";
    const std::int64_t n_heads = of.need(first + "relative_attention_bias.weight", 2, 1);
    return {
        {"architectures", {"T5EncoderModel"}},
        {"model_type", "t5"},
        {"vocab_size", of.need("shared.weight", 2, 0)},
        {"d_model", of.need("shared.weight", 2, 1)},
        {"d_kv", of.divide(of.need(first + "q.weight", 2, 0), n_heads, "a width")},
        {"d_ff", of.need("encoder.block.0.layer.1.DenseReluDense.wi_0.weight", 2, 0)},
        {"num_layers", of.count("encoder.block.", ".layer.0.SelfAttention.q.weight")},
        {"num_heads", n_heads},
        {"relative_attention_num_buckets", of.need(first + "relative_attention_bias.weight", 2, 0)},
        {"relative_attention_max_distance", 128},
        {"layer_norm_epsilon", 1e-6},
        {"feed_forward_proj", "gated-gelu"},
        {"dense_act_fn", "gelu_new"},
        {"is_gated_act", true},
        {"pad_token_id", 0},
        {"eos_token_id", 1}};
}

support::json_file to_file(const json& made, const std::string& name)
{
    return support::json_file{made.dump(), name, model_errc::bad_config};
}

}  // namespace

std::string_view to_string(pipeline_kind kind) noexcept
{
    return kind == pipeline_kind::flux ? "FluxPipeline" : "StableDiffusion3Pipeline";
}

support::json_file
derive_config(pipeline_kind kind, diffusion_part part, const weights::tensor_source& tensors)
{
    const shapes of{tensors};
    const std::string name =
        tensors.where() + " (the configuration of the " + std::string{to_string(part)} + ")";
    switch (part) {
    case diffusion_part::transformer:
        return to_file(
            kind == pipeline_kind::flux ? flux_transformer(of) : sd3_transformer(of), name);
    case diffusion_part::vae:
        return to_file(vae(kind, of), name);
    case diffusion_part::clip_l:
    case diffusion_part::clip_g:
        return to_file(clip(part, of), name);
    case diffusion_part::t5:
        break;
    }
    return to_file(t5(of), name);
}

support::json_file usual_scheduler(pipeline_kind kind, const weights::tensor_source& transformer)
{
    // The variants of FLUX that take a guidance as an input shift their times by the image's size.
    const bool is_dev =
        transformer.find("time_text_embed.guidance_embedder.linear_1.weight").has_value();
    const bool is_flux = kind == pipeline_kind::flux;
    const json made = {
        {"_class_name", "FlowMatchEulerDiscreteScheduler"},
        {"num_train_timesteps", 1000},
        {"shift", is_flux && !is_dev ? 1.0 : 3.0},
        {"use_dynamic_shifting", is_flux && is_dev},
        {"base_shift", 0.5},
        {"max_shift", 1.15},
        {"base_image_seq_len", 256},
        {"max_image_seq_len", 4096}};
    return to_file(made, transformer.where() + " (the configuration of the scheduler)");
}

}  // namespace modelpool::models

// Stable Diffusion 3 and 3.5: text to image by a multimodal diffusion transformer (MMDiT).
//
// Paper:      https://arxiv.org/abs/2403.03206
// Upstream:   https://github.com/huggingface/diffusers/blob/v0.36.0/src/diffusers/models/transformers/transformer_sd3.py
//             https://github.com/huggingface/diffusers/blob/v0.36.0/src/diffusers/pipelines/stable_diffusion_3/pipeline_stable_diffusion_3.py
// Checkpoint: https://huggingface.co/stabilityai/stable-diffusion-3.5-large-turbo

#include <modelpool/error.hpp>

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "models/clip_config.hpp"
#include "models/config_fields.hpp"
#include "models/diffusion_generator.hpp"
#include "models/image_config.hpp"
#include "models/image_pipeline.hpp"
#include "models/prompt_encoders.hpp"
#include "support/printable.hpp"
#include "support/stop.hpp"
#include "torch/diffusion_layers.hpp"
#include "torch/errors.hpp"
#include "torch/projection.hpp"
#include "torch/threads.hpp"

namespace modelpool::models {
namespace {

using support::json_file;

constexpr auto f32 = c10::ScalarType::Float;
constexpr std::int64_t mlp_ratio = 4;

// ---- config -------------------------------------------------------------------------------------

struct sd3_config {
    std::int64_t sample_size{0};  // latents along a side of an image of the usual size
    std::int64_t patch_size{0};
    std::int64_t in_channels{0};
    std::int64_t n_layers{0};
    std::int64_t head_size{0};
    std::int64_t n_heads{0};
    std::int64_t joint_attention_dim{0};
    std::int64_t pooled_projection_dim{0};
    std::int64_t pos_embed_max_size{0};  // patches along a side
    bool qk_norm{false};
    std::vector<std::int64_t> dual_attention_layers;

    std::int64_t width() const noexcept { return n_heads * head_size; }
    bool has_dual_attention(std::int64_t layer) const
    {
        return std::ranges::find(dual_attention_layers, layer) != dual_attention_layers.end();
    }
    static sd3_config read(const json_file& file);
};

std::vector<std::int64_t> read_dual_layers(const json_file& file)
{
    std::vector<std::int64_t> layers;
    const auto place = file.root().find("dual_attention_layers");
    if (place == file.root().end() || place->is_null()) return layers;
    if (!place->is_array() || place->size() > 4096)
        file.fail("'dual_attention_layers' must be an array of layers");
    for (const auto& one : *place) {
        if (!one.is_number_unsigned() || one.get<std::uint64_t>() > 4096)
            file.fail("'dual_attention_layers' must hold layers, found " + one.dump());
        layers.push_back(one.get<std::int64_t>());
    }
    return layers;
}

sd3_config sd3_config::read(const json_file& file)
{
    need_class(file, "SD3Transformer2DModel");
    sd3_config config;
    config.sample_size = file.find_int("sample_size", 1, 4096).value_or(128);
    config.patch_size = file.find_int("patch_size", 1, 64).value_or(2);
    config.in_channels = size_or(file, "in_channels", 16);
    if (size_or(file, "out_channels", config.in_channels) != config.in_channels)
        refuse(file, "'out_channels' must be as many as 'in_channels'");
    config.n_layers = file.find_int("num_layers", 1, 4096).value_or(18);
    config.head_size = size_or(file, "attention_head_dim", 64);
    config.n_heads = size_or(file, "num_attention_heads", 18);
    config.joint_attention_dim = size_or(file, "joint_attention_dim", 4096);
    if (size_or(file, "caption_projection_dim", config.width()) != config.width())
        refuse(file, "'caption_projection_dim' must be as wide as the heads together");
    config.pooled_projection_dim = size_or(file, "pooled_projection_dim", 2048);
    config.pos_embed_max_size = file.find_int("pos_embed_max_size", 1, 4096).value_or(96);
    config.dual_attention_layers = read_dual_layers(file);
    const std::optional<std::string> norm = file.find_string("qk_norm");
    if (norm && *norm != "rms_norm")
        refuse(
            file,
            "'qk_norm' " + support::in_quotes(*norm) +
                " is not supported; supported: null, rms_norm");
    config.qk_norm = norm.has_value();
    return config;
}

// ---- modules ------------------------------------------------------------------------------------

// shift, scale and gate of the attention; the same of the feed-forward; and of the second attention.
constexpr std::int64_t n_usual_parts = 6;
constexpr std::int64_t n_dual_parts = 9;
constexpr std::int64_t n_last_parts = 2;  // scale and shift

struct joint_transformer_block {
    nn::modulation norm1;
    nn::modulation norm1_context;
    nn::head_projections attn;
    nn::head_projections attn_added;
    nn::projection to_out;
    std::optional<nn::head_projections> attn2;
    nn::projection attn2_to_out;
    nn::gelu_feed_forward ff;
    // The last block does not go on with the text.
    std::optional<nn::projection> to_add_out;
    std::optional<nn::gelu_feed_forward> ff_context;

    static joint_transformer_block read(
        const nn::weight_reader& reader,
        const sd3_config& config,
        std::int64_t layer,
        const nn::weight_format& format);
    // In place. x: [n_samples, n, width], text: [n_samples, m, width]; by, by_text: [n_samples,
    // n_parts, width].
    void
    run(const at::Tensor& x,
        const at::Tensor& text,
        const at::Tensor& by,
        const at::Tensor& by_text,
        nn::projection_room& room) const;
};

joint_transformer_block joint_transformer_block::read(
    const nn::weight_reader& reader,
    const sd3_config& config,
    std::int64_t layer,
    const nn::weight_format& format)
{
    const std::int64_t width = config.width();
    const std::int64_t inner = mlp_ratio * width;
    const bool dual = config.has_dual_attention(layer);
    const bool last = layer + 1 == config.n_layers;
    const nn::head_projections::layout heads{config.n_heads, config.head_size, config.qk_norm};
    const nn::weight_reader attn = reader.in("attn");
    joint_transformer_block result;
    result.norm1 = nn::modulation::read(
        reader.in("norm1"), width, dual ? n_dual_parts : n_usual_parts, format);
    result.norm1_context = nn::modulation::read(
        reader.in("norm1_context"), width, last ? n_last_parts : n_usual_parts, format);
    result.attn = nn::head_projections::read(attn, nn::head_projections::own, heads, format);
    result.attn_added =
        nn::head_projections::read(attn, nn::head_projections::added, heads, format);
    result.to_out = nn::projection::read(attn, "to_out.0", {width, width}, format);
    if (dual) {
        const nn::weight_reader second = reader.in("attn2");
        result.attn2 = nn::head_projections::read(second, nn::head_projections::own, heads, format);
        result.attn2_to_out = nn::projection::read(second, "to_out.0", {width, width}, format);
    }
    result.ff = nn::gelu_feed_forward::read(reader.in("ff"), width, inner, format);
    if (!last) {
        result.to_add_out = nn::projection::read(attn, "to_add_out", {width, width}, format);
        result.ff_context =
            nn::gelu_feed_forward::read(reader.in("ff_context"), width, inner, format);
    }
    return result;
}

void joint_transformer_block::run(
    const at::Tensor& x,
    const at::Tensor& text,
    const at::Tensor& by,
    const at::Tensor& by_text,
    nn::projection_room& room) const
{
    const c10::ScalarType dtype = attn.dtype();
    const bool last = !to_add_out;
    const at::Tensor normed = nn::modulated(x, by.select(1, 0), by.select(1, 1), dtype);
    const at::Tensor normed_text = nn::modulated(
        text, by_text.select(1, last ? 1 : 0), by_text.select(1, last ? 0 : 1), dtype);
    // Before x changes, which both attentions start from.
    const at::Tensor normed_again =
        attn2 ? nn::modulated(x, by.select(1, 6), by.select(1, 7), dtype) : at::Tensor{};
    const at::Tensor seen =
        nn::attend(nn::joined(attn.run(normed, room), attn_added.run(normed_text, room)));
    const std::int64_t n = x.size(1);
    nn::add_gated(x, by.select(1, 2), nn::project(to_out, seen.narrow(1, 0, n), room));
    if (attn2) {
        const at::Tensor again = nn::attend(attn2->run(normed_again, room));
        nn::add_gated(x, by.select(1, 8), nn::project(attn2_to_out, again, room));
    }
    const at::Tensor inner = nn::modulated(x, by.select(1, 3), by.select(1, 4), dtype);
    nn::add_gated(x, by.select(1, 5), ff.run(inner, room));
    if (last) return;
    const at::Tensor seen_text = seen.narrow(1, n, text.size(1));
    nn::add_gated(text, by_text.select(1, 2), nn::project(*to_add_out, seen_text, room));
    const at::Tensor text_inner =
        nn::modulated(text, by_text.select(1, 3), by_text.select(1, 4), dtype);
    nn::add_gated(text, by_text.select(1, 5), ff_context->run(text_inner, room));
}

// ---- transformer --------------------------------------------------------------------------------

// What all steps of an image have in common, and the modulations of some of them.
struct sd3_image {
    denoise_plan plan;
    at::Tensor text;    // [n_samples, m, width] f32, embedded
    at::Tensor pooled;  // [n_samples, pooled_projection_dim] f32
    at::Tensor places;  // [n, width] f32, embedded positions
    nn::step_modulations modulations;
};

class sd3_transformer {
public:
    static sd3_transformer read(
        const image_component& from,
        const sd3_config& config,
        const nn::weight_format& format,
        const stop_flag& stop);

    sd3_image begin(denoise_plan plan, nn::projection_room& room) const;
    // latents: [1, channels, height, width] f32; the result has as many samples as there are
    // prompts.
    at::Tensor predict(
        const at::Tensor& latents,
        std::size_t step,
        sd3_image& image,
        nn::projection_room& room,
        run_context& context) const;

    const nn::weight_footprint& footprint() const noexcept { return footprint_; }

private:
    at::Tensor cropped_places(std::int64_t height, std::int64_t width) const;
    void modulate(
        std::size_t step, sd3_image& image, nn::projection_room& room, run_context& context) const;

    sd3_config config_;
    c10::ScalarType dtype_{f32};
    at::Tensor pos_embed_;       // [1, pos_embed_max_size², width], as stored
    at::Tensor pos_embed_proj_;  // [width, channels * patch_size²] of the dtype computed in
    at::Tensor pos_embed_bias_;  // [width]
    nn::embedding_mlp timestep_embedder_;
    nn::embedding_mlp text_embedder_;
    nn::projection context_embedder_;
    std::vector<joint_transformer_block> transformer_blocks_;
    nn::modulation norm_out_;
    nn::projection proj_out_;
    nn::weight_footprint footprint_;
};

sd3_transformer sd3_transformer::read(
    const image_component& from,
    const sd3_config& config,
    const nn::weight_format& format,
    const stop_flag& stop)
{
    constexpr std::int64_t n_time = 256;
    const nn::weight_reader reader{from.tensors, stop};
    const nn::weight_reader places = reader.in("pos_embed");
    const nn::weight_reader times = reader.in("time_text_embed");
    const std::int64_t width = config.width();
    const std::int64_t patch = config.patch_size;
    const std::int64_t patch_width = config.in_channels * patch * patch;
    sd3_transformer result;
    result.config_ = config;
    result.dtype_ = format.compute;
    result.pos_embed_ = places.stored(
        "pos_embed", {1, config.pos_embed_max_size * config.pos_embed_max_size, width});
    result.pos_embed_proj_ =
        places.read("proj.weight", {width, config.in_channels, patch, patch}, format.compute)
            .view({width, patch_width});
    result.pos_embed_bias_ = places.read("proj.bias", {width}, format.compute);
    result.timestep_embedder_ =
        nn::embedding_mlp::read(times.in("timestep_embedder"), n_time, width, format);
    result.text_embedder_ = nn::embedding_mlp::read(
        times.in("text_embedder"), config.pooled_projection_dim, width, format);
    result.context_embedder_ = nn::projection::read(
        reader, "context_embedder", {config.joint_attention_dim, width}, format);
    for (std::int64_t i = 0; i < config.n_layers; ++i) {
        result.transformer_blocks_.push_back(joint_transformer_block::read(
            reader.in("transformer_blocks." + std::to_string(i)), config, i, format));
        reader.drop_pages();  // what became something else is not looked at again
    }
    result.norm_out_ = nn::modulation::read(reader.in("norm_out"), width, n_last_parts, format);
    result.proj_out_ = nn::projection::read(reader, "proj_out", {width, patch_width}, format);
    result.footprint_ = reader.footprint();
    return result;
}

// The middle of the positions of the largest image.
at::Tensor sd3_transformer::cropped_places(std::int64_t height, std::int64_t width) const
{
    const std::int64_t side = config_.pos_embed_max_size;
    return pos_embed_.view({side, side, config_.width()})
        .narrow(0, (side - height) / 2, height)
        .narrow(1, (side - width) / 2, width)
        .to(f32)
        .reshape({height * width, config_.width()});
}

sd3_image sd3_transformer::begin(denoise_plan plan, nn::projection_room& room) const
{
    std::vector<at::Tensor> tokens;
    std::vector<at::Tensor> pooled;
    for (const prompt_states& prompt : plan.prompts) {
        tokens.push_back(prompt.tokens);
        pooled.push_back(prompt.pooled);
    }
    sd3_image image;
    image.text = nn::project(context_embedder_, at::stack(tokens).to(dtype_), room).to(f32);
    image.pooled = at::stack(pooled);
    image.places =
        cropped_places(plan.height / config_.patch_size, plan.width / config_.patch_size);
    image.plan = std::move(plan);
    return image;
}

void sd3_transformer::modulate(
    std::size_t step, sd3_image& image, nn::projection_room& room, run_context& context) const
{
    if (image.modulations.has(step)) return;
    nn::step_modulations modulations;
    modulations.begin(step, image.plan.timesteps.size());
    const auto place = image.plan.timesteps.begin();
    const std::vector<float> times(
        place + static_cast<std::ptrdiff_t>(modulations.first_step()),
        place + static_cast<std::ptrdiff_t>(modulations.end_step()));
    const auto n_steps = static_cast<std::int64_t>(times.size());
    const at::Tensor of_times = timestep_embedder_.run(nn::time_embedding(at::tensor(times)), room);
    const at::Tensor of_texts = text_embedder_.run(image.pooled, room);
    const at::Tensor activated = at::silu(of_times.unsqueeze(1).add(of_texts.unsqueeze(0)))
                                     .view({n_steps * of_texts.size(0), config_.width()});
    for (const joint_transformer_block& one : transformer_blocks_) {
        support::end_if_stopped(context.stop(), "a step");
        modulations.add(one.norm1.run(activated, room));
        modulations.add(one.norm1_context.run(activated, room));
    }
    modulations.add(norm_out_.run(activated, room));
    image.modulations = std::move(modulations);
}

at::Tensor sd3_transformer::predict(
    const at::Tensor& latents,
    std::size_t step,
    sd3_image& image,
    nn::projection_room& room,
    run_context& context) const
{
    nn::enter_block(context, room);
    modulate(step, image, room, context);
    const std::int64_t n_samples = image.text.size(0);
    std::size_t next = 0;
    const auto modulation = [&] { return image.modulations.of(next++, step); };
    const std::int64_t channels = latents.size(1);
    const std::int64_t patch = config_.patch_size;
    const std::int64_t height = latents.size(2) / patch;
    const std::int64_t width = latents.size(3) / patch;
    // [channels, height, patch, width, patch] -> [height * width, channels * patch²]
    const at::Tensor patches = latents.view({channels, height, patch, width, patch})
                                   .permute({1, 3, 0, 2, 4})
                                   .reshape({height * width, channels * patch * patch});
    const at::Tensor embedded =
        at::addmm(pos_embed_bias_, patches.to(dtype_), pos_embed_proj_.t()).to(f32);
    const at::Tensor x = embedded.add(image.places).unsqueeze(0).repeat({n_samples, 1, 1});
    const at::Tensor text = image.text.clone();
    for (const joint_transformer_block& one : transformer_blocks_) {
        nn::enter_block(context, room);
        const at::Tensor by = modulation();
        const at::Tensor by_text = modulation();
        one.run(x, text, by, by_text, room);
    }
    const at::Tensor by = modulation();
    const at::Tensor normed = nn::modulated(x, by.select(1, 1), by.select(1, 0), dtype_);
    // Here the channels of a patch come last.
    return nn::project(proj_out_, normed, room)
        .to(f32)
        .view({n_samples, height, width, patch, patch, channels})
        .permute({0, 5, 1, 3, 2, 4})
        .reshape({n_samples, channels, latents.size(2), latents.size(3)});
}

// ---- pipeline -----------------------------------------------------------------------------------

class sd3_denoiser final : public denoiser {
public:
    // What replicas share.
    struct shared_facts {
        sd3_config config;
        prompt_tokenizer tokenizer;
        prompt_tokenizer tokenizer_2;
        std::optional<prompt_tokenizer> tokenizer_3;
        nn::clip_text_config clip_l;
        nn::clip_text_config clip_g;
        std::int64_t t5_vocab_size;  // 0: no T5
        component_memory memory;
        std::size_t element_bytes;
    };

    sd3_denoiser(
        std::shared_ptr<const shared_facts> shared,
        loaded_part<clip_prompt_encoder> clip_l,
        loaded_part<clip_prompt_encoder> clip_g,
        loaded_part<t5_prompt_encoder> t5,
        loaded_part<sd3_transformer> transformer)
        : shared_{std::move(shared)}
        , clip_l_{std::move(clip_l)}
        , clip_g_{std::move(clip_g)}
        , t5_{std::move(t5)}
        , transformer_{std::move(transformer)}
    {}

    prompt_states
    encode(const std::string& prompt, std::size_t n_tokens, run_context& context) override;

    void end_encoding() noexcept override
    {
        clip_l_.release();
        clip_g_.release();
        t5_.release();
    }

    void begin(denoise_plan plan, run_context& context) override
    {
        room_.use_threads(context.n_threads());
        image_ = transformer_.get(context.stop()).begin(std::move(plan), room_);
    }

    at::Tensor predict(const at::Tensor& latents, std::size_t step, run_context& context) override
    {
        const at::Tensor all =
            transformer_.get(context.stop()).predict(latents, step, image_, room_, context);
        if (all.size(0) == 1) return all;
        const at::Tensor wanted = all.narrow(0, 0, 1);
        const at::Tensor unwanted = all.narrow(0, 1, 1);
        return unwanted.add(wanted.sub(unwanted).mul_(image_.plan.guidance));
    }

    void end() noexcept override
    {
        image_ = {};
        if (shared_->memory == component_memory::in_turn) transformer_.release();
    }

    std::unique_ptr<denoiser> replicate() const override
    {
        return std::make_unique<sd3_denoiser>(shared_, clip_l_, clip_g_, t5_, transformer_);
    }

    nn::weight_footprint footprint() const override
    {
        return sum_of(
            {clip_l_.footprint(), clip_g_.footprint(), t5_.footprint(), transformer_.footprint()});
    }

    std::size_t scratch_bytes(std::size_t n_tokens) const noexcept override
    {
        const auto width = static_cast<std::size_t>(shared_->config.width());
        // Of two samples: the residual states, queries, keys and values twice, the inner states.
        return 2 * (n_tokens + 333) * width * (2 * sizeof(float) + 10 * shared_->element_bytes);
    }

    // Reads everything.
    void load(const stop_flag& stop)
    {
        static_cast<void>(clip_l_.get(stop));
        static_cast<void>(clip_g_.get(stop));
        if (shared_->t5_vocab_size != 0) static_cast<void>(t5_.get(stop));
        static_cast<void>(transformer_.get(stop));
    }

private:
    std::shared_ptr<const shared_facts> shared_;
    loaded_part<clip_prompt_encoder> clip_l_;
    loaded_part<clip_prompt_encoder> clip_g_;
    loaded_part<t5_prompt_encoder> t5_;
    loaded_part<sd3_transformer> transformer_;
    nn::projection_room room_;
    sd3_image image_;
};

// [n_clip + n_tokens, joint_attention_dim]: the states of both CLIPs side by side, filled up with
// zeros, and after them those of T5.
prompt_states
sd3_denoiser::encode(const std::string& prompt, std::size_t n_tokens, run_context& context)
{
    const sd3_config& config = shared_->config;
    const auto clip_ids = [&](const prompt_tokenizer& by, const nn::clip_text_config& clip) {
        const auto n = static_cast<std::size_t>(clip.max_position_embeddings);
        return prompt_ids(by, prompt, n, clip.vocab_size);
    };
    const auto ids_l = clip_ids(shared_->tokenizer, shared_->clip_l);
    const auto ids_g = clip_ids(shared_->tokenizer_2, shared_->clip_g);
    const bool has_t5 = shared_->t5_vocab_size != 0;
    std::vector<std::int32_t> ids_t5;
    if (has_t5)
        ids_t5 = prompt_ids(*shared_->tokenizer_3, prompt, n_tokens, shared_->t5_vocab_size);
    const stop_flag& stop = context.stop();
    const clip_prompt_encoder::output of_l = clip_l_.get(stop).run(ids_l, context);
    const clip_prompt_encoder::output of_g = clip_g_.get(stop).run(ids_g, context);
    if (shared_->memory == component_memory::in_turn) {
        clip_l_.release();
        clip_g_.release();
    }
    const std::int64_t n_clip = of_l.tokens.size(0);
    const std::int64_t n_l = of_l.tokens.size(1);
    prompt_states result;
    result.pooled = at::cat({of_l.pooled, of_g.pooled});
    result.tokens = at::zeros(
        {n_clip + static_cast<std::int64_t>(n_tokens), config.joint_attention_dim},
        at::TensorOptions{}.dtype(f32));
    const at::Tensor clip_rows = result.tokens.narrow(0, 0, n_clip);
    clip_rows.narrow(1, 0, n_l).copy_(of_l.tokens);
    clip_rows.narrow(1, n_l, of_g.tokens.size(1)).copy_(of_g.tokens);
    if (has_t5)
        result.tokens.narrow(0, n_clip, static_cast<std::int64_t>(n_tokens))
            .copy_(t5_.get(stop).run(ids_t5, context));
    return result;
}

// ---- factory ------------------------------------------------------------------------------------

void check_fit(
    const image_pipeline_files& files,
    const sd3_config& config,
    const nn::autoencoder_config& vae,
    const sd3_denoiser::shared_facts& shared)
{
    const json_file& named = files.transformer.config;
    const auto projected = [](const json_file& file) {
        return size_or(file, "projection_dim", 512);
    };
    const std::int64_t pooled =
        projected(files.text_encoder.config) + projected(files.text_encoder_2.config);
    need_fit(named, "in_channels", config.in_channels, vae.latent_channels);
    need_fit(named, "pooled_projection_dim", config.pooled_projection_dim, pooled);
    if (files.text_encoder_3) {
        const std::int64_t width = read_t5_config(files.text_encoder_3->config).d_model;
        need_fit(named, "joint_attention_dim", config.joint_attention_dim, width);
    }
    const std::int64_t both = shared.clip_l.hidden_size + shared.clip_g.hidden_size;
    if (config.joint_attention_dim < both)
        need_fit(named, "joint_attention_dim", config.joint_attention_dim, both);
    if (shared.clip_l.max_position_embeddings != shared.clip_g.max_position_embeddings)
        files.text_encoder_2.config.fail(
            "'max_position_embeddings' must be the same in both CLIP encoders");
}

diffusion_facts
facts_of(const sd3_config& config, std::int64_t vae_factor, const image_load_options& options)
{
    const auto token_side = static_cast<std::size_t>(vae_factor * config.patch_size);
    const auto usual = static_cast<std::size_t>(config.sample_size * vae_factor);
    diffusion_facts facts;
    facts.info.size_multiple = token_side;
    facts.info.max_side = static_cast<std::size_t>(config.pos_embed_max_size) * token_side;
    facts.info.default_width =
        std::clamp(usual / token_side * token_side, token_side, facts.info.max_side);
    facts.info.default_height = facts.info.default_width;
    facts.info.default_steps = options.default_steps == 0 ? 4 : options.default_steps;
    facts.info.default_guidance = options.default_guidance.value_or(1.0F);
    facts.info.takes_negative_prompt = true;
    facts.default_prompt_tokens = 256;
    facts.max_prompt_tokens = 512;
    facts.splits_guidance = true;
    facts.latents_per_token = static_cast<std::size_t>(config.patch_size);
    facts.spacing = flow_match_schedule::spacing::training;
    return facts;
}

loaded_part<clip_prompt_encoder> clip_part(const image_component& from, c10::ScalarType dtype)
{
    auto read = [from, dtype](const stop_flag& stop) {
        return clip_prompt_encoder::read(from, true, dtype, stop);
    };
    return {from.tensors, std::move(read)};
}

}  // namespace

std::unique_ptr<image_generator>
make_sd3(image_pipeline_files files, const image_load_options& options)
{
    return nn::translated("loading " + files.name, [&]() -> std::unique_ptr<image_generator> {
        const c10::InferenceMode no_autograd;
        const nn::weight_format format = image_weight_format("sd3", options);
        const sd3_config config = sd3_config::read(files.transformer.config);
        const nn::autoencoder_config vae = read_autoencoder_config(files.vae.config);
        const bool has_t5 = files.text_encoder_3 && files.tokenizer_3;
        auto shared = std::make_shared<const sd3_denoiser::shared_facts>(sd3_denoiser::shared_facts{
            config,
            files.tokenizer,
            files.tokenizer_2,
            files.tokenizer_3,
            read_clip_text(files.text_encoder.config),
            read_clip_text(files.text_encoder_2.config),
            has_t5 ? read_t5_config(files.text_encoder_3->config).vocab_size : 0,
            options.memory,
            c10::elementSize(format.compute)});
        check_fit(files, config, vae, *shared);
        auto family = std::make_unique<sd3_denoiser>(
            std::move(shared),
            clip_part(files.text_encoder, format.compute),
            clip_part(files.text_encoder_2, format.compute),
            loaded_part<t5_prompt_encoder>{
                files.text_encoder_3 ? files.text_encoder_3->tensors : nullptr,
                [from = files.text_encoder_3, format](const stop_flag& stop) {
                    return t5_prompt_encoder::read(*from, format, stop);
                }},
            loaded_part<sd3_transformer>{
                files.transformer.tensors,
                [from = files.transformer, config, format](const stop_flag& stop) {
                    return sd3_transformer::read(from, config, format, stop);
                }});
        if (options.memory == component_memory::together) family->load(options.base.stop());
        const diffusion_facts facts = facts_of(config, vae.factor(), options);
        return make_diffusion_generator(files, options, facts, std::move(family));
    });
}

}  // namespace modelpool::models

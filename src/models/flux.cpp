// FLUX.1: text to image by a transformer that carries noise to latents in a few steps.
//
// Announced:  https://bfl.ai/announcements/24-08-01-bfl (no paper; rectified flow: https://arxiv.org/abs/2403.03206)
// Upstream:   https://github.com/huggingface/diffusers/blob/v0.36.0/src/diffusers/models/transformers/transformer_flux.py
//             https://github.com/huggingface/diffusers/blob/v0.36.0/src/diffusers/pipelines/flux/pipeline_flux.py
// Checkpoint: https://huggingface.co/black-forest-labs/FLUX.1-schnell

#include <modelpool/error.hpp>

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/view_as_complex.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <utility>

#include "models/clip_config.hpp"
#include "models/config_fields.hpp"
#include "models/diffusion_generator.hpp"
#include "models/image_config.hpp"
#include "models/image_pipeline.hpp"
#include "models/prompt_encoders.hpp"
#include "support/stop.hpp"
#include "torch/diffusion_layers.hpp"
#include "torch/errors.hpp"
#include "torch/projection.hpp"
#include "torch/threads.hpp"

namespace modelpool::models {
namespace {

using support::json_file;

constexpr auto f32 = c10::ScalarType::Float;
constexpr double rope_theta = 10000;
constexpr std::int64_t mlp_ratio = 4;

// ---- config -------------------------------------------------------------------------------------

struct flux_config {
    std::int64_t in_channels{0};  // of a token: 4 latents of all channels
    std::int64_t n_layers{0};
    std::int64_t n_single_layers{0};
    std::int64_t head_size{0};
    std::int64_t n_heads{0};
    std::int64_t joint_attention_dim{0};
    std::int64_t pooled_projection_dim{0};
    bool guidance_embeds{false};
    std::array<std::int64_t, 3> axes_dims_rope{16, 56, 56};

    std::int64_t width() const noexcept { return n_heads * head_size; }
    static flux_config read(const json_file& file);
};

std::array<std::int64_t, 3> read_axes(const json_file& file, std::int64_t head_size)
{
    std::array<std::int64_t, 3> axes{16, 56, 56};
    const auto place = file.root().find("axes_dims_rope");
    if (place != file.root().end() && !place->is_null()) {
        if (!place->is_array() || place->size() != axes.size())
            file.fail("'axes_dims_rope' must be an array of 3 sizes");
        for (std::size_t i = 0; i < axes.size(); ++i) {
            const auto& one = (*place)[i];
            if (!one.is_number_unsigned() || one.get<std::uint64_t>() % 2 != 0 ||
                one.get<std::uint64_t>() > 4096)
                file.fail("'axes_dims_rope' must hold even sizes, found " + one.dump());
            axes[i] = one.get<std::int64_t>();
        }
    }
    if (axes[0] + axes[1] + axes[2] != head_size)
        file.fail(
            "'axes_dims_rope' must add up to 'attention_head_dim', " + std::to_string(head_size));
    return axes;
}

flux_config flux_config::read(const json_file& file)
{
    need_class(file, "FluxTransformer2DModel");
    flux_config config;
    if (size_or(file, "patch_size", 1) != 1) refuse(file, "'patch_size' must be 1");
    config.in_channels = size_or(file, "in_channels", 64);
    if (size_or(file, "out_channels", config.in_channels) != config.in_channels)
        refuse(file, "'out_channels' must be as many as 'in_channels'");
    config.n_layers = file.find_int("num_layers", 0, 4096).value_or(19);
    config.n_single_layers = file.find_int("num_single_layers", 0, 4096).value_or(38);
    config.head_size = size_or(file, "attention_head_dim", 128);
    config.n_heads = size_or(file, "num_attention_heads", 24);
    config.joint_attention_dim = size_or(file, "joint_attention_dim", 4096);
    config.pooled_projection_dim = size_or(file, "pooled_projection_dim", 768);
    config.guidance_embeds = file.find_bool("guidance_embeds").value_or(false);
    config.axes_dims_rope = read_axes(file, config.head_size);
    return config;
}

// ---- modules ------------------------------------------------------------------------------------

// Turns pairs of numbers of each head by the angles of their token, in place where they are f32.
// heads: [1, n, n_heads, head_size]; turns: [n, 1, head_size / 2] complex; the result is f32.
at::Tensor turned(const at::Tensor& heads, const at::Tensor& turns)
{
    const at::Tensor wide = heads.to(f32).contiguous();
    at::view_as_complex(wide.view({wide.size(1), wide.size(2), -1, 2})).mul_(turns);
    return wide;
}

at::Tensor attend_turned(const nn::head_states& heads, const at::Tensor& turns)
{
    return nn::attend({turned(heads.query, turns), turned(heads.key, turns), heads.value});
}

// shift, scale and gate of the attention; the same of the feed-forward.
constexpr std::int64_t n_double_parts = 6;
constexpr std::int64_t n_single_parts = 3;

struct flux_transformer_block {
    nn::modulation norm1;
    nn::modulation norm1_context;
    nn::head_projections attn;
    nn::head_projections attn_added;
    nn::projection to_out;
    nn::projection to_add_out;
    nn::gelu_feed_forward ff;
    nn::gelu_feed_forward ff_context;

    static flux_transformer_block read(
        const nn::weight_reader& reader,
        const flux_config& config,
        const nn::weight_format& format);
    // In place. x: [1, n, width], text: [1, m, width]; by, by_text: [1, 6, width].
    void
    run(const at::Tensor& x,
        const at::Tensor& text,
        const at::Tensor& by,
        const at::Tensor& by_text,
        const at::Tensor& turns,
        nn::projection_room& room) const;
};

struct flux_single_block {
    nn::modulation norm;
    nn::head_projections attn;
    nn::projection proj_mlp;
    nn::projection proj_out;

    static flux_single_block read(
        const nn::weight_reader& reader,
        const flux_config& config,
        const nn::weight_format& format);
    // In place. x: [1, m + n, width], text first; by: [1, 3, width].
    void
    run(const at::Tensor& x,
        const at::Tensor& by,
        const at::Tensor& turns,
        c10::ScalarType dtype,
        nn::projection_room& room) const;
};

flux_transformer_block flux_transformer_block::read(
    const nn::weight_reader& reader, const flux_config& config, const nn::weight_format& format)
{
    const std::int64_t width = config.width();
    const std::int64_t inner = mlp_ratio * width;
    const nn::head_projections::layout heads{config.n_heads, config.head_size, true};
    const nn::weight_reader attn = reader.in("attn");
    return {
        nn::modulation::read(reader.in("norm1"), width, n_double_parts, format),
        nn::modulation::read(reader.in("norm1_context"), width, n_double_parts, format),
        nn::head_projections::read(attn, nn::head_projections::own, heads, format),
        nn::head_projections::read(attn, nn::head_projections::added, heads, format),
        nn::projection::read(attn, "to_out.0", {width, width}, format),
        nn::projection::read(attn, "to_add_out", {width, width}, format),
        nn::gelu_feed_forward::read(reader.in("ff"), width, inner, format),
        nn::gelu_feed_forward::read(reader.in("ff_context"), width, inner, format)};
}

void flux_transformer_block::run(
    const at::Tensor& x,
    const at::Tensor& text,
    const at::Tensor& by,
    const at::Tensor& by_text,
    const at::Tensor& turns,
    nn::projection_room& room) const
{
    const c10::ScalarType dtype = attn.dtype();
    const nn::head_states text_heads = attn_added.run(
        nn::modulated(text, by_text.select(1, 0), by_text.select(1, 1), dtype), room);
    const nn::head_states heads =
        attn.run(nn::modulated(x, by.select(1, 0), by.select(1, 1), dtype), room);
    const at::Tensor seen = attend_turned(nn::joined(text_heads, heads), turns);
    const std::int64_t m = text.size(1);
    const at::Tensor seen_text = seen.narrow(1, 0, m);
    const at::Tensor seen_x = seen.narrow(1, m, x.size(1));
    nn::add_gated(x, by.select(1, 2), nn::project(to_out, seen_x, room));
    nn::add_gated(text, by_text.select(1, 2), nn::project(to_add_out, seen_text, room));
    const at::Tensor inner = nn::modulated(x, by.select(1, 3), by.select(1, 4), dtype);
    nn::add_gated(x, by.select(1, 5), ff.run(inner, room));
    const at::Tensor text_inner =
        nn::modulated(text, by_text.select(1, 3), by_text.select(1, 4), dtype);
    nn::add_gated(text, by_text.select(1, 5), ff_context.run(text_inner, room));
}

flux_single_block flux_single_block::read(
    const nn::weight_reader& reader, const flux_config& config, const nn::weight_format& format)
{
    const std::int64_t width = config.width();
    const std::int64_t inner = mlp_ratio * width;
    const nn::head_projections::layout heads{config.n_heads, config.head_size, true};
    return {
        nn::modulation::read(reader.in("norm"), width, n_single_parts, format),
        nn::head_projections::read(reader.in("attn"), nn::head_projections::own, heads, format),
        nn::projection::read(reader, "proj_mlp", {width, inner}, format),
        nn::projection::read(reader, "proj_out", {width + inner, width}, format)};
}

void flux_single_block::run(
    const at::Tensor& x,
    const at::Tensor& by,
    const at::Tensor& turns,
    c10::ScalarType dtype,
    nn::projection_room& room) const
{
    const at::Tensor normed = nn::modulated(x, by.select(1, 0), by.select(1, 1), dtype);
    const std::int64_t n = x.size(1);
    const std::int64_t width = x.size(2);
    // What attention and the feed-forward give, side by side: [n, width + inner].
    const at::Tensor both = at::empty({n, width + proj_mlp.n_out()}, normed.options());
    const nn::projection_input input = room.input(normed.squeeze(0));
    const nn::head_states heads = attn.run(input, 1, room);
    const at::Tensor inner = both.narrow(1, width, proj_mlp.n_out());
    proj_mlp.run(input, inner, room, nn::projection::function::gelu_tanh);
    both.narrow(1, 0, width).copy_(attend_turned(heads, turns).squeeze(0));
    nn::add_gated(x, by.select(1, 2), proj_out.run(both, room).unsqueeze(0));
}

// ---- transformer --------------------------------------------------------------------------------

// What all steps of an image have in common, and the modulations of some of them.
struct flux_image {
    denoise_plan plan;
    at::Tensor text;   // [1, m, width] f32, embedded
    at::Tensor turns;  // [m + n, 1, head_size / 2] complex
    nn::step_modulations modulations;
};

class flux_transformer {
public:
    static flux_transformer read(
        const image_component& from,
        const flux_config& config,
        const nn::weight_format& format,
        const stop_flag& stop);

    flux_image begin(denoise_plan plan, nn::projection_room& room) const;
    // latents and result: [1, channels, height, width] f32.
    at::Tensor predict(
        const at::Tensor& latents,
        std::size_t step,
        flux_image& image,
        nn::projection_room& room,
        run_context& context) const;

    const nn::weight_footprint& footprint() const noexcept { return footprint_; }

private:
    at::Tensor turns(std::int64_t n_text, std::int64_t height, std::int64_t width) const;
    void modulate(
        std::size_t step, flux_image& image, nn::projection_room& room, run_context& context) const;

    flux_config config_;
    c10::ScalarType dtype_{f32};
    nn::projection x_embedder_;
    nn::projection context_embedder_;
    nn::embedding_mlp timestep_embedder_;
    nn::embedding_mlp guidance_embedder_;
    nn::embedding_mlp text_embedder_;
    std::vector<flux_transformer_block> transformer_blocks_;
    std::vector<flux_single_block> single_transformer_blocks_;
    nn::modulation norm_out_;
    nn::projection proj_out_;
    nn::weight_footprint footprint_;
};

flux_transformer flux_transformer::read(
    const image_component& from,
    const flux_config& config,
    const nn::weight_format& format,
    const stop_flag& stop)
{
    constexpr std::int64_t n_time = 256;
    const nn::weight_reader reader{from.tensors, stop};
    const nn::weight_reader times = reader.in("time_text_embed");
    const std::int64_t width = config.width();
    const auto embedder = [&](const char* name, std::int64_t n_in) {
        return nn::embedding_mlp::read(times.in(name), n_in, width, format);
    };
    flux_transformer result;
    result.config_ = config;
    result.dtype_ = format.compute;
    result.x_embedder_ =
        nn::projection::read(reader, "x_embedder", {config.in_channels, width}, format);
    result.context_embedder_ = nn::projection::read(
        reader, "context_embedder", {config.joint_attention_dim, width}, format);
    result.timestep_embedder_ = embedder("timestep_embedder", n_time);
    if (config.guidance_embeds) result.guidance_embedder_ = embedder("guidance_embedder", n_time);
    result.text_embedder_ = embedder("text_embedder", config.pooled_projection_dim);
    for (std::int64_t i = 0; i < config.n_layers; ++i) {
        result.transformer_blocks_.push_back(flux_transformer_block::read(
            reader.in("transformer_blocks." + std::to_string(i)), config, format));
        reader.drop_pages();  // what became something else is not looked at again
    }
    for (std::int64_t i = 0; i < config.n_single_layers; ++i) {
        result.single_transformer_blocks_.push_back(flux_single_block::read(
            reader.in("single_transformer_blocks." + std::to_string(i)), config, format));
        reader.drop_pages();  // what became something else is not looked at again
    }
    result.norm_out_ = nn::modulation::read(reader.in("norm_out"), width, 2, format);
    result.proj_out_ =
        nn::projection::read(reader, "proj_out", {width, config.in_channels}, format);
    result.footprint_ = reader.footprint();
    return result;
}

// The angles of three axes side by side: text lies at (0, 0, 0), a token of the image at (0, row,
// column).
at::Tensor
flux_transformer::turns(std::int64_t n_text, std::int64_t height, std::int64_t width) const
{
    const std::int64_t n_pairs = config_.head_size / 2;
    const std::int64_t n_tokens = n_text + height * width;
    const at::Tensor result = at::empty({n_tokens, 1, n_pairs, 2}, at::TensorOptions{}.dtype(f32));
    auto* to = result.mutable_data_ptr<float>();
    for (std::int64_t token = 0; token < n_tokens; ++token) {
        const std::int64_t place = std::max<std::int64_t>(0, token - n_text);
        const std::array<std::int64_t, 3> position{0, place / width, place % width};
        for (std::size_t axis = 0; axis < position.size(); ++axis) {
            const std::int64_t size = config_.axes_dims_rope[axis];
            for (std::int64_t i = 0; i < size; i += 2) {
                const double angle =
                    static_cast<double>(position[axis]) /
                    std::pow(rope_theta, static_cast<double>(i) / static_cast<double>(size));
                *to++ = static_cast<float>(std::cos(angle));
                *to++ = static_cast<float>(std::sin(angle));
            }
        }
    }
    return at::view_as_complex(result);
}

flux_image flux_transformer::begin(denoise_plan plan, nn::projection_room& room) const
{
    flux_image image;
    const at::Tensor& tokens = plan.prompts.front().tokens;
    image.text = context_embedder_.run(tokens.to(dtype_), room).to(f32).unsqueeze(0);
    image.turns = turns(tokens.size(0), plan.height / 2, plan.width / 2);
    image.plan = std::move(plan);
    return image;
}

void flux_transformer::modulate(
    std::size_t step, flux_image& image, nn::projection_room& room, run_context& context) const
{
    if (image.modulations.has(step)) return;
    nn::step_modulations modulations;
    modulations.begin(step, image.plan.timesteps.size());
    std::vector<float> times;
    for (std::size_t i = modulations.first_step(); i < modulations.end_step(); ++i)
        times.push_back(image.plan.timesteps[i] / 1000.0F * 1000.0F);  // as the reference rounds
    at::Tensor embedded = timestep_embedder_.run(nn::time_embedding(at::tensor(times)), room);
    if (config_.guidance_embeds) {
        const std::vector<float> guidance{image.plan.guidance * 1000.0F};
        embedded.add_(guidance_embedder_.run(nn::time_embedding(at::tensor(guidance)), room));
    }
    embedded.add_(text_embedder_.run(image.plan.prompts.front().pooled.unsqueeze(0), room));
    const at::Tensor activated = at::silu(embedded);
    for (const flux_transformer_block& one : transformer_blocks_) {
        support::end_if_stopped(context.stop(), "a step");
        modulations.add(one.norm1.run(activated, room));
        modulations.add(one.norm1_context.run(activated, room));
    }
    for (const flux_single_block& one : single_transformer_blocks_) {
        support::end_if_stopped(context.stop(), "a step");
        modulations.add(one.norm.run(activated, room));
    }
    modulations.add(norm_out_.run(activated, room));
    image.modulations = std::move(modulations);
}

at::Tensor flux_transformer::predict(
    const at::Tensor& latents,
    std::size_t step,
    flux_image& image,
    nn::projection_room& room,
    run_context& context) const
{
    nn::enter_block(context, room);
    modulate(step, image, room, context);
    std::size_t next = 0;
    const auto modulation = [&] { return image.modulations.of(next++, step); };
    const std::int64_t channels = latents.size(1);
    const std::int64_t height = latents.size(2) / 2;
    const std::int64_t width = latents.size(3) / 2;
    // A token is 2 x 2 latents: [channels, height, 2, width, 2] -> [height * width, channels * 4]
    const at::Tensor packed = latents.view({channels, height, 2, width, 2})
                                  .permute({1, 3, 0, 2, 4})
                                  .reshape({height * width, channels * 4});
    const at::Tensor x = x_embedder_.run(packed.to(dtype_), room).to(f32).unsqueeze(0);
    const at::Tensor text = image.text.clone();
    for (const flux_transformer_block& one : transformer_blocks_) {
        nn::enter_block(context, room);
        const at::Tensor by = modulation();
        const at::Tensor by_text = modulation();
        one.run(x, text, by, by_text, image.turns, room);
    }
    const at::Tensor joined = at::cat({text, x}, 1);
    for (const flux_single_block& one : single_transformer_blocks_) {
        nn::enter_block(context, room);
        one.run(joined, modulation(), image.turns, dtype_, room);
    }
    const at::Tensor by = modulation();
    const at::Tensor last = joined.narrow(1, text.size(1), height * width);
    const at::Tensor normed = nn::modulated(last, by.select(1, 1), by.select(1, 0), dtype_);
    return proj_out_.run(normed.squeeze(0), room)
        .to(f32)
        .view({height, width, channels, 2, 2})
        .permute({2, 0, 3, 1, 4})
        .reshape(latents.sizes());
}

// ---- pipeline -----------------------------------------------------------------------------------

class flux_denoiser final : public denoiser {
public:
    // What replicas share.
    struct shared_facts {
        flux_config config;
        prompt_tokenizer clip_tokenizer;
        prompt_tokenizer t5_tokenizer;
        nn::clip_text_config clip;
        std::int64_t t5_vocab_size;
        component_memory memory;
        std::size_t element_bytes;
    };

    flux_denoiser(
        std::shared_ptr<const shared_facts> shared,
        loaded_part<clip_prompt_encoder> clip,
        loaded_part<t5_prompt_encoder> t5,
        loaded_part<flux_transformer> transformer)
        : shared_{std::move(shared)}
        , clip_{std::move(clip)}
        , t5_{std::move(t5)}
        , transformer_{std::move(transformer)}
    {}

    prompt_states
    encode(const std::string& prompt, std::size_t n_tokens, run_context& context) override
    {
        const auto n_clip = static_cast<std::size_t>(shared_->clip.max_position_embeddings);
        const auto clip_ids =
            prompt_ids(shared_->clip_tokenizer, prompt, n_clip, shared_->clip.vocab_size);
        const auto t5_ids =
            prompt_ids(shared_->t5_tokenizer, prompt, n_tokens, shared_->t5_vocab_size);
        prompt_states result;
        result.pooled = clip_.get(context.stop()).run(clip_ids, context).pooled;
        if (in_turn()) clip_.release();
        result.tokens = t5_.get(context.stop()).run(t5_ids, context);
        return result;
    }

    void end_encoding() noexcept override { t5_.release(); }

    void begin(denoise_plan plan, run_context& context) override
    {
        room_.use_threads(context.n_threads());
        image_ = transformer_.get(context.stop()).begin(std::move(plan), room_);
    }

    at::Tensor predict(const at::Tensor& latents, std::size_t step, run_context& context) override
    {
        return transformer_.get(context.stop()).predict(latents, step, image_, room_, context);
    }

    void end() noexcept override
    {
        image_ = {};
        if (in_turn()) transformer_.release();
    }

    std::unique_ptr<denoiser> replicate() const override
    {
        return std::make_unique<flux_denoiser>(shared_, clip_, t5_, transformer_);
    }

    nn::weight_footprint footprint() const override
    {
        return sum_of({clip_.footprint(), t5_.footprint(), transformer_.footprint()});
    }

    std::size_t scratch_bytes(std::size_t n_tokens) const noexcept override
    {
        const auto width = static_cast<std::size_t>(shared_->config.width());
        // The residual states, queries, keys and values twice, and what goes into proj_out.
        return (n_tokens + 512) * width * (2 * sizeof(float) + 11 * shared_->element_bytes);
    }

    // Reads everything.
    void load(const stop_flag& stop)
    {
        static_cast<void>(clip_.get(stop));
        static_cast<void>(t5_.get(stop));
        static_cast<void>(transformer_.get(stop));
    }

private:
    bool in_turn() const noexcept { return shared_->memory == component_memory::in_turn; }

    std::shared_ptr<const shared_facts> shared_;
    loaded_part<clip_prompt_encoder> clip_;
    loaded_part<t5_prompt_encoder> t5_;
    loaded_part<flux_transformer> transformer_;
    nn::projection_room room_;
    flux_image image_;
};

// ---- factory ------------------------------------------------------------------------------------

diffusion_facts
facts_of(const flux_config& config, std::int64_t vae_factor, const image_load_options& options)
{
    diffusion_facts facts;
    facts.info.default_width = 1024;
    facts.info.default_height = 1024;
    facts.info.size_multiple = static_cast<std::size_t>(2 * vae_factor);
    facts.info.max_side = 2048 / facts.info.size_multiple * facts.info.size_multiple;
    const std::size_t usual_steps = config.guidance_embeds ? 28 : 4;
    const float usual_guidance = config.guidance_embeds ? 3.5F : 0.0F;
    facts.info.default_steps = options.default_steps == 0 ? usual_steps : options.default_steps;
    facts.info.default_guidance = options.default_guidance.value_or(usual_guidance);
    facts.default_prompt_tokens = config.guidance_embeds ? 512 : 256;
    facts.max_prompt_tokens = 512;
    facts.spacing = flow_match_schedule::spacing::whole;
    return facts;
}

}  // namespace

std::unique_ptr<image_generator>
make_flux(image_pipeline_files files, const image_load_options& options)
{
    return nn::translated("loading " + files.name, [&]() -> std::unique_ptr<image_generator> {
        const c10::InferenceMode no_autograd;
        const nn::weight_format format = image_weight_format("flux", options);
        const flux_config config = flux_config::read(files.transformer.config);
        const nn::autoencoder_config vae = read_autoencoder_config(files.vae.config);
        const nn::clip_text_config clip = read_clip_text(files.text_encoder.config);
        const nn::t5_config t5 = read_t5_config(files.text_encoder_2.config);
        const json_file& named = files.transformer.config;
        need_fit(named, "in_channels", config.in_channels, 4 * vae.latent_channels);
        need_fit(named, "joint_attention_dim", config.joint_attention_dim, t5.d_model);
        need_fit(named, "pooled_projection_dim", config.pooled_projection_dim, clip.hidden_size);
        auto shared =
            std::make_shared<const flux_denoiser::shared_facts>(flux_denoiser::shared_facts{
                config,
                files.tokenizer,
                files.tokenizer_2,
                clip,
                t5.vocab_size,
                options.memory,
                c10::elementSize(format.compute)});
        auto family = std::make_unique<flux_denoiser>(
            std::move(shared),
            loaded_part<clip_prompt_encoder>{
                files.text_encoder.tensors,
                [from = files.text_encoder, dtype = format.compute](const stop_flag& stop) {
                    return clip_prompt_encoder::read(from, false, dtype, stop);
                }},
            loaded_part<t5_prompt_encoder>{
                files.text_encoder_2.tensors,
                [from = files.text_encoder_2, format](const stop_flag& stop) {
                    return t5_prompt_encoder::read(from, format, stop);
                }},
            loaded_part<flux_transformer>{
                files.transformer.tensors,
                [from = files.transformer, config, format](const stop_flag& stop) {
                    return flux_transformer::read(from, config, format, stop);
                }});
        if (options.memory == component_memory::together) family->load(options.base.stop());
        const diffusion_facts facts = facts_of(config, vae.factor(), options);
        return make_diffusion_generator(files, options, facts, std::move(family));
    });
}

}  // namespace modelpool::models

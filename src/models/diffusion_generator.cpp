#include "models/diffusion_generator.hpp"

#include <modelpool/error.hpp>
#include <modelpool/image/codec.hpp>
#include <modelpool/image/resize.hpp>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/adaptive_avg_pool2d.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/randn.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <list>
#include <optional>
#include <random>
#include <utility>

#include "kernels/bf16_tiles.hpp"
#include "models/image_config.hpp"
#include "models/prompt_encoders.hpp"
#include "support/stop.hpp"
#include "torch/autoencoder.hpp"
#include "torch/errors.hpp"
#include "torch/threads.hpp"

namespace modelpool::models {
namespace {

constexpr auto f32 = c10::ScalarType::Float;
constexpr std::size_t max_steps = 1000;
constexpr std::size_t max_prompt_bytes = std::size_t{1} << 20U;
constexpr std::size_t max_kept_prompts = 8;
constexpr std::int64_t preview_latents = 16;  // along the longer side

// A half of the autoencoder, with what reading it took.
template <class Half>
class read_half {
public:
    read_half(const nn::weight_reader& reader, Half half)
        : half_{std::move(half)}
        , footprint_{reader.footprint()}
    {}

    const Half* operator->() const noexcept { return &half_; }
    const nn::weight_footprint& footprint() const noexcept { return footprint_; }

private:
    Half half_;
    nn::weight_footprint footprint_;
};
using decoder_half = read_half<nn::image_decoder>;
using encoder_half = read_half<nn::image_encoder>;

template <class Half>
typename loaded_part<read_half<Half>>::loader half_loader(
    std::shared_ptr<const weights::tensor_source> tensors,
    nn::autoencoder_config config,
    c10::ScalarType dtype)
{
    return
        [tensors = std::move(tensors), config = std::move(config), dtype](const stop_flag& stop) {
            const nn::weight_reader reader{tensors, stop};
            return read_half<Half>{reader, Half::read(reader, config, dtype)};
        };
}

// What replicas share.
struct generator_shared {
    std::string name;
    diffusion_facts facts;
    flow_match_schedule schedule;
    nn::autoencoder_config vae;
    c10::ScalarType dtype;
    component_memory memory;
    std::size_t turn_bytes;
};

// What prompts were made into, the latest first. Prompts come again: images are made in series.
class prompt_memory {
public:
    const prompt_states* find(const std::string& prompt, std::size_t n_tokens)
    {
        const auto place = std::ranges::find_if(kept_, [&](const entry& one) {
            return one.n_tokens == n_tokens && one.prompt == prompt;
        });
        if (place == kept_.end()) return nullptr;
        kept_.splice(kept_.begin(), kept_, place);
        return &kept_.front().states;
    }

    void add(const std::string& prompt, std::size_t n_tokens, prompt_states states)
    {
        kept_.push_front({prompt, n_tokens, std::move(states)});
        if (kept_.size() > max_kept_prompts) kept_.pop_back();
    }

private:
    struct entry {
        std::string prompt;
        std::size_t n_tokens;
        prompt_states states;
    };
    std::list<entry> kept_;
};

[[noreturn]] void refuse_request(const std::string& sentence)
{
    throw error{errc::invalid_argument, sentence};
}

// A request with everything in it that was left to the model.
struct checked_request {
    std::size_t width{0};
    std::size_t height{0};
    std::size_t n_steps{0};
    std::size_t n_prompt_tokens{0};
    float guidance{0};
    double strength{1};
    std::uint64_t seed{0};
};

std::size_t checked_side(
    const char* what, std::size_t wanted, std::size_t usual, const image_generator_info& info)
{
    const std::size_t side = wanted == 0 ? usual : wanted;
    if (side % info.size_multiple != 0 || side > info.max_side)
        refuse_request(
            std::string{what} + " must be a multiple of " + std::to_string(info.size_multiple) +
            " of at most " + std::to_string(info.max_side) + " pixels, found " +
            std::to_string(side));
    return side;
}

std::uint64_t random_seed()
{
    std::random_device source;
    return (std::uint64_t{source()} << 32U) | source();
}

void check_latents(
    const std::vector<float>& latents,
    const checked_request& wanted,
    const nn::autoencoder_config& vae)
{
    if (latents.empty()) return;
    const auto factor = static_cast<std::size_t>(vae.factor());
    const auto channels = static_cast<std::size_t>(vae.latent_channels);
    const std::size_t height = wanted.height / factor;
    const std::size_t width = wanted.width / factor;
    if (latents.size() != channels * height * width)
        refuse_request(
            "the latents have " + std::to_string(latents.size()) + " numbers, expected [1, " +
            std::to_string(channels) + ", " + std::to_string(height) + ", " +
            std::to_string(width) + "] for this size");
    const bool finite = std::ranges::all_of(latents, [](float x) { return std::isfinite(x); });
    if (!finite) refuse_request("the latents hold numbers that are not finite");
}

checked_request
check(const image_params& request, const diffusion_facts& facts, const nn::autoencoder_config& vae)
{
    const image_generator_info& info = facts.info;
    checked_request result;
    result.width = checked_side("the width", request.width, info.default_width, info);
    result.height = checked_side("the height", request.height, info.default_height, info);
    result.n_steps = request.n_steps == 0 ? info.default_steps : request.n_steps;
    if (result.n_steps > max_steps)
        refuse_request(
            "at most " + std::to_string(max_steps) + " steps, found " +
            std::to_string(result.n_steps));
    result.guidance = request.guidance.value_or(info.default_guidance);
    if (!(result.guidance >= 0 && result.guidance <= 1000))
        refuse_request(
            "the guidance must lie in [0, 1000], found " + std::to_string(result.guidance));
    result.n_prompt_tokens =
        request.max_prompt_tokens == 0 ? facts.default_prompt_tokens : request.max_prompt_tokens;
    if (result.n_prompt_tokens > facts.max_prompt_tokens)
        refuse_request(
            "a prompt of at most " + std::to_string(facts.max_prompt_tokens) +
            " tokens, asked for " + std::to_string(result.n_prompt_tokens));
    const std::string negative = request.negative_prompt.value_or("");
    if (!negative.empty() && !info.takes_negative_prompt)
        throw error{errc::unsupported, "the model takes no negative prompt"};
    if (std::max(request.prompt.size(), negative.size()) > max_prompt_bytes)
        throw error{text_errc::too_long, "a prompt of more than 1 MiB"};
    if (!(request.strength >= 0 && request.strength <= 1))
        refuse_request(
            "the strength must lie in [0, 1], found " + std::to_string(request.strength));
    // As near as the decimals it was most likely written in: 0.6F is a little more than 0.6.
    result.strength = std::round(static_cast<double>(request.strength) * 1e6) / 1e6;
    result.seed = request.seed ? *request.seed : random_seed();
    check_latents(request.latents, result, vae);
    return result;
}

// ---- pixels -------------------------------------------------------------------------------------

// [1, 3, height, width] f32, -1 to 1.
at::Tensor pixels_of(const image& picture)
{
    const std::array<std::int64_t, 3> shape{
        static_cast<std::int64_t>(picture.height), static_cast<std::int64_t>(picture.width), 3};
    const at::Tensor bytes = at::from_blob(
        const_cast<std::uint8_t*>(picture.rgb.data()),
        shape,
        at::TensorOptions{}.dtype(c10::ScalarType::Byte));
    return bytes.permute({2, 0, 1}).to(f32).div_(255).mul_(2).sub_(1).unsqueeze(0).contiguous();
}

image image_of(const at::Tensor& pixels)
{
    const at::Tensor bytes = pixels.squeeze(0)
                                 .mul(0.5)
                                 .add_(0.5)
                                 .clamp_(0, 1)
                                 .mul_(255)
                                 .round_()
                                 .permute({1, 2, 0})
                                 .to(c10::ScalarType::Byte)
                                 .contiguous();
    image result;
    result.height = static_cast<std::size_t>(bytes.size(0));
    result.width = static_cast<std::size_t>(bytes.size(1));
    const auto* from = bytes.const_data_ptr<std::uint8_t>();
    result.rgb.assign(from, from + bytes.numel());
    return result;
}

// ---- generator ----------------------------------------------------------------------------------

class diffusion_generator final : public image_generator {
public:
    diffusion_generator(
        std::shared_ptr<const generator_shared> shared,
        std::unique_ptr<denoiser> family,
        loaded_part<decoder_half> decoder,
        loaded_part<encoder_half> encoder)
        : shared_{std::move(shared)}
        , family_{std::move(family)}
        , decoder_{std::move(decoder)}
        , encoder_{std::move(encoder)}
    {}

    const image_generator_info& info() const noexcept override { return shared_->facts.info; }

    std::size_t begin(const image_params& request, run_context& context) override
    {
        cancel();
        std::size_t n_steps = 0;
        run_guarded(context, [&] { n_steps = begin_image(request, context); });
        return n_steps;
    }

    bool step(run_context& context) override
    {
        bool more = false;
        run_guarded(context, [&] { more = step_image(context); });
        return more;
    }

    image preview(run_context& context) override
    {
        image result;
        run_guarded(context, [&] { result = small_image(context); });
        return result;
    }

    generated_image finish(run_context& context) override
    {
        generated_image result;
        run_guarded(context, [&] { result = finish_image(context); });
        return result;
    }

    void cancel() noexcept override
    {
        family_->end();
        current_.reset();
    }

    std::unique_ptr<image_generator> replicate() const override
    {
        return std::make_unique<diffusion_generator>(
            shared_, family_->replicate(), decoder_, encoder_);
    }

    footprint bytes() const override;

private:
    // The image under way.
    struct progress {
        std::vector<float> sigmas;
        std::size_t next{0};  // step
        std::uint64_t seed{0};
        at::Tensor latents;   // [1, channels, height, width] f32
        at::Tensor foreseen;  // the same: where the latest step leads to at once
    };

    template <class Work>
    void run_guarded(run_context& context, Work&& work);

    std::size_t begin_image(const image_params& request, run_context& context);
    bool step_image(run_context& context);
    image small_image(run_context& context);
    generated_image finish_image(run_context& context);
    prompt_states encoded(const std::string& prompt, std::size_t n_tokens, run_context& context);
    at::Tensor first_latents(
        const image_params& request,
        const checked_request& wanted,
        const std::optional<image>& picture,
        float sigma,
        run_context& context);
    at::Tensor decode(const at::Tensor& latents, run_context& context)
    {
        const at::Tensor scaled =
            latents.div(shared_->vae.scaling_factor).add_(shared_->vae.shift_factor);
        return decoder_.get(context.stop())->run(scaled, context);
    }
    progress& current()
    {
        if (!current_) throw error{errc::invalid_argument, "no image is under way"};
        return *current_;
    }

    std::shared_ptr<const generator_shared> shared_;
    std::unique_ptr<denoiser> family_;
    loaded_part<decoder_half> decoder_;
    loaded_part<encoder_half> encoder_;
    prompt_memory prompts_;
    std::optional<progress> current_;
};

// Whoever asked to stop gets any value, not an error.
template <class Work>
void diffusion_generator::run_guarded(run_context& context, Work&& work)
{
    try {
        nn::translated(shared_->name, [&] {
            const c10::InferenceMode no_autograd;
            nn::use_threads(context.n_threads());
            work();
        });
    } catch (const error& problem) {
        if (!context.stop_requested() || problem.code() != support::operation_aborted()) throw;
    }
}

prompt_states
diffusion_generator::encoded(const std::string& prompt, std::size_t n_tokens, run_context& context)
{
    if (const prompt_states* known = prompts_.find(prompt, n_tokens)) return *known;
    prompt_states made = family_->encode(prompt, n_tokens, context);
    prompts_.add(prompt, n_tokens, made);
    return made;
}

std::size_t diffusion_generator::begin_image(const image_params& request, run_context& context)
{
    const diffusion_facts& facts = shared_->facts;
    const checked_request wanted = check(request, facts, shared_->vae);
    std::optional<image> picture;
    if (request.init_image) {
        picture = blocking_load_image(*request.init_image);
        if (picture->width != wanted.width || picture->height != wanted.height)
            picture = resize(*picture, {wanted.width, wanted.height}, resize_filter::lanczos);
    }
    progress started;
    const auto factor = static_cast<std::size_t>(shared_->vae.factor());
    const std::size_t token_side = factor * facts.latents_per_token;
    started.sigmas = shared_->schedule.sigmas(
        wanted.n_steps, facts.spacing, (wanted.width / token_side) * (wanted.height / token_side));
    if (picture) {  // the steps that would have come before it are left out
        const auto n = static_cast<double>(wanted.n_steps);
        const auto skipped =
            static_cast<std::ptrdiff_t>(std::max(n - std::min(n * wanted.strength, n), 0.0));
        started.sigmas.erase(started.sigmas.begin(), started.sigmas.begin() + skipped);
        if (started.sigmas.size() < 2)
            refuse_request(
                "with a strength of " + std::to_string(request.strength) + " nothing is left of " +
                std::to_string(wanted.n_steps) + " steps");
    }
    denoise_plan plan;
    plan.timesteps = shared_->schedule.timesteps(started.sigmas);
    plan.guidance = wanted.guidance;
    plan.height = static_cast<std::int64_t>(wanted.height / factor);
    plan.width = static_cast<std::int64_t>(wanted.width / factor);
    plan.prompts.push_back(encoded(request.prompt, wanted.n_prompt_tokens, context));
    if (facts.splits_guidance && wanted.guidance > 1)
        plan.prompts.push_back(
            encoded(request.negative_prompt.value_or(""), wanted.n_prompt_tokens, context));
    if (shared_->memory == component_memory::in_turn) family_->end_encoding();
    started.seed = wanted.seed;
    started.latents = first_latents(request, wanted, picture, started.sigmas.front(), context);
    started.foreseen = started.latents;
    const std::size_t n_steps = plan.timesteps.size();
    family_->begin(std::move(plan), context);
    current_ = std::move(started);
    return n_steps;
}

// As the reference draws them: of torch's generator for the CPU, the image's sample first.
at::Tensor diffusion_generator::first_latents(
    const image_params& request,
    const checked_request& wanted,
    const std::optional<image>& picture,
    float sigma,
    run_context& context)
{
    const nn::autoencoder_config& vae = shared_->vae;
    const std::vector<std::int64_t> shape{
        1,
        vae.latent_channels,
        static_cast<std::int64_t>(wanted.height) / vae.factor(),
        static_cast<std::int64_t>(wanted.width) / vae.factor()};
    const at::Generator source = at::detail::createCPUGenerator(wanted.seed);
    const auto drawn = [&] { return at::randn(shape, source, at::TensorOptions{}.dtype(f32)); };
    at::Tensor start;
    if (picture) {
        const at::Tensor moments = encoder_.get(context.stop())->run(pixels_of(*picture), context);
        encoder_.release();
        const at::Tensor spread =
            moments.narrow(1, vae.latent_channels, vae.latent_channels).clamp(-30, 20).mul(0.5);
        start = moments.narrow(1, 0, vae.latent_channels)
                    .add(spread.exp_().mul_(drawn()))
                    .sub_(vae.shift_factor)
                    .mul_(vae.scaling_factor);
    }
    at::Tensor noise = at::empty(shape, at::TensorOptions{}.dtype(f32));
    if (request.latents.empty())
        noise = drawn();
    else
        std::ranges::copy(request.latents, noise.mutable_data_ptr<float>());
    if (!picture) return noise;
    return noise.mul_(static_cast<double>(sigma)).add_(start.mul_(1.0F - sigma));
}

bool diffusion_generator::step_image(run_context& context)
{
    progress& image = current();
    const std::size_t index = image.next;
    if (index + 1 >= image.sigmas.size())
        throw error{errc::invalid_argument, "the image has no step left"};
    const at::Tensor direction = family_->predict(image.latents, index, context);
    const float sigma = image.sigmas[index];
    image.foreseen = image.latents.sub(direction, static_cast<double>(sigma));
    image.latents =
        image.latents.add(direction.mul(static_cast<double>(image.sigmas[index + 1] - sigma)));
    ++image.next;
    return image.next + 1 < image.sigmas.size();
}

// What the latest step leads to, decoded from fewer latents.
image diffusion_generator::small_image(run_context& context)
{
    const at::Tensor& latents = current().foreseen;
    const std::int64_t longest = std::max(latents.size(2), latents.size(3));
    const std::int64_t shrink = (longest + preview_latents - 1) / preview_latents;
    const auto side = [&](std::int64_t n) { return std::max<std::int64_t>(1, n / shrink); };
    const at::Tensor fewer =
        at::adaptive_avg_pool2d(latents, {side(latents.size(2)), side(latents.size(3))});
    return image_of(decode(fewer, context));
}

generated_image diffusion_generator::finish_image(run_context& context)
{
    progress& image = current();
    if (image.next + 1 < image.sigmas.size())
        throw error{errc::invalid_argument, "the image has steps left"};
    if (!image.latents.isfinite().all().item<bool>())
        throw error{model_errc::failed, "the steps led to latents that are not finite"};
    family_->end();
    generated_image result;
    result.pixels = image_of(decode(image.latents, context));
    const at::Tensor latents = image.latents.contiguous();
    const auto* from = latents.const_data_ptr<float>();
    result.latents.assign(from, from + latents.numel());
    result.seed = image.seed;
    current_.reset();
    return result;
}

footprint diffusion_generator::bytes() const
{
    const image_generator_info& about = info();
    // Parts that come in turn are not there now, but will be.
    const bool in_turn = shared_->memory == component_memory::in_turn;
    const nn::weight_footprint family = in_turn ? nn::weight_footprint{} : family_->footprint();
    const nn::weight_footprint decoder = decoder_.footprint();
    footprint result;
    result.shared_bytes = family.copied_bytes + decoder.copied_bytes;
    result.mapped_bytes = family.mapped_bytes + decoder.mapped_bytes;
    // The decoder's last level holds three states of an image of the default size, which is the
    // most of what an image takes; the transformer's states come before it.
    const std::vector<std::int64_t>& widths = shared_->vae.block_out_channels;
    const auto width = static_cast<std::size_t>(widths.size() > 1 ? widths[1] : widths[0]);
    const std::size_t n_pixels = about.default_width * about.default_height;
    const auto token_side =
        shared_->facts.latents_per_token * static_cast<std::size_t>(shared_->vae.factor());
    result.replica_bytes = std::max(
        3 * n_pixels * width * c10::elementSize(shared_->dtype),
        family_->scratch_bytes(n_pixels / (token_side * token_side)));
    result.replica_bytes += shared_->turn_bytes;
    return result;
}

// What is computed in beside weights that are rounded to blocks: bf16 where the processor
// multiplies it in tiles, since it is then no less exact than they are, and several times as fast.
c10::ScalarType beside_blocks() noexcept
{
    return kernels::has_bf16_tiles() ? c10::ScalarType::BFloat16 : c10::ScalarType::Float;
}

}  // namespace

void need_fit(
    const support::json_file& file, const char* key, std::int64_t found, std::int64_t expected)
{
    if (found == expected) return;
    file.fail(
        "'" + std::string{key} + "' is " + std::to_string(found) +
        ", the other parts of the pipeline ask for " + std::to_string(expected));
}

nn::weight_footprint sum_of(std::initializer_list<nn::weight_footprint> parts) noexcept
{
    nn::weight_footprint sum;
    for (const nn::weight_footprint& one : parts) {
        sum.copied_bytes += one.copied_bytes;
        sum.mapped_bytes += one.mapped_bytes;
    }
    return sum;
}

nn::weight_format image_weight_format(const std::string& family, const image_load_options& options)
{
    using kernels::block_type;
    const load_options& base = options.base;
    if (!base.device().is_cpu())
        throw error{
            model_errc::unsupported,
            family + " does not run on device '" + base.device().str() + "'; supported: cpu"};
    switch (base.dtype()) {
    case dtype::automatic:
    case dtype::f32:
        return {c10::ScalarType::Float, std::nullopt};
    case dtype::bf16:
        return {c10::ScalarType::BFloat16, std::nullopt};
    case dtype::q8_0:
        return {beside_blocks(), block_type::q8_0};
    case dtype::q4_k:
        return {beside_blocks(), block_type::q4_k};
    default:
        throw error{
            model_errc::unsupported,
            family + " does not compute in dtype '" + std::string{to_string(base.dtype())} +
                "'; supported: auto, f32, bf16, q8_0, q4_k"};
    }
}

std::unique_ptr<image_generator> make_diffusion_generator(
    const image_pipeline_files& files,
    const image_load_options& options,
    const diffusion_facts& facts,
    std::unique_ptr<denoiser> family)
{
    const c10::InferenceMode no_autograd;
    const c10::ScalarType dtype = image_weight_format(files.name, options).compute;
    nn::autoencoder_config vae = read_autoencoder_config(files.vae.config);
    const auto& tensors = files.vae.tensors;
    loaded_part<decoder_half> decoder{tensors, half_loader<nn::image_decoder>(tensors, vae, dtype)};
    loaded_part<encoder_half> encoder{tensors, half_loader<nn::image_encoder>(tensors, vae, dtype)};
    static_cast<void>(decoder.get(options.base.stop()));
    auto shared = std::make_shared<const generator_shared>(generator_shared{
        files.name,
        facts,
        flow_match_schedule::read(files.scheduler),
        std::move(vae),
        dtype,
        options.memory,
        options.turn_bytes});
    return std::make_unique<diffusion_generator>(
        std::move(shared), std::move(family), std::move(decoder), std::move(encoder));
}

}  // namespace modelpool::models

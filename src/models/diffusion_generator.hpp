#pragma once

#include <modelpool/capability/text_to_image.hpp>
#include <modelpool/models/load_options.hpp>

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "models/flow_match_schedule.hpp"
#include "models/image_pipeline.hpp"
#include "torch/projection.hpp"
#include "torch/weight_reader.hpp"

namespace modelpool::models {

/// What text encoders made of a prompt.
struct prompt_states {
    at::Tensor tokens;  ///< [n, width] f32
    at::Tensor pooled;  ///< [width] f32
};

/// What a transformer is told of an image before its first step.
struct denoise_plan {
    std::vector<float> timesteps;
    std::vector<prompt_states>
        prompts;  ///< the prompt, and the negative one where there is guidance
    float guidance{0};
    std::int64_t height{0};  ///< of the latents
    std::int64_t width{0};
};

/// What families differ in: their text encoders and their transformer, with the state of one image.
/// Belongs to one replica. Not thread-safe.
class denoiser {
public:
    denoiser() = default;
    denoiser(const denoiser&) = delete;
    denoiser& operator=(const denoiser&) = delete;
    denoiser(denoiser&&) = delete;
    denoiser& operator=(denoiser&&) = delete;
    virtual ~denoiser() = default;

    /// Errors: those of the tokenizers; operation_aborted once a stop is requested.
    virtual prompt_states
    encode(const std::string& prompt, std::size_t n_tokens, run_context& context) = 0;
    /// Lets the text encoders go, where the pipeline is loaded in turn.
    virtual void end_encoding() noexcept = 0;
    /// Errors: operation_aborted once a stop is requested.
    virtual void begin(denoise_plan plan, run_context& context) = 0;
    /// Where the latents move to at a step, guidance applied: latents and result are [1, channels,
    /// height, width] f32. Errors: as `begin`.
    virtual at::Tensor
    predict(const at::Tensor& latents, std::size_t step, run_context& context) = 0;
    /// Frees what belongs to the image, and lets the transformer go where the pipeline is loaded in
    /// turn.
    virtual void end() noexcept = 0;

    virtual std::unique_ptr<denoiser> replicate() const = 0;
    virtual nn::weight_footprint footprint() const = 0;
    /// Bytes of the temporaries for an image of so many tokens.
    virtual std::size_t scratch_bytes(std::size_t n_tokens) const noexcept = 0;
};

/// What a family asks of requests.
struct diffusion_facts {
    image_generator_info info;
    std::size_t default_prompt_tokens{0};
    std::size_t max_prompt_tokens{0};
    bool splits_guidance{false};  ///< guidance above 1 takes a second pass, with a negative prompt
    std::size_t latents_per_token{2};  ///< along a side
    flow_match_schedule::spacing spacing{flow_match_schedule::spacing::whole};
};

/// Throws model_errc::bad_config unless a size in a config is what the other parts ask for.
void need_fit(
    const support::json_file& file, const char* key, std::int64_t found, std::int64_t expected);

/// What parts take together.
nn::weight_footprint sum_of(std::initializer_list<nn::weight_footprint> parts) noexcept;

/// Number formats for load options. Errors: model_errc::unsupported, naming family and format.
nn::weight_format image_weight_format(const std::string& family, const image_load_options& options);

/// Makes the generator of a family from its parts and the pipeline's autoencoder and schedule.
std::unique_ptr<image_generator> make_diffusion_generator(
    const image_pipeline_files& files,
    const image_load_options& options,
    const diffusion_facts& facts,
    std::unique_ptr<denoiser> family);

}  // namespace modelpool::models

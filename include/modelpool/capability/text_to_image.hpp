#pragma once

#include <modelpool/capability/model.hpp>
#include <modelpool/image/image.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace modelpool {

/// The most images that one request may ask for: they stay in memory until they are read.
inline constexpr std::size_t max_images_per_request = 64;

/// What an image generation may ask for. Zero or empty: the model's default.
struct image_params {
    image_params() =
        default;  // an aggregate would not survive inside a co_await expression (g++ 12)

    std::string prompt;
    std::optional<std::string> negative_prompt;
    std::size_t width{0};   ///< pixels
    std::size_t height{0};  ///< pixels
    std::size_t n_steps{0};
    std::optional<float> guidance;
    std::optional<std::uint64_t> seed;  ///< the same seed gives the same image; none: a random one
    /// How many images are made, one after the other; of a given seed, the k-th one has seed + k,
    /// counted from 0. The pool asks the model for each by itself.
    std::size_t n_images{1};
    std::size_t max_prompt_tokens{0};
    std::optional<image_source> init_image;
    float strength{1.0F};        ///< how much of `init_image` is replaced, 0 to 1
    std::vector<float> latents;  ///< [1, channels, height/8, width/8]; empty: drawn from `seed`
    bool wants_previews{false};
};

/// What an image generator says of itself once loaded.
struct image_generator_info {
    std::size_t default_width{0};
    std::size_t default_height{0};
    std::size_t size_multiple{0};  ///< width and height are multiples of it
    std::size_t max_side{0};
    std::size_t default_steps{0};
    float default_guidance{0.0F};
    bool takes_negative_prompt{false};
};

/// A finished image, with the latents it was decoded from.
struct generated_image {
    image pixels;
    std::vector<float> latents;  ///< [1, channels, height/8, width/8]
    std::uint64_t seed{0};
};

/// The blocking interface of an image generation model. It works on one image at a time: `begin`,
/// then `step` until no step is left, then `finish`. `begin` again drops what was under way.
class image_generator : public model {
public:
    virtual const image_generator_info& info() const noexcept = 0;

    /// Checks the request and encodes its prompt. Result: the number of steps there will be.
    /// Throws for this request alone: errc::invalid_argument, text_errc, model_errc.
    virtual std::size_t begin(const image_params& request, run_context& context) = 0;
    /// One denoising step. Result: whether another one is left.
    virtual bool step(run_context& context) = 0;
    /// A small picture of where the steps stand.
    virtual image preview(run_context& context) = 0;
    /// Decodes the image.
    virtual generated_image finish(run_context& context) = 0;
    /// Frees what the image under way holds.
    virtual void cancel() noexcept = 0;

    virtual std::unique_ptr<image_generator> replicate() const { return nullptr; }
};

/// Prompts to images.
struct text_to_image {
    using model = image_generator;
    static constexpr const char* name = "text_to_image";
};

}  // namespace modelpool

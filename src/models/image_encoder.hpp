#pragma once

#include <modelpool/capability/model.hpp>
#include <modelpool/image/image.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace modelpool::models {

/// What turns an image into rows that a decoder takes in the place of tokens. Belongs to one
/// replica; the weights below it are shared.
class image_encoder {
public:
    image_encoder() = default;
    image_encoder(const image_encoder&) = delete;
    image_encoder& operator=(const image_encoder&) = delete;
    image_encoder(image_encoder&&) = delete;
    image_encoder& operator=(image_encoder&&) = delete;
    virtual ~image_encoder() = default;

    /// Positions of a prompt that an image takes, and the numbers of each.
    virtual std::size_t n_positions() const noexcept = 0;
    virtual std::size_t width() const noexcept = 0;

    /// The pixels as `encode` takes them. Errors: those of `blocking_load_image`.
    virtual std::vector<float> prepare(const image_source& source) const = 0;

    /// Writes [n_positions, width] numbers; any once a stop is requested. The numbers of an image
    /// do not depend on what was encoded before.
    /// Errors: model_errc::failed, model_errc::out_of_memory.
    virtual void
    encode(std::span<const float> pixels, std::span<float> rows, run_context& context) = 0;

    virtual footprint bytes() const = 0;
    /// Touches only what replicas share.
    virtual std::unique_ptr<image_encoder> replicate() const = 0;
};

/// What a decoder needs to take images, besides its own parts.
struct image_input {
    std::shared_ptr<const image_encoder> encoder;
    std::int32_t token{0};        ///< what prompts are said to hold where an image is
    std::string mark{"<image>"};  ///< how templates write it
};

}  // namespace modelpool::models

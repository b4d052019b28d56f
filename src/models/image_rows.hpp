#pragma once

#include <modelpool/capability/generation.hpp>

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "models/image_encoder.hpp"

namespace modelpool::models {

/// Images that a replica keeps as the decoder takes them.
constexpr std::size_t n_kept_images = 16;

/// The images of a prompt as an encoder takes them: `prepared_prompt::state`, in the order of
/// `prepared_prompt::images`.
using prompt_pixels = std::vector<std::vector<float>>;

/// SipHash-2-4 of an image's numbers. With a key that nobody outside knows, images that share a
/// hash by accident or on purpose are not to be had.
/// Paper: https://www.aumasson.jp/siphash/siphash.pdf
std::uint64_t hash_of(std::span<const float> pixels, std::pair<std::uint64_t, std::uint64_t> key);

/// The rows of images that the steps of one replica take: each image is encoded when a step first
/// needs it, and kept until the room is needed for one that was used later. Not thread-safe.
class image_rows {
public:
    /// Keeps up to `n_kept` images between steps.
    image_rows(std::unique_ptr<image_encoder> encoder, std::size_t n_kept);

    image_encoder& encoder() noexcept { return *encoder_; }
    const image_encoder& encoder() const noexcept { return *encoder_; }

    /// For each row, null or the numbers that stand in its token's place; empty where no row lies
    /// in an image. Valid until the next call. Of any content once a stop is requested.
    /// Errors: those of image_encoder::encode.
    std::span<const float* const> resolve(std::span<const step_row> rows, run_context& context);

    std::size_t n_encoded() const noexcept { return n_encoded_; }
    /// Bytes when as many images are kept as may be: what the memory budget must have room for.
    std::size_t most_bytes() const noexcept;

private:
    struct kept_image {
        std::uint64_t id{0};
        std::uint64_t step{0};  // that used it last
        std::vector<float> rows;
    };

    const float* rows_of(const prepared_prompt& prompt, std::size_t index, run_context& context);
    void make_room();

    std::unique_ptr<image_encoder> encoder_;
    std::size_t n_kept_;
    std::list<kept_image> kept_;  // the one used last comes first
    std::unordered_map<std::uint64_t, std::list<kept_image>::iterator> places_;
    std::vector<const float*> found_;
    std::uint64_t step_{0};
    std::size_t n_encoded_{0};
};

}  // namespace modelpool::models

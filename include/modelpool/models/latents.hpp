#pragma once

#include <cstddef>
#include <filesystem>
#include <vector>

namespace modelpool::models {

/// What an image is decoded from, or denoised out of.
struct image_latents {
    std::vector<float> values;  ///< [1, n_channels, height, width]
    std::size_t n_channels{0};
    std::size_t height{0};  ///< of the image, divided by 8
    std::size_t width{0};
};

/// Reads the tensor "latents" of a safetensors file: [1, channels, height / 8, width / 8] in F32,
/// F16 or BF16.
/// Runs: blocking, on the calling thread.
/// Errors: errc::invalid_argument, with what was expected and found: a file that cannot be read or
/// is malformed, a tensor that is missing or of another shape or type, a number that is not finite.
image_latents blocking_read_latents(const std::filesystem::path& path);

/// The bytes of a safetensors file that `blocking_read_latents` reads, in F32.
/// Errors: errc::invalid_argument where there are not as many values as the sizes say.
std::vector<std::byte> encode_latents(const image_latents& latents);

}  // namespace modelpool::models

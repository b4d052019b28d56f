#pragma once

#include <modelpool/image/codec.hpp>
#include <modelpool/image/image.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace modelpool::images {

inline constexpr std::size_t n_channels = 3;

/// Throws errc::invalid_argument.
[[noreturn]] void refuse(const std::string& sentence);

/// Refuses sides that the limits do not allow, and none; before anything of that size is allocated.
void check_size(std::uint64_t width, std::uint64_t height, const image_limits& limits);

/// Refuses an image without pixels, and one that holds not as many as its sides say.
void check_pixels(const image& pixels);

/// An image of that size, black. Precondition: check_size passed.
image blank(std::size_t width, std::size_t height);

/// The decoders of one format. Errors: as `decode_image`.
image decode_jpeg(std::span<const std::byte> bytes, const image_limits& limits);
image decode_png(std::span<const std::byte> bytes, const image_limits& limits);
image decode_webp(std::span<const std::byte> bytes, const image_limits& limits);

}  // namespace modelpool::images

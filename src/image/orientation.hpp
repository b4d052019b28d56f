#pragma once

#include <modelpool/image/image.hpp>

#include <cstddef>
#include <span>

namespace modelpool::images {

/// How an image lies, as EXIF numbers it (1 to 8); 1, upright, where `exif` does not say or is
/// malformed. exif: a TIFF structure, with or without "Exif\0\0" before it.
/// Source: EXIF 2.32, 4.6.4.A (tag 0x0112).
int read_orientation(std::span<const std::byte> exif) noexcept;

/// The image as it is meant to be seen. Precondition: orientation is 1 to 8.
image upright(image pixels, int orientation);

}  // namespace modelpool::images

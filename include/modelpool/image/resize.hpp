#pragma once

#include <modelpool/image/image.hpp>

#include <cstddef>
#include <cstdint>

namespace modelpool {

/// How pixels are made of others; the numbers are Pillow's.
enum class resize_filter { nearest = 0, lanczos, bilinear, bicubic, box, hamming };

/// Width and height of an image. A value.
struct image_size {
    std::size_t width{0};
    std::size_t height{0};

    friend bool operator==(const image_size&, const image_size&) = default;
};

/// A part of an image; it may reach beyond it, where pixels are black.
struct image_window {
    std::int64_t left{0};
    std::int64_t top{0};
    image_size size;
};

/// An image of another size. The pixels are exactly those of `Image.resize` of Pillow 13: filters
/// grow with the factor of shrinking, in fixed point with 22 bits, rounded between columns and
/// rows.
/// Source: https://github.com/python-pillow/Pillow/blob/12.0.0/src/libImaging/Resample.c
/// Errors: errc::invalid_argument (no pixels before or after, not as many as the sides say).
/// Runs: blocking, on the calling thread.
image resize(const image& pixels, image_size size, resize_filter filter);

/// A part of what `resize` would give: only that part is computed, so a strip that would become
/// long costs no more than what is looked at.
/// Errors: errc::invalid_argument (no pixels before or after, not as many as the sides say, a part
/// outside). Runs: blocking, on the calling thread.
image resize_window(
    const image& pixels, image_size size, resize_filter filter, const image_window& window);

}  // namespace modelpool

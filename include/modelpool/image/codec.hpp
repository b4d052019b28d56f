#pragma once

#include <modelpool/image/image.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace modelpool {

/// The most that an image may take. What is larger is refused before memory is taken for it.
class image_limits {
public:
    /// Of the file, or of the bytes in memory.
    image_limits& max_bytes(std::uint64_t value)
    {
        max_bytes_ = value;
        return *this;
    }
    std::uint64_t max_bytes() const noexcept { return max_bytes_; }

    /// Width times height: a pixel takes 3 bytes, and up to twice as many while it is decoded.
    image_limits& max_pixels(std::uint64_t value)
    {
        max_pixels_ = value;
        return *this;
    }
    std::uint64_t max_pixels() const noexcept { return max_pixels_; }

    /// Of each side.
    image_limits& max_side(std::uint32_t value)
    {
        max_side_ = value;
        return *this;
    }
    std::uint32_t max_side() const noexcept { return max_side_; }

private:
    std::uint64_t max_bytes_{std::uint64_t{64} << 20U};
    // Where Pillow begins to warn of decompression bombs: a quarter of a gigabyte.
    std::uint64_t max_pixels_{89'478'485};
    // As much as JPEG can say.
    std::uint32_t max_side_{65'535};
};

/// Decodes a JPEG, PNG or WebP file: which one, the bytes say. The pixels are those that Pillow
/// gives for `ImageOps.exif_transpose(image).convert("RGB")`: turned as the file's EXIF orientation
/// says; transparency is dropped, not blended; grey becomes three equal numbers; 16-bit colours
/// keep their high byte, while 16-bit grey without transparency is cut off at 255; CMYK and YCCK
/// are taken to be inverted, as Adobe writes them. Colour profiles are not applied. Of an animation
/// the first frame counts.
/// Runs: blocking, on the calling thread; safe to call from several threads.
/// Errors: errc::invalid_argument (no bytes, no image of these formats, truncated or damaged, no
/// pixels, larger than the limits); errc::unsupported (a variant of a format, by name).
image decode_image(std::span<const std::byte> bytes, const image_limits& limits = {});

/// The pixels of an image in any form: decoded ones are checked, a file is read, bytes are decoded.
/// Runs: blocking, on the calling thread.
/// Errors: as `decode_image`, with the file's name; errc::invalid_argument where the file cannot be
/// read, and where decoded pixels are none, too many, or not as many as their sides say;
/// errc::unsupported for an `image_url`, which only a pool resolves.
image blocking_load_image(const image_source& source, const image_limits& limits = {});

/// Texts to go with an image, by keyword: 1 to 79 Latin-1 characters.
using image_texts = std::vector<std::pair<std::string, std::string>>;

/// A PNG file of 8-bit RGB, with the texts as UTF-8 in iTXt chunks.
/// Errors of this and those below: errc::invalid_argument (no pixels, not as many as the sides say,
/// sides that the format cannot hold, quality out of range, a keyword that PNG does not allow).
/// Runs: blocking, on the calling thread.
std::vector<std::byte> encode_png(const image& pixels, const image_texts& texts = {});

/// A JPEG file. quality: 1 to 100; from 95 on colours keep their full resolution.
std::vector<std::byte> encode_jpeg(const image& pixels, int quality = 90);

/// A WebP file. quality: 0 to 100, or `lossless_webp`.
std::vector<std::byte> encode_webp(const image& pixels, int quality = 90);
inline constexpr int lossless_webp = -1;

}  // namespace modelpool

#include "image/orientation.hpp"

#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>

#include "image/pixels.hpp"

namespace modelpool::images {
namespace {

// Numbers of a TIFF structure, which says itself in which order their bytes are; 0 beyond the end.
class tiff_reader {
public:
    tiff_reader(std::span<const std::byte> bytes, bool big_endian)
        : bytes_{bytes}
        , big_endian_{big_endian}
    {}

    std::uint32_t read(std::size_t at, std::size_t n_bytes) const noexcept
    {
        if (at > bytes_.size() || bytes_.size() - at < n_bytes) return 0;
        std::uint32_t value = 0;
        for (std::size_t i = 0; i < n_bytes; ++i) {
            const std::size_t from = big_endian_ ? at + i : at + n_bytes - 1 - i;
            value = (value << 8U) | std::to_integer<std::uint32_t>(bytes_[from]);
        }
        return value;
    }

private:
    std::span<const std::byte> bytes_;
    bool big_endian_;
};

bool begins_with(std::span<const std::byte> bytes, std::string_view text) noexcept
{
    return bytes.size() >= text.size() && std::memcmp(bytes.data(), text.data(), text.size()) == 0;
}

std::size_t bytes_of_type(std::uint32_t type) noexcept
{
    constexpr std::uint32_t byte_type = 1;
    constexpr std::uint32_t short_type = 3;
    constexpr std::uint32_t long_type = 4;
    if (type == byte_type) return 1;
    if (type == short_type) return 2;
    return type == long_type ? 4 : 0;
}

}  // namespace

int read_orientation(std::span<const std::byte> exif) noexcept
{
    constexpr std::uint32_t orientation_tag = 0x0112;
    constexpr std::size_t entry_bytes = 12;
    constexpr std::size_t magic = 42;
    using namespace std::string_view_literals;
    if (begins_with(exif, "Exif\0\0"sv)) exif = exif.subspan(6);
    const bool big_endian = begins_with(exif, "MM");
    if (!big_endian && !begins_with(exif, "II")) return 1;
    const tiff_reader reader{exif, big_endian};
    if (reader.read(2, 2) != magic) return 1;
    const std::size_t directory = reader.read(4, 4);
    const std::size_t n_entries = reader.read(directory, 2);
    for (std::size_t i = 0; i < n_entries; ++i) {
        const std::size_t entry = directory + 2 + i * entry_bytes;
        if (entry >= exif.size()) return 1;
        if (reader.read(entry, 2) != orientation_tag) continue;
        const std::uint32_t value =
            reader.read(entry + 8, bytes_of_type(reader.read(entry + 2, 2)));
        return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
    }
    return 1;
}

image upright(image pixels, int orientation)
{
    if (orientation == 1) return pixels;
    const bool transposed = orientation >= 5;
    const std::size_t width = transposed ? pixels.height : pixels.width;
    const std::size_t height = transposed ? pixels.width : pixels.height;
    // Which way the stored rows and columns run, seen from the upright image.
    const bool from_right =
        orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
    const bool from_bottom =
        orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
    image result = blank(width, height);
    std::uint8_t* out = result.rgb.data();
    for (std::size_t y = 0; y < height; ++y)
        for (std::size_t x = 0; x < width; ++x) {
            std::size_t column = transposed ? y : x;
            std::size_t row = transposed ? x : y;
            if (from_right) column = pixels.width - 1 - column;
            if (from_bottom) row = pixels.height - 1 - row;
            const std::size_t at = (row * pixels.width + column) * n_channels;
            std::memcpy(out, pixels.rgb.data() + at, n_channels);
            out += n_channels;
        }
    return result;
}

}  // namespace modelpool::images

#include <modelpool/error.hpp>
#include <modelpool/image/codec.hpp>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <ios>
#include <string>
#include <string_view>
#include <system_error>
#include <variant>

#include "image/pixels.hpp"

namespace modelpool {
namespace images {

void refuse(const std::string& sentence)
{
    throw error{errc::invalid_argument, sentence};
}

void check_size(std::uint64_t width, std::uint64_t height, const image_limits& limits)
{
    const std::string size = std::to_string(width) + " x " + std::to_string(height) + " pixels";
    if (width == 0 || height == 0) refuse("the image has " + size + ", expected at least one");
    if (std::max(width, height) > limits.max_side())
        refuse(
            "the image has " + size + "; the longest side allowed is " +
            std::to_string(limits.max_side()));
    // Sides are below 2^32, so the product fits.
    if (width * height > limits.max_pixels())
        refuse(
            "the image has " + size + "; the most allowed are " +
            std::to_string(limits.max_pixels()) + " in all");
}

void check_pixels(const image& pixels)
{
    if (pixels.width == 0 || pixels.height == 0)
        refuse(
            "the image has " + std::to_string(pixels.width) + " x " +
            std::to_string(pixels.height) + " pixels, expected at least one");
    // Divided, since sides from outside may be of any size.
    const bool fits = pixels.rgb.size() % n_channels == 0 &&
                      pixels.rgb.size() / n_channels % pixels.width == 0 &&
                      pixels.rgb.size() / n_channels / pixels.width == pixels.height;
    if (!fits)
        refuse(
            "an image of " + std::to_string(pixels.width) + " x " + std::to_string(pixels.height) +
            " pixels needs 3 bytes for each, found " + std::to_string(pixels.rgb.size()));
}

image blank(std::size_t width, std::size_t height)
{
    image result;
    result.width = width;
    result.height = height;
    result.rgb.resize(width * height * n_channels);
    return result;
}

namespace {

bool begins_with(std::span<const std::byte> bytes, std::string_view text, std::size_t at = 0)
{
    return bytes.size() >= at + text.size() &&
           std::memcmp(bytes.data() + at, text.data(), text.size()) == 0;
}

std::vector<std::byte> blocking_read(const std::filesystem::path& path, const image_limits& limits)
{
    std::error_code problem;
    const auto status = std::filesystem::status(path, problem);
    if (!std::filesystem::exists(status)) refuse("no such file");
    // A pipe or a device may never end.
    if (!std::filesystem::is_regular_file(status)) refuse("not a regular file");
    const std::uintmax_t size = std::filesystem::file_size(path, problem);
    if (problem) refuse("cannot be read: " + problem.message());
    if (size > limits.max_bytes())
        refuse(
            "has " + std::to_string(size) + " bytes; the most allowed are " +
            std::to_string(limits.max_bytes()));
    std::vector<std::byte> bytes(static_cast<std::size_t>(size));
    std::ifstream in{path, std::ios::binary};
    in.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    if (!in) refuse("cannot be read");
    return bytes;
}

image checked(const image& pixels, const image_limits& limits)
{
    check_pixels(pixels);
    check_size(pixels.width, pixels.height, limits);
    return pixels;
}

image load_file(const image_file& file, const image_limits& limits)
{
    try {
        return decode_image(blocking_read(file.path, limits), limits);
    } catch (const error& problem) {
        throw problem.in(file.path.string());
    }
}

image load_url(const image_url& address)
{
    const std::string begin = address.url.substr(0, std::min<std::size_t>(address.url.size(), 60));
    throw error{
        errc::unsupported,
        "'" + begin + "' is a web address or a data URI: only a pool's operations get those"};
}

}  // namespace
}  // namespace images

image decode_image(std::span<const std::byte> bytes, const image_limits& limits)
{
    using namespace std::string_view_literals;
    using images::begins_with;
    if (bytes.empty()) images::refuse("the image has no bytes");
    if (bytes.size() > limits.max_bytes())
        images::refuse(
            "the image has " + std::to_string(bytes.size()) + " bytes; the most allowed are " +
            std::to_string(limits.max_bytes()));
    if (begins_with(bytes, "\xFF\xD8\xFF"sv)) return images::decode_jpeg(bytes, limits);
    if (begins_with(bytes, "\x89PNG\r\n\x1A\n"sv)) return images::decode_png(bytes, limits);
    if (begins_with(bytes, "RIFF"sv) && begins_with(bytes, "WEBP"sv, 8))
        return images::decode_webp(bytes, limits);
    images::refuse("not an image that can be decoded: expected JPEG, PNG or WebP");
}

image blocking_load_image(const image_source& source, const image_limits& limits)
{
    if (const auto* pixels = std::get_if<image>(&source)) return images::checked(*pixels, limits);
    if (const auto* file = std::get_if<image_file>(&source))
        return images::load_file(*file, limits);
    if (const auto* held = std::get_if<image_bytes>(&source))
        return decode_image(held->bytes, limits);
    return images::load_url(std::get<image_url>(source));
}

}  // namespace modelpool

#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace modelpool {

/// Decoded pixels: rows from the top, 3 bytes (red, green, blue) a pixel, no padding. A value.
struct image {
    std::size_t width{0};
    std::size_t height{0};
    std::vector<std::uint8_t> rgb;  ///< width × height × 3 bytes
};

/// A file on this machine, not decoded yet.
struct image_file {
    std::filesystem::path path;
};

/// A web address; the runtime's fetcher gets it.
struct image_url {
    std::string url;
};

/// The bytes of a JPEG, PNG or WebP file. A base64 data URI (`data:image/png;base64,…`) is an
/// `image_url`.
struct image_bytes {
    std::vector<std::byte> bytes;
};

/// An image in any form an operation accepts. What lies outside this process is got before a worker
/// is bothered; decoding happens on the worker's thread.
using image_source = std::variant<image, image_file, image_url, image_bytes>;

}  // namespace modelpool

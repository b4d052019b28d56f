#pragma once

#include <modelpool/image/codec.hpp>
#include <modelpool/image/image.hpp>

#include <nlohmann/json.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace modelpool::testing {

inline std::filesystem::path image_path(std::string_view name)
{
    return std::filesystem::path{MODELPOOL_TEST_DATA} / "images" / name;
}

inline std::vector<std::byte> read_bytes(const std::filesystem::path& path)
{
    std::ifstream in{path, std::ios::binary};
    const std::string text{std::istreambuf_iterator<char>{in}, {}};
    const auto bytes = std::as_bytes(std::span{text});
    return {bytes.begin(), bytes.end()};
}

inline image load(std::string_view name)
{
    return blocking_load_image(image_file{image_path(name)});
}

/// The 64-bit FNV-1a hash of the pixels, as tests/data/make_image_cases.py writes it.
inline std::string digest(const image& pixels)
{
    std::uint64_t value = 0xCBF29CE484222325U;
    for (const std::uint8_t byte : pixels.rgb)
        value = (value ^ byte) * 0x100000001B3U;
    char text[17];
    std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(value));
    return text;
}

inline nlohmann::json image_cases()
{
    std::ifstream in{image_path("cases.json")};
    return nlohmann::json::parse(in);
}

}  // namespace modelpool::testing

#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace modelpool::text {

/// One character and the bytes it takes.
struct utf8_char {
    char32_t code_point;
    std::uint32_t n_bytes;
};

inline bool is_ascii(char byte) noexcept
{
    return static_cast<unsigned char>(byte) < 0x80;
}

/// Whether `byte` is the second or a later one of a character.
inline bool is_utf8_tail(char byte) noexcept
{
    return (static_cast<unsigned char>(byte) & 0xC0U) == 0x80;
}

/// The character at byte `at`. `text` must be valid UTF-8 and `at` the start of a character.
inline utf8_char utf8_at(std::string_view text, std::size_t at) noexcept
{
    const auto byte = [&](std::size_t i) -> std::uint32_t {
        return static_cast<unsigned char>(text[at + i]);
    };
    const std::uint32_t lead = byte(0);
    if (lead < 0x80) return {lead, 1};
    if (lead < 0xE0) return {((lead & 0x1FU) << 6U) | (byte(1) & 0x3FU), 2};
    if (lead < 0xF0)
        return {((lead & 0x0FU) << 12U) | ((byte(1) & 0x3FU) << 6U) | (byte(2) & 0x3FU), 3};
    return {
        ((lead & 0x07U) << 18U) | ((byte(1) & 0x3FU) << 12U) | ((byte(2) & 0x3FU) << 6U) |
            (byte(3) & 0x3FU),
        4};
}

/// The character that ends before byte `end`, which must be positive and the start of a character
/// or the end of the text.
inline utf8_char utf8_before(std::string_view text, std::size_t end) noexcept
{
    std::size_t begin = end - 1;
    while (is_utf8_tail(text[begin]))
        --begin;
    return utf8_at(text, begin);
}

void append_utf8(char32_t code_point, std::string& out);
std::string to_utf8(char32_t code_point);

/// How many characters valid UTF-8 has.
std::size_t count_utf8(std::string_view text) noexcept;

/// The offset of the first byte that is not part of valid UTF-8; npos where there is none.
std::size_t find_bad_utf8(std::string_view text) noexcept;

/// `bytes` with each maximal piece of an ill-formed sequence replaced by U+FFFD, as the Unicode
/// standard recommends (section 3.9, "substitution of maximal subparts").
std::string to_valid_utf8(std::string_view bytes);

/// How many bytes at the end a character begins with whose other bytes may come yet; 0 to 3.
std::size_t unfinished_utf8_bytes(std::string_view bytes) noexcept;

}  // namespace modelpool::text

#include "text/utf8.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include <simdjson.h>

namespace modelpool::text {
namespace {

// The shape of the sequence that starts at `at`: how many of its bytes are well formed, and whether
// that is a whole character. Well-formed as in table 3-7 of the Unicode standard.
struct prefix {
    std::size_t n_bytes;
    bool whole;
};

prefix well_formed_prefix(std::string_view text, std::size_t at) noexcept
{
    const auto byte = [&](std::size_t i) -> unsigned {
        return static_cast<unsigned char>(text[at + i]);
    };
    const unsigned lead = byte(0);
    if (lead < 0x80) return {1, true};
    if (lead < 0xC2 || lead > 0xF4) return {1, false};
    const std::size_t wanted = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    const unsigned lowest = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    const unsigned highest = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    for (std::size_t i = 1; i < wanted; ++i) {
        if (at + i >= text.size()) return {i, false};
        const unsigned low = i == 1 ? lowest : 0x80;
        const unsigned high = i == 1 ? highest : 0xBF;
        if (byte(i) < low || byte(i) > high) return {i, false};
    }
    return {wanted, true};
}

bool is_ascii(std::string_view text) noexcept
{
    std::uint64_t all = 0;
    std::size_t at = 0;
    for (; at + 8 <= text.size(); at += 8) {
        std::uint64_t word = 0;
        std::memcpy(&word, text.data() + at, sizeof word);
        all |= word;
    }
    for (; at < text.size(); ++at)
        all |= static_cast<unsigned char>(text[at]);
    return (all & 0x8080808080808080U) == 0;
}

}  // namespace

void append_utf8(char32_t code_point, std::string& out)
{
    const auto push = [&out](char32_t bits) { out.push_back(static_cast<char>(bits)); };
    if (code_point < 0x80) {
        push(code_point);
    } else if (code_point < 0x800) {
        push(0xC0U | (code_point >> 6U));
        push(0x80U | (code_point & 0x3FU));
    } else if (code_point < 0x10000) {
        push(0xE0U | (code_point >> 12U));
        push(0x80U | ((code_point >> 6U) & 0x3FU));
        push(0x80U | (code_point & 0x3FU));
    } else {
        push(0xF0U | (code_point >> 18U));
        push(0x80U | ((code_point >> 12U) & 0x3FU));
        push(0x80U | ((code_point >> 6U) & 0x3FU));
        push(0x80U | (code_point & 0x3FU));
    }
}

std::string to_utf8(char32_t code_point)
{
    std::string bytes;
    append_utf8(code_point, bytes);
    return bytes;
}

std::size_t count_utf8(std::string_view text) noexcept
{
    std::size_t n_chars = 0;
    for (const char byte : text)
        n_chars += is_utf8_tail(byte) ? 0U : 1U;
    return n_chars;
}

std::size_t find_bad_utf8(std::string_view text) noexcept
{
    // Short texts are done before the other would have begun.
    constexpr std::size_t few_bytes = 256;
    if (text.size() <= few_bytes && is_ascii(text)) return std::string_view::npos;
    if (simdjson::validate_utf8(text.data(), text.size())) return std::string_view::npos;
    for (std::size_t at = 0; at < text.size();) {
        const prefix found = well_formed_prefix(text, at);
        if (!found.whole) return at;
        at += found.n_bytes;
    }
    return std::string_view::npos;
}

std::string to_valid_utf8(std::string_view bytes)
{
    if (find_bad_utf8(bytes) == std::string_view::npos) return std::string{bytes};
    std::string text;
    for (std::size_t at = 0; at < bytes.size();) {
        const prefix found = well_formed_prefix(bytes, at);
        if (found.whole)
            text.append(bytes.substr(at, found.n_bytes));
        else
            append_utf8(0xFFFD, text);
        at += found.n_bytes;
    }
    return text;
}

std::size_t unfinished_utf8_bytes(std::string_view bytes) noexcept
{
    for (std::size_t n = 1; n <= std::min<std::size_t>(3, bytes.size()); ++n) {
        const std::size_t begin = bytes.size() - n;
        if (is_utf8_tail(bytes[begin])) continue;
        const auto lead = static_cast<unsigned char>(bytes[begin]);
        const prefix found = well_formed_prefix(bytes, begin);
        const bool is_begun = lead >= 0xC2 && lead <= 0xF4 && !found.whole && found.n_bytes == n;
        return is_begun ? n : 0;
    }
    return 0;
}

}  // namespace modelpool::text

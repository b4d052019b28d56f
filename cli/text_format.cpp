#include "text_format.hpp"

#include <array>
#include <cstddef>
#include <cstdint>

namespace modelpool::cli {
namespace {

constexpr std::string_view hex = "0123456789abcdef";

std::uint8_t byte_at(std::string_view text, std::size_t index)
{
    return static_cast<std::uint8_t>(text[index]);
}

// Bytes of the well-formed UTF-8 sequence that begins at `at` (Unicode 15, table 3-7); 0 where
// there is none.
std::size_t sequence_length(std::string_view text, std::size_t at)
{
    const std::uint8_t lead = byte_at(text, at);
    if (lead < 0x80) return 1;
    const std::size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    if (lead < 0xC2 || lead > 0xF4 || text.size() - at < length) return 0;
    std::uint8_t lowest = 0x80;
    std::uint8_t highest = 0xBF;
    if (lead == 0xE0) lowest = 0xA0;
    if (lead == 0xED) highest = 0x9F;
    if (lead == 0xF0) lowest = 0x90;
    if (lead == 0xF4) highest = 0x8F;
    for (std::size_t i = 1; i < length; ++i) {
        const std::uint8_t next = byte_at(text, at + i);
        if (next < lowest || next > highest) return 0;
        lowest = 0x80;
        highest = 0xBF;
    }
    return length;
}

void append_escaped_byte(std::string& out, std::uint8_t byte)
{
    out += "\\x";
    out += hex[byte >> 4U];
    out += hex[byte & 0xFU];
}

}  // namespace

std::string visible(std::string_view text)
{
    std::string out;
    out.reserve(text.size());
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t length = sequence_length(text, at);
        const std::uint8_t lead = byte_at(text, at);
        const bool c1 = length == 2 && lead == 0xC2 && byte_at(text, at + 1) < 0xA0;
        if (length == 0 || c1 || lead < 0x20 || lead == 0x7F) {
            const std::size_t n_bytes = length == 0 ? 1 : length;
            for (std::size_t i = 0; i < n_bytes; ++i)
                append_escaped_byte(out, byte_at(text, at + i));
            at += n_bytes;
        } else {
            out.append(text, at, length);
            at += length;
        }
    }
    return out;
}

std::string human_bytes(std::uint64_t n_bytes)
{
    constexpr std::array<const char*, 5> units{"B", "KiB", "MiB", "GiB", "TiB"};
    auto value = static_cast<double>(n_bytes);
    std::size_t unit = 0;
    for (; value >= 1024 && unit + 1 < units.size(); ++unit)
        value /= 1024;
    std::string text;
    append_number(text, static_cast<std::uint64_t>(value * 10 + 0.5) / 10);
    const std::uint64_t tenth = static_cast<std::uint64_t>(value * 10 + 0.5) % 10;
    if (unit > 0) text += '.' + std::to_string(tenth);
    return text + ' ' + units[unit];
}

void append_json(std::string& out, std::string_view text)
{
    out += '"';
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t length = sequence_length(text, at);
        const std::uint8_t lead = byte_at(text, at);
        if (length == 0) {
            out += "\xEF\xBF\xBD";
            ++at;
            continue;
        }
        if (lead == '"' || lead == '\\') {
            out += '\\';
            out += text[at];
        } else if (lead == '\n') {
            out += "\\n";
        } else if (lead < 0x20) {
            out += "\\u00";
            out += hex[lead >> 4U];
            out += hex[lead & 0xFU];
        } else {
            out.append(text, at, length);
        }
        at += length;
    }
    out += '"';
}

}  // namespace modelpool::cli

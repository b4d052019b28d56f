#include "support/printable.hpp"

#include <array>

namespace modelpool::support {
namespace {

// The length of the well-formed UTF-8 sequence that `text` starts with; 0 where there is none.
// Well-formed as in table 3-7 of the Unicode standard: no overlong forms, no surrogates, nothing
// above U+10FFFF.
std::size_t utf8_sequence_bytes(std::string_view text)
{
    const auto byte = [text](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned lead = byte(0);
    if (lead < 0x80) return 1;
    if (lead < 0xC2 || lead > 0xF4) return 0;
    const std::size_t n_bytes = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    if (text.size() < n_bytes) return 0;
    const unsigned lowest = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    const unsigned highest = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    if (byte(1) < lowest || byte(1) > highest) return 0;
    for (std::size_t i = 2; i < n_bytes; ++i)
        if (byte(i) < 0x80 || byte(i) > 0xBF) return 0;
    return n_bytes;
}

}  // namespace

std::string printable(std::string_view text, std::size_t max_bytes)
{
    constexpr std::array<char, 17> digits{"0123456789ABCDEF"};
    std::string shown;
    while (!text.empty()) {
        const std::size_t n_bytes = utf8_sequence_bytes(text);
        const auto lead = static_cast<unsigned char>(text.front());
        std::string next;
        if (n_bytes == 0 || lead < 0x20 || lead == 0x7F)
            next = {'\\', 'x', digits[lead >> 4U], digits[lead & 0xFU]};
        else
            next = text.substr(0, n_bytes);
        if (shown.size() + next.size() > max_bytes) return shown + "...";
        shown += next;
        text.remove_prefix(n_bytes == 0 ? 1 : n_bytes);
    }
    return shown;
}

std::string in_quotes(std::string_view text, std::size_t max_bytes)
{
    return "'" + printable(text, max_bytes) + "'";
}

}  // namespace modelpool::support

#include "text/byte_level.hpp"

#include <modelpool/assert.hpp>

#include "text/utf8.hpp"

namespace modelpool::text {

byte_alphabet::byte_alphabet()
{
    byte_of_.fill(-1);
    char32_t next_extra = 0x100;
    for (unsigned byte = 0; byte < letters_.size(); ++byte) {
        const bool is_printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
        const char32_t letter = is_printable ? byte : next_extra++;
        const std::string text = to_utf8(letter);
        encoded& made = letters_[byte];
        made.n_bytes = static_cast<std::uint8_t>(text.size());
        text.copy(made.bytes.data(), made.bytes.size());
        byte_of_[letter] = static_cast<std::int16_t>(byte);
    }
    MODELPOOL_ASSERT(next_extra == n_code_points);
}

std::optional<std::string> byte_alphabet::bytes_of(std::string_view token) const
{
    std::string bytes;
    for (std::size_t at = 0; at < token.size();) {
        const utf8_char next = utf8_at(token, at);
        if (next.code_point >= n_code_points || byte_of_[next.code_point] < 0) return std::nullopt;
        bytes.push_back(static_cast<char>(byte_of_[next.code_point]));
        at += next.n_bytes;
    }
    return bytes;
}

std::string byte_token(char byte)
{
    constexpr std::string_view digits = "0123456789ABCDEF";
    const auto value = static_cast<unsigned char>(byte);
    return {'<', '0', 'x', digits[value >> 4U], digits[value & 0xFU], '>'};
}

}  // namespace modelpool::text

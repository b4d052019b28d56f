#include "text/base64.hpp"

#include <array>
#include <cstdint>
#include <stdexcept>

namespace modelpool::text {
namespace {

constexpr std::uint8_t no_digit = 64;

constexpr std::array<std::uint8_t, 256> make_digits()
{
    std::array<std::uint8_t, 256> digits{};
    digits.fill(no_digit);
    constexpr std::string_view alphabet =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (std::size_t i = 0; i < alphabet.size(); ++i)
        digits[static_cast<unsigned char>(alphabet[i])] = static_cast<std::uint8_t>(i);
    return digits;
}

constexpr std::array<std::uint8_t, 256> digit_of = make_digits();

}  // namespace

std::string decode_base64(std::string_view text)
{
    if (text.size() % 4 != 0)
        throw std::invalid_argument{"is not base64: its length is no multiple of 4"};
    const std::size_t n_padding = text.ends_with("==") ? 2 : text.ends_with("=") ? 1 : 0;
    const std::string_view digits = text.substr(0, text.size() - n_padding);
    std::string bytes;
    bytes.reserve(text.size() / 4 * 3);
    std::uint32_t bits = 0;
    unsigned n_bits = 0;
    for (std::size_t i = 0; i < digits.size(); ++i) {
        const std::uint8_t digit = digit_of[static_cast<unsigned char>(digits[i])];
        if (digit == no_digit)
            throw std::invalid_argument{
                "is not base64: the character at " + std::to_string(i) + " is wrong"};
        bits = (bits << 6U) | digit;
        n_bits += 6;
        if (n_bits >= 8) {
            n_bits -= 8;
            bytes.push_back(static_cast<char>((bits >> n_bits) & 0xFFU));
        }
    }
    if ((bits & ((1U << n_bits) - 1)) != 0)
        throw std::invalid_argument{"is not base64: bits are left over at its end"};
    return bytes;
}

}  // namespace modelpool::text

#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace modelpool::text {

/// The byte-level alphabet: a printable character for every byte. Those that are printable in
/// Latin-1 stand for themselves, the others follow from U+0100 on in order.
class byte_alphabet {
public:
    byte_alphabet();

    /// The character that stands for `byte`, in UTF-8.
    std::string_view letter(char byte) const noexcept
    {
        const encoded& found = letters_[static_cast<unsigned char>(byte)];
        return {found.bytes.data(), found.n_bytes};
    }

    /// The bytes that `token` stands for; nullopt where a character is not of the alphabet.
    std::optional<std::string> bytes_of(std::string_view token) const;

private:
    struct encoded {
        std::array<char, 2> bytes;
        std::uint8_t n_bytes;
    };
    static constexpr char32_t n_code_points = 0x144;

    std::array<encoded, 256> letters_{};
    std::array<std::int16_t, n_code_points> byte_of_{};  // -1: no letter
};

/// The name of the token for a byte where a model falls back to bytes: "<0x0A>".
std::string byte_token(char byte);

}  // namespace modelpool::text

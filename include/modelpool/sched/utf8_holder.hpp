#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace modelpool::sched {

/// Turns bytes that arrive in pieces into whole UTF-8 characters. What may still become a character
/// is held back; what cannot is replaced by U+FFFD, one for each longest part that a valid
/// character could begin with (Unicode 15, section 3.9; what Python's errors="replace" does). The
/// pieces given add up to the whole text.
class utf8_holder {
public:
    /// Appends to `text` the characters that `bytes` complete.
    void push(std::string_view bytes, std::string& text)
    {
        for (const char byte : bytes)
            push(static_cast<unsigned char>(byte), text);
    }

    /// The bytes end here: appends a replacement for a character that was begun.
    void finish(std::string& text)
    {
        if (size_ > 0) text += replacement;
        size_ = 0;
    }

    bool empty() const noexcept { return size_ == 0; }

private:
    static constexpr std::string_view replacement{"\xEF\xBF\xBD"};

    void push(unsigned char byte, std::string& text)
    {
        if (size_ > 0) {
            if (byte >= low_ && byte <= high_) {
                hold(byte);
                low_ = 0x80;
                high_ = 0xBF;
                if (size_ == length_) give(text);
                return;
            }
            text += replacement;
            size_ = 0;
        }
        begin(byte, text);
    }

    void begin(unsigned char byte, std::string& text)
    {
        if (byte < 0x80) {
            text += static_cast<char>(byte);
            return;
        }
        if (byte < 0xC2 || byte > 0xF4) {
            text += replacement;
            return;
        }
        length_ = byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
        // The second byte's range rules out overlong forms, surrogates and what lies above
        // U+10FFFF.
        low_ = byte == 0xE0 ? 0xA0 : byte == 0xF0 ? 0x90 : 0x80;
        high_ = byte == 0xED ? 0x9F : byte == 0xF4 ? 0x8F : 0xBF;
        hold(byte);
    }

    void hold(unsigned char byte) noexcept { held_[size_++] = static_cast<char>(byte); }

    void give(std::string& text)
    {
        text.append(held_.data(), size_);
        size_ = 0;
    }

    std::array<char, 4> held_{};
    std::size_t size_{0};
    std::size_t length_{0};    ///< of the character begun, in bytes
    unsigned char low_{0x80};  ///< the next byte's range
    unsigned char high_{0xBF};
};

}  // namespace modelpool::sched

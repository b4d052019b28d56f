#pragma once

#include <charconv>
#include <concepts>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace modelpool::cli {

/// `text` without what a terminal would obey or a line-based reader would trip over: control
/// characters and bytes that are not UTF-8 become "\xNN", a backslash stays as it is.
std::string visible(std::string_view text);

/// Appends `text` as a JSON string; bytes that are not UTF-8 become U+FFFD.
void append_json(std::string& out, std::string_view text);

/// A number of bytes for people: "1.5 MiB".
std::string human_bytes(std::uint64_t n_bytes);

/// Appends the shortest digits that give the same number back.
template <class T>
    requires std::integral<T> || std::floating_point<T>
void append_number(std::string& out, T value)
{
    char digits[32];
    const std::to_chars_result end = std::to_chars(digits, digits + sizeof digits, value);
    out.append(digits, end.ptr);
}

/// Appends numbers with `separator` between them.
template <class T>
void append_numbers(std::string& out, std::span<const T> values, char separator)
{
    bool first = true;
    for (const T value : values) {
        if (!first) out += separator;
        first = false;
        append_number(out, value);
    }
}

}  // namespace modelpool::cli

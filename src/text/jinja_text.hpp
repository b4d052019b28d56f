#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja_value.hpp"

namespace modelpool::text::jinja {

// Python's functions on str, over UTF-8; places and widths count code points.

/// str.isspace() of one character.
bool is_space(char32_t code_point) noexcept;

std::string_view strip_left(std::string_view text) noexcept;
std::string_view strip_right(std::string_view text) noexcept;
std::string_view strip(std::string_view text) noexcept;
/// The same for a set of characters.
std::string_view strip_left(std::string_view text, std::string_view set);
std::string_view strip_right(std::string_view text, std::string_view set);

/// The characters from `begin` to `end`.
std::string substring(const string_object& of, std::size_t begin, std::size_t end);
/// The byte where a character begins; the text's size for one past the last.
std::size_t byte_of(const string_object& of, std::size_t character);
std::vector<std::string_view> characters(std::string_view text);

/// Whether the bytes of a word are the same.
template <class Word>
bool is_same_word(const char* a, const char* b) noexcept
{
    Word one = 0;
    Word other = 0;
    std::memcpy(&one, a, sizeof one);
    std::memcpy(&other, b, sizeof other);
    return one == other;
}

/// Whether both are the same; names are mostly short.
inline bool are_same(std::string_view a, std::string_view b) noexcept
{
    const std::size_t n = a.size();
    if (n != b.size()) return false;
    if (n > 16) return std::memcmp(a.data(), b.data(), n) == 0;
    // Two words, which may overlap, have all of it.
    const auto are_same_words = [&]<class Word>(Word) {
        const std::size_t last = n - sizeof(Word);
        return is_same_word<Word>(a.data(), b.data()) &&
               is_same_word<Word>(a.data() + last, b.data() + last);
    };
    if (n >= 8) return are_same_words(std::uint64_t{});
    if (n >= 4) return are_same_words(std::uint32_t{});
    return n == 0 || (a[0] == b[0] && a[n / 2] == b[n / 2] && a[n - 1] == b[n - 1]);
}

std::string to_lower(std::string_view text);
std::string to_upper(std::string_view text);
std::string casefold(std::string_view text);
std::string capitalize(std::string_view text);
std::string title(std::string_view text);
std::string swap_case(std::string_view text);

std::vector<std::string_view> split_space(std::string_view text, std::int64_t n_most);
std::vector<std::string_view> split_space_right(std::string_view text, std::int64_t n_most);
std::vector<std::string_view>
split(std::string_view text, std::string_view by, std::int64_t n_most);
std::vector<std::string_view>
split_right(std::string_view text, std::string_view by, std::int64_t n_most);
std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends);

std::string
replace(std::string_view text, std::string_view from, std::string_view to, std::int64_t n_most);
std::size_t count(std::string_view text, std::string_view what);

/// With the characters that HTML gives a meaning as entities.
std::string html_escaped(std::string_view text);

enum class text_class : std::uint8_t {
    alphabetic,
    alphanumeric,
    ascii,
    decimal,
    digit,
    identifier,
    lower,
    numeric,
    printable,
    space,
    title,
    upper,
};
/// str.isalpha() and so on.
bool has_class(std::string_view text, text_class what);
/// Whether repr() shows the character itself.
bool is_printable(char32_t code_point);
/// How many runs of `\w` there are.
std::size_t count_words(std::string_view text);
bool is_word(char32_t code_point);

}  // namespace modelpool::text::jinja

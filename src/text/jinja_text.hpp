#pragma once

#include <cstddef>
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

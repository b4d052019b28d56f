#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace modelpool::text::jinja {

enum class token_type : std::uint8_t {
    data,
    variable_begin,
    variable_end,
    block_begin,
    block_end,
    name,
    string,
    integer,
    real,
    sign,
    end,
};

struct token {
    token_type type{token_type::end};
    std::size_t line{1};
    std::string text;  ///< of data, a name, a string's content, a sign, or an integer's digits
    std::int64_t integer{0};
    double real{0};

    bool is_name(std::string_view what) const { return type == token_type::name && text == what; }
    bool is_sign(std::string_view what) const { return type == token_type::sign && text == what; }
};

/// Splits a template, with trim_blocks and lstrip_blocks, as jinja2's lexer does; an `end` token is
/// the last.
/// Errors: `failure` with text_errc::bad_file and the line.
std::vector<token> tokenize(std::string_view source);

/// Fails with text_errc::bad_file: "line N: <sentence>".
[[noreturn]] void refuse_syntax(std::size_t line, const std::string& sentence);

}  // namespace modelpool::text::jinja

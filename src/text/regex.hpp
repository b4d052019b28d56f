#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace modelpool::text {

/// A stretch of a text that a pattern matches, or that lies between its matches.
struct found_range {
    std::size_t begin;
    std::size_t end;
    bool is_match;
};

/// A compiled pattern, in the syntax that tokenizer files have: Oniguruma's, which is translated.
/// Immutable and thread-safe.
class regex {
public:
    /// Errors: std::invalid_argument, with what is wrong with the pattern or not supported of it.
    static regex from_pattern(std::string_view pattern);
    /// A pattern that matches exactly `text`.
    static regex from_literal(std::string_view text);

    /// All matches from left to right and what lies between them: together they cover `text`, which
    /// must be valid UTF-8. Errors: text_errc::unsupported where a match takes too many steps.
    void find_all(std::string_view text, std::vector<found_range>& out) const;

private:
    class compiled;
    explicit regex(std::shared_ptr<const compiled> self, std::string literal);

    void find_literal(std::string_view text, std::vector<found_range>& out) const;
    void find_pattern(std::string_view text, std::vector<found_range>& out) const;

    std::shared_ptr<const compiled> self_;  // null where the pattern is a literal
    std::string literal_;
};

/// The pattern in PCRE2's syntax. Errors: std::invalid_argument.
std::string translate_oniguruma(std::string_view pattern);

}  // namespace modelpool::text

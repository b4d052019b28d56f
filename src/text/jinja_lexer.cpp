#include "text/jinja_lexer.hpp"

#include <modelpool/error.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "support/printable.hpp"
#include "text/jinja_text.hpp"
#include "text/jinja_value.hpp"
#include "text/utf8.hpp"

namespace modelpool::text::jinja {
namespace {

constexpr std::size_t nowhere = std::string_view::npos;

bool is_digit(char c) noexcept
{
    return c >= '0' && c <= '9';
}

bool is_digit_of(char c, unsigned base) noexcept
{
    const char lower = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    const unsigned number = is_digit(c) ? static_cast<unsigned>(c - '0')
                            : lower >= 'a' && lower <= 'f'
                                ? static_cast<unsigned>(lower - 'a') + 10U
                                : 99U;
    return number < base;
}

// With "\n" alone as the end of a line, and without the one at the end of the file.
std::string with_plain_lines(std::string_view source)
{
    std::string made;
    made.reserve(source.size());
    for (std::size_t at = 0; at < source.size(); ++at) {
        const char byte = source[at];
        made += byte == '\r' ? '\n' : byte;
        if (byte == '\r' && at + 1 < source.size() && source[at + 1] == '\n') ++at;
    }
    if (made.ends_with('\n')) made.pop_back();
    return made;
}

class lexer {
public:
    explicit lexer(std::string source)
        : source_{std::move(source)}
    {}

    std::vector<token> run()
    {
        while (at_ < source_.size())
            take_root();
        add(token_type::end, {});
        return std::move(tokens_);
    }

private:
    std::string_view rest() const { return std::string_view{source_}.substr(at_); }
    bool follows(std::string_view what) const { return rest().starts_with(what); }

    void add(token_type type, std::string text)
    {
        token made;
        made.type = type;
        made.line = line_;
        made.text = std::move(text);
        tokens_.push_back(std::move(made));
    }

    void advance(std::size_t n_bytes)
    {
        const std::string_view passed = rest().substr(0, n_bytes);
        line_ += static_cast<std::size_t>(std::count(passed.begin(), passed.end(), '\n'));
        if (!passed.empty()) line_starts_ = passed.back() == '\n';
        at_ += n_bytes;
    }

    void skip_space() { advance(rest().size() - strip_left(rest()).size()); }

    // After the end of a tag: the whole space after a "-", else one end of a line where `trims`.
    void end_tag(bool dashed, bool trims)
    {
        if (dashed)
            skip_space();
        else if (trims && follows("\n"))
            advance(1);
    }

    // The sign after the beginning of a tag: '-', '+', or 0.
    char sign_at(std::size_t place) const
    {
        const char byte = place < source_.size() ? source_[place] : '\0';
        return byte == '-' || byte == '+' ? byte : '\0';
    }

    // Text before a tag, without the space that the tag's sign takes away.
    void add_data(std::string_view text, char sign, bool strips)
    {
        std::string_view kept = text;
        if (sign == '-') {
            kept = strip_right(text);
        } else if (sign != '+' && strips) {
            const std::size_t last_end = text.rfind('\n');
            const std::size_t begin = last_end == nowhere ? 0 : last_end + 1;
            if ((begin > 0 || line_starts_) && strip(text.substr(begin)).empty())
                kept = text.substr(0, begin);
        }
        if (!kept.empty()) add(token_type::data, std::string{kept});
    }

    // The length of "{%- raw -%}" at `place`, and whether it ends with a dash; 0 for anything else.
    std::size_t raw_tag(std::size_t place, std::string_view word, char& end_sign) const
    {
        std::string_view text = std::string_view{source_}.substr(place);
        const std::size_t n_all = text.size();
        text.remove_prefix(2);
        if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.remove_prefix(1);
        text = strip_left(text);
        if (!text.starts_with(word)) return 0;
        text = strip_left(text.substr(word.size()));
        end_sign = '\0';
        if (text.starts_with("-%}") || (word == "endraw" && text.starts_with("+%}"))) {
            end_sign = text[0];
            text.remove_prefix(1);
        }
        return text.starts_with("%}") ? n_all - text.size() + 2 : 0;
    }

    void take_root()
    {
        std::size_t tag = source_.find('{', at_);
        while (tag != nowhere && (tag + 1 >= source_.size() ||
                                  std::string_view{"{%#"}.find(source_[tag + 1]) == nowhere))
            tag = source_.find('{', tag + 1);
        if (tag == nowhere) {
            add(token_type::data, std::string{rest()});
            advance(rest().size());
            return;
        }
        const char sign = sign_at(tag + 2);
        const char what = source_[tag + 1];
        add_data(std::string_view{source_}.substr(at_, tag - at_), sign, what != '{');
        advance(tag - at_);
        char end_sign = '\0';
        const std::size_t n_raw = what == '%' ? raw_tag(at_, "raw", end_sign) : 0;
        if (n_raw > 0) {
            advance(n_raw);
            end_tag(end_sign == '-', false);
            take_raw();
            return;
        }
        if (what != '#')
            add(what == '{' ? token_type::variable_begin : token_type::block_begin, {});
        advance(sign == '\0' ? 2 : 3);
        if (what == '#')
            take_comment();
        else
            take_tag(what == '{');
    }

    void take_raw()
    {
        for (std::size_t tag = source_.find("{%", at_); tag != nowhere;
             tag = source_.find("{%", tag + 2)) {
            char end_sign = '\0';
            const std::size_t n_bytes = raw_tag(tag, "endraw", end_sign);
            if (n_bytes == 0) continue;
            add_data(std::string_view{source_}.substr(at_, tag - at_), sign_at(tag + 2), true);
            advance(tag - at_);
            advance(n_bytes);
            end_tag(end_sign == '-', end_sign == '\0');
            return;
        }
        // The reference does not miss the end of a block in which there is nothing.
        if (at_ < source_.size()) refuse_syntax(line_, "a raw block without its end");
    }

    void take_comment()
    {
        const std::size_t end = source_.find("#}", at_);
        if (end == nowhere) refuse_syntax(line_, "a comment without its end");
        const char sign = end > at_ ? source_[end - 1] : '\0';
        advance(end + 2 - at_);
        end_tag(sign == '-', sign != '+');
    }

    void take_tag(bool variable)
    {
        const std::string_view end = variable ? "}}" : "%}";
        std::vector<char> open;
        for (;;) {
            if (at_ >= source_.size()) refuse_syntax(line_, "a tag without its end");
            if (open.empty()) {
                const bool dashed = follows("-") && rest().substr(1).starts_with(end);
                const bool kept = !variable && follows("+%}");
                if (dashed || kept || follows(end)) {
                    add(variable ? token_type::variable_end : token_type::block_end, {});
                    advance(dashed || kept ? 3 : 2);
                    end_tag(dashed, !variable && !kept);
                    return;
                }
            }
            take_token(open);
        }
    }

    void take_token(std::vector<char>& open)
    {
        const utf8_char c = utf8_at(source_, at_);
        if (is_space(c.code_point))
            skip_space();
        else if (is_digit(source_[at_]))
            take_number();
        else if (is_word(c.code_point))
            take_name();
        else if (source_[at_] == '\'' || source_[at_] == '"')
            take_string();
        else
            take_sign(open);
    }

    // How far digits, possibly with single underscores between, go from `place`.
    std::size_t digits_end(std::size_t place, unsigned base) const
    {
        const auto digit_at = [&](std::size_t at) {
            return at < source_.size() && is_digit_of(source_[at], base);
        };
        if (!digit_at(place)) return place;
        while (digit_at(place) ||
               (place < source_.size() && source_[place] == '_' && digit_at(place + 1)))
            ++place;
        return place;
    }

    // The end of a float that begins here; `at_` where there is none.
    std::size_t real_end() const
    {
        if (at_ > 0 && source_[at_ - 1] == '.') return at_;
        const std::size_t whole = digits_end(at_, 10);
        std::size_t end = whole;
        if (end < source_.size() && source_[end] == '.') {
            const std::size_t fraction = digits_end(end + 1, 10);
            if (fraction > end + 1) end = fraction;
        }
        if (end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
            const std::size_t sign =
                end + 1 < source_.size() && (source_[end + 1] == '+' || source_[end + 1] == '-');
            const std::size_t exponent = digits_end(end + 1 + sign, 10);
            if (exponent > end + 1 + sign) end = exponent;
        }
        return end == whole ? at_ : end;
    }

    static std::string without_underscores(std::string_view digits)
    {
        std::string made{digits};
        std::erase(made, '_');
        return made;
    }

    void take_number()
    {
        if (const std::size_t end = real_end(); end > at_) {
            const std::string digits = without_underscores(rest().substr(0, end - at_));
            add(token_type::real, {});
            const auto read =
                std::from_chars(digits.data(), digits.data() + digits.size(), tokens_.back().real);
            if (read.ec != std::errc{}) refuse_syntax(line_, "a number out of range");
            advance(end - at_);
            return;
        }
        unsigned base = 10;
        const char second = at_ + 1 < source_.size() ? source_[at_ + 1] : '\0';
        if (source_[at_] == '0' && (second == 'x' || second == 'X')) base = 16;
        if (source_[at_] == '0' && (second == 'o' || second == 'O')) base = 8;
        if (source_[at_] == '0' && (second == 'b' || second == 'B')) base = 2;
        std::size_t begin = base == 10 ? at_ : at_ + 2;
        if (base != 10 && begin < source_.size() && source_[begin] == '_') ++begin;
        std::size_t end = digits_end(begin, base);
        if (end == begin) {
            base = 10;
            begin = at_;
            end = at_ + 1;
        }
        // "012" is 0 and then 12.
        if (base == 10 && source_[at_] == '0')
            for (end = at_ + 1; end < source_.size() && source_[end] == '0';)
                ++end;
        const std::string digits =
            without_underscores(std::string_view{source_}.substr(begin, end - begin));
        add(token_type::integer, digits);
        const auto read = std::from_chars(
            digits.data(),
            digits.data() + digits.size(),
            tokens_.back().integer,
            static_cast<int>(base));
        if (read.ec != std::errc{})
            throw failure{
                text_errc::unsupported,
                "line " + std::to_string(line_) + ": an integer beyond 64 bits"};
        advance(end - at_);
    }

    void take_name()
    {
        std::size_t end = at_;
        while (end < source_.size() && is_word(utf8_at(source_, end).code_point))
            end += utf8_at(source_, end).n_bytes;
        std::string name = source_.substr(at_, end - at_);
        if (!has_class(name, text_class::identifier))
            refuse_syntax(line_, "invalid character in the name " + support::in_quotes(name));
        add(token_type::name, std::move(name));
        advance(end - at_);
    }

    void take_sign(std::vector<char>& open)
    {
        constexpr std::array<std::string_view, 6> pairs{"//", "**", "==", "!=", ">=", "<="};
        constexpr std::string_view singles = "+-/*%~[](){}><=.:|,;";
        std::string_view sign = rest().substr(0, 2);
        if (std::find(pairs.begin(), pairs.end(), sign) == pairs.end()) sign = rest().substr(0, 1);
        if (sign.size() == 1 && singles.find(sign[0]) == nowhere)
            refuse_syntax(
                line_,
                "unexpected character " +
                    support::in_quotes(rest().substr(0, utf8_at(source_, at_).n_bytes)));
        if (sign == "(") open.push_back(')');
        if (sign == "[") open.push_back(']');
        if (sign == "{") open.push_back('}');
        if (sign == ")" || sign == "]" || sign == "}") {
            if (open.empty() || open.back() != sign[0])
                refuse_syntax(line_, "unexpected '" + std::string{sign} + "'");
            open.pop_back();
        }
        add(token_type::sign, std::string{sign});
        advance(sign.size());
    }

    void take_string()
    {
        const char quote = source_[at_];
        std::size_t end = at_ + 1;
        while (end < source_.size() && source_[end] != quote)
            end += source_[end] == '\\' ? 2 : 1;
        if (end >= source_.size()) refuse_syntax(line_, "a string without its end");
        add(token_type::string,
            unescaped(std::string_view{source_}.substr(at_ + 1, end - at_ - 1)));
        advance(end + 1 - at_);
    }

    std::string unescaped(std::string_view text) const
    {
        std::string made;
        for (std::size_t at = 0; at < text.size();) {
            if (text[at] != '\\' || at + 1 >= text.size()) {
                made += text[at++];
                continue;
            }
            at = unescape(text, at + 1, made);
        }
        return made;
    }

    // Appends what the escape whose letter is at `at` stands for; gives the place after it.
    std::size_t unescape(std::string_view text, std::size_t at, std::string& made) const
    {
        constexpr std::string_view letters = "abfnrtv\\'\"";
        constexpr std::string_view meanings = "\a\b\f\n\r\t\v\\'\"";
        const char letter = text[at];
        if (const std::size_t i = letters.find(letter); i != nowhere) {
            made += meanings[i];
            return at + 1;
        }
        if (letter == '\n') return at + 1;
        if (letter >= '0' && letter <= '7') {
            char32_t code_point = 0;
            std::size_t end = at;
            for (; end < text.size() && end < at + 3 && text[end] >= '0' && text[end] <= '7'; ++end)
                code_point = code_point * 8 + static_cast<char32_t>(text[end] - '0');
            append_utf8(code_point, made);
            return end;
        }
        if (letter == 'x') return unescape_hex(text, at + 1, 2, made);
        if (letter == 'u') return unescape_hex(text, at + 1, 4, made);
        if (letter == 'U') return unescape_hex(text, at + 1, 8, made);
        if (letter == 'N')
            throw failure{
                text_errc::unsupported,
                "line " + std::to_string(line_) + ": a character by its name, \\N{...}"};
        made += '\\';
        if (is_ascii(letter)) {
            made += letter;
            return at + 1;
        }
        // The reference turns the character into an escape of its own first, whose backslash is now
        // escaped.
        const utf8_char c = utf8_at(text, at);
        std::array<char, 16> digits{};
        const auto end = std::to_chars(
            digits.data(),
            digits.data() + digits.size(),
            static_cast<std::uint32_t>(c.code_point),
            16);
        const std::string hex{digits.data(), end.ptr};
        const std::size_t width = c.code_point < 0x100 ? 2 : c.code_point < 0x10000 ? 4 : 8;
        made += width == 2 ? 'x' : width == 4 ? 'u' : 'U';
        made.append(width - hex.size(), '0').append(hex);
        return at + c.n_bytes;
    }

    std::size_t unescape_hex(
        std::string_view text, std::size_t at, std::size_t n_digits, std::string& made) const
    {
        std::uint32_t code_point = 0;
        const std::string_view digits = text.substr(std::min(at, text.size()), n_digits);
        const auto read =
            std::from_chars(digits.data(), digits.data() + digits.size(), code_point, 16);
        const bool whole = digits.size() == n_digits && read.ptr == digits.data() + digits.size();
        if (!whole || code_point > 0x10FFFF)
            refuse_syntax(line_, "a malformed \\ escape in a string");
        if (code_point >= 0xD800 && code_point < 0xE000)
            refuse_syntax(line_, "half of a surrogate pair in a string");
        append_utf8(code_point, made);
        return at + n_digits;
    }

    std::string source_;
    std::size_t at_{0};
    std::size_t line_{1};
    bool line_starts_{true};
    std::vector<token> tokens_;
};

}  // namespace

void refuse_syntax(std::size_t line, const std::string& sentence)
{
    throw failure{text_errc::bad_file, "line " + std::to_string(line) + ": " + sentence};
}

std::vector<token> tokenize(std::string_view source)
{
    return lexer{with_plain_lines(source)}.run();
}

}  // namespace modelpool::text::jinja

#include "text/jinja_text.hpp"

#include <unicode/locid.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>
#include <unicode/ustring.h>

#include <algorithm>
#include <iterator>

#include "text/utf8.hpp"

namespace modelpool::text::jinja {
namespace {

bool is_all_ascii(std::string_view text) noexcept
{
    return std::all_of(text.begin(), text.end(), is_ascii);
}

char lower_ascii(char byte) noexcept
{
    return byte >= 'A' && byte <= 'Z' ? static_cast<char>(byte + ('a' - 'A')) : byte;
}

char upper_ascii(char byte) noexcept
{
    return byte >= 'a' && byte <= 'z' ? static_cast<char>(byte - ('a' - 'A')) : byte;
}

UChar32 icu(char32_t code_point)
{
    return static_cast<UChar32>(code_point);
}

icu::UnicodeString to_icu(std::string_view text)
{
    return icu::UnicodeString::fromUTF8(
        icu::StringPiece{text.data(), static_cast<std::int32_t>(text.size())});
}

std::string from_icu(const icu::UnicodeString& text)
{
    std::string made;
    text.toUTF8String(made);
    return made;
}

bool is_cased(char32_t c)
{
    return u_isUUppercase(icu(c)) != 0 || u_isULowercase(icu(c)) != 0 || u_istitle(icu(c)) != 0;
}

bool is_upper(char32_t c)
{
    return u_isUUppercase(icu(c)) != 0;
}

bool is_lower(char32_t c)
{
    return u_isULowercase(icu(c)) != 0;
}

// The title-case form of one character, which may be several.
std::string title_of(std::string_view character)
{
    const char32_t c = utf8_at(character, 0).code_point;
    const auto simple = static_cast<char32_t>(u_totitle(icu(c)));
    if (simple != c) return to_utf8(simple);
    std::string upper = to_upper(character);
    if (count_utf8(upper) < 2) return upper;
    // Of a character that becomes several, as the sharp s, only the first stays upper case.
    const std::size_t first = utf8_at(upper, 0).n_bytes;
    return upper.substr(0, first) + to_lower(std::string_view{upper}.substr(first));
}

bool is_line_end(char32_t c) noexcept
{
    return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 ||
           c == 0x2029;
}

template <class Test>
bool all_characters(std::string_view text, const Test& test)
{
    for (std::size_t at = 0; at < text.size();) {
        const utf8_char c = utf8_at(text, at);
        if (!test(c.code_point)) return false;
        at += c.n_bytes;
    }
    return !text.empty();
}

// At least one cased character, and none of the other case.
bool has_case(std::string_view text, bool upper)
{
    bool any = false;
    for (std::size_t at = 0; at < text.size();) {
        const utf8_char c = utf8_at(text, at);
        at += c.n_bytes;
        if (u_istitle(icu(c.code_point)) != 0 ||
            (upper ? is_lower(c.code_point) : is_upper(c.code_point)))
            return false;
        any = any || (upper ? is_upper(c.code_point) : is_lower(c.code_point));
    }
    return any;
}

bool is_title(std::string_view text)
{
    bool any = false;
    bool after_cased = false;
    for (std::size_t at = 0; at < text.size();) {
        const utf8_char c = utf8_at(text, at);
        at += c.n_bytes;
        const bool begins = is_upper(c.code_point) || u_istitle(icu(c.code_point)) != 0;
        const bool goes_on = !begins && is_lower(c.code_point);
        if ((begins && after_cased) || (goes_on && !after_cased)) return false;
        after_cased = begins || goes_on;
        any = any || after_cased;
    }
    return any;
}

bool is_numeric_type(char32_t c, bool digits_only)
{
    const int type = u_getIntPropertyValue(icu(c), UCHAR_NUMERIC_TYPE);
    if (digits_only) return type == U_NT_DECIMAL || type == U_NT_DIGIT;
    return type != U_NT_NONE;
}

bool is_alphabetic(char32_t c)
{
    return (U_GET_GC_MASK(icu(c)) & U_GC_L_MASK) != 0;
}

bool is_alphanumeric(char32_t c)
{
    return is_alphabetic(c) || is_numeric_type(c, false);
}

bool is_identifier(std::string_view text)
{
    bool first = true;
    return all_characters(text, [&first](char32_t c) {
        const bool fits =
            c == '_' || (first ? u_hasBinaryProperty(icu(c), UCHAR_XID_START)
                               : u_hasBinaryProperty(icu(c), UCHAR_XID_CONTINUE)) != 0;
        first = false;
        return fits;
    });
}

}  // namespace

bool is_space(char32_t c) noexcept
{
    if (c < 0x80) return c == ' ' || (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x1F);
    return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
           c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

std::string_view strip_left(std::string_view text) noexcept
{
    std::size_t at = 0;
    while (at < text.size()) {
        const utf8_char c = utf8_at(text, at);
        if (!is_space(c.code_point)) break;
        at += c.n_bytes;
    }
    return text.substr(at);
}

std::string_view strip_right(std::string_view text) noexcept
{
    while (!text.empty()) {
        const utf8_char c = utf8_before(text, text.size());
        if (!is_space(c.code_point)) break;
        text.remove_suffix(c.n_bytes);
    }
    return text;
}

std::string_view strip(std::string_view text) noexcept
{
    return strip_left(strip_right(text));
}

std::string_view strip_left(std::string_view text, std::string_view set)
{
    const std::vector<std::string_view> unwanted = characters(set);
    while (!text.empty()) {
        const std::string_view first = text.substr(0, utf8_at(text, 0).n_bytes);
        if (std::find(unwanted.begin(), unwanted.end(), first) == unwanted.end()) break;
        text.remove_prefix(first.size());
    }
    return text;
}

std::string_view strip_right(std::string_view text, std::string_view set)
{
    const std::vector<std::string_view> unwanted = characters(set);
    while (!text.empty()) {
        const std::string_view last =
            text.substr(text.size() - utf8_before(text, text.size()).n_bytes);
        if (std::find(unwanted.begin(), unwanted.end(), last) == unwanted.end()) break;
        text.remove_suffix(last.size());
    }
    return text;
}

std::size_t byte_of(const string_object& of, std::size_t character)
{
    if (of.is_ascii()) return std::min(character, of.text().size());
    std::size_t at = 0;
    for (; character > 0 && at < of.text().size(); --character)
        at += utf8_at(of.text(), at).n_bytes;
    return at;
}

std::string substring(const string_object& of, std::size_t begin, std::size_t end)
{
    if (begin >= end) return {};
    const std::size_t first = byte_of(of, begin);
    if (of.is_ascii()) return of.text().substr(first, end - begin);
    std::size_t last = first;
    for (std::size_t n = end - begin; n > 0 && last < of.text().size(); --n)
        last += utf8_at(of.text(), last).n_bytes;
    return of.text().substr(first, last - first);
}

std::vector<std::string_view> characters(std::string_view text)
{
    std::vector<std::string_view> all;
    for (std::size_t at = 0; at < text.size();) {
        all.push_back(text.substr(at, utf8_at(text, at).n_bytes));
        at += all.back().size();
    }
    return all;
}

std::string to_lower(std::string_view text)
{
    if (!is_all_ascii(text)) return from_icu(to_icu(text).toLower(icu::Locale::getRoot()));
    std::string made{text};
    std::transform(made.begin(), made.end(), made.begin(), lower_ascii);
    return made;
}

std::string to_upper(std::string_view text)
{
    if (!is_all_ascii(text)) return from_icu(to_icu(text).toUpper(icu::Locale::getRoot()));
    std::string made{text};
    std::transform(made.begin(), made.end(), made.begin(), upper_ascii);
    return made;
}

std::string casefold(std::string_view text)
{
    return is_all_ascii(text) ? to_lower(text) : from_icu(to_icu(text).foldCase());
}

std::string capitalize(std::string_view text)
{
    if (text.empty()) return {};
    const std::size_t first = utf8_at(text, 0).n_bytes;
    // Lowered with the first character in its place, since a sigma's form depends on what is before
    // it.
    const std::string lower = to_lower(text);
    const std::size_t lower_first = to_lower(text.substr(0, first)).size();
    return title_of(text.substr(0, first)) + lower.substr(lower_first);
}

std::string title(std::string_view text)
{
    std::string made;
    bool after_cased = false;
    for (const std::string_view each : characters(text)) {
        made += after_cased ? to_lower(each) : title_of(each);
        after_cased = is_cased(utf8_at(each, 0).code_point);
    }
    return made;
}

std::string swap_case(std::string_view text)
{
    std::string made;
    for (const std::string_view each : characters(text)) {
        const char32_t c = utf8_at(each, 0).code_point;
        made += is_upper(c) ? to_lower(each) : is_lower(c) ? to_upper(each) : std::string{each};
    }
    return made;
}

std::vector<std::string_view> split_space(std::string_view text, std::int64_t n_most)
{
    std::vector<std::string_view> parts;
    text = strip_left(text);
    while (!text.empty()) {
        if (n_most >= 0 && static_cast<std::int64_t>(parts.size()) >= n_most) {
            parts.push_back(strip_right(text));
            break;
        }
        std::size_t end = 0;
        while (end < text.size() && !is_space(utf8_at(text, end).code_point))
            end += utf8_at(text, end).n_bytes;
        parts.push_back(text.substr(0, end));
        text = strip_left(text.substr(end));
    }
    return parts;
}

std::vector<std::string_view> split_space_right(std::string_view text, std::int64_t n_most)
{
    std::vector<std::string_view> parts;
    text = strip_right(text);
    while (!text.empty()) {
        if (n_most >= 0 && static_cast<std::int64_t>(parts.size()) >= n_most) {
            parts.push_back(strip_left(text));
            break;
        }
        std::size_t begin = text.size();
        while (begin > 0 && !is_space(utf8_before(text, begin).code_point))
            begin -= utf8_before(text, begin).n_bytes;
        parts.push_back(text.substr(begin));
        text = strip_right(text.substr(0, begin));
    }
    std::reverse(parts.begin(), parts.end());
    return parts;
}

std::vector<std::string_view> split(std::string_view text, std::string_view by, std::int64_t n_most)
{
    std::vector<std::string_view> parts;
    while (n_most < 0 || static_cast<std::int64_t>(parts.size()) < n_most) {
        const std::size_t at = text.find(by);
        if (at == std::string_view::npos) break;
        parts.push_back(text.substr(0, at));
        text.remove_prefix(at + by.size());
    }
    parts.push_back(text);
    return parts;
}

std::vector<std::string_view>
split_right(std::string_view text, std::string_view by, std::int64_t n_most)
{
    std::vector<std::string_view> parts;
    while (n_most < 0 || static_cast<std::int64_t>(parts.size()) < n_most) {
        const std::size_t at = text.rfind(by);
        if (at == std::string_view::npos) break;
        parts.push_back(text.substr(at + by.size()));
        text = text.substr(0, at);
    }
    parts.push_back(text);
    std::reverse(parts.begin(), parts.end());
    return parts;
}

std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends)
{
    std::vector<std::string_view> lines;
    std::size_t begin = 0;
    for (std::size_t at = 0; at < text.size();) {
        const utf8_char c = utf8_at(text, at);
        std::size_t next = at + c.n_bytes;
        if (is_line_end(c.code_point)) {
            if (c.code_point == '\r' && next < text.size() && text[next] == '\n') ++next;
            lines.push_back(text.substr(begin, (keep_ends ? next : at) - begin));
            begin = next;
        }
        at = next;
    }
    if (begin < text.size()) lines.push_back(text.substr(begin));
    return lines;
}

std::string
replace(std::string_view text, std::string_view from, std::string_view to, std::int64_t n_most)
{
    std::string made;
    if (from.empty()) {
        for (const std::string_view each : characters(text)) {
            if (n_most != 0) made += to;
            if (n_most > 0) --n_most;
            made += each;
        }
        if (n_most != 0) made += to;
        return made;
    }
    for (; n_most != 0; n_most -= n_most > 0) {
        const std::size_t at = text.find(from);
        if (at == std::string_view::npos) break;
        made.append(text.substr(0, at)).append(to);
        text.remove_prefix(at + from.size());
    }
    return made.append(text);
}

std::size_t count(std::string_view text, std::string_view what)
{
    if (what.empty()) return count_utf8(text) + 1;
    std::size_t n = 0;
    for (std::size_t at = text.find(what); at != std::string_view::npos;
         at = text.find(what, at + what.size()))
        ++n;
    return n;
}

std::string html_escaped(std::string_view text)
{
    std::string made;
    for (const char byte : text) {
        switch (byte) {
        case '&':
            made += "&amp;";
            break;
        case '<':
            made += "&lt;";
            break;
        case '>':
            made += "&gt;";
            break;
        case '"':
            made += "&#34;";
            break;
        case '\'':
            made += "&#39;";
            break;
        default:
            made += byte;
        }
    }
    return made;
}

bool has_class(std::string_view text, text_class what)
{
    switch (what) {
    case text_class::alphabetic:
        return all_characters(text, is_alphabetic);
    case text_class::alphanumeric:
        return all_characters(text, is_alphanumeric);
    case text_class::ascii:
        return is_all_ascii(text);
    case text_class::decimal:
        return all_characters(
            text, [](char32_t c) { return u_charType(icu(c)) == U_DECIMAL_DIGIT_NUMBER; });
    case text_class::digit:
        return all_characters(text, [](char32_t c) { return is_numeric_type(c, true); });
    case text_class::identifier:
        return is_identifier(text);
    case text_class::lower:
        return has_case(text, false);
    case text_class::numeric:
        return all_characters(text, [](char32_t c) { return is_numeric_type(c, false); });
    case text_class::printable:
        return text.empty() || all_characters(text, is_printable);
    case text_class::space:
        return all_characters(text, is_space);
    case text_class::title:
        return is_title(text);
    case text_class::upper:
        return has_case(text, true);
    }
    return false;
}

bool is_printable(char32_t code_point)
{
    if (code_point < 0x7F) return code_point >= 0x20;
    constexpr std::uint32_t hidden =
        U_GC_CC_MASK | U_GC_CF_MASK | U_GC_CS_MASK | U_GC_CO_MASK | U_GC_CN_MASK | U_GC_Z_MASK;
    return (U_GET_GC_MASK(icu(code_point)) & hidden) == 0;
}

bool is_word(char32_t code_point)
{
    return code_point == '_' || is_alphanumeric(code_point);
}

std::size_t count_words(std::string_view text)
{
    std::size_t n = 0;
    bool inside = false;
    for (std::size_t at = 0; at < text.size();) {
        const utf8_char c = utf8_at(text, at);
        const bool word = is_word(c.code_point);
        n += word && !inside;
        inside = word;
        at += c.n_bytes;
    }
    return n;
}

}  // namespace modelpool::text::jinja

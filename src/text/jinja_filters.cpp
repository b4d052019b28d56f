#include "text/jinja_filters.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "text/jinja_methods.hpp"
#include "text/jinja_print.hpp"
#include "text/jinja_text.hpp"
#include "text/utf8.hpp"

namespace modelpool::text::jinja {
namespace {

// ---- text ----

template <std::string (*Map)(std::string_view)>
value mapped(machine& on, const value& input, call_arguments& given)
{
    const parameters bound{"a filter", given, {}};
    std::string made = Map(to_text(input));
    const bool markup = input.is(kind::string) && input.string().is_markup();
    return markup ? on.memory().markup(std::move(made)) : on.memory().string(std::move(made));
}

// Unlike str.title, the reference's filter begins a word after any of these.
std::string title_words(std::string_view text)
{
    std::string made;
    bool begins = true;
    std::string rest;
    for (const std::string_view each : characters(text)) {
        const char32_t c = utf8_at(each, 0).code_point;
        const bool separates =
            is_space(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<';
        if (separates) {
            made += to_lower(rest);
            rest.clear();
            made += each;
        } else if (begins) {
            made += to_upper(each);
        } else {
            rest += each;
        }
        begins = separates;
    }
    return made + to_lower(rest);
}

value safe(machine& on, const value& input, call_arguments& given)
{
    const parameters bound{"safe", given, {}};
    return on.memory().markup(to_text(input));
}

template <bool Always>
value escaped(machine& on, const value& input, call_arguments& given)
{
    const parameters bound{"escape", given, {}};
    if (!Always && input.is(kind::string) && input.string().is_markup()) return input;
    return on.memory().markup(html_escaped(to_text(input)));
}

value to_string(machine& on, const value& input, call_arguments& given)
{
    const parameters bound{"string", given, {}};
    return input.is(kind::string) ? input : on.memory().string(to_text(input));
}

value trimmed(machine& on, const value& input, call_arguments& given)
{
    const parameters bound{"trim", given, {"chars"}};
    const std::string text = to_text(input);
    if (!bound.has(0)) return on.memory().string(strip(text));
    return on.memory().string(strip_left(strip_right(text, bound.string(0)), bound.string(0)));
}

value replaced(machine& on, const value& input, call_arguments& given)
{
    const parameters bound{"replace", given, {"old", "new", "count"}};
    const std::string text = to_text(input);
    const std::string from = to_text(bound.need(0));
    const std::string to = to_text(bound.need(1));
    const std::int64_t n_most = bound.has(2) ? bound.integer(2, -1) : -1;
    on.memory().step(text.size() / 64);
    if (to.size() > from.size()) on.memory().charge(count(text, from) * to.size());
    return on.memory().string(replace(text, from, to, n_most));
}

value indented(machine& on, const value& input, call_arguments& given)
{
    const parameters bound{"indent", given, {"width", "first", "blank"}};
    if (!input.is(kind::string)) {
        if (input.is_undefined()) refuse(input.missing_message());
        refuse("indent of a value of type " + std::string{type_name(input)});
    }
    std::string indent(4, ' ');
    if (bound.find(0) != nullptr) {
        if (bound.find(0)->is(kind::string)) {
            indent = bound.string(0);
        } else {
            const std::int64_t width = std::max<std::int64_t>(0, bound.integer(0, 4));
            on.memory().charge(static_cast<std::size_t>(width));
            indent.assign(static_cast<std::size_t>(width), ' ');
        }
    }
    const bool blank = bound.flag(2, false);
    // The reference adds an end of line first, so that one at the end of the text stays.
    const std::string text = input.text() + '\n';
    const std::vector<std::string_view> lines = split_lines(text, false);
    on.memory().charge(text.size() + lines.size() * indent.size());
    std::string made;
    for (std::size_t i = 0; i < lines.size(); ++i) {
        if (i > 0) made += '\n';
        if (i == 0 ? bound.flag(1, false) : blank || !lines[i].empty()) made += indent;
        made += lines[i];
    }
    return on.memory().string(std::move(made));
}

value centered(machine& on, const value& input, call_arguments& given)
{
    const parameters bound{"center", given, {"width"}};
    call_arguments width{on.memory()};
    width.positional.push_back(value::of(bound.integer(0, 80)));
    return find_methods("center").of_string->call(on, on.memory().string(to_text(input)), width);
}

value formatted(machine& on, const value& input, call_arguments& given)
{
    if (!given.positional.empty() && !given.named.empty())
        refuse("format takes either positional or keyword arguments");
    heap& in = on.memory();
    value arguments;
    if (given.named.empty()) {
        arguments = in.tuple(std::move(given.positional));
    } else {
        std::uint16_t depth = 0;
        for (const auto& [key, to] : given.named)
            depth = std::max(depth, to.depth());
        const pointer<dict_object> dict = in.dict(depth);
        for (auto& [key, to] : given.named)
            dict->set(in.string(key), std::move(to));
        arguments = value::of_object(kind::dict, dict.get());
    }
    return in.string(format_percent(in, to_text(input), arguments));
}

value truncated(machine& on, const value& input, call_arguments& given)
{
    const parameters bound{"truncate", given, {"length", "killwords", "end", "leeway"}};
    const std::int64_t length = bound.integer(0, 255);
    const std::string end = bound.find(2) != nullptr ? bound.string(2) : "...";
    const std::int64_t leeway = bound.has(3) ? bound.integer(3, 5) : 5;
    const auto n_end = static_cast<std::int64_t>(count_utf8(end));
    if (length < n_end || leeway < 0) refuse("truncate to less than its end takes");
    if (static_cast<std::int64_t>(length_of(input)) <= length + leeway) return input;
    if (!input.is(kind::string))
        refuse("truncate of a value of type " + std::string{type_name(input)});
    std::string kept = substring(input.string(), 0, static_cast<std::size_t>(length - n_end));
    if (!bound.flag(1, false))
        if (const std::size_t space = kept.rfind(' '); space != std::string::npos)
            kept.resize(space);
    return on.memory().string(kept + end);
}

value wordcount(machine&, const value& input, call_arguments& given)
{
    const parameters bound{"wordcount", given, {}};
    return value::of_count(count_words(to_text(input)));
}

value to_json_text(machine& on, const value& input, call_arguments& given)
{
    const parameters bound{"tojson", given, {"ensure_ascii", "indent", "separators", "sort_keys"}};
    json_format how;
    how.ensure_ascii = bound.flag(0, false);
    how.sort_keys = bound.flag(3, false);
    if (bound.has(1)) {
        if (bound.find(1)->is(kind::string)) {
            how.indent = bound.string(1);
        } else {
            const std::int64_t width = std::max<std::int64_t>(0, bound.integer(1, 0));
            if (width > 1000) refuse_feature("tojson with an indent of more than 1000");
            how.indent = std::string(static_cast<std::size_t>(width), ' ');
        }
        how.item_separator = ",";
    }
    if (bound.has(2)) {
        const values both = to_values(on.memory(), *bound.find(2));
        if (both.size() != 2 || !both[0].is(kind::string) || !both[1].is(kind::string))
            refuse("tojson's separators are two strings");
        how.item_separator = both[0].text();
        how.key_separator = both[1].text();
    }
    return on.memory().string(to_json(on.memory(), input, how));
}

// ---- numbers ----

// A string as int() reads it; nothing where it is no number of that base.
std::optional<std::int64_t> read_integer(std::string_view text, std::int64_t base)
{
    text = strip(text);
    const bool negative = text.starts_with('-');
    if (negative || text.starts_with('+')) text.remove_prefix(1);
    const std::string_view prefix = text.substr(0, std::min<std::size_t>(2, text.size()));
    const auto has = [&](std::string_view lower, std::string_view upper, std::int64_t of) {
        return (base == of || base == 0) && (prefix == lower || prefix == upper);
    };
    const bool prefixed = has("0x", "0X", 16) || has("0o", "0O", 8) || has("0b", "0B", 2);
    if (prefixed && base == 0)
        base = prefix[1] == 'x' || prefix[1] == 'X'   ? 16
               : prefix[1] == 'o' || prefix[1] == 'O' ? 8
                                                      : 2;
    if (prefixed) text.remove_prefix(2);
    if (base == 0) base = 10;
    if (prefixed && text.starts_with('_')) text.remove_prefix(1);
    std::string digits{negative ? "-" : ""};
    for (std::size_t i = 0; i < text.size(); ++i) {
        const bool between = text[i] == '_' && i > 0 && i + 1 < text.size() && text[i - 1] != '_';
        if (!between) digits += text[i];
    }
    if (text.empty() || text.front() == '-' || text.front() == '+') return std::nullopt;
    std::int64_t number = 0;
    const auto read = std::from_chars(
        digits.data(), digits.data() + digits.size(), number, static_cast<int>(base));
    if (read.ec == std::errc::result_out_of_range && read.ptr == digits.data() + digits.size())
        refuse_feature("an integer beyond 64 bits");
    if (read.ec != std::errc{} || read.ptr != digits.data() + digits.size()) return std::nullopt;
    return number;
}

std::optional<double> read_real(std::string_view text)
{
    std::string digits = to_lower(strip(text));
    const bool negative = digits.starts_with('-');
    if (negative || digits.starts_with('+')) digits.erase(0, 1);
    if (digits == "infinity") digits = "inf";
    for (std::size_t i = 1; i + 1 < digits.size(); ++i)
        if (digits[i] == '_' && digits[i - 1] >= '0' && digits[i - 1] <= '9') digits.erase(i, 1);
    if (digits.empty() || digits[0] == '-' || digits[0] == '+') return std::nullopt;
    if (digits.find('(') != std::string::npos) return std::nullopt;
    double number = 0;
    const char* const end = digits.data() + digits.size();
    const auto read = std::from_chars(digits.data(), end, number);
    if (read.ptr != end) return std::nullopt;
    if (read.ec == std::errc::result_out_of_range) {
        // Too large, or too small: Python gives infinity and zero.
        const bool small = digits.find("e-") != std::string::npos;
        number = small ? 0.0 : HUGE_VAL;
    } else if (read.ec != std::errc{}) {
        return std::nullopt;
    }
    return negative ? -number : number;
}

std::optional<std::int64_t> truncate_real(double number)
{
    if (!std::isfinite(number)) return std::nullopt;
    if (std::fabs(number) >= 9.2e18) refuse_feature("an integer beyond 64 bits");
    return static_cast<std::int64_t>(number);
}

value to_int(machine&, const value& input, call_arguments& given)
{
    const parameters bound{"int", given, {"default", "base"}};
    value otherwise = bound.find(0) != nullptr ? *bound.find(0) : value::of(std::int64_t{0});
    std::optional<std::int64_t> number;
    if (input.is_undefined()) refuse(input.missing_message());
    if (input.is_integral()) number = input.integer();
    if (input.is(kind::real)) {
        if (std::isinf(input.real())) refuse("int of infinity");
        number = truncate_real(input.real());
    }
    if (input.is(kind::string)) {
        const std::int64_t base = bound.integer(1, 10);
        if (base != 0 && (base < 2 || base > 36)) return otherwise;
        number = read_integer(input.text(), base);
        if (!number)
            if (const std::optional<double> real = read_real(input.text()))
                number = truncate_real(*real);
    }
    if (input.is(kind::big_integer)) return input;
    return number ? value::of(*number) : otherwise;
}

value to_real(machine&, const value& input, call_arguments& given)
{
    const parameters bound{"float", given, {"default"}};
    if (input.is_undefined()) refuse(input.missing_message());
    if (input.is_number()) return value::of(input.real());
    if (input.is(kind::string) || input.is(kind::big_integer))
        if (const std::optional<double> number = read_real(input.text())) return value::of(*number);
    return bound.find(0) != nullptr ? *bound.find(0) : value::of(0.0);
}

value absolute(machine&, const value& input, call_arguments& given)
{
    const parameters bound{"abs", given, {}};
    if (input.is(kind::real)) return value::of(std::fabs(input.real()));
    if (input.is_undefined()) refuse(input.missing_message());
    if (!input.is_integral()) refuse("abs of a value of type " + std::string{type_name(input)});
    return input.integer() < 0 ? negate(input) : value::of(input.integer());
}

// Python's round(): the nearest, by the number's exact decimal digits, and the even one of two.
double rounded(double number, std::int64_t precision)
{
    if (!std::isfinite(number) || precision > 300) return number;
    if (precision >= 0) {
        std::array<char, 800> digits{};
        const auto end = std::to_chars(
            digits.data(),
            digits.data() + digits.size(),
            number,
            std::chars_format::fixed,
            static_cast<int>(precision));
        double made = 0;
        std::from_chars(digits.data(), end.ptr, made);
        return made;
    }
    if (precision < -308) return std::copysign(0.0, number);
    const double scale = std::pow(10.0, static_cast<double>(-precision));
    return std::nearbyint(number / scale) * scale;
}

value round_number(machine&, const value& input, call_arguments& given)
{
    const parameters bound{"round", given, {"precision", "method"}};
    const std::string method = bound.find(1) != nullptr ? bound.string(1) : "common";
    if (method != "common" && method != "ceil" && method != "floor")
        refuse("round knows the methods common, ceil and floor");
    if (input.is_undefined()) refuse(input.missing_message());
    if (!input.is_number()) refuse("round of a value of type " + std::string{type_name(input)});
    const std::int64_t precision = bound.integer(0, 0);
    if (method == "common") {
        if (input.is(kind::real)) return value::of(rounded(input.real(), precision));
        if (precision >= 0) return value::of(input.integer());
        const double made = rounded(input.real(), precision);
        return value::of(static_cast<std::int64_t>(made));
    }
    const double scale = std::pow(10.0, static_cast<double>(precision));
    const double scaled = input.real() * scale;
    if (!std::isfinite(scaled)) refuse("round of a number that is not finite");
    // Python rounds to an int here, which has no negative zero.
    const double whole = (method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) + 0.0;
    return value::of(whole / scale);
}

value refused(machine&, const value&, call_arguments&)
{
    refuse_feature("a filter that this interpreter does not have");
}

constexpr std::array filters{
    named_filter{"abs", absolute},
    named_filter{"capitalize", mapped<capitalize>},
    named_filter{"center", centered},
    named_filter{"e", escaped<false>},
    named_filter{"escape", escaped<false>},
    named_filter{"filesizeformat", refused},
    named_filter{"float", to_real},
    named_filter{"forceescape", escaped<true>},
    named_filter{"format", formatted},
    named_filter{"indent", indented},
    named_filter{"int", to_int},
    named_filter{"lower", mapped<to_lower>},
    named_filter{"pprint", refused},
    named_filter{"random", refused},
    named_filter{"replace", replaced},
    named_filter{"round", round_number},
    named_filter{"safe", safe},
    named_filter{"string", to_string},
    named_filter{"striptags", refused},
    named_filter{"title", mapped<title_words>},
    named_filter{"tojson", to_json_text},
    named_filter{"trim", trimmed},
    named_filter{"truncate", truncated},
    named_filter{"upper", mapped<to_upper>},
    named_filter{"urlencode", refused},
    named_filter{"urlize", refused},
    named_filter{"wordcount", wordcount},
    named_filter{"wordwrap", refused},
    named_filter{"xmlattr", refused},
};

}  // namespace

std::span<const named_filter> text_filters() noexcept
{
    return filters;
}

filter_function* find_filter(std::string_view name)
{
    for (const std::span<const named_filter> group : {text_filters(), sequence_filters()}) {
        const auto found = std::lower_bound(
            group.begin(),
            group.end(),
            name,
            [](const named_filter& each, std::string_view wanted) { return each.name < wanted; });
        if (found != group.end() && found->name == name) return found->call;
    }
    return nullptr;
}

}  // namespace modelpool::text::jinja

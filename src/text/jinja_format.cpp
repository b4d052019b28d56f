#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "text/jinja_methods.hpp"
#include "text/jinja_operators.hpp"
#include "text/jinja_print.hpp"
#include "text/utf8.hpp"

namespace modelpool::text::jinja {
namespace {

constexpr std::size_t max_width = 10'000;

// What stands between "%" or ":" and the letter of the type.
struct layout {
    std::string fill{" "};
    char align{0};  // '<', '>', '^' or '='; 0 where it is not said
    char sign{'-'};
    bool alternate{false};
    bool grouped{false};
    std::size_t width{0};
    int precision{-1};
    char type{0};
};

std::size_t read_count(std::string_view text, std::size_t& at)
{
    std::size_t number = 0;
    for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at) {
        number = number * 10 + static_cast<std::size_t>(text[at] - '0');
        if (number > max_width) refuse_feature("a field wider than 10000 characters");
    }
    return number;
}

std::string padded(std::string text, const layout& how, char otherwise)
{
    const std::size_t length = count_utf8(text);
    if (length >= how.width) return text;
    const std::size_t missing = how.width - length;
    const char align = how.align == 0 ? otherwise : how.align;
    const auto fill = [&how](std::size_t n) {
        std::string made;
        for (std::size_t i = 0; i < n; ++i)
            made += how.fill;
        return made;
    };
    if (align == '<') return text + fill(missing);
    if (align == '^') return fill(missing / 2) + text + fill(missing - missing / 2);
    if (align == '=') {
        const std::size_t n_sign =
            !text.empty() && (text[0] == '-' || text[0] == '+' || text[0] == ' ');
        return text.substr(0, n_sign) + fill(missing) + text.substr(n_sign);
    }
    return fill(missing) + text;
}

std::string with_sign(std::string digits, bool negative, char sign)
{
    if (negative) return "-" + digits;
    if (sign == '+' || sign == ' ') return sign + digits;
    return digits;
}

std::string grouped(const std::string& digits)
{
    const std::size_t whole = std::min(digits.find_first_not_of("0123456789"), digits.size());
    std::string made;
    for (std::size_t i = 0; i < whole; ++i) {
        if (i > 0 && (whole - i) % 3 == 0) made += ',';
        made += digits[i];
    }
    return made + digits.substr(whole);
}

std::string integer_digits(std::int64_t number, const layout& how)
{
    const auto magnitude = number < 0 ? std::uint64_t{0} - static_cast<std::uint64_t>(number)
                                      : static_cast<std::uint64_t>(number);
    const int base = how.type == 'x' || how.type == 'X' ? 16
                     : how.type == 'o'                  ? 8
                     : how.type == 'b'                  ? 2
                                                        : 10;
    std::array<char, 72> buffer{};
    const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), magnitude, base);
    std::string digits{buffer.data(), end.ptr};
    if (how.type == 'X')
        std::transform(digits.begin(), digits.end(), digits.begin(), [](char c) {
            return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
        });
    if (how.grouped) digits = grouped(digits);
    if (how.alternate && base != 10) digits = std::string{"0"} + how.type + digits;
    return digits;
}

std::string real_digits(double number, const layout& how)
{
    const double magnitude = std::fabs(number);
    const bool percent = how.type == '%';
    const char type = percent ? 'f' : how.type == 0 || how.type == 'n' ? 'g' : how.type;
    if (!std::isfinite(magnitude)) return std::isnan(magnitude) ? "nan" : "inf";
    if (how.type == 0 && how.precision < 0) return repr(magnitude);
    std::array<char, 8> format{};
    std::snprintf(format.data(), format.size(), "%%%s.*%c", how.alternate ? "#" : "", type);
    const int precision = how.precision < 0 ? 6 : how.precision;
    std::string made(400 + static_cast<std::size_t>(precision), '\0');
    const int n_bytes = std::snprintf(
        made.data(), made.size(), format.data(), precision, percent ? magnitude * 100 : magnitude);
    made.resize(static_cast<std::size_t>(std::max(0, n_bytes)));
    // Without a type a float keeps at least one digit after the point.
    if (how.type == 0 && made.find_first_of(".e") == std::string::npos) made += ".0";
    if (how.grouped) made = grouped(made);
    return percent ? made + '%' : made;
}

// ---- % ----

value next_argument(const value& arguments, std::size_t& used)
{
    if (!arguments.is(kind::tuple)) {
        if (used++ > 0) refuse("not enough arguments for a format string");
        return arguments;
    }
    if (used >= arguments.list().items().size()) refuse("not enough arguments for a format string");
    return arguments.list().items()[used++];
}

std::int64_t to_integer(const value& of, char type)
{
    if (of.is(kind::real) && type != 'x' && type != 'X' && type != 'o') {
        if (!(std::fabs(of.real()) < 9.2e18)) refuse_feature("an integer beyond 64 bits");
        return static_cast<std::int64_t>(of.real());
    }
    if (!of.is_integral()) refuse(std::string{"%"} + type + " of a value of type " + type_name(of));
    return of.integer();
}

std::string percent_field(const value& of, layout how)
{
    switch (how.type) {
    case 's':
    case 'r':
    case 'a': {
        std::string text = how.type == 's' ? to_text(of) : repr(of);
        if (how.precision >= 0) {
            std::size_t end = 0;
            for (int n = how.precision; n > 0 && end < text.size(); --n)
                end += utf8_at(text, end).n_bytes;
            text.resize(end);
        }
        how.fill = " ";
        return padded(std::move(text), how, '>');
    }
    case 'c':
        if (of.is(kind::string) && of.string().length() == 1) return padded(of.text(), how, '>');
        if (of.is_integral() && of.integer() > 0 && of.integer() < 0xD800)
            return padded(to_utf8(static_cast<char32_t>(of.integer())), how, '>');
        refuse("%c takes a character");
    case 'd':
    case 'i':
    case 'u':
    case 'x':
    case 'X':
    case 'o': {
        const std::int64_t number = to_integer(of, how.type);
        std::string digits = integer_digits(number, how);
        if (how.precision > static_cast<int>(digits.size()))
            digits.insert(0, static_cast<std::size_t>(how.precision) - digits.size(), '0');
        return padded(with_sign(std::move(digits), number < 0, how.sign), how, '>');
    }
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G': {
        if (!of.is_number()) refuse("a float is needed, found a " + std::string{type_name(of)});
        const double number = of.real();
        return padded(
            with_sign(real_digits(number, how), std::signbit(number), how.sign), how, '>');
    }
    default:
        refuse(std::string{"unsupported format character '"} + how.type + "'");
    }
}

// ---- {} ----

layout read_spec(std::string_view spec)
{
    layout how;
    how.sign = '-';
    std::size_t at = 0;
    const auto is_align = [](char c) { return c == '<' || c == '>' || c == '^' || c == '='; };
    const std::size_t n_first = spec.empty() ? 0 : utf8_at(spec, 0).n_bytes;
    if (spec.size() > n_first && is_align(spec[n_first])) {
        how.fill = spec.substr(0, n_first);
        how.align = spec[n_first];
        at = n_first + 1;
    } else if (!spec.empty() && is_align(spec[0])) {
        how.align = spec[at++];
    }
    const auto take = [&](char c) { return at < spec.size() && spec[at] == c && (++at, true); };
    if (take('+'))
        how.sign = '+';
    else if (take(' '))
        how.sign = ' ';
    else
        static_cast<void>(take('-'));
    how.alternate = take('#');
    if (at < spec.size() && spec[at] == '0') {
        ++at;
        if (how.align == 0) {
            how.fill = "0";
            how.align = '=';
        }
    }
    how.width = read_count(spec, at);
    how.grouped = take(',');
    if (take('.')) {
        if (at >= spec.size() || spec[at] < '0' || spec[at] > '9')
            refuse("a format without digits for its precision");
        how.precision = static_cast<int>(read_count(spec, at));
    }
    if (at < spec.size()) how.type = spec[at++];
    if (at != spec.size()) refuse("an invalid format specifier");
    return how;
}

std::string brace_field(const value& of, std::string_view spec)
{
    if (spec.empty()) return to_text(of);
    const layout how = read_spec(spec);
    const bool whole = how.type == 'd' || how.type == 'x' || how.type == 'X' || how.type == 'o' ||
                       how.type == 'b' || how.type == 0 || how.type == 'n';
    if (of.is(kind::string)) {
        if ((how.type != 0 && how.type != 's') || how.align == '=')
            refuse("a format specifier that is not for strings");
        layout text = how;
        text.type = 's';
        if (text.align == 0) text.align = '<';
        std::string cut = of.text();
        if (how.precision >= 0) {
            std::size_t end = 0;
            for (int n = how.precision; n > 0 && end < cut.size(); --n)
                end += utf8_at(cut, end).n_bytes;
            cut.resize(end);
        }
        return padded(std::move(cut), text, '<');
    }
    if (!of.is_number())
        refuse("a format specifier for a value of type " + std::string{type_name(of)});
    if (of.is_integral() && whole) {
        if (of.is(kind::boolean) && how.type == 0) return padded(to_text(of), how, '<');
        const std::int64_t number = of.integer();
        return padded(with_sign(integer_digits(number, how), number < 0, how.sign), how, '>');
    }
    if (std::string_view{"eEfFgGn%"}.find(how.type) == std::string_view::npos && how.type != 0)
        refuse("a format specifier that is not for numbers");
    const double number = of.real();
    return padded(with_sign(real_digits(number, how), std::signbit(number), how.sign), how, '>');
}

// The field that a name as "0", "user.name" or "rows[2]" stands for.
value find_field(
    heap& in, std::string_view name, const call_arguments& arguments, std::size_t& automatic)
{
    const std::size_t end = std::min(name.find_first_of(".["), name.size());
    const std::string_view first = name.substr(0, end);
    value found;
    if (first.empty() || first.find_first_not_of("0123456789") == std::string_view::npos) {
        std::size_t at = 0;
        const std::size_t place = first.empty() ? automatic++ : read_count(first, at);
        if (place >= arguments.positional.size()) refuse("a format names an argument too many");
        found = arguments.positional[place];
    } else {
        const auto named =
            std::find_if(arguments.named.begin(), arguments.named.end(), [first](const auto& each) {
                return each.first == first;
            });
        if (named == arguments.named.end())
            refuse("a format names '" + std::string{first} + "', which is not given");
        found = named->second;
    }
    for (std::string_view rest = name.substr(end); !rest.empty();) {
        const bool attribute = rest[0] == '.';
        const std::size_t close =
            attribute ? std::min(rest.find_first_of(".[", 1), rest.size()) : rest.find(']');
        if (close == std::string_view::npos) refuse("a format without ']'");
        const std::string_view part = rest.substr(1, close - 1);
        const bool number = !attribute && !part.empty() &&
                            part.find_first_not_of("0123456789") == std::string_view::npos;
        std::size_t at = 0;
        if (number) {
            found = get_item(in, found, static_cast<std::int64_t>(read_count(part, at)));
        } else {
            const value key = in.string(part);
            found = attribute ? get_attribute(in, found, key.string()) : get_item(in, found, key);
        }
        rest = rest.substr(attribute ? close : close + 1);
    }
    return found;
}

}  // namespace

std::string format_percent(heap& in, std::string_view format, const value& arguments)
{
    std::string made;
    std::size_t used = 0;
    bool by_name = false;
    for (std::size_t at = 0; at < format.size();) {
        const std::size_t sign = std::min(format.find('%', at), format.size());
        made += format.substr(at, sign - at);
        at = sign + 1;
        if (sign == format.size()) break;
        layout how;
        value given;
        bool named = false;
        if (at < format.size() && format[at] == '(') {
            const std::size_t close = format.find(')', at);
            if (close == std::string_view::npos) refuse("an incomplete format key");
            if (!arguments.is(kind::dict)) refuse("a format with keys takes a dict");
            const value* found = arguments.dict().find(format.substr(at + 1, close - at - 1));
            if (found == nullptr) refuse("a format names a key that the dict does not have");
            given = *found;
            named = by_name = true;
            at = close + 1;
        }
        for (; at < format.size(); ++at) {
            const char flag = format[at];
            if (flag == '-')
                how.align = '<';
            else if (flag == '+' || (flag == ' ' && how.sign != '+'))
                how.sign = flag;
            else if (flag == '0')
                how.fill = "0";
            else if (flag == '#')
                how.alternate = true;
            else if (flag != ' ')
                break;
        }
        const auto star = [&]() {
            ++at;
            const value width = next_argument(arguments, used);
            if (!width.is_integral() ||
                std::abs(width.integer()) > static_cast<std::int64_t>(max_width))
                refuse("* wants a small int");
            return width.integer();
        };
        if (at < format.size() && format[at] == '*') {
            const std::int64_t width = star();
            if (width < 0) how.align = '<';
            how.width = static_cast<std::size_t>(std::abs(width));
        } else {
            how.width = read_count(format, at);
        }
        if (at < format.size() && format[at] == '.') {
            ++at;
            how.precision = at < format.size() && format[at] == '*'
                                ? static_cast<int>(std::max<std::int64_t>(0, star()))
                                : static_cast<int>(read_count(format, at));
        }
        while (at < format.size() && (format[at] == 'l' || format[at] == 'h' || format[at] == 'L'))
            ++at;
        if (at >= format.size()) refuse("an incomplete format");
        how.type = format[at++];
        if (how.type == '%') {
            made += '%';
            continue;
        }
        if (how.fill == "0") how.align = how.align == '<' ? '<' : '=';
        if (how.align == '<') how.fill = " ";
        if (!named) given = next_argument(arguments, used);
        std::string field = percent_field(given, how);
        in.charge(field.size());
        made += field;
    }
    const bool all_used =
        arguments.is(kind::tuple) ? used >= arguments.list().items().size() : used > 0 || by_name;
    // A mapping, or a list, need not be used; Python takes both for containers of named arguments.
    const bool container = arguments.is(kind::dict) || arguments.is(kind::list) ||
                           arguments.is(kind::view) || arguments.is(kind::range) ||
                           arguments.is_undefined();
    if (!all_used && !container) refuse("not all arguments of a format string are used");
    return made;
}

std::string format_braces(heap& in, std::string_view format, const call_arguments& arguments)
{
    std::string made;
    std::size_t automatic = 0;
    bool numbered = false;
    for (std::size_t at = 0; at < format.size();) {
        const std::size_t brace = std::min(format.find_first_of("{}", at), format.size());
        made += format.substr(at, brace - at);
        if (brace == format.size()) break;
        if (brace + 1 < format.size() && format[brace + 1] == format[brace]) {
            made += format[brace];
            at = brace + 2;
            continue;
        }
        const std::size_t close = format.find('}', brace);
        if (format[brace] == '}' || close == std::string_view::npos)
            refuse("a single brace in a format");
        std::string_view field = format.substr(brace + 1, close - brace - 1);
        if (field.find('{') != std::string_view::npos)
            refuse_feature("a format specifier inside a format specifier");
        const std::size_t colon = std::min(field.find(':'), field.size());
        std::string_view name = field.substr(0, colon);
        const std::string_view spec = colon < field.size() ? field.substr(colon + 1) : "";
        bool as_repr = false;
        if (name.size() >= 2 && name[name.size() - 2] == '!') {
            if (name.back() != 'r' && name.back() != 's') refuse("an unknown conversion");
            as_repr = name.back() == 'r';
            name.remove_suffix(2);
        }
        numbered = numbered || (!name.empty() && name[0] >= '0' && name[0] <= '9');
        value given = find_field(in, name, arguments, automatic);
        if (numbered && automatic > 0) refuse("a format with and without numbers of its fields");
        if (as_repr) given = in.string(repr(given));
        const std::string shown = brace_field(given, spec);
        in.charge(shown.size());
        made += shown;
        at = close + 1;
    }
    return made;
}

}  // namespace modelpool::text::jinja

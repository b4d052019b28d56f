#include "text/jinja_print.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "text/jinja_operators.hpp"
#include "text/jinja_text.hpp"
#include "text/utf8.hpp"

namespace modelpool::text::jinja {
namespace {

void append_hex(std::string& out, std::uint32_t number, std::size_t n_digits)
{
    constexpr std::string_view digits = "0123456789abcdef";
    for (std::size_t i = n_digits; i-- > 0;)
        out += digits[(number >> (4 * i)) & 0xFU];
}

void append_repr(std::string& out, const value& of);

void append_repr(std::string& out, std::string_view text)
{
    const bool double_quotes =
        text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos;
    const char quote = double_quotes ? '"' : '\'';
    out += quote;
    for (std::size_t at = 0; at < text.size();) {
        const utf8_char c = utf8_at(text, at);
        const char byte = text[at];
        if (byte == quote || byte == '\\') {
            out += '\\';
            out += byte;
        } else if (byte == '\n') {
            out += "\\n";
        } else if (byte == '\r') {
            out += "\\r";
        } else if (byte == '\t') {
            out += "\\t";
        } else if (is_printable(c.code_point)) {
            out += text.substr(at, c.n_bytes);
        } else if (c.code_point < 0x100) {
            out += "\\x";
            append_hex(out, c.code_point, 2);
        } else if (c.code_point < 0x10000) {
            out += "\\u";
            append_hex(out, c.code_point, 4);
        } else {
            out += "\\U";
            append_hex(out, c.code_point, 8);
        }
        at += c.n_bytes;
    }
    out += quote;
}

void append_integer(std::string& out, std::int64_t number)
{
    std::array<char, 24> digits{};
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), number);
    out.append(digits.data(), end.ptr);
}

template <class Items>
void append_items(std::string& out, const Items& items)
{
    bool first = true;
    for (const auto& [key, to] : items) {
        if (!first) out += ", ";
        first = false;
        append_repr(out, key);
        out += ": ";
        append_repr(out, to);
    }
}

void append_view(std::string& out, const view_object& view)
{
    constexpr std::array<const char*, 3> names{"dict_keys([", "dict_values([", "dict_items(["};
    out += names.at(static_cast<std::size_t>(view.what()));
    bool first = true;
    for (const auto& [key, to] : view.from().items()) {
        if (!first) out += ", ";
        first = false;
        if (view.what() == view_of::items) out += '(';
        if (view.what() != view_of::elements) append_repr(out, key);
        if (view.what() == view_of::items) out += ", ";
        if (view.what() != view_of::keys) append_repr(out, to);
        if (view.what() == view_of::items) out += ')';
    }
    out += "])";
}

void append_list(std::string& out, const value& of)
{
    const bool tuple = of.is(kind::tuple);
    const values& items = of.list().items();
    out += tuple ? '(' : '[';
    for (std::size_t i = 0; i < items.size(); ++i) {
        if (i > 0) out += ", ";
        append_repr(out, items[i]);
    }
    if (tuple && items.size() == 1) out += ',';
    out += tuple ? ')' : ']';
}

void append_repr(std::string& out, const value& of)
{
    // A namespace is the only value that can hold itself: the depth of the others is known.
    constexpr std::size_t max_bytes = std::size_t{256} << 20U;
    if (out.size() > max_bytes) refuse_feature("a printed value of more than 256 MiB");
    switch (of.type()) {
    case kind::undefined:
        out += "Undefined";
        return;
    case kind::none:
        out += "None";
        return;
    case kind::boolean:
        out += of.truth() ? "True" : "False";
        return;
    case kind::integer:
        append_integer(out, of.integer());
        return;
    case kind::big_integer:
        out += of.text();
        return;
    case kind::real:
        out += repr(of.real());
        return;
    case kind::string:
        if (of.string().is_markup()) out += "Markup(";
        append_repr(out, std::string_view{of.text()});
        if (of.string().is_markup()) out += ')';
        return;
    case kind::list:
    case kind::tuple:
        append_list(out, of);
        return;
    case kind::dict:
        out += '{';
        append_items(out, of.dict().items());
        out += '}';
        return;
    case kind::view:
        append_view(out, of.view());
        return;
    case kind::range:
        out += "range(" + std::to_string(of.range().start()) + ", " +
               std::to_string(of.range().stop());
        if (of.range().step() != 1) out += ", " + std::to_string(of.range().step());
        out += ')';
        return;
    case kind::space:
        for (const auto& [name, to] : of.space().items())
            if (to.depth() > 0 || to.is(kind::space))
                refuse_feature("printing a namespace that holds containers");
        out += "<Namespace {";
        append_items(out, of.space().items());
        out += "}>";
        return;
    case kind::iterator:
        refuse_feature("printing an iterator; |list gives its elements");
    case kind::loop:
        refuse_feature("printing a loop");
    case kind::callable:
        out += of.callable().shown();
        return;
    }
}

// ---- JSON ----

void append_json_string(std::string& out, std::string_view text, bool ensure_ascii)
{
    out += '"';
    for (std::size_t at = 0; at < text.size();) {
        const char byte = text[at];
        if (is_ascii(byte)) {
            ++at;
            switch (byte) {
            case '"':
                out += "\\\"";
                break;
            case '\\':
                out += "\\\\";
                break;
            case '\n':
                out += "\\n";
                break;
            case '\r':
                out += "\\r";
                break;
            case '\t':
                out += "\\t";
                break;
            case '\b':
                out += "\\b";
                break;
            case '\f':
                out += "\\f";
                break;
            default:
                if (byte >= 0x20) {
                    out += byte;
                } else {
                    out += "\\u";
                    append_hex(out, static_cast<unsigned char>(byte), 4);
                }
            }
            continue;
        }
        const utf8_char c = utf8_at(text, at);
        if (!ensure_ascii) {
            out += text.substr(at, c.n_bytes);
        } else if (c.code_point < 0x10000) {
            out += "\\u";
            append_hex(out, c.code_point, 4);
        } else {
            out += "\\u";
            append_hex(out, 0xD800 + ((c.code_point - 0x10000) >> 10U), 4);
            out += "\\u";
            append_hex(out, 0xDC00 + ((c.code_point - 0x10000) & 0x3FFU), 4);
        }
        at += c.n_bytes;
    }
    out += '"';
}

std::string json_number(double number)
{
    if (std::isnan(number)) return "NaN";
    if (std::isinf(number)) return number > 0 ? "Infinity" : "-Infinity";
    return repr(number);
}

class json_writer {
public:
    json_writer(heap& in, const json_format& how)
        : heap_{in}
        , how_{how}
    {}

    void write(const value& of, std::size_t level)
    {
        heap_.step();
        switch (of.type()) {
        case kind::none:
            out_ += "null";
            return;
        case kind::boolean:
            out_ += of.truth() ? "true" : "false";
            return;
        case kind::integer:
            append_integer(out_, of.integer());
            return;
        case kind::big_integer:
            out_ += of.text();
            return;
        case kind::real:
            out_ += json_number(of.real());
            return;
        case kind::string:
            append_json_string(out_, of.text(), how_.ensure_ascii);
            return;
        case kind::list:
        case kind::tuple:
            write_list(of.list().items(), level);
            return;
        case kind::dict:
            write_dict(of.dict(), level);
            return;
        case kind::undefined:
            refuse("tojson: " + of.missing_message());
        default:
            refuse("tojson of a value of type " + std::string{type_name(of)});
        }
    }
    std::string take() { return std::move(out_); }

private:
    void begin_line(std::size_t level)
    {
        if (!how_.indent) return;
        heap_.charge(level * how_.indent->size());
        out_ += '\n';
        for (std::size_t i = 0; i < level; ++i)
            out_ += *how_.indent;
    }

    void write_list(const values& items, std::size_t level)
    {
        if (items.empty()) {
            out_ += "[]";
            return;
        }
        out_ += '[';
        for (std::size_t i = 0; i < items.size(); ++i) {
            if (i > 0) out_ += how_.item_separator;
            begin_line(level + 1);
            write(items[i], level + 1);
        }
        begin_line(level);
        out_ += ']';
    }

    void write_key(const value& key)
    {
        switch (key.type()) {
        case kind::string:
            append_json_string(out_, key.text(), how_.ensure_ascii);
            return;
        case kind::real:
            out_ += '"' + json_number(key.real()) + '"';
            return;
        case kind::none:
            out_ += "\"null\"";
            return;
        case kind::boolean:
            out_ += key.truth() ? "\"true\"" : "\"false\"";
            return;
        case kind::integer:
            out_ += '"' + std::to_string(key.integer()) + '"';
            return;
        default:
            refuse("tojson of a key of type " + std::string{type_name(key)});
        }
    }

    void write_dict(const dict_object& dict, std::size_t level)
    {
        if (dict.items().empty()) {
            out_ += "{}";
            return;
        }
        std::vector<const dict_object::item*> items;
        items.reserve(dict.items().size());
        for (const dict_object::item& each : dict.items())
            items.push_back(&each);
        if (how_.sort_keys)
            std::stable_sort(items.begin(), items.end(), [](const auto* a, const auto* b) {
                return is_less(a->first, b->first);
            });
        out_ += '{';
        bool first = true;
        for (const dict_object::item* each : items) {
            if (!first) out_ += how_.item_separator;
            first = false;
            begin_line(level + 1);
            write_key(each->first);
            out_ += how_.key_separator;
            write(each->second, level + 1);
        }
        begin_line(level);
        out_ += '}';
    }

    heap& heap_;
    const json_format& how_;
    std::string out_;
};

}  // namespace

std::string repr(double number)
{
    if (std::isnan(number)) return "nan";
    if (std::isinf(number)) return number > 0 ? "inf" : "-inf";
    std::array<char, 40> buffer{};
    const auto end = std::to_chars(
        buffer.data(), buffer.data() + buffer.size(), number, std::chars_format::scientific);
    const std::string_view shown{buffer.data(), static_cast<std::size_t>(end.ptr - buffer.data())};
    // The shortest digits "-d.ddde±xx", laid out as Python does.
    const std::size_t e = shown.find('e');
    int exponent = 0;
    const std::size_t first = e + (shown[e + 1] == '+' ? 2 : 1);
    std::from_chars(shown.data() + first, shown.data() + shown.size(), exponent);
    std::string digits;
    for (const char c : shown.substr(0, e))
        if (c >= '0' && c <= '9') digits += c;
    std::string made{shown[0] == '-' ? "-" : ""};
    const int n_digits = static_cast<int>(digits.size());
    if (exponent < -4 || exponent >= 16) {
        made += digits[0];
        if (n_digits > 1) made += '.' + digits.substr(1);
        const std::string power = std::to_string(std::abs(exponent));
        return made + (exponent < 0 ? "e-" : "e+") + (power.size() < 2 ? "0" : "") + power;
    }
    if (exponent < 0)
        return made + "0." + std::string(static_cast<std::size_t>(-exponent - 1), '0') + digits;
    if (n_digits <= exponent + 1)
        return made + digits + std::string(static_cast<std::size_t>(exponent + 1 - n_digits), '0') +
               ".0";
    const auto whole = static_cast<std::size_t>(exponent) + 1;
    return made + digits.substr(0, whole) + '.' + digits.substr(whole);
}

void append_text(std::string& out, const value& of)
{
    if (of.is(kind::string))
        out += of.text();
    else if (!of.is_undefined())
        append_repr(out, of);
}

std::string to_text(const value& of)
{
    std::string made;
    append_text(made, of);
    return made;
}

std::string repr(const value& of)
{
    std::string made;
    append_repr(made, of);
    return made;
}

std::string to_json(heap& in, const value& of, const json_format& how)
{
    json_writer writer{in, how};
    writer.write(of, 0);
    return writer.take();
}

}  // namespace modelpool::text::jinja

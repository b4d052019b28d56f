#include "text/jinja_string_methods.hpp"

#include <algorithm>
#include <array>
#include <limits>

#include "text/jinja_machine.hpp"
#include "text/jinja_operators.hpp"
#include "text/jinja_print.hpp"
#include "text/jinja_text.hpp"
#include "text/utf8.hpp"

namespace modelpool::text::jinja {
namespace {

constexpr std::int64_t no_limit = -1;

value to_list(heap& in, const std::vector<std::string_view>& parts)
{
    values items;
    items.reserve(parts.size());
    for (const std::string_view each : parts)
        items.push_back(in.string(each));
    return in.list(std::move(items));
}

// ---- the same for every text ----

template <std::string (*Map)(std::string_view)>
value mapped(machine& on, const value& self, call_arguments& given)
{
    const parameters bound{"a method of str", given, {}};
    return on.memory().string(Map(self.text()));
}

template <text_class What>
value is_of(machine&, const value& self, call_arguments& given)
{
    const parameters bound{"a method of str", given, {}};
    return value::of(has_class(self.text(), What));
}

// ---- strip ----

enum class side : std::uint8_t { both, left, right };

template <side Which>
value stripped(machine& on, const value& self, call_arguments& given)
{
    const parameters bound{"strip", given, {"chars"}};
    std::string_view text = self.text();
    if (bound.has(0)) {
        if (Which != side::left) text = strip_right(text, bound.string(0));
        if (Which != side::right) text = strip_left(text, bound.string(0));
    } else {
        if (Which != side::left) text = strip_right(text);
        if (Which != side::right) text = strip_left(text);
    }
    return text.size() == self.text().size() ? self : on.memory().string(text);
}

// ---- split ----

template <bool FromRight>
value split_at(machine& on, const value& self, call_arguments& given)
{
    const parameters bound{"split", given, {"sep", "maxsplit"}};
    const std::int64_t n_most = bound.integer(1, no_limit);
    on.memory().step(self.text().size() / 64);
    if (!bound.has(0))
        return to_list(
            on.memory(),
            FromRight ? split_space_right(self.text(), n_most) : split_space(self.text(), n_most));
    const std::string& by = bound.string(0);
    if (by.empty()) refuse("split() by an empty string");
    return to_list(
        on.memory(),
        FromRight ? split_right(self.text(), by, n_most) : split(self.text(), by, n_most));
}

value split_into_lines(machine& on, const value& self, call_arguments& given)
{
    const parameters bound{"splitlines", given, {"keepends"}};
    return to_list(on.memory(), split_lines(self.text(), bound.flag(0, false)));
}

template <bool FromRight>
value partition(machine& on, const value& self, call_arguments& given)
{
    const parameters bound{"partition", given, {"sep"}};
    const std::string& by = bound.string(0);
    if (by.empty()) refuse("partition() by an empty string");
    const std::string& text = self.text();
    const std::size_t at = FromRight ? text.rfind(by) : text.find(by);
    heap& in = on.memory();
    values parts;
    if (at == std::string::npos) {
        const value nothing = in.string("");
        parts = FromRight ? values{nothing, nothing, self} : values{self, nothing, nothing};
    } else {
        parts.push_back(in.string(text.substr(0, at)));
        parts.push_back(in.string(by));
        parts.push_back(in.string(text.substr(at + by.size())));
    }
    return in.tuple(std::move(parts));
}

// ---- search ----

// The bytes from character `start` to `end`, as Python counts them.
struct range_of_bytes {
    std::size_t begin;
    std::size_t end;
    bool exists;  // false where it begins after the end of the text
};

range_of_bytes find_range(const value& self, const parameters& bound)
{
    const auto length = static_cast<std::int64_t>(self.string().length());
    const auto place = [&](std::size_t index, std::int64_t otherwise) {
        std::int64_t at = bound.has(index) ? bound.integer(index, 0) : otherwise;
        if (at < 0) at = at < -length ? 0 : at + length;
        return at;
    };
    const std::int64_t start = place(1, 0);
    const std::int64_t end = std::min(place(2, length), length);
    const bool exists = start <= length && start <= end;
    const auto byte = [&](std::int64_t at) {
        return byte_of(
            self.string(), static_cast<std::size_t>(std::clamp<std::int64_t>(at, 0, length)));
    };
    return {byte(start), byte(end), exists};
}

template <bool FromRight, bool MustBeThere>
value find_text(machine& on, const value& self, call_arguments& given)
{
    const parameters bound{"find", given, {"sub", "start", "end"}};
    const range_of_bytes range = find_range(self, bound);
    const std::string& what = bound.string(0);
    on.memory().step(self.text().size() / 64);
    if (range.exists) {
        const std::string_view text =
            std::string_view{self.text()}.substr(range.begin, range.end - range.begin);
        const std::size_t at = FromRight ? text.rfind(what) : text.find(what);
        if (at != std::string_view::npos)
            return value::of_count(
                count_utf8(std::string_view{self.text()}.substr(0, range.begin + at)));
    }
    if (MustBeThere) refuse("index() of a string that is not there");
    return value::of(std::int64_t{-1});
}

value count_text(machine& on, const value& self, call_arguments& given)
{
    const parameters bound{"count", given, {"sub", "start", "end"}};
    const range_of_bytes range = find_range(self, bound);
    on.memory().step(self.text().size() / 64);
    if (!range.exists) return value::of(std::int64_t{0});
    return value::of_count(count(
        std::string_view{self.text()}.substr(range.begin, range.end - range.begin),
        bound.string(0)));
}

template <bool AtEnd>
value has_affix(machine&, const value& self, call_arguments& given)
{
    const parameters bound{"startswith", given, {"prefix", "start", "end"}};
    const range_of_bytes range = find_range(self, bound);
    const std::string_view text =
        range.exists ? std::string_view{self.text()}.substr(range.begin, range.end - range.begin)
                     : std::string_view{};
    const auto fits = [&](const value& affix) {
        if (!affix.is(kind::string))
            refuse(
                "startswith() takes a string or a tuple of them, found a " +
                std::string{type_name(affix)});
        return range.exists &&
               (AtEnd ? text.ends_with(affix.text()) : text.starts_with(affix.text()));
    };
    const value& what = bound.need(0);
    if (!what.is(kind::tuple)) return value::of(fits(what));
    const values& all = what.list().items();
    return value::of(std::any_of(all.begin(), all.end(), fits));
}

template <bool AtEnd>
value without_affix(machine& on, const value& self, call_arguments& given)
{
    const parameters bound{"removeprefix", given, {"prefix"}};
    const std::string& affix = bound.string(0);
    const std::string& text = self.text();
    if (AtEnd && !affix.empty() && text.ends_with(affix))
        return on.memory().string(text.substr(0, text.size() - affix.size()));
    if (!AtEnd && text.starts_with(affix)) return on.memory().string(text.substr(affix.size()));
    return self;
}

// ---- others ----

value replaced(machine& on, const value& self, call_arguments& given)
{
    const parameters bound{"replace", given, {"old", "new", "count"}};
    const std::int64_t n_most = bound.integer(2, no_limit);
    const std::string& text = self.text();
    const std::string& from = bound.string(0);
    const std::string& to = bound.string(1);
    on.memory().step(text.size() / 64);
    if (to.size() > from.size()) on.memory().charge(count(text, from) * to.size());
    return on.memory().string(replace(text, from, to, n_most));
}

value joined(machine& on, const value& self, call_arguments& given)
{
    const parameters bound{"join", given, {"iterable"}};
    std::string made;
    value each;
    bool first = true;
    for (cursor all{on.memory(), bound.need(0)}; all.next(each); first = false) {
        if (!each.is(kind::string))
            refuse("join() of a value of type " + std::string{type_name(each)});
        on.memory().charge(self.text().size() + each.text().size());
        if (!first) made += self.text();
        made += each.text();
    }
    return on.memory().string(std::move(made));
}

template <char Align>
value justified(machine& on, const value& self, call_arguments& given)
{
    const parameters bound{"ljust", given, {"width", "fillchar"}};
    const std::int64_t width = bound.integer(0, 0);
    static_cast<void>(bound.need(0));
    std::string fill{" "};
    if (bound.find(1) != nullptr) fill = bound.string(1);
    if (count_utf8(fill) != 1) refuse("ljust() takes one character to fill with");
    const auto length = static_cast<std::int64_t>(self.string().length());
    if (width <= length) return self;
    const auto n_missing = static_cast<std::size_t>(width - length);
    if (n_missing > std::numeric_limits<std::size_t>::max() / 4)
        on.memory().charge(std::numeric_limits<std::size_t>::max());
    on.memory().charge(n_missing * fill.size());
    // Python puts the odd one to the left where the width is odd.
    const std::size_t n_left =
        Align == '<'   ? 0
        : Align == '>' ? n_missing
                       : n_missing / 2 + (n_missing & static_cast<std::size_t>(width) & 1U);
    std::string made;
    for (std::size_t i = 0; i < n_left; ++i)
        made += fill;
    made += self.text();
    for (std::size_t i = n_left; i < n_missing; ++i)
        made += fill;
    return on.memory().string(std::move(made));
}

value zero_filled(machine& on, const value& self, call_arguments& given)
{
    const parameters bound{"zfill", given, {"width"}};
    static_cast<void>(bound.need(0));
    const std::int64_t width = bound.integer(0, 0);
    const auto length = static_cast<std::int64_t>(self.string().length());
    if (width <= length) return self;
    const auto n_missing = static_cast<std::size_t>(width - length);
    on.memory().charge(n_missing);
    std::string made = self.text();
    const bool signed_text = made.starts_with('-') || made.starts_with('+');
    made.insert(signed_text ? 1 : 0, n_missing, '0');
    return on.memory().string(std::move(made));
}

value formatted(machine& on, const value& self, call_arguments& given)
{
    return on.memory().string(format_braces(on.memory(), self.text(), given));
}

value formatted_map(machine& on, const value& self, call_arguments& given)
{
    const parameters bound{"format_map", given, {"map"}};
    if (!bound.need(0).is(kind::dict)) refuse("format_map() takes a dict");
    call_arguments named{on.memory()};
    for (const auto& [key, to] : bound.need(0).dict().items())
        if (key.is(kind::string)) named.named.emplace_back(key.text(), to);
    return on.memory().string(format_braces(on.memory(), self.text(), named));
}

value tabs_expanded(machine& on, const value& self, call_arguments& given)
{
    const parameters bound{"expandtabs", given, {"tabsize"}};
    const std::int64_t size = bound.integer(0, 8);
    if (size > 1000) refuse_feature("expandtabs() to more than 1000 characters");
    std::string made;
    std::int64_t column = 0;
    for (const std::string_view each : characters(self.text())) {
        if (each == "\t") {
            const std::int64_t n = size > 0 ? size - column % size : 0;
            on.memory().charge(static_cast<std::size_t>(n));
            made.append(static_cast<std::size_t>(n), ' ');
            column += n;
            continue;
        }
        made += each;
        column = each == "\n" || each == "\r" ? 0 : column + 1;
    }
    return on.memory().string(std::move(made));
}

constexpr std::array methods{
    method{"capitalize", mapped<capitalize>},
    method{"casefold", mapped<casefold>},
    method{"center", justified<'^'>},
    method{"count", count_text},
    method{"endswith", has_affix<true>},
    method{"expandtabs", tabs_expanded},
    method{"find", find_text<false, false>},
    method{"format", formatted},
    method{"format_map", formatted_map},
    method{"index", find_text<false, true>},
    method{"isalnum", is_of<text_class::alphanumeric>},
    method{"isalpha", is_of<text_class::alphabetic>},
    method{"isascii", is_of<text_class::ascii>},
    method{"isdecimal", is_of<text_class::decimal>},
    method{"isdigit", is_of<text_class::digit>},
    method{"isidentifier", is_of<text_class::identifier>},
    method{"islower", is_of<text_class::lower>},
    method{"isnumeric", is_of<text_class::numeric>},
    method{"isprintable", is_of<text_class::printable>},
    method{"isspace", is_of<text_class::space>},
    method{"istitle", is_of<text_class::title>},
    method{"isupper", is_of<text_class::upper>},
    method{"join", joined},
    method{"ljust", justified<'<'>},
    method{"lower", mapped<to_lower>},
    method{"lstrip", stripped<side::left>},
    method{"partition", partition<false>},
    method{"removeprefix", without_affix<false>},
    method{"removesuffix", without_affix<true>},
    method{"replace", replaced},
    method{"rfind", find_text<true, false>},
    method{"rindex", find_text<true, true>},
    method{"rjust", justified<'>'>},
    method{"rpartition", partition<true>},
    method{"rsplit", split_at<true>},
    method{"rstrip", stripped<side::right>},
    method{"split", split_at<false>},
    method{"splitlines", split_into_lines},
    method{"startswith", has_affix<false>},
    method{"strip", stripped<side::both>},
    method{"swapcase", mapped<swap_case>},
    method{"title", mapped<title>},
    method{"upper", mapped<to_upper>},
    method{"zfill", zero_filled},
};

}  // namespace

std::span<const method> string_methods() noexcept
{
    return methods;
}

}  // namespace modelpool::text::jinja

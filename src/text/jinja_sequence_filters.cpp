#include <algorithm>
#include <array>
#include <charconv>
#include <limits>

#include "support/printable.hpp"
#include "text/jinja_filters.hpp"
#include "text/jinja_methods.hpp"
#include "text/jinja_print.hpp"
#include "text/jinja_text.hpp"

namespace modelpool::text::jinja {
namespace {

value hint(heap& in, const char* sentence)
{
    const value text = in.string(sentence);
    return value::undefined(missing::hint, &text.string());
}

value lowered(heap& in, const value& of)
{
    return of.is(kind::string) ? in.string(to_lower(of.text())) : of;
}

// ---- keys, by which filters sort and group ----

// Several paths between commas make a key of several parts, as the reference has it for sort.
values sort_keys(
    heap& in, const values& items, const parameters& bound, std::size_t path_at, bool sensitive)
{
    values paths;
    if (bound.has(path_at)) {
        const value& path = *bound.find(path_at);
        if (path.is(kind::string))
            for (const std::string_view part : split(path.text(), ",", -1))
                paths.push_back(in.string(part));
        else
            paths.push_back(path);
    }
    values keys;
    keys.reserve(items.size());
    for (const value& item : items) {
        values parts;
        for (const value& path : paths)
            parts.push_back(get_path(in, item, path));
        if (paths.empty()) parts.push_back(item);
        if (!sensitive)
            for (value& each : parts)
                each = lowered(in, each);
        keys.push_back(in.list(std::move(parts)));
    }
    return keys;
}

value sort_items(machine& on, const value& input, call_arguments& given)
{
    const parameters bound{"sort", given, {"reverse", "case_sensitive", "attribute"}};
    heap& in = on.memory();
    const values items = to_values(in, input);
    const values keys = sort_keys(in, items, bound, 2, bound.flag(1, false));
    return in.list(sorted(in, items, keys, bound.flag(0, false)));
}

value sort_dict(machine& on, const value& input, call_arguments& given)
{
    const parameters bound{"dictsort", given, {"case_sensitive", "by", "reverse"}};
    const std::string by = bound.find(1) != nullptr ? bound.string(1) : "key";
    if (by != "key" && by != "value") refuse("dictsort is by 'key' or by 'value'");
    if (input.is_undefined()) refuse(input.missing_message());
    if (!input.is(kind::dict))
        refuse("dictsort of a value of type " + std::string{type_name(input)});
    heap& in = on.memory();
    values items;
    values keys;
    for (const auto& [key, to] : input.dict().items()) {
        items.push_back(in.pair(key, to));
        const value& wanted = by == "key" ? key : to;
        keys.push_back(bound.flag(0, false) ? wanted : lowered(in, wanted));
    }
    return in.list(sorted(in, items, keys, bound.flag(2, false)));
}

value group_items(machine& on, const value& input, call_arguments& given)
{
    const parameters bound{"groupby", given, {"attribute", "default", "case_sensitive"}};
    heap& in = on.memory();
    const bool sensitive = bound.flag(2, false);
    const auto key_of = [&](const value& item) {
        value found = get_path(in, item, bound.need(0));
        return found.is_undefined() && bound.has(1) ? *bound.find(1) : found;
    };
    const values items = to_values(in, input);
    values keys;
    for (const value& item : items)
        keys.push_back(sensitive ? key_of(item) : lowered(in, key_of(item)));
    const values ordered = sorted(in, items, keys, false);
    values groups;
    for (std::size_t i = 0; i < ordered.size();) {
        const value first = key_of(ordered[i]);
        const value key = sensitive ? first : lowered(in, first);
        values group;
        for (; i < ordered.size(); ++i) {
            const value next = key_of(ordered[i]);
            if (!are_equal(key, sensitive ? next : lowered(in, next))) break;
            group.push_back(ordered[i]);
        }
        groups.push_back(in.group(first, in.list(std::move(group))));
    }
    return in.list(std::move(groups));
}

template <bool Largest>
value extreme(machine& on, const value& input, call_arguments& given)
{
    const parameters bound{"min", given, {"case_sensitive", "attribute"}};
    heap& in = on.memory();
    const auto key_of = [&](const value& item) {
        const value found = bound.has(1) ? get_path(in, item, *bound.find(1)) : item;
        return bound.flag(0, false) ? found : lowered(in, found);
    };
    value best;
    value best_key;
    value each;
    bool any = false;
    for (cursor all{in, input}; all.next(each); any = true) {
        value key = key_of(each);
        if (any && !(Largest ? is_less(best_key, key, ">") : is_less(key, best_key))) continue;
        best = std::move(each);
        best_key = std::move(key);
    }
    return any ? best : hint(in, "No aggregated item, sequence was empty.");
}

// ---- lazy ones ----

// Elements of another sequence, one after another, as `Step` makes them.
template <class Step>
class lazy final : public iterator_object {
public:
    lazy(const char* name, heap& in, const value& over, std::uint16_t depth, Step step)
        : iterator_object{name, depth}
        , items_{in, over}
        , step_{std::move(step)}
    {}
    bool next(value& into) override { return step_(items_, into); }

private:
    cursor items_;
    Step step_;
};

template <class Step>
value make_lazy(
    machine& on, const char* name, const value& over, const call_arguments& arguments, Step step)
{
    on.memory().charge(256);
    std::uint16_t depth = std::max(depth_above(over), depth_above(arguments.positional));
    for (const auto& [key, to] : arguments.named)
        depth = std::max(depth, depth_above(to));
    return value::of_object(
        kind::iterator, new lazy<Step>{name, on.memory(), over, depth, std::move(step)});
}

value map_items(machine& on, const value& input, call_arguments& given)
{
    if (!is_true(input))
        return make_lazy(
            on, "sync_do_map", on.memory().list({}), given, [](cursor&, value&) { return false; });
    const auto named = std::find_if(given.named.begin(), given.named.end(), [](const auto& each) {
        return each.first == "attribute";
    });
    if (given.positional.empty() && named != given.named.end()) {
        const parameters bound{"map", given, {"attribute", "default"}};
        const value path = *bound.find(0);
        const value otherwise = bound.has(1) ? *bound.find(1) : value::none();
        const auto step = [&on, path, otherwise](cursor& items, value& into) {
            value item;
            if (!items.next(item)) return false;
            into = get_path(on.memory(), item, path);
            if (into.is_undefined() && !otherwise.is(kind::none)) into = otherwise;
            return true;
        };
        return make_lazy(on, "sync_do_map", input, given, step);
    }
    if (given.positional.empty() || !given.positional[0].is(kind::string))
        refuse("map takes the name of a filter, or an attribute");
    filter_function* const filter = find_filter(given.positional[0].text());
    const std::string name = given.positional[0].text();
    call_arguments rest{on.memory()};
    rest.positional.assign(given.positional.begin() + 1, given.positional.end());
    rest.named = given.named;
    const auto step = [&on, filter, name, rest](cursor& items, value& into) {
        value item;
        if (!items.next(item)) return false;
        if (filter == nullptr) refuse("there is no filter " + support::in_quotes(name));
        call_arguments arguments = rest;
        into = filter(on, item, arguments);
        return true;
    };
    return make_lazy(on, "sync_do_map", input, given, step);
}

template <bool Keep, bool Attribute>
value select_items(machine& on, const value& input, call_arguments& given)
{
    // The reference looks at its arguments only when there is something to select from.
    value path;
    test_function* test = nullptr;
    std::string name;
    const std::size_t skipped = Attribute ? 1 : 0;
    const bool complete = given.positional.size() >= skipped;
    if (Attribute && complete) path = given.positional[0];
    const bool has_test = given.positional.size() > skipped;
    if (has_test) {
        if (!given.positional[skipped].is(kind::string)) refuse("select takes the name of a test");
        name = given.positional[skipped].text();
        test = find_test(name);
    }
    call_arguments rest{on.memory()};
    for (std::size_t i = skipped + 1; i < given.positional.size(); ++i)
        rest.positional.push_back(given.positional[i]);
    rest.named = given.named;
    if (!is_true(input))
        return make_lazy(on, "select_or_reject", on.memory().list({}), given, [](cursor&, value&) {
            return false;
        });
    const auto step =
        [&on, path, test, name, has_test, complete, rest](cursor& items, value& into) {
            if (!complete) refuse("selectattr takes the name of an attribute");
            while (items.next(into)) {
                const value tested = Attribute ? get_path(on.memory(), into, path) : into;
                if (has_test && test == nullptr)
                    refuse("there is no test " + support::in_quotes(name));
                call_arguments arguments = rest;
                const bool fits = has_test ? test(on, tested, arguments) : is_true(tested);
                if (fits == Keep) return true;
            }
            return false;
        };
    return make_lazy(on, "select_or_reject", input, given, step);
}

value unique_items(machine& on, const value& input, call_arguments& given)
{
    const parameters bound{"unique", given, {"case_sensitive", "attribute"}};
    heap& in = on.memory();
    const bool sensitive = bound.flag(0, false);
    const value path = bound.has(1) ? *bound.find(1) : value::none();
    const pointer<dict_object> seen = in.dict(0);
    const auto step = [&in, sensitive, path, seen](cursor& items, value& into) {
        while (items.next(into)) {
            value key = path.is(kind::none) ? into : get_path(in, into, path);
            if (!sensitive) key = lowered(in, key);
            if (seen->find(key) != nullptr) continue;
            in.charge(2 * sizeof(value));
            seen->set(std::move(key), value::none());
            return true;
        }
        return false;
    };
    return make_lazy(on, "sync_do_unique", input, given, step);
}

value batch_items(machine& on, const value& input, call_arguments& given)
{
    const parameters bound{"batch", given, {"linecount", "fill_with"}};
    static_cast<void>(bound.need(0));
    const std::int64_t size = bound.integer(0, 0);
    if (size < 1) refuse("batch takes a positive number of items");
    const auto n_most = static_cast<std::size_t>(size);
    const value filling = bound.has(1) ? *bound.find(1) : value::none();
    const auto step = [&on, n_most, filling](cursor& items, value& into) {
        values row;
        value each;
        while (row.size() < n_most && items.next(each))
            row.push_back(std::move(each));
        if (row.empty()) return false;
        if (!filling.is(kind::none) && row.size() < n_most) {
            on.memory().charge(std::min(n_most, std::size_t{1} << 40U) * sizeof(value));
            row.resize(n_most, filling);
        }
        into = on.memory().list(std::move(row));
        return true;
    };
    return make_lazy(on, "do_batch", input, given, step);
}

value slice_items(machine& on, const value& input, call_arguments& given)
{
    const parameters bound{"slice", given, {"slices", "fill_with"}};
    static_cast<void>(bound.need(0));
    const std::int64_t n_slices = bound.integer(0, 0);
    if (n_slices < 1) refuse("slice takes a positive number of slices");
    const auto n = static_cast<std::size_t>(n_slices);
    on.memory().step(n);
    const values items = to_values(on.memory(), input);
    values slices;
    std::size_t at = 0;
    for (std::size_t i = 0; i < n; ++i) {
        const std::size_t size = items.size() / n + (i < items.size() % n ? 1 : 0);
        values part(
            items.begin() + static_cast<std::ptrdiff_t>(at),
            items.begin() + static_cast<std::ptrdiff_t>(at + size));
        at += size;
        if (bound.has(1) && i >= items.size() % n) part.push_back(*bound.find(1));
        slices.push_back(on.memory().list(std::move(part)));
    }
    return make_lazy(
        on,
        "sync_do_slice",
        on.memory().list(std::move(slices)),
        given,
        [](cursor& all, value& into) { return all.next(into); });
}

value pairs_of(machine& on, const value& input, call_arguments& given)
{
    const parameters bound{"items", given, {}};
    const value items =
        input.is(kind::dict) ? on.memory().view(view_of::items, input) : on.memory().list({});
    const bool fits = input.is_undefined() || input.is(kind::dict);
    const kind type = input.type();
    const auto step = [fits, type](cursor& all, value& into) {
        if (!fits) refuse("items of a value of type " + std::string{type_name(type)});
        return all.next(into);
    };
    return make_lazy(on, "do_items", items, given, step);
}

// ---- others ----

value default_value(machine& on, const value& input, call_arguments& given)
{
    const parameters bound{"default", given, {"default_value", "boolean"}};
    if (!input.is_undefined() && !(bound.flag(1, false) && !is_true(input))) return input;
    return bound.find(0) != nullptr ? *bound.find(0) : on.memory().string("");
}

value length(machine&, const value& input, call_arguments& given)
{
    const parameters bound{"length", given, {}};
    return value::of_count(length_of(input));
}

value join_items(machine& on, const value& input, call_arguments& given)
{
    const parameters bound{"join", given, {"d", "attribute"}};
    heap& in = on.memory();
    const std::string between = bound.find(0) != nullptr ? to_text(*bound.find(0)) : "";
    std::string made;
    value each;
    bool first = true;
    for (cursor all{in, input}; all.next(each); first = false) {
        in.charge(between.size());
        if (!first) made += between;
        const std::size_t before = made.size();
        append_text(made, bound.has(1) ? get_path(in, each, *bound.find(1)) : each);
        in.charge(made.size() - before);
    }
    return in.string(std::move(made));
}

value first_item(machine& on, const value& input, call_arguments& given)
{
    const parameters bound{"first", given, {}};
    value found;
    cursor all{on.memory(), input};
    return all.next(found) ? found : hint(on.memory(), "No first item, sequence was empty.");
}

bool is_reversible(const value& of)
{
    return of.is(kind::list) || of.is(kind::tuple) || of.is(kind::string) || of.is(kind::dict) ||
           of.is(kind::view) || of.is(kind::range);
}

value last_item(machine& on, const value& input, call_arguments& given)
{
    const parameters bound{"last", given, {}};
    if (input.is_undefined()) return hint(on.memory(), "No last item, sequence was empty.");
    if (!is_reversible(input)) refuse("last of a value of type " + std::string{type_name(input)});
    if (input.is(kind::list) || input.is(kind::tuple) || input.is(kind::string)) {
        const value found = get_item(on.memory(), input, -1);
        return found.is_undefined() ? hint(on.memory(), "No last item, sequence was empty.")
                                    : found;
    }
    const values all = to_values(on.memory(), input);
    return all.empty() ? hint(on.memory(), "No last item, sequence was empty.") : all.back();
}

value reverse_items(machine& on, const value& input, call_arguments& given)
{
    const parameters bound{"reverse", given, {}};
    heap& in = on.memory();
    if (input.is(kind::string)) {
        std::vector<std::string_view> all = characters(input.text());
        std::string made;
        for (auto each = all.rbegin(); each != all.rend(); ++each)
            made += *each;
        return in.string(std::move(made));
    }
    values all = to_values(in, input);
    std::reverse(all.begin(), all.end());
    value made = in.list(std::move(all));
    if (!is_reversible(input)) return made;
    return make_lazy(
        on, "reversed", made, given, [](cursor& items, value& into) { return items.next(into); });
}

value list_items(machine& on, const value& input, call_arguments& given)
{
    const parameters bound{"list", given, {}};
    return on.memory().list(to_values(on.memory(), input));
}

value sum_items(machine& on, const value& input, call_arguments& given)
{
    const parameters bound{"sum", given, {"attribute", "start"}};
    heap& in = on.memory();
    value total = bound.find(1) != nullptr ? *bound.find(1) : value::of(std::int64_t{0});
    if (total.is(kind::string)) refuse("sum of strings; use join");
    value each;
    for (cursor all{in, input}; all.next(each);)
        total = calculate(
            in, arithmetic::add, total, bound.has(0) ? get_path(in, each, *bound.find(0)) : each);
    return total;
}

value attribute_of(machine& on, const value& input, call_arguments& given)
{
    const parameters bound{"attr", given, {"name"}};
    static_cast<void>(bound.string(0));
    if (input.is_undefined()) refuse(input.missing_message());
    return get_attribute_only(on.memory(), input, bound.need(0).string());
}

constexpr std::array filters{
    named_filter{"attr", attribute_of},
    named_filter{"batch", batch_items},
    named_filter{"count", length},
    named_filter{"d", default_value},
    named_filter{"default", default_value},
    named_filter{"dictsort", sort_dict},
    named_filter{"first", first_item},
    named_filter{"groupby", group_items},
    named_filter{"items", pairs_of},
    named_filter{"join", join_items},
    named_filter{"last", last_item},
    named_filter{"length", length},
    named_filter{"list", list_items},
    named_filter{"map", map_items},
    named_filter{"max", extreme<true>},
    named_filter{"min", extreme<false>},
    named_filter{"reject", select_items<false, false>},
    named_filter{"rejectattr", select_items<false, true>},
    named_filter{"reverse", reverse_items},
    named_filter{"select", select_items<true, false>},
    named_filter{"selectattr", select_items<true, true>},
    named_filter{"slice", slice_items},
    named_filter{"sort", sort_items},
    named_filter{"sum", sum_items},
    named_filter{"unique", unique_items},
};

}  // namespace

std::span<const named_filter> sequence_filters() noexcept
{
    return filters;
}

value get_path(heap& in, const value& item, const value& path)
{
    if (!path.is(kind::string)) return get_item(in, item, path);
    value found = item;
    for (const std::string_view part : split(path.text(), ".", -1)) {
        std::int64_t index = 0;
        const auto read = std::from_chars(part.data(), part.data() + part.size(), index);
        const bool whole = !part.empty() && part[0] != '-' && read.ec == std::errc{} &&
                           read.ptr == part.data() + part.size();
        found = whole ? get_item(in, found, index) : get_item(in, found, in.string(part));
    }
    return found;
}

}  // namespace modelpool::text::jinja

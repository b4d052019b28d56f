#include "text/jinja_methods.hpp"

#include <algorithm>
#include <array>
#include <limits>

#include "support/printable.hpp"
#include "text/jinja_loop.hpp"
#include "text/jinja_machine.hpp"
#include "text/jinja_operators.hpp"
#include "text/jinja_print.hpp"
#include "text/jinja_string_methods.hpp"
#include "text/jinja_text.hpp"

namespace modelpool::text::jinja {
namespace {

value list_count(machine&, const value& self, call_arguments& given)
{
    const parameters bound{"count", given, {"value"}};
    std::int64_t n = 0;
    for (const value& each : self.list().items())
        n += are_equal(each, bound.need(0));
    return value::of(n);
}

value list_index(machine&, const value& self, call_arguments& given)
{
    const parameters bound{"index", given, {"value"}};
    const values& items = self.list().items();
    const auto found = std::find_if(items.begin(), items.end(), [&](const value& each) {
        return are_equal(each, bound.need(0));
    });
    if (found == items.end()) refuse("index of a value that is not in the list");
    return value::of_count(static_cast<std::size_t>(found - items.begin()));
}

value list_copy(machine& on, const value& self, call_arguments& given)
{
    const parameters bound{"copy", given, {}};
    return on.memory().list(self.list().items());
}

value dict_get(machine&, const value& self, call_arguments& given)
{
    const parameters bound{"get", given, {"key", "default"}};
    const value* found = self.dict().find(bound.need(0));
    if (found != nullptr) return *found;
    return bound.find(1) != nullptr ? *bound.find(1) : value::none();
}

value dict_items(machine& on, const value& self, call_arguments& given)
{
    const parameters bound{"items", given, {}};
    return on.memory().view(view_of::items, self);
}

value dict_keys(machine& on, const value& self, call_arguments& given)
{
    const parameters bound{"keys", given, {}};
    return on.memory().view(view_of::keys, self);
}

value dict_values(machine& on, const value& self, call_arguments& given)
{
    const parameters bound{"values", given, {}};
    return on.memory().view(view_of::elements, self);
}

value dict_copy(machine&, const value& self, call_arguments& given)
{
    const parameters bound{"copy", given, {}};
    return self;  // nothing can change it
}

constexpr std::array<method, 3> list_methods{{
    {"copy", list_copy},
    {"count", list_count},
    {"index", list_index},
}};
constexpr std::array<method, 5> dict_methods{{
    {"copy", dict_copy},
    {"get", dict_get},
    {"items", dict_items},
    {"keys", dict_keys},
    {"values", dict_values},
}};
constexpr std::array<std::string_view, 8> list_changes{
    "append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove"};
constexpr std::array<std::string_view, 5> dict_changes{
    "clear", "pop", "popitem", "setdefault", "update"};

template <class Methods>
const method* find_in(const Methods& methods, std::string_view name)
{
    const auto found = std::find_if(
        methods.begin(), methods.end(), [name](const method& each) { return each.name == name; });
    return found == methods.end() ? nullptr : &*found;
}

template <class Names>
bool is_among(const Names& names, std::string_view name)
{
    return std::find(names.begin(), names.end(), name) != names.end();
}

class bound_method final : public callable_object {
public:
    bound_method(value self, const method& what)
        : callable_object{depth_above(self)}
        , self_{std::move(self)}
        , what_{what}
    {}
    value call(machine& on, call_arguments& arguments) override
    {
        return call_method(on, what_, self_, arguments);
    }
    std::string shown() const override
    {
        return "<built-in method " + std::string{what_.name} + " of " + type_name(self_) +
               " object>";
    }

private:
    value self_;
    const method& what_;
};

// A method, a namespace's or a loop's attribute; undefined where there is nothing.
bool find_attribute(
    heap& in, const value& of, string_object& name, const method_set& methods, value& into)
{
    const bool changes =
        (of.is(kind::dict) && methods.changes_dict) || (of.is(kind::list) && methods.changes_list);
    if (changes) {
        into = value::undefined(missing::unsafe, &name, of.type());
        return true;
    }
    if (const method* found = methods.of(of)) {
        in.charge(96);
        into = value::of_object(kind::callable, new bound_method{of, *found});
        return true;
    }
    if (of.is(kind::tuple) && of.list().is_group()) {
        const bool items = name.text() == "list";
        if (items || name.text() == "grouper") {
            into = of.list().items()[items ? 1 : 0];
            return true;
        }
    }
    if (of.is(kind::space)) {
        if (const value* found = of.space().find(name.text())) {
            into = *found;
            return true;
        }
    }
    if (of.is(kind::loop)) {
        if (std::optional<value> found = of.loop().attribute(in, name.text())) {
            into = std::move(*found);
            return true;
        }
    }
    if (of.is(kind::callable)) {
        const auto* const macro = dynamic_cast<const macro_object*>(&of.callable());
        if (macro != nullptr && name.text() == "name") {
            into = in.string(macro->name());
            return true;
        }
    }
    return false;
}

}  // namespace

const method* method_set::of(const value& self) const noexcept
{
    switch (self.type()) {
    case kind::string:
        return of_string;
    case kind::list:
        return of_list;
    case kind::tuple:
        return of_tuple;
    case kind::dict:
        return of_dict;
    default:
        return nullptr;
    }
}

method_set find_methods(std::string_view name)
{
    method_set found;
    found.of_string = find_in(string_methods(), name);
    found.of_list = find_in(list_methods, name);
    if (name != "copy") found.of_tuple = found.of_list;
    found.of_dict = find_in(dict_methods, name);
    found.changes_list = is_among(list_changes, name);
    found.changes_dict = is_among(dict_changes, name);
    return found;
}

namespace {

value marked(heap& in, const value& of)
{
    if (of.is(kind::string)) return in.markup(of.text());
    if (!of.is(kind::list) && !of.is(kind::tuple)) return of;
    values items;
    for (const value& each : of.list().items())
        items.push_back(marked(in, each));
    return of.is(kind::list) ? in.list(std::move(items)) : in.tuple(std::move(items));
}

// Methods of text that is marked as safe give such text, and escape what they put into it.
value call_marked(machine& on, const method& what, const value& self, call_arguments& given)
{
    heap& in = on.memory();
    if (what.name == "format" || what.name == "format_map")
        refuse_feature("formatting of text marked as safe");
    const auto escaped = [&in](const value& of) {
        return of.is(kind::string) && !of.string().is_markup() ? in.string(html_escaped(of.text()))
                                                               : of;
    };
    if (what.name == "replace" && given.positional.size() > 1)
        given.positional[1] = escaped(given.positional[1]);
    if (what.name == "join" && !given.positional.empty()) {
        values items = to_values(in, given.positional[0]);
        for (value& each : items)
            each = in.string(escaped(each).is(kind::string) ? escaped(each).text() : to_text(each));
        given.positional[0] = in.list(std::move(items));
    }
    return marked(in, what.call(on, self, given));
}

}  // namespace

value call_method(machine& on, const method& what, const value& self, call_arguments& arguments)
{
    const bool is_marked = self.is(kind::string) && self.string().is_markup();
    return is_marked ? call_marked(on, what, self, arguments) : what.call(on, self, arguments);
}

value get_attribute(heap& in, const value& of, string_object& name, const method_set& methods)
{
    value found;
    if (of.is_undefined()) refuse(of.missing_message());
    if (find_attribute(in, of, name, methods, found)) return found;
    if (of.is(kind::dict))
        if (const value* const item = of.dict().find(name.text())) return *item;
    return value::undefined(missing::attribute, &name, of.type());
}

value get_attribute(heap& in, const value& of, string_object& name)
{
    return get_attribute(in, of, name, find_methods(name.text()));
}

value get_attribute_only(heap& in, const value& of, string_object& name)
{
    return get_attribute_only(in, of, name, find_methods(name.text()));
}

value get_attribute_only(heap& in, const value& of, string_object& name, const method_set& methods)
{
    value found;
    if (find_attribute(in, of, name, methods, found)) return found;
    return value::undefined(missing::attribute, &name, of.type());
}

parameters::parameters(
    const char* function, call_arguments& given, std::initializer_list<std::string_view> names)
    : function_{function}
{
    if (given.positional.size() > names.size())
        fail("takes at most " + std::to_string(names.size()) + " arguments");
    for (std::size_t i = 0; i < given.positional.size(); ++i)
        bound_[i] = &given.positional[i];
    for (const auto& [name, to] : given.named) {
        const auto* const found = std::find(names.begin(), names.end(), name);
        if (found == names.end()) fail("takes no argument " + support::in_quotes(name));
        const value*& place = bound_[found - names.begin()];
        if (place != nullptr) fail("is given the argument " + support::in_quotes(name) + " twice");
        place = &to;
    }
}

void parameters::fail(const std::string& sentence) const
{
    refuse(std::string{function_} + "() " + sentence);
}

const value& parameters::need(std::size_t index) const
{
    if (bound_[index] == nullptr) fail("lacks an argument");
    return *bound_[index];
}

bool parameters::has(std::size_t index) const noexcept
{
    return bound_[index] != nullptr && !bound_[index]->is(kind::none);
}

bool parameters::flag(std::size_t index, bool otherwise) const
{
    return bound_[index] == nullptr ? otherwise : is_true(*bound_[index]);
}

std::int64_t parameters::integer(std::size_t index, std::int64_t otherwise) const
{
    if (bound_[index] == nullptr) return otherwise;
    if (!bound_[index]->is_integral())
        fail("takes an integer, found a " + std::string{type_name(*bound_[index])});
    return bound_[index]->integer();
}

const std::string& parameters::string(std::size_t index) const
{
    if (!need(index).is(kind::string))
        fail("takes a string, found a " + std::string{type_name(need(index))});
    return need(index).text();
}

}  // namespace modelpool::text::jinja

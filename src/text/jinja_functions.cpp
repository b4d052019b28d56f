#include <algorithm>
#include <array>
#include <ctime>

#include "support/printable.hpp"
#include "text/jinja_machine.hpp"
#include "text/jinja_methods.hpp"
#include "text/jinja_print.hpp"
#include "text/utf8.hpp"

namespace modelpool::text::jinja {
namespace {

using function = value(machine& on, call_arguments& given);

value make_range(machine&, call_arguments& given)
{
    const parameters bound{"range", given, {"start", "stop", "step"}};
    if (!given.named.empty()) refuse("range() takes no keyword arguments");
    static_cast<void>(bound.need(0));
    const bool one = bound.find(1) == nullptr;
    const std::int64_t start = one ? 0 : bound.integer(0, 0);
    const std::int64_t stop = one ? bound.integer(0, 0) : bound.integer(1, 0);
    const std::int64_t step = bound.integer(2, 1);
    if (step == 0) refuse("range() with a step of zero");
    return value::of_object(kind::range, new range_object{start, stop, step});
}

// Keys and values as dict(…) takes them: of another dict, or of pairs.
void add_items(heap& in, const value& from, dict_object::item_list& into)
{
    if (from.is(kind::dict)) {
        in.charge(from.dict().items().size() * sizeof(dict_object::item));
        into.insert(into.end(), from.dict().items().begin(), from.dict().items().end());
        return;
    }
    value each;
    for (cursor all{in, from}; all.next(each);) {
        const values pair = to_values(in, each);
        if (pair.size() != 2) refuse("dict() takes pairs");
        in.charge(sizeof(dict_object::item));
        into.emplace_back(pair[0], pair[1]);
    }
}

dict_object::item_list items_of(machine& on, call_arguments& given)
{
    dict_object::item_list items;
    if (given.positional.size() > 1) refuse("dict() takes at most one positional argument");
    if (!given.positional.empty()) add_items(on.memory(), given.positional[0], items);
    for (auto& [name, to] : given.named)
        items.emplace_back(on.memory().string(name), std::move(to));
    return items;
}

value make_dict(machine& on, call_arguments& given)
{
    dict_object::item_list items = items_of(on, given);
    std::uint16_t depth = 0;
    for (const auto& [key, to] : items)
        depth = std::max({depth, key.depth(), to.depth()});
    const pointer<dict_object> made = on.memory().dict(depth);
    for (auto& [key, to] : items)
        made->set(std::move(key), std::move(to));
    return value::of_object(kind::dict, made.get());
}

value make_namespace(machine& on, call_arguments& given)
{
    value made = on.memory().space();
    for (auto& [name, to] : items_of(on, given)) {
        if (!name.is(kind::string)) refuse("namespace() takes names");
        if (name.text().starts_with('_'))
            refuse("a namespace takes no names that begin with an underscore");
        made.space().set(name, to);
    }
    return made;
}

value raise_exception(machine&, call_arguments& given)
{
    const parameters bound{"raise_exception", given, {"message"}};
    // What the template says, as it says it.
    throw failure{errc::invalid_argument, support::printable(to_text(bound.need(0)), 2000)};
}

value strftime_now(machine& on, call_arguments& given)
{
    const parameters bound{"strftime_now", given, {"format"}};
    const std::string& format = bound.string(0);
    if (format.size() > 1000) refuse_feature("a format of a time of more than 1000 bytes");
    const std::time_t now = std::chrono::system_clock::to_time_t(on.now());
    std::tm local{};
    if (localtime_r(&now, &local) == nullptr) refuse("the time cannot be told");
    // An empty result would not tell from a buffer too small.
    const std::string marked = format + '.';
    std::string text(marked.size() * 64, '\0');
    text.resize(std::strftime(text.data(), text.size(), marked.c_str(), &local));
    if (!text.empty()) text.pop_back();
    return on.memory().string(to_valid_utf8(text));
}

value refused(machine&, call_arguments&)
{
    refuse_feature("cycler, joiner and lipsum");
}

class built_in final : public callable_object {
public:
    built_in(const char* name, function* what)
        : callable_object{0}
        , name_{name}
        , what_{what}
    {}
    value call(machine& on, call_arguments& arguments) override { return what_(on, arguments); }
    std::string shown() const override { return "<function " + std::string{name_} + ">"; }

private:
    const char* name_;
    function* what_;
};

struct named_function {
    const char* name;
    function* call;
};

constexpr std::array functions{
    named_function{"range", make_range},
    named_function{"dict", make_dict},
    named_function{"namespace", make_namespace},
    named_function{"raise_exception", raise_exception},
    named_function{"strftime_now", strftime_now},
    named_function{"cycler", refused},
    named_function{"joiner", refused},
    named_function{"lipsum", refused},
};

}  // namespace

std::unique_ptr<callable_object> make_global(std::string_view name)
{
    for (const named_function& each : functions)
        if (name == each.name) return std::make_unique<built_in>(each.name, each.call);
    return nullptr;
}

}  // namespace modelpool::text::jinja

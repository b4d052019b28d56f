#include "text/jinja_value.hpp"

#include <algorithm>

#include "support/printable.hpp"
#include "text/jinja_operators.hpp"
#include "text/jinja_text.hpp"
#include "text/utf8.hpp"

namespace modelpool::text::jinja {
namespace {

constexpr std::uint16_t max_depth = 300;
constexpr std::size_t n_unindexed = 12;

std::uint16_t checked_depth(std::size_t depth)
{
    if (depth > max_depth)
        refuse_feature("values nested more than " + std::to_string(max_depth) + " deep");
    return static_cast<std::uint16_t>(depth);
}

}  // namespace

void refuse(std::string sentence)
{
    throw failure{errc::invalid_argument, std::move(sentence)};
}

void refuse_feature(std::string sentence)
{
    throw failure{text_errc::unsupported, std::move(sentence)};
}

value value::undefined(missing why, string_object* name, kind owner) noexcept
{
    value made;
    made.why_ = why;
    made.owner_ = owner;
    made.held_.pointee = name;
    if (name != nullptr) name->retain();
    return made;
}

std::string value::missing_message() const
{
    std::string name = held_.pointee == nullptr ? std::string{} : support::printable(text(), 200);
    switch (why_) {
    case missing::variable:
        return "'" + name + "' is undefined";
    case missing::attribute:
        return "a value of type " + std::string{type_name(owner_)} + " has no '" + name + "'";
    case missing::unsafe:
        return "'" + name + "' of a value of type " + type_name(owner_) +
               " is not for templates to use";
    case missing::hint:
        break;
    }
    return name;
}

std::size_t string_object::length() const noexcept
{
    if (length_ == unknown) length_ = count_utf8(*text_);
    return length_;
}

const value* dict_object::find(std::string_view key) const noexcept
{
    if (!index_.empty()) {
        const std::size_t mask = index_.size() - 1;
        for (std::size_t at = hash_of(key) & mask; index_[at] != 0; at = (at + 1) & mask) {
            const item& found = items_[index_[at] - 1];
            if (found.first.is(kind::string) && are_same(found.first.text(), key))
                return &found.second;
        }
        return nullptr;
    }
    for (const item& each : items_)
        if (each.first.is(kind::string) && are_same(each.first.text(), key)) return &each.second;
    return nullptr;
}

std::size_t dict_object::place_of(const value& key) const
{
    if (!index_.empty()) {
        const std::size_t mask = index_.size() - 1;
        for (std::size_t at = hash_of(key) & mask; index_[at] != 0; at = (at + 1) & mask)
            if (are_equal(items_[index_[at] - 1].first, key)) return index_[at] - 1;
        return items_.size();
    }
    std::size_t place = 0;
    while (place < items_.size() && !are_equal(items_[place].first, key))
        ++place;
    return place;
}

const value* dict_object::find(const value& key) const
{
    if (key.is(kind::string)) return find(key.text());
    check_hashable(key);
    const std::size_t place = place_of(key);
    return place == items_.size() ? nullptr : &items_[place].second;
}

void dict_object::index_all()
{
    index_.assign(std::max<std::size_t>(64, index_.size() * 2), 0);
    const std::size_t mask = index_.size() - 1;
    for (std::size_t i = 0; i < items_.size(); ++i) {
        std::size_t at = hash_of(items_[i].first) & mask;
        while (index_[at] != 0)
            at = (at + 1) & mask;
        index_[at] = static_cast<std::uint32_t>(i + 1);
    }
}

void dict_object::set(value key, value to)
{
    check_hashable(key);
    const std::size_t place = place_of(key);
    if (place < items_.size()) {
        items_[place].second = std::move(to);
        return;
    }
    items_.emplace_back(std::move(key), std::move(to));
    if (index_.empty() ? items_.size() <= n_unindexed : items_.size() * 2 < index_.size()) {
        if (index_.empty()) return;
        const std::size_t mask = index_.size() - 1;
        std::size_t at = hash_of(items_.back().first) & mask;
        while (index_[at] != 0)
            at = (at + 1) & mask;
        index_[at] = static_cast<std::uint32_t>(items_.size());
        return;
    }
    index_all();
}

range_object::range_object(std::int64_t start, std::int64_t stop, std::int64_t step)
    : object{0}
    , start_{start}
    , stop_{stop}
    , step_{step}
    , size_{0}
{
    // Differences may not fit 64 signed bits, but always fit unsigned ones.
    const auto distance = [](std::int64_t low, std::int64_t high) {
        return static_cast<std::uint64_t>(high) - static_cast<std::uint64_t>(low);
    };
    std::uint64_t size = 0;
    if (step > 0 && start < stop)
        size = (distance(start, stop) - 1) / static_cast<std::uint64_t>(step) + 1;
    if (step < 0 && stop < start)
        size =
            (distance(stop, start) - 1) / (std::uint64_t{0} - static_cast<std::uint64_t>(step)) + 1;
    // As the reference's sandbox has it.
    if (size > 100'000) refuse("range() of more than 100000 numbers");
    size_ = static_cast<std::int64_t>(size);
}

const value* space_object::find(std::string_view name) const noexcept
{
    for (const auto& [key, to] : items_)
        if (are_same(key.text(), name)) return &to;
    return nullptr;
}

void space_object::set(value name, value to)
{
    for (auto& [key, held] : items_)
        if (are_same(key.text(), name.text())) {
            held = std::move(to);
            return;
        }
    items_.emplace_back(std::move(name), std::move(to));
}

const char* type_name(kind of)
{
    switch (of) {
    case kind::undefined:
        return "Undefined";
    case kind::none:
        return "NoneType";
    case kind::boolean:
        return "bool";
    case kind::integer:
    case kind::big_integer:
        return "int";
    case kind::real:
        return "float";
    case kind::string:
        return "str";
    case kind::list:
        return "list";
    case kind::tuple:
        return "tuple";
    case kind::dict:
        return "dict";
    case kind::view:
        return "dict view";
    case kind::range:
        return "range";
    case kind::iterator:
        return "generator";
    case kind::space:
        return "Namespace";
    case kind::loop:
        return "LoopContext";
    case kind::callable:
        return "function";
    }
    return "object";
}

const char* type_name(const value& of)
{
    return type_name(of.type());
}

std::uint16_t depth_above(const values& items)
{
    std::size_t depth = 0;
    for (const value& each : items)
        depth = std::max<std::size_t>(depth, each.depth());
    return checked_depth(depth + 1);
}

std::uint16_t depth_above(const value& item)
{
    return checked_depth(item.depth() + std::size_t{1});
}

value heap::string(std::string text)
{
    charge(text.size() + 64);
    return value::of_object(kind::string, make<string_object>(std::move(text)));
}

value heap::kept_string(const std::string& text)
{
    charge(text.size() + 64);
    return value::of_object(kind::string, make<string_object>(string_object::kept{text}));
}

value heap::markup(std::string text)
{
    charge(text.size() + 64);
    return value::of_object(kind::string, make<string_object>(std::move(text), true));
}

value heap::list(values items)
{
    charge(items.size() * sizeof(value) + 64);
    const std::uint16_t depth = depth_above(items);
    return value::of_object(kind::list, make<list_object>(std::move(items), depth));
}

value heap::tuple(values items)
{
    charge(items.size() * sizeof(value) + 64);
    const std::uint16_t depth = depth_above(items);
    return value::of_object(kind::tuple, make<list_object>(std::move(items), depth));
}

value heap::pair(value first, value second)
{
    values items = room<values>(2);
    items.push_back(std::move(first));
    items.push_back(std::move(second));
    return tuple(std::move(items));
}

value heap::group(value key, value items)
{
    charge(2 * sizeof(value) + 64);
    values both;
    both.push_back(std::move(key));
    both.push_back(std::move(items));
    const std::uint16_t depth = depth_above(both);
    return value::of_object(kind::tuple, new list_object{std::move(both), depth, true});
}

value heap::dict_of(dict_object::item_list items)
{
    charge(96 + items.size() * sizeof(dict_object::item));
    std::size_t depth = 0;
    for (const auto& [key, to] : items)
        depth = std::max<std::size_t>(depth, to.depth());
    return value::of_object(
        kind::dict, make<dict_object>(checked_depth(depth + 1), std::move(items)));
}

pointer<dict_object> heap::dict(std::uint16_t depth)
{
    charge(96);
    return pointer<dict_object>{make<dict_object>(checked_depth(depth + std::size_t{1}))};
}

value heap::view(view_of what, const value& from)
{
    charge(64);
    static_cast<void>(depth_above(from));
    return value::of_object(
        kind::view, make<view_object>(what, pointer<dict_object>{&from.dict()}));
}

value heap::space()
{
    charge(96);
    spaces_.emplace_back(new space_object{});
    return value::of_object(kind::space, spaces_.back().get());
}

heap::~heap()
{
    for (const pointer<space_object>& each : spaces_)
        each->clear();
}

void heap::refuse_bytes() const
{
    refuse_feature(
        "the template makes values of more than " + std::to_string(max_bytes_) + " bytes");
}

void heap::refuse_steps() const
{
    refuse_feature("the template takes more than " + std::to_string(max_steps_) + " steps");
}

}  // namespace modelpool::text::jinja

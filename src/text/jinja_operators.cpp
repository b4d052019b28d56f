#include "text/jinja_operators.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "text/jinja_loop.hpp"
#include "text/jinja_methods.hpp"
#include "text/jinja_print.hpp"
#include "text/jinja_text.hpp"
#include "text/utf8.hpp"

namespace modelpool::text::jinja {
namespace {

[[noreturn]] void refuse_operands(const char* sign, const value& left, const value& right)
{
    for (const value* each : {&left, &right})
        if (each->is_undefined()) refuse(each->missing_message());
    refuse(
        std::string{sign} + " between " + type_name(left) + " and " + type_name(right) +
        " means nothing");
}

[[noreturn]] void refuse_overflow()
{
    refuse_feature("an integer beyond 64 bits");
}

const char* sign_of(arithmetic what)
{
    switch (what) {
    case arithmetic::add:
        return "+";
    case arithmetic::subtract:
        return "-";
    case arithmetic::multiply:
        return "*";
    case arithmetic::divide:
        return "/";
    case arithmetic::floor_divide:
        return "//";
    case arithmetic::modulo:
        return "%";
    case arithmetic::power:
        return "**";
    }
    return "?";
}

// Widened so that every int and every float keeps its value.
int compare_numbers(const value& left, const value& right)
{
    if (left.is_integral() && right.is_integral())
        return left.integer() < right.integer() ? -1 : left.integer() > right.integer();
    const auto wide = [](const value& of) {
        return of.is(kind::real) ? static_cast<long double>(of.real())
                                 : static_cast<long double>(of.integer());
    };
    return wide(left) < wide(right) ? -1 : wide(left) > wide(right);
}

bool is_nan(const value& of)
{
    return of.is(kind::real) && std::isnan(of.real());
}

bool are_equal_lists(const value& left, const value& right)
{
    const values& a = left.list().items();
    const values& b = right.list().items();
    return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), are_equal);
}

bool are_equal_dicts(const value& left, const value& right)
{
    if (left.dict().items().size() != right.dict().items().size()) return false;
    for (const auto& [key, to] : left.dict().items()) {
        const value* found = right.dict().find(key);
        if (found == nullptr || !are_equal(to, *found)) return false;
    }
    return true;
}

std::int64_t floor_quotient(std::int64_t a, std::int64_t b)
{
    if (b == 0) refuse("division by zero");
    if (a == std::numeric_limits<std::int64_t>::min() && b == -1) refuse_overflow();
    const std::int64_t quotient = a / b;
    return (a % b != 0 && (a < 0) != (b < 0)) ? quotient - 1 : quotient;
}

std::int64_t modulo_of(std::int64_t a, std::int64_t b)
{
    if (b == 0) refuse("modulo by zero");
    if (b == -1) return 0;
    const std::int64_t rest = a % b;
    return (rest != 0 && (rest < 0) != (b < 0)) ? rest + b : rest;
}

double modulo_of(double a, double b)
{
    if (b == 0) refuse("float modulo by zero");
    double rest = std::fmod(a, b);
    if (rest != 0 && (rest < 0) != (b < 0)) rest += b;
    if (rest == 0) rest = std::copysign(0.0, b);
    return rest;
}

double floor_quotient(double a, double b)
{
    if (b == 0) refuse("float floor division by zero");
    const double rest = modulo_of(a, b);
    const double quotient = (a - rest) / b;
    if (quotient == 0) return std::copysign(0.0, a / b);
    const double floored = std::floor(quotient);
    return quotient - floored > 0.5 ? floored + 1 : floored;
}

value power_of(const value& left, const value& right)
{
    if (left.is_integral() && right.is_integral() && right.integer() >= 0) {
        std::int64_t base = left.integer();
        std::int64_t result = 1;
        for (std::int64_t exponent = right.integer(); exponent > 0; exponent >>= 1) {
            if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result))
                refuse_overflow();
            if (exponent > 1 && __builtin_mul_overflow(base, base, &base)) refuse_overflow();
        }
        return value::of(result);
    }
    if (left.real() == 0 && right.real() < 0) refuse("0 cannot be raised to a negative power");
    const double result = std::pow(left.real(), right.real());
    if (std::isnan(result) && !is_nan(left) && !is_nan(right))
        refuse_feature("a power that is a complex number");
    if (std::isinf(result) && std::isfinite(left.real()) && std::isfinite(right.real()))
        refuse("a power too large for a float");
    return value::of(result);
}

value calculate_integers(arithmetic what, std::int64_t a, std::int64_t b)
{
    std::int64_t result = 0;
    bool overflows = false;
    switch (what) {
    case arithmetic::add:
        overflows = __builtin_add_overflow(a, b, &result);
        break;
    case arithmetic::subtract:
        overflows = __builtin_sub_overflow(a, b, &result);
        break;
    case arithmetic::multiply:
        overflows = __builtin_mul_overflow(a, b, &result);
        break;
    case arithmetic::floor_divide:
        result = floor_quotient(a, b);
        break;
    case arithmetic::modulo:
        result = modulo_of(a, b);
        break;
    default:
        if (b == 0) refuse("division by zero");
        return value::of(static_cast<double>(a) / static_cast<double>(b));
    }
    if (overflows) refuse_overflow();
    return value::of(result);
}

value calculate_reals(arithmetic what, double a, double b)
{
    switch (what) {
    case arithmetic::add:
        return value::of(a + b);
    case arithmetic::subtract:
        return value::of(a - b);
    case arithmetic::multiply:
        return value::of(a * b);
    case arithmetic::floor_divide:
        return value::of(floor_quotient(a, b));
    case arithmetic::modulo:
        return value::of(modulo_of(a, b));
    default:
        if (b == 0) refuse("division by zero");
        return value::of(a / b);
    }
}

bool is_sequence(const value& of)
{
    return of.is(kind::string) || of.is(kind::list) || of.is(kind::tuple);
}

value repeated(heap& in, const value& of, std::int64_t times)
{
    const std::size_t n_times = times < 0 ? 0 : static_cast<std::size_t>(times);
    const std::size_t size =
        of.is(kind::string) ? of.text().size() : of.list().items().size() * sizeof(value);
    if (size != 0 && n_times > std::numeric_limits<std::size_t>::max() / size)
        in.charge(std::numeric_limits<std::size_t>::max());
    in.charge(size * n_times);
    if (of.is(kind::string)) {
        std::string text;
        if (size != 0) text.reserve(size * n_times);
        for (std::size_t i = 0; size != 0 && i < n_times; ++i)
            text += of.text();
        return of.string().is_markup() ? in.markup(std::move(text)) : in.string(std::move(text));
    }
    values items;
    for (std::size_t i = 0; size != 0 && i < n_times; ++i)
        items.insert(items.end(), of.list().items().begin(), of.list().items().end());
    return of.is(kind::list) ? in.list(std::move(items)) : in.tuple(std::move(items));
}

value added(heap& in, const value& left, const value& right)
{
    if (left.is(kind::string)) {
        in.charge(left.text().size() + right.text().size());
        const bool left_marked = left.string().is_markup();
        const bool right_marked = right.string().is_markup();
        if (!left_marked && !right_marked) return in.string(left.text() + right.text());
        return in.markup(
            (left_marked ? left.text() : html_escaped(left.text())) +
            (right_marked ? right.text() : html_escaped(right.text())));
    }
    values items;
    items.reserve(left.list().items().size() + right.list().items().size());
    items = left.list().items();
    items.insert(items.end(), right.list().items().begin(), right.list().items().end());
    return left.is(kind::list) ? in.list(std::move(items)) : in.tuple(std::move(items));
}

// The place that `index` stands for; false where it lies outside.
bool find_place(std::int64_t index, std::size_t size, std::size_t& place)
{
    if (index < 0) index += static_cast<std::int64_t>(size);
    if (index < 0 || index >= static_cast<std::int64_t>(size)) return false;
    place = static_cast<std::size_t>(index);
    return true;
}

}  // namespace

bool is_true(const value& of)
{
    switch (of.type()) {
    case kind::undefined:
    case kind::none:
        return false;
    case kind::boolean:
        return of.truth();
    case kind::integer:
        return of.integer() != 0;
    case kind::real:
        return of.real() != 0;
    case kind::string:
        return !of.text().empty();
    case kind::list:
    case kind::tuple:
        return !of.list().items().empty();
    case kind::dict:
        return !of.dict().items().empty();
    case kind::view:
        return !of.view().from().items().empty();
    case kind::range:
        return of.range().size() > 0;
    case kind::loop:
        return of.loop().length() > 0;
    default:
        return true;
    }
}

bool are_equal(const value& left, const value& right)
{
    if (left.is_number() && right.is_number())
        return !is_nan(left) && !is_nan(right) && compare_numbers(left, right) == 0;
    if (left.type() != right.type()) return false;
    switch (left.type()) {
    case kind::undefined:
    case kind::none:
        return true;
    case kind::big_integer:
    case kind::string:
        return left.held() == right.held() || are_same(left.text(), right.text());
    case kind::list:
    case kind::tuple:
        return are_equal_lists(left, right);
    case kind::dict:
        return are_equal_dicts(left, right);
    case kind::range: {
        const range_object& a = left.range();
        const range_object& b = right.range();
        return a.size() == b.size() && (a.size() == 0 || (a.start() == b.start() &&
                                                          (a.size() == 1 || a.step() == b.step())));
    }
    default:
        return left.held() == right.held();
    }
}

bool is_less(const value& left, const value& right, const char* sign)
{
    if (left.is_number() && right.is_number())
        return !is_nan(left) && !is_nan(right) && compare_numbers(left, right) < 0;
    if (left.is(kind::string) && right.is(kind::string)) return left.text() < right.text();
    const bool lists = (left.is(kind::list) || left.is(kind::tuple)) && left.type() == right.type();
    if (!lists) refuse_operands(sign, left, right);
    const values& a = left.list().items();
    const values& b = right.list().items();
    for (std::size_t i = 0; i < a.size() && i < b.size(); ++i)
        if (!are_equal(a[i], b[i])) return is_less(a[i], b[i], sign);
    return a.size() < b.size();
}

void check_hashable(const value& key)
{
    if (key.is(kind::tuple))
        for (const value& each : key.list().items())
            check_hashable(each);
    if (key.is(kind::list) || key.is(kind::dict) || key.is(kind::view))
        refuse("a " + std::string{type_name(key)} + " cannot be a key");
}

std::size_t hash_of(std::string_view key)
{
    return std::hash<std::string_view>{}(key);
}

std::size_t hash_of(const value& key)
{
    switch (key.type()) {
    case kind::string:
    case kind::big_integer:
        return hash_of(key.text());
    case kind::boolean:
    case kind::integer:
        return std::hash<std::int64_t>{}(key.integer());
    case kind::real: {
        const double number = key.real();
        const bool whole = std::trunc(number) == number && std::fabs(number) < 9e18;
        return whole ? std::hash<std::int64_t>{}(static_cast<std::int64_t>(number))
                     : std::hash<double>{}(number);
    }
    case kind::tuple: {
        std::size_t hash = key.list().items().size();
        for (const value& each : key.list().items())
            hash = hash * 1'000'003U ^ hash_of(each);
        return hash;
    }
    case kind::undefined:
    case kind::none:
        return static_cast<std::size_t>(key.type());
    default:
        return std::hash<const object*>{}(key.held());
    }
}

value calculate(heap& in, arithmetic what, const value& left, const value& right)
{
    if (left.is_number() && right.is_number()) {
        if (what == arithmetic::power) return power_of(left, right);
        if (left.is_integral() && right.is_integral())
            return calculate_integers(what, left.integer(), right.integer());
        return calculate_reals(what, left.real(), right.real());
    }
    if (what == arithmetic::add && left.type() == right.type() && is_sequence(left))
        return added(in, left, right);
    if (what == arithmetic::multiply && is_sequence(left) && right.is_integral())
        return repeated(in, left, right.integer());
    if (what == arithmetic::multiply && left.is_integral() && is_sequence(right))
        return repeated(in, right, left.integer());
    if (what == arithmetic::modulo && left.is(kind::string)) {
        if (left.string().is_markup()) refuse_feature("formatting of text marked as safe");
        return in.string(format_percent(in, left.text(), right));
    }
    if (left.is(kind::big_integer) || right.is(kind::big_integer)) refuse_overflow();
    refuse_operands(sign_of(what), left, right);
}

value negate(const value& number)
{
    if (number.is(kind::real)) return value::of(-number.real());
    if (number.is_undefined()) refuse(number.missing_message());
    if (!number.is_integral()) refuse(std::string{"- of a "} + type_name(number));
    return calculate_integers(arithmetic::subtract, 0, number.integer());
}

value plus(const value& number)
{
    if (number.is(kind::real)) return number;
    if (number.is_undefined()) refuse(number.missing_message());
    if (!number.is_integral()) refuse(std::string{"+ of a "} + type_name(number));
    return value::of(number.integer());
}

bool contains(heap& in, const value& container, const value& item)
{
    switch (container.type()) {
    case kind::string:
        if (!item.is(kind::string))
            refuse("'in' of a string takes a string, found a " + std::string{type_name(item)});
        in.step(container.text().size() / 64);
        return container.text().find(item.text()) != std::string::npos;
    case kind::dict:
        return container.dict().find(item) != nullptr;
    case kind::view:
        if (container.view().what() == view_of::keys)
            return container.view().from().find(item) != nullptr;
        break;
    case kind::space:
    case kind::callable:
        refuse("'in' of a " + std::string{type_name(container)});
    default:
        break;
    }
    value each;
    for (cursor all{in, container}; all.next(each);)
        if (are_equal(each, item)) return true;
    return false;
}

bool has_length(const value& of)
{
    switch (of.type()) {
    case kind::undefined:
    case kind::string:
    case kind::list:
    case kind::tuple:
    case kind::dict:
    case kind::view:
    case kind::range:
    case kind::loop:
        return true;
    default:
        return false;
    }
}

std::size_t length_of(const value& of)
{
    switch (of.type()) {
    case kind::undefined:
        return 0;
    case kind::string:
        return of.string().length();
    case kind::list:
    case kind::tuple:
        return of.list().items().size();
    case kind::dict:
        return of.dict().items().size();
    case kind::view:
        return of.view().from().items().size();
    case kind::range:
        return static_cast<std::size_t>(of.range().size());
    case kind::loop:
        return of.loop().length();
    default:
        refuse("a " + std::string{type_name(of)} + " has no length");
    }
}

value get_item(heap& in, const value& of, std::int64_t index)
{
    std::size_t place = 0;
    switch (of.type()) {
    case kind::list:
    case kind::tuple:
        if (find_place(index, of.list().items().size(), place)) return of.list().items()[place];
        break;
    case kind::string:
        if (find_place(index, of.string().length(), place))
            return in.string(substring(of.string(), place, place + 1));
        break;
    case kind::range:
        if (find_place(index, static_cast<std::size_t>(of.range().size()), place))
            return value::of(of.range().at(static_cast<std::int64_t>(place)));
        break;
    case kind::dict:
        if (const value* found = of.dict().find(value::of(index))) return *found;
        break;
    case kind::undefined:
        refuse(of.missing_message());
    default:
        break;
    }
    const value name = in.string(std::to_string(index));
    return value::undefined(missing::attribute, &name.string(), of.type());
}

value get_item(heap& in, const value& of, const value& key)
{
    if (of.is_undefined()) refuse(of.missing_message());
    if (of.is(kind::dict)) {
        const bool hashable = !key.is(kind::list) && !key.is(kind::dict) && !key.is(kind::view);
        const value* found = hashable ? of.dict().find(key) : nullptr;
        if (found != nullptr) return *found;
        if (!key.is(kind::string)) {
            const value name = in.string(repr(key));
            return value::undefined(missing::attribute, &name.string(), of.type());
        }
        return get_attribute_only(in, of, key.string());
    }
    if (key.is_integral()) return get_item(in, of, key.integer());
    if (key.is(kind::string)) return get_attribute_only(in, of, key.string());
    const value name = in.string(repr(key));
    return value::undefined(missing::attribute, &name.string(), of.type());
}

namespace {

// Python's rules for the bounds of a slice.
std::int64_t bound_of(const value& given, std::int64_t size, bool forward, std::int64_t otherwise)
{
    if (given.is(kind::none)) return otherwise;
    if (!given.is_integral())
        refuse("slice bounds must be integers, found a " + std::string{type_name(given)});
    std::int64_t bound = given.integer();
    if (bound < 0) bound = bound < -size ? -1 : bound + size;
    if (bound < 0) return forward ? 0 : -1;
    return std::min(bound, forward ? size : size - 1);
}

}  // namespace

value get_slice(heap& in, const value& of, const value& start, const value& stop, const value& step)
{
    if (of.is_undefined()) refuse(of.missing_message());
    if (!is_sequence(of) && !of.is(kind::range))
        refuse("a slice of a value of type " + std::string{type_name(of)});
    std::int64_t stride = 1;
    if (!step.is(kind::none)) {
        if (!step.is_integral()) refuse("a slice's step must be an integer");
        stride = step.integer();
        if (stride == 0) refuse("a slice's step cannot be zero");
    }
    const auto size = static_cast<std::int64_t>(length_of(of));
    const bool forward = stride > 0;
    const std::int64_t first = bound_of(start, size, forward, forward ? 0 : size - 1);
    const std::int64_t last = bound_of(stop, size, forward, forward ? size : -1);
    if (of.is(kind::range)) {
        const range_object& all = of.range();
        const auto at = [&all](std::int64_t index) { return all.start() + index * all.step(); };
        std::int64_t step_of_both = 0;
        if (__builtin_mul_overflow(all.step(), stride, &step_of_both)) refuse_overflow();
        return value::of_object(kind::range, new range_object{at(first), at(last), step_of_both});
    }
    if (of.is(kind::string) && stride == 1)
        return in.string(
            first < last
                ? substring(
                      of.string(), static_cast<std::size_t>(first), static_cast<std::size_t>(last))
                : std::string{});
    std::vector<std::int64_t> places;
    for (std::int64_t at = first; forward ? at < last : at > last;) {
        places.push_back(at);
        if (__builtin_add_overflow(at, stride, &at)) break;
    }
    in.charge(places.size() * sizeof(value));
    if (of.is(kind::string)) {
        const std::vector<std::string_view> all = characters(of.text());
        std::string text;
        for (const std::int64_t at : places)
            text += all[static_cast<std::size_t>(at)];
        return in.string(std::move(text));
    }
    values items = in.room<values>(places.size());
    for (const std::int64_t at : places)
        items.push_back(of.list().items()[static_cast<std::size_t>(at)]);
    return of.is(kind::tuple) ? in.tuple(std::move(items)) : in.list(std::move(items));
}

bool is_iterable(const value& of)
{
    return has_length(of) || of.is(kind::iterator);
}

cursor::cursor(heap& in, const value& over)
    : heap_{in}
    , over_{over}
{
    if (!is_iterable(over))
        refuse("a value of type " + std::string{type_name(over)} + " cannot be iterated");
}

bool cursor::next(value& into)
{
    heap_.step();
    switch (over_.type()) {
    case kind::list:
    case kind::tuple: {
        const values& items = over_.list().items();
        if (at_ >= items.size()) return false;
        into = items[at_++];
        return true;
    }
    case kind::dict: {
        const auto& items = over_.dict().items();
        if (at_ >= items.size()) return false;
        into = items[at_++].first;
        return true;
    }
    case kind::view: {
        const auto& items = over_.view().from().items();
        if (at_ >= items.size()) return false;
        const auto& [key, to] = items[at_++];
        if (over_.view().what() == view_of::items)
            into = heap_.pair(key, to);
        else
            into = over_.view().what() == view_of::keys ? key : to;
        return true;
    }
    case kind::string: {
        const std::string& text = over_.text();
        if (at_ >= text.size()) return false;
        const std::size_t n_bytes = utf8_at(text, at_).n_bytes;
        into = heap_.string(text.substr(at_, n_bytes));
        at_ += n_bytes;
        return true;
    }
    case kind::range:
        if (at_ >= static_cast<std::size_t>(over_.range().size())) return false;
        into = value::of(over_.range().at(static_cast<std::int64_t>(at_++)));
        return true;
    case kind::iterator:
        return over_.iterator().next(into);
    case kind::loop: {
        value item;
        if (!over_.loop().next(item)) return false;
        into = heap_.pair(std::move(item), over_);
        return true;
    }
    default:
        return false;
    }
}

values to_values(heap& in, const value& over)
{
    if (over.is(kind::list) || over.is(kind::tuple)) {
        in.charge(over.list().items().size() * sizeof(value));
        return over.list().items();
    }
    values all;
    value each;
    for (cursor items{in, over}; items.next(each);) {
        in.charge(sizeof(value));
        all.push_back(std::move(each));
    }
    return all;
}

values sorted(heap& in, const values& items, const values& keys, bool reverse)
{
    std::vector<std::size_t> order(items.size());
    for (std::size_t i = 0; i < order.size(); ++i)
        order[i] = reverse ? order.size() - 1 - i : i;
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
        in.step();
        return is_less(keys[a], keys[b]);
    });
    // A reversed sort keeps equal elements in their order.
    if (reverse) std::reverse(order.begin(), order.end());
    values result;
    result.reserve(items.size());
    for (const std::size_t i : order)
        result.push_back(items[i]);
    return result;
}

}  // namespace modelpool::text::jinja

#include <algorithm>
#include <array>

#include "text/jinja_filters.hpp"
#include "text/jinja_methods.hpp"
#include "text/jinja_nodes.hpp"
#include "text/jinja_print.hpp"
#include "text/jinja_text.hpp"

namespace modelpool::text::jinja {
namespace {

bool is_defined(const value& of)
{
    return !of.is_undefined();
}
bool is_none(const value& of)
{
    return of.is(kind::none);
}
bool is_boolean(const value& of)
{
    return of.is(kind::boolean);
}
bool is_true_value(const value& of)
{
    return of.is(kind::boolean) && of.truth();
}
bool is_false_value(const value& of)
{
    return of.is(kind::boolean) && !of.truth();
}
bool is_integer(const value& of)
{
    return of.is(kind::integer) || of.is(kind::big_integer);
}
bool is_real(const value& of)
{
    return of.is(kind::real);
}
bool is_string(const value& of)
{
    return of.is(kind::string);
}
bool is_mapping(const value& of)
{
    return of.is(kind::dict);
}
bool is_number(const value& of)
{
    return of.is_number() || of.is(kind::big_integer);
}
bool is_callable(const value& of)
{
    return of.is(kind::callable) || of.is(kind::loop) || of.is_undefined();
}
bool is_lower_text(const value& of)
{
    return has_class(to_text(of), text_class::lower);
}
bool is_upper_text(const value& of)
{
    return has_class(to_text(of), text_class::upper);
}
bool is_escaped(const value& of)
{
    return of.is(kind::string) && of.string().is_markup();
}
bool is_iterable_value(const value& of)
{
    return is_iterable(of);
}
bool is_sequence(const value& of)
{
    switch (of.type()) {
    case kind::undefined:
    case kind::string:
    case kind::list:
    case kind::tuple:
    case kind::dict:
    case kind::range:
        return true;
    default:
        return false;
    }
}

template <bool (*Test)(const value&)>
bool plain(machine&, const value& input, call_arguments& given)
{
    const parameters bound{"a test", given, {}};
    return Test(input);
}

bool is_undefined(machine&, const value& input, call_arguments& given)
{
    const parameters bound{"undefined", given, {}};
    return input.is_undefined();
}

template <std::int64_t Rest>
bool has_rest(machine& on, const value& input, call_arguments& given)
{
    const parameters bound{"odd", given, {}};
    const value rest =
        calculate(on.memory(), arithmetic::modulo, input, value::of(std::int64_t{2}));
    return are_equal(rest, value::of(Rest));
}

bool is_divisible(machine& on, const value& input, call_arguments& given)
{
    const parameters bound{"divisibleby", given, {"num"}};
    const value rest = calculate(on.memory(), arithmetic::modulo, input, bound.need(0));
    return are_equal(rest, value::of(std::int64_t{0}));
}

template <comparison What>
bool compares(machine& on, const value& input, call_arguments& given)
{
    const parameters bound{"a test", given, {"other"}};
    return compare(on.memory(), What, input, bound.need(0));
}

bool is_in(machine& on, const value& input, call_arguments& given)
{
    const parameters bound{"in", given, {"seq"}};
    return contains(on.memory(), bound.need(0), input);
}

bool is_same(machine&, const value& input, call_arguments& given)
{
    const parameters bound{"sameas", given, {"other"}};
    const value& other = bound.need(0);
    if (input.type() != other.type()) return false;
    switch (input.type()) {
    case kind::undefined:
        return false;
    case kind::none:
        return true;
    case kind::boolean:
        return input.truth() == other.truth();
    // Python shares one object for each small int.
    case kind::integer:
        return input.integer() == other.integer();
    case kind::real:
        return false;
    case kind::string:
        return input.text() == other.text();
    default:
        return input.held() == other.held();
    }
}

bool names_filter(machine&, const value& input, call_arguments& given)
{
    const parameters bound{"filter", given, {}};
    return input.is(kind::string) && find_filter(input.text()) != nullptr;
}

bool names_test(machine&, const value& input, call_arguments& given)
{
    const parameters bound{"test", given, {}};
    return input.is(kind::string) && find_test(input.text()) != nullptr;
}

struct named_test {
    std::string_view name;
    test_function* call;
};

// Sorted by name.
constexpr std::array tests{
    named_test{"!=", compares<comparison::ne>},
    named_test{"<", compares<comparison::lt>},
    named_test{"<=", compares<comparison::le>},
    named_test{"==", compares<comparison::eq>},
    named_test{">", compares<comparison::gt>},
    named_test{">=", compares<comparison::ge>},
    named_test{"boolean", plain<is_boolean>},
    named_test{"callable", plain<is_callable>},
    named_test{"defined", plain<is_defined>},
    named_test{"divisibleby", is_divisible},
    named_test{"eq", compares<comparison::eq>},
    named_test{"equalto", compares<comparison::eq>},
    named_test{"escaped", plain<is_escaped>},
    named_test{"even", has_rest<0>},
    named_test{"false", plain<is_false_value>},
    named_test{"filter", names_filter},
    named_test{"float", plain<is_real>},
    named_test{"ge", compares<comparison::ge>},
    named_test{"greaterthan", compares<comparison::gt>},
    named_test{"gt", compares<comparison::gt>},
    named_test{"in", is_in},
    named_test{"integer", plain<is_integer>},
    named_test{"iterable", plain<is_iterable_value>},
    named_test{"le", compares<comparison::le>},
    named_test{"lessthan", compares<comparison::lt>},
    named_test{"lower", plain<is_lower_text>},
    named_test{"lt", compares<comparison::lt>},
    named_test{"mapping", plain<is_mapping>},
    named_test{"ne", compares<comparison::ne>},
    named_test{"none", plain<is_none>},
    named_test{"number", plain<is_number>},
    named_test{"odd", has_rest<1>},
    named_test{"sameas", is_same},
    named_test{"sequence", plain<is_sequence>},
    named_test{"string", plain<is_string>},
    named_test{"test", names_test},
    named_test{"true", plain<is_true_value>},
    named_test{"undefined", is_undefined},
    named_test{"upper", plain<is_upper_text>},
};

}  // namespace

test_function* find_test(std::string_view name)
{
    const auto* const found = std::lower_bound(
        tests.begin(), tests.end(), name, [](const named_test& each, std::string_view wanted) {
            return each.name < wanted;
        });
    return found != tests.end() && found->name == name ? found->call : nullptr;
}

}  // namespace modelpool::text::jinja

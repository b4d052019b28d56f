#include "support/printable.hpp"
#include "text/jinja_nodes.hpp"
#include "text/jinja_print.hpp"

namespace modelpool::text::jinja {

value sequence_expression::evaluate(machine& on) const
{
    values items = on.memory().room<values>(items_.size());
    for (const expression_ptr& each : items_)
        items.push_back(each->evaluate(on));
    return tuple_ ? on.memory().tuple(std::move(items)) : on.memory().list(std::move(items));
}

value dict_expression::evaluate(machine& on) const
{
    auto items = on.memory().room<dict_object::item_list>(items_.size());
    std::uint16_t depth = 0;
    for (const auto& [key, to] : items_) {
        value made_key = key->evaluate(on);
        value made = to->evaluate(on);
        depth = std::max({depth, made.depth(), made_key.depth()});
        items.emplace_back(std::move(made_key), std::move(made));
    }
    on.memory().charge(items.size() * sizeof(dict_object::item));
    const pointer<dict_object> dict = on.memory().dict(depth);
    for (auto& [key, to] : items)
        dict->set(std::move(key), std::move(to));
    return value::of_object(kind::dict, dict.get());
}

bool expression::holds(machine& on) const
{
    const value* const found = find(on);
    return found != nullptr ? is_true(*found) : is_true(evaluate(on));
}

bool unary_expression::holds(machine& on) const
{
    return what_ == unary::invert ? !of_->holds(on) : is_true(evaluate(on));
}

value unary_expression::evaluate(machine& on) const
{
    if (what_ == unary::invert) return value::of(!of_->holds(on));
    const value of = of_->evaluate(on);
    return what_ == unary::negate ? negate(of) : plus(of);
}

value arithmetic_expression::evaluate(machine& on) const
{
    const value left = left_->evaluate(on);
    const value right = right_->evaluate(on);
    return calculate(on.memory(), what_, left, right);
}

void expression::evaluate_parts(machine& on, values& parts) const
{
    parts.push_back(evaluate(on));
}

// Texts that are added up only to be printed are printed one after the other.
void arithmetic_expression::evaluate_parts(machine& on, values& parts) const
{
    const std::size_t n_before = parts.size();
    if (what_ != arithmetic::add) {
        parts.push_back(evaluate(on));
        return;
    }
    left_->evaluate_parts(on, parts);
    value right = right_->evaluate(on);
    const auto is_plain = [](const value& of) {
        return of.is(kind::string) && !of.string().is_markup();
    };
    // Several parts on the left are plain texts, all of them: only those stay apart.
    if (parts.size() > n_before + 1 || is_plain(parts.back())) {
        if (is_plain(right)) {
            parts.push_back(std::move(right));
            return;
        }
        std::string text;
        for (std::size_t i = n_before; i < parts.size(); ++i)
            append_text(text, parts[i]);
        parts.resize(n_before);
        parts.push_back(on.memory().string(std::move(text)));
    }
    value sum = calculate(on.memory(), what_, parts.back(), right);
    parts.back() = std::move(sum);
}

void joined_expression::evaluate_parts(machine& on, values& parts) const
{
    for (const expression_ptr& each : parts_)
        parts.push_back(each->evaluate(on));
}

value joined_expression::evaluate(machine& on) const
{
    std::string text;
    for (const expression_ptr& each : parts_)
        append_text(text, each->evaluate(on));
    return on.memory().string(std::move(text));
}

value logic_expression::evaluate(machine& on) const
{
    value left = left_->evaluate(on);
    return is_true(left) == both_ ? right_->evaluate(on) : left;
}

bool logic_expression::holds(machine& on) const
{
    const bool left = left_->holds(on);
    return left == both_ ? right_->holds(on) : left;
}

bool compare(heap& in, comparison what, const value& left, const value& right)
{
    // A NaN is neither less than, nor equal to, nor greater than anything.
    const auto at_most = [](const value& a, const value& b, const char* sign) {
        return is_less(a, b, sign) || are_equal(a, b);
    };
    switch (what) {
    case comparison::eq:
        return are_equal(left, right);
    case comparison::ne:
        return !are_equal(left, right);
    case comparison::lt:
        return is_less(left, right, "<");
    case comparison::le:
        return at_most(left, right, "<=");
    case comparison::gt:
        return is_less(right, left, ">");
    case comparison::ge:
        return at_most(right, left, ">=");
    case comparison::in:
        return contains(in, right, left);
    case comparison::not_in:
        return !contains(in, right, left);
    }
    return false;
}

value compare_expression::evaluate(machine& on) const
{
    return value::of(holds(on));
}

bool compare_expression::holds(machine& on) const
{
    if (constant_ != nullptr) {
        const comparison what = others_.front().first;
        if (const value* const found = first_->find(on))
            return compare(on.memory(), what, *found, constant_->what());
        const value left = first_->evaluate(on);
        return compare(on.memory(), what, left, constant_->what());
    }
    value left = first_->evaluate(on);
    for (const auto& [what, other] : others_) {
        value right = other->evaluate(on);
        if (!compare(on.memory(), what, left, right)) return false;
        left = std::move(right);
    }
    return true;
}

value conditional_expression::evaluate(machine& on) const
{
    if (test_->holds(on)) return then_->evaluate(on);
    if (otherwise_ != nullptr) return otherwise_->evaluate(on);
    const value why = on.memory().string("an inline if without else was false");
    return value::undefined(missing::hint, &why.string());
}

void conditional_expression::evaluate_parts(machine& on, values& parts) const
{
    if (test_->holds(on))
        then_->evaluate_parts(on, parts);
    else if (otherwise_ != nullptr)
        otherwise_->evaluate_parts(on, parts);
}

namespace {

// Looking again at every level of a deep expression would take too long.
constexpr std::uint16_t max_levels_to_find = 4;

}  // namespace

// What a dict or a namespace has of that name, where no method has it.
const value* attribute_expression::element_of(const value& of) const noexcept
{
    if (of.is(kind::space)) return of.space().find(name_.text());
    const bool is_element =
        of.is(kind::dict) && methods_.of_dict == nullptr && !methods_.changes_dict;
    return is_element ? of.dict().find(name_.text()) : nullptr;
}

const value* attribute_expression::find(machine& on) const
{
    if (levels > max_levels_to_find) return nullptr;
    const value* const of = of_->find(on);
    return of != nullptr ? element_of(*of) : nullptr;
}

value attribute_expression::evaluate(machine& on) const
{
    const value* const there = levels <= max_levels_to_find ? of_->find(on) : nullptr;
    if (there == nullptr) return get_attribute(on.memory(), of_->evaluate(on), name_, methods_);
    if (const value* const found = element_of(*there)) return *found;
    const value of = *there;
    return get_attribute(on.memory(), of, name_, methods_);
}

const value* item_expression::find(machine& on) const
{
    if (name_ == nullptr || levels > max_levels_to_find) return nullptr;
    const value* const of = of_->find(on);
    return of != nullptr && of->is(kind::dict) ? of->dict().find(name_->text()) : nullptr;
}

value item_expression::evaluate(machine& on) const
{
    if (const value* const found = find(on)) return *found;
    const value of = of_->evaluate(on);
    if (name_ == nullptr) return get_item(on.memory(), of, key_->evaluate(on));
    if (of.is_undefined()) refuse(of.missing_message());
    if (of.is(kind::dict))
        if (const value* const found = of.dict().find(name_->text())) return *found;
    return get_attribute_only(on.memory(), of, *name_, methods_);
}

value slice_expression::evaluate(machine& on) const
{
    const auto bound = [&on](const expression_ptr& from) {
        return from == nullptr ? value::none() : from->evaluate(on);
    };
    const value of = of_->evaluate(on);
    const value start = bound(start_);
    const value stop = bound(stop_);
    return get_slice(on.memory(), of, start, stop, bound(step_));
}

void argument_list::evaluate(machine& on, call_arguments& into) const
{
    into.positional.reserve(positional.size());
    for (const expression_ptr& each : positional)
        into.positional.push_back(each->evaluate(on));
    for (const auto& [name, each] : named)
        into.named.emplace_back(name, each->evaluate(on));
    if (more_positional != nullptr) {
        const value more = more_positional->evaluate(on);
        value each;
        for (cursor all{on.memory(), more}; all.next(each);)
            into.positional.push_back(std::move(each));
    }
    if (more_named == nullptr) return;
    const value more = more_named->evaluate(on);
    if (!more.is(kind::dict)) refuse("** of a value of type " + std::string{type_name(more)});
    for (const auto& [name, to] : more.dict().items()) {
        if (!name.is(kind::string)) refuse("** of a dict with keys that are no strings");
        into.named.emplace_back(name.text(), to);
    }
}

value call_expression::evaluate(machine& on) const
{
    return call(on, nullptr);
}

value call_expression::call(machine& on, const value* caller) const
{
    call_arguments arguments{on.memory()};
    if (method_ == nullptr) {
        const value callee = callee_->evaluate(on);
        arguments_.evaluate(on, arguments);
        if (caller != nullptr) arguments.named.emplace_back("caller", *caller);
        return on.call(callee, arguments);
    }
    // A method of a string or a dict is called at once, without the object that would bind it.
    const value self = method_->of().evaluate(on);
    const method* const direct = method_->methods().of(self);
    if (direct == nullptr) {
        const value callee = get_attribute(on.memory(), self, method_->name(), method_->methods());
        arguments_.evaluate(on, arguments);
        if (caller != nullptr) arguments.named.emplace_back("caller", *caller);
        return on.call(callee, arguments);
    }
    arguments_.evaluate(on, arguments);
    if (caller != nullptr) arguments.named.emplace_back("caller", *caller);
    on.memory().step();
    return call_method(on, *direct, self, arguments);
}

value filter_expression::evaluate(machine& on) const
{
    const value input = of_->evaluate(on);
    return apply(on, input);
}

value filter_expression::apply(machine& on, const value& input) const
{
    if (filter_ == nullptr) refuse("there is no filter " + support::in_quotes(name_));
    call_arguments arguments{on.memory()};
    arguments_.evaluate(on, arguments);
    on.memory().step();
    return filter_(on, input, arguments);
}

value test_expression::evaluate(machine& on) const
{
    return value::of(holds(on));
}

bool test_expression::holds(machine& on) const
{
    if (test_ == nullptr) refuse("there is no test " + support::in_quotes(name_));
    const value input = of_->evaluate(on);
    call_arguments arguments{on.memory()};
    arguments_.evaluate(on, arguments);
    return test_(on, input, arguments);
}

}  // namespace modelpool::text::jinja

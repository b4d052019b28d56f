#include "text/jinja_expression_parser.hpp"

#include <algorithm>

#include "support/printable.hpp"

namespace modelpool::text::jinja {
namespace {

// Each level of an expression takes a dozen calls on the stack while it is parsed.
constexpr std::size_t max_nested = 100;
constexpr std::uint16_t max_levels = 400;

std::uint16_t highest(const std::vector<expression_ptr>& of)
{
    std::uint16_t levels = 0;
    for (const expression_ptr& each : of)
        levels = std::max(levels, each->levels);
    return levels;
}

std::string shown(const token& of)
{
    switch (of.type) {
    case token_type::end:
        return "the end of the template";
    case token_type::variable_end:
        return "'}}'";
    case token_type::block_end:
        return "'%}'";
    case token_type::string:
        return "a string";
    case token_type::integer:
    case token_type::real:
        return "a number";
    default:
        return support::in_quotes(of.text);
    }
}

}  // namespace

expression_parser::expression_parser(std::vector<token> tokens)
    : tokens_{std::move(tokens)}
{
    scope_ = &scopes_.emplace_back();
}

// ---- tokens ----

token expression_parser::advance()
{
    token taken = tokens_[at_];
    if (at_ + 1 < tokens_.size()) ++at_;
    return taken;
}

token expression_parser::expect(token_type type, const char* what)
{
    if (current().type != type)
        refuse_syntax(
            current().line, "expected " + std::string{what} + ", found " + shown(current()));
    return advance();
}

void expression_parser::expect_sign(const char* sign)
{
    if (!current().is_sign(sign))
        refuse_syntax(
            current().line, "expected '" + std::string{sign} + "', found " + shown(current()));
    advance();
}

void expression_parser::expect_name(const char* name)
{
    if (!current().is_name(name))
        refuse_syntax(
            current().line, "expected '" + std::string{name} + "', found " + shown(current()));
    advance();
}

// ---- scopes ----

expression_parser::opened::opened(expression_parser& in, scope_kind kind)
    : in_{in}
    , before_{in.scope_}
    , was_soft_{std::exchange(in.is_soft_, false)}
{
    building_scope& made = in.scopes_.emplace_back();
    made.out = before_;
    made.kind = kind;
    in.scope_ = &made;
}

expression_parser::opened::~opened()
{
    in_.scope_ = before_;
    in_.is_soft_ = was_soft_;
}

expression_parser::nested::nested(expression_parser& in)
    : in_{in}
{
    if (++in.n_nested_ > max_nested) {
        --in.n_nested_;
        throw failure{
            text_errc::unsupported,
            "line " + std::to_string(in.current().line) + ": a template that nests too deep"};
    }
}

int expression_parser::declare(building_scope& in, const std::string& name)
{
    const auto next = static_cast<int>(in.about->slots.size());
    return in.about->slots.emplace(name, next).first->second;
}

void expression_parser::use_loop(building_scope& in)
{
    if (in.loop_slot < 0) in.loop_slot = declare(in, "loop");
}

std::unique_ptr<name_expression> expression_parser::make_name(const std::string& name)
{
    auto made = std::make_unique<name_expression>(name);
    const building_scope* from = scope_;
    int n_out = 0;
    if (name == "loop") {
        building_scope* user = scope_;
        if (user == tested_scope_) {
            from = user = user->out;
            n_out = 1;
        }
        while (user != nullptr && user->kind != scope_kind::loop)
            user = user->out;
        if (user != nullptr) use_loop(*user);
    }
    const bool special = name == "caller" || name == "kwargs" || name == "varargs";
    for (building_scope* each = scope_; special && each != nullptr; each = each->out) {
        if (each->kind != scope_kind::macro || each->about->slots.contains(name)) continue;
        int& slot = name == "caller"   ? each->caller_slot
                    : name == "kwargs" ? each->named_slot
                                       : each->positional_slot;
        slot = declare(*each, name);
    }
    pending_.push_back({&made->at, name, from, n_out});
    return made;
}

place expression_parser::find_place(const std::string& name, const building_scope* from, int n_out)
{
    for (; from != nullptr; from = from->out, ++n_out) {
        const auto found = from->about->slots.find(name);
        if (found != from->about->slots.end()) return {n_out, found->second};
    }
    const auto next = static_cast<int>(context_names_->size());
    const auto [entry, added] = context_index_.emplace(name, next);
    if (added) context_names_->push_back(name);
    return {place::in_context, entry->second};
}

std::shared_ptr<const scope> expression_parser::finish(std::vector<std::string>& context_names)
{
    for (const unknown_name& each : unknown_)
        if (!each.soft) refuse_syntax(each.line, each.sentence);
    context_names_ = &context_names;
    for (const pending_name& each : pending_)
        *each.into = find_place(each.name, each.from, each.n_out);
    for (const building_scope& each : scopes_) {
        each.about->elsewhere.resize(each.about->slots.size());
        for (const auto& [name, slot] : each.about->slots)
            each.about->elsewhere[static_cast<std::size_t>(slot)] = find_place(name, each.out, 1);
    }
    return scopes_.front().about;
}

void expression_parser::note_unknown(bool known, const char* what, const std::string& name)
{
    if (!known)
        unknown_.push_back(
            {current().line,
             "there is no " + std::string{what} + " " + support::in_quotes(name),
             is_soft_});
}

std::uint16_t expression_parser::one_more(std::uint16_t levels) const
{
    if (levels >= max_levels)
        throw failure{
            text_errc::unsupported,
            "line " + std::to_string(current().line) + ": an expression of too many parts"};
    return static_cast<std::uint16_t>(levels + 1);
}

// ---- expressions ----

expression_ptr expression_parser::parse_tuple(bool with_condition, words ends)
{
    return parse_items(with_condition, ends, false);
}

expression_ptr expression_parser::parse_items(bool with_condition, words ends, bool parentheses)
{
    std::vector<expression_ptr> items;
    bool has_comma = false;
    for (;;) {
        const bool ended = current().type == token_type::variable_end ||
                           current().type == token_type::block_end || current().is_sign(")") ||
                           std::any_of(ends.begin(), ends.end(), [this](std::string_view end) {
                               return current().is_name(end);
                           });
        if (ended) break;
        items.push_back(parse_expression(with_condition));
        if (!current().is_sign(",")) break;
        advance();
        has_comma = true;
    }
    if (!has_comma && !items.empty()) {
        last_levels_ = items.front()->levels;
        return std::move(items.front());
    }
    if (items.empty() && !parentheses)
        refuse_syntax(current().line, "expected an expression, found " + shown(current()));
    const std::uint16_t levels = highest(items);
    return make<sequence_expression>(levels, std::move(items), true);
}

expression_ptr expression_parser::parse_expression(bool with_condition)
{
    const nested deeper{*this};
    return with_condition ? parse_condition() : parse_or();
}

expression_ptr expression_parser::parse_condition()
{
    const std::size_t n_unknown = unknown_.size();
    expression_ptr then = parse_or();
    while (current().is_name("if")) {
        advance();
        expression_ptr test = parse_or();
        std::uint16_t levels = std::max(then->levels, test->levels);
        expression_ptr otherwise;
        if (current().is_name("else")) {
            advance();
            const nested deeper{*this};
            otherwise = parse_condition();
            levels = std::max(levels, otherwise->levels);
        }
        then = make<conditional_expression>(
            levels, std::move(test), std::move(then), std::move(otherwise));
        for (std::size_t i = n_unknown; i < unknown_.size(); ++i)
            unknown_[i].soft = true;
    }
    return then;
}

expression_ptr expression_parser::parse_or()
{
    expression_ptr left = parse_and();
    while (current().is_name("or")) {
        advance();
        expression_ptr right = parse_and();
        const std::uint16_t levels = std::max(left->levels, right->levels);
        left = make<logic_expression>(levels, false, std::move(left), std::move(right));
    }
    return left;
}

expression_ptr expression_parser::parse_and()
{
    expression_ptr left = parse_not();
    while (current().is_name("and")) {
        advance();
        expression_ptr right = parse_not();
        const std::uint16_t levels = std::max(left->levels, right->levels);
        left = make<logic_expression>(levels, true, std::move(left), std::move(right));
    }
    return left;
}

expression_ptr expression_parser::parse_not()
{
    if (!current().is_name("not")) return parse_comparison();
    const nested deeper{*this};
    advance();
    expression_ptr of = parse_not();
    const std::uint16_t levels = of->levels;
    return make<unary_expression>(levels, unary::invert, std::move(of));
}

expression_ptr expression_parser::parse_comparison()
{
    static const std::map<std::string_view, comparison> signs{
        {"==", comparison::eq},
        {"!=", comparison::ne},
        {"<", comparison::lt},
        {"<=", comparison::le},
        {">", comparison::gt},
        {">=", comparison::ge}};
    expression_ptr first = parse_sum();
    std::vector<compare_expression::operand> others;
    std::uint16_t levels = first->levels;
    for (;;) {
        comparison what{};
        if (const auto sign = signs.find(current().text);
            current().type == token_type::sign && sign != signs.end()) {
            what = sign->second;
            advance();
        } else if (current().is_name("in")) {
            what = comparison::in;
            advance();
        } else if (current().is_name("not") && following().is_name("in")) {
            what = comparison::not_in;
            advance();
            advance();
        } else {
            break;
        }
        others.emplace_back(what, parse_sum());
        levels = std::max(levels, others.back().second->levels);
    }
    if (others.empty()) return first;
    return make<compare_expression>(levels, std::move(first), std::move(others));
}

expression_ptr expression_parser::parse_sum()
{
    expression_ptr left = parse_joined();
    while (current().is_sign("+") || current().is_sign("-")) {
        const arithmetic what = advance().text == "+" ? arithmetic::add : arithmetic::subtract;
        expression_ptr right = parse_joined();
        const std::uint16_t levels = std::max(left->levels, right->levels);
        left = make<arithmetic_expression>(levels, what, std::move(left), std::move(right));
    }
    return left;
}

expression_ptr expression_parser::parse_joined()
{
    std::vector<expression_ptr> parts;
    parts.push_back(parse_product());
    while (current().is_sign("~")) {
        advance();
        parts.push_back(parse_product());
    }
    if (parts.size() == 1) return std::move(parts.front());
    const std::uint16_t levels = highest(parts);
    return make<joined_expression>(levels, std::move(parts));
}

expression_ptr expression_parser::parse_product()
{
    static const std::map<std::string_view, arithmetic> signs{
        {"*", arithmetic::multiply},
        {"/", arithmetic::divide},
        {"//", arithmetic::floor_divide},
        {"%", arithmetic::modulo}};
    expression_ptr left = parse_power();
    for (;;) {
        const auto sign = signs.find(current().text);
        if (current().type != token_type::sign || sign == signs.end()) return left;
        advance();
        expression_ptr right = parse_power();
        const std::uint16_t levels = std::max(left->levels, right->levels);
        left = make<arithmetic_expression>(levels, sign->second, std::move(left), std::move(right));
    }
}

expression_ptr expression_parser::parse_power()
{
    expression_ptr left = parse_unary(true);
    while (current().is_sign("**")) {
        advance();
        expression_ptr right = parse_unary(true);
        const std::uint16_t levels = std::max(left->levels, right->levels);
        left = make<arithmetic_expression>(
            levels, arithmetic::power, std::move(left), std::move(right));
    }
    return left;
}

expression_ptr expression_parser::parse_unary(bool with_filter)
{
    const nested deeper{*this};
    expression_ptr made;
    if (current().is_sign("-") || current().is_sign("+")) {
        const unary what = advance().text == "-" ? unary::negate : unary::plus;
        expression_ptr of = parse_unary(false);
        const std::uint16_t levels = of->levels;
        made = make<unary_expression>(levels, what, std::move(of));
    } else {
        made = parse_primary();
    }
    made = parse_postfix(std::move(made));
    return with_filter ? parse_filters(std::move(made)) : std::move(made);
}

expression_ptr expression_parser::parse_primary()
{
    const token here = current();
    last_levels_ = 1;
    switch (here.type) {
    case token_type::name:
        advance();
        if (here.text == "true" || here.text == "True")
            return make<constant_expression>(0, value::of(true));
        if (here.text == "false" || here.text == "False")
            return make<constant_expression>(0, value::of(false));
        if (here.text == "none" || here.text == "None")
            return make<constant_expression>(0, value::none());
        return make_name(here.text);
    case token_type::string:
        return parse_string();
    case token_type::integer:
        advance();
        return make<constant_expression>(0, value::of(here.integer));
    case token_type::real:
        advance();
        return make<constant_expression>(0, value::of(here.real));
    default:
        break;
    }
    if (here.is_sign("(")) {
        advance();
        expression_ptr made = parse_items(true, {}, true);
        expect_sign(")");
        return made;
    }
    if (here.is_sign("[")) return parse_list();
    if (here.is_sign("{")) return parse_dict();
    refuse_syntax(here.line, "unexpected " + shown(here));
}

expression_ptr expression_parser::parse_string()
{
    std::string text;
    while (current().type == token_type::string)
        text += advance().text;
    return make<constant_expression>(0, std::move(text));
}

expression_ptr expression_parser::parse_list()
{
    advance();
    std::vector<expression_ptr> items;
    while (!current().is_sign("]")) {
        if (!items.empty()) expect_sign(",");
        if (current().is_sign("]")) break;
        items.push_back(parse_expression(true));
    }
    expect_sign("]");
    const std::uint16_t levels = highest(items);
    return make<sequence_expression>(levels, std::move(items), false);
}

expression_ptr expression_parser::parse_dict()
{
    advance();
    dict_expression::pairs items;
    std::uint16_t levels = 0;
    while (!current().is_sign("}")) {
        if (!items.empty()) expect_sign(",");
        if (current().is_sign("}")) break;
        expression_ptr key = parse_expression(true);
        expect_sign(":");
        expression_ptr to = parse_expression(true);
        levels = std::max({levels, key->levels, to->levels});
        items.emplace_back(std::move(key), std::move(to));
    }
    expect_sign("}");
    return make<dict_expression>(levels, std::move(items));
}

expression_ptr expression_parser::parse_postfix(expression_ptr of)
{
    for (;;) {
        if (current().is_sign(".") || current().is_sign("["))
            of = parse_subscript(std::move(of));
        else if (current().is_sign("("))
            of = parse_call(std::move(of));
        else
            return of;
    }
}

expression_ptr expression_parser::parse_subscript(expression_ptr of)
{
    if (advance().text == "[") return parse_bracket(std::move(of));
    const token key = advance();
    const std::uint16_t levels = of->levels;
    if (key.type == token_type::name)
        return make<attribute_expression>(levels, std::move(of), key.text);
    if (key.type != token_type::integer)
        refuse_syntax(key.line, "expected a name or a number, found " + shown(key));
    return make<item_expression>(
        levels, std::move(of), std::make_unique<constant_expression>(value::of(key.integer)));
}

expression_ptr expression_parser::parse_bracket(expression_ptr of)
{
    // At most one slice, or several keys that make a tuple; bounds[i] is null where it is left out.
    std::vector<expression_ptr> keys;
    std::vector<expression_ptr> bounds;
    bool has_comma = false;
    while (!current().is_sign("]")) {
        if (!keys.empty() || !bounds.empty()) {
            expect_sign(",");
            has_comma = true;
        }
        const auto bound_ends = [this] {
            return current().is_sign("]") || current().is_sign(",") || current().is_sign(":");
        };
        expression_ptr first = current().is_sign(":") ? nullptr : parse_expression(true);
        if (!current().is_sign(":")) {
            keys.push_back(std::move(first));
            continue;
        }
        bounds.push_back(std::move(first));
        for (int i = 0; i < 2; ++i) {
            const bool given = current().is_sign(":");
            if (given) advance();
            bounds.push_back(given && !bound_ends() ? parse_expression(true) : nullptr);
        }
    }
    expect_sign("]");
    if (!bounds.empty() && (has_comma || bounds.size() != 3))
        throw failure{
            text_errc::unsupported,
            "line " + std::to_string(current().line) + ": a slice among other keys"};
    std::uint16_t levels = std::max(of->levels, highest(keys));
    if (!bounds.empty()) {
        for (const expression_ptr& each : bounds)
            if (each != nullptr) levels = std::max(levels, each->levels);
        return make<slice_expression>(
            levels,
            std::move(of),
            std::move(bounds[0]),
            std::move(bounds[1]),
            std::move(bounds[2]));
    }
    expression_ptr key;
    if (keys.size() == 1)
        key = std::move(keys.front());
    else
        key = make<sequence_expression>(highest(keys), std::move(keys), true);
    levels = std::max(levels, key->levels);
    return make<item_expression>(levels, std::move(of), std::move(key));
}

expression_ptr expression_parser::parse_filters(expression_ptr of)
{
    for (;;) {
        if (current().is_sign("|")) {
            advance();
            of = parse_filter(std::move(of));
        } else if (current().is_name("is")) {
            of = parse_test(std::move(of));
        } else if (current().is_sign("(")) {
            of = parse_call(std::move(of));
        } else {
            return of;
        }
    }
}

// After the "|".
expression_ptr expression_parser::parse_filter(expression_ptr of)
{
    std::string name = expect(token_type::name, "the name of a filter").text;
    while (current().is_sign(".")) {
        advance();
        name += '.' + expect(token_type::name, "the name of a filter").text;
    }
    filter_function* const found = find_filter(name);
    note_unknown(found != nullptr, "filter", name);
    std::uint16_t levels = of == nullptr ? std::uint16_t{0} : of->levels;
    argument_list arguments;
    if (current().is_sign("(")) arguments = parse_arguments(levels);
    return make<filter_expression>(
        levels, std::move(name), found, std::move(of), std::move(arguments));
}

expression_ptr expression_parser::parse_test(expression_ptr of)
{
    advance();
    bool negated = false;
    if (current().is_name("not")) {
        advance();
        negated = true;
    }
    std::string name = expect(token_type::name, "the name of a test").text;
    while (current().is_sign(".")) {
        advance();
        name += '.' + expect(token_type::name, "the name of a test").text;
    }
    test_function* const found = find_test(name);
    note_unknown(found != nullptr, "test", name);
    std::uint16_t levels = of->levels;
    argument_list arguments;
    const token& next = current();
    const bool has_operand = next.type == token_type::string || next.type == token_type::integer ||
                             next.type == token_type::real || next.is_sign("[") ||
                             next.is_sign("{") ||
                             (next.type == token_type::name && next.text != "else" &&
                              next.text != "or" && next.text != "and");
    if (next.is_sign("(")) {
        arguments = parse_arguments(levels);
    } else if (has_operand) {
        if (next.is_name("is")) refuse_syntax(next.line, "tests cannot follow one another");
        arguments.positional.push_back(parse_postfix(parse_primary()));
        levels = std::max(levels, arguments.positional.front()->levels);
    }
    expression_ptr made =
        make<test_expression>(levels, std::move(name), found, std::move(of), std::move(arguments));
    if (!negated) return made;
    const std::uint16_t inner = made->levels;
    return make<unary_expression>(inner, unary::invert, std::move(made));
}

expression_ptr expression_parser::parse_call(expression_ptr callee)
{
    std::uint16_t levels = callee->levels;
    argument_list arguments = parse_arguments(levels);
    return make<call_expression>(levels, std::move(callee), std::move(arguments));
}

argument_list expression_parser::parse_arguments(std::uint16_t& levels)
{
    const std::size_t line = current().line;
    expect_sign("(");
    argument_list made;
    const auto ensure = [line](bool fits) {
        if (!fits) refuse_syntax(line, "arguments in an order that a call does not take");
    };
    const auto next_expression = [&] {
        expression_ptr parsed = parse_expression(true);
        levels = std::max(levels, parsed->levels);
        return parsed;
    };
    bool first = true;
    while (!current().is_sign(")")) {
        if (!first) {
            expect_sign(",");
            if (current().is_sign(")")) break;
        }
        first = false;
        if (current().is_sign("*")) {
            ensure(made.more_positional == nullptr && made.more_named == nullptr);
            advance();
            made.more_positional = next_expression();
        } else if (current().is_sign("**")) {
            ensure(made.more_named == nullptr);
            advance();
            made.more_named = next_expression();
        } else if (current().type == token_type::name && following().is_sign("=")) {
            ensure(made.more_named == nullptr);
            std::string name = advance().text;
            advance();
            for (const auto& [known, given] : made.named)
                if (known == name) refuse_syntax(line, "an argument is given twice");
            made.named.emplace_back(std::move(name), next_expression());
        } else {
            ensure(
                made.more_positional == nullptr && made.more_named == nullptr &&
                made.named.empty());
            made.positional.push_back(next_expression());
        }
    }
    expect_sign(")");
    return made;
}

}  // namespace modelpool::text::jinja

#include "text/json_writer.hpp"

#include <initializer_list>
#include <utility>

namespace modelpool::text {
namespace {

using json = nlohmann::ordered_json;

constexpr std::size_t max_indent = 20;
constexpr std::size_t max_free_depth = 24;

grammar_edge counted_edge(node_id to, std::uint8_t first, std::uint8_t last, bool counted)
{
    grammar_edge edge{to};
    edge.kind = edge_kind::bytes;
    edge.first = first;
    edge.last = last;
    edge.counts = counted;
    edge.needs_room = counted;
    return edge;
}

grammar_edge byte_edge(node_id to, char value)
{
    const auto byte = static_cast<std::uint8_t>(value);
    return counted_edge(to, byte, byte, false);
}

}  // namespace

std::string json_quoted(std::string_view text, bool ascii)
{
    return json(text).dump(-1, ' ', ascii);
}

json_writer::json_writer(json_grammar_graph& into)
    : into_{into}
{
    make_space();
    string_ = string(0, grammar_count::any);
    make_numbers();
}

// One space, or a line end and its indentation.
void json_writer::make_space()
{
    space_ = into_.add_rule();
    const node_id start = into_.at(space_).start;
    const node_id end = into_.at(space_).end;
    into_.byte(start, end, ' ');
    node_id node = into_.add_node(space_);
    into_.byte(start, node, '\n');
    for (std::size_t i = 0; i < max_indent; ++i) {
        into_.skip(node, end);
        const node_id next = into_.add_node(space_);
        into_.byte(node, next, ' ');
        into_.byte(node, next, '\t');
        node = next;
    }
    into_.skip(node, end);
}

void json_writer::space(node_id from, node_id to)
{
    into_.skip(from, to);
    into_.call(from, to, space_);
}

node_id json_writer::spaced(rule_id rule, node_id from)
{
    const node_id to = into_.add_node(rule);
    space(from, to);
    return to;
}

rule_id json_writer::text_of(rule_id value)
{
    const rule_id made = into_.add_rule();
    const node_id start = into_.at(made).start;
    // After thoughts, models leave a line or two free.
    const node_id second = into_.add_node(made);
    const node_id begin = into_.add_node(made);
    space(start, second);
    into_.skip(second, begin);
    into_.byte(second, begin, '\n');
    into_.call(begin, into_.at(made).end, value);
    return made;
}

// --- strings -------------------------------------------------------------------------------------

rule_id json_writer::string(std::uint32_t least, std::uint32_t most)
{
    const auto [place, added] = strings_.try_emplace({least, most}, 0);
    if (!added) return place->second;
    const rule_id made = into_.add_rule();
    place->second = made;
    into_.at(made).count = {least, most};
    const node_id body = into_.add_node(made);
    into_.byte(into_.at(made).start, body, '"');
    grammar_edge close = byte_edge(into_.at(made).end, '"');
    close.needs_enough = true;
    into_.add_edge(body, close);
    characters(made, body, least > 0 || most != grammar_count::any);
    return made;
}

// Any character of a string, from `body` back to it: UTF-8 as the Unicode standard has it
// (table 3-7), or escaped, surrogates in pairs alone.
void json_writer::characters(rule_id rule, node_id body, bool counted)
{
    const auto first = [&](node_id to, std::uint8_t low, std::uint8_t high) {
        into_.add_edge(body, counted_edge(to, low, high, counted));
    };
    const auto more = [&](node_id to, std::uint8_t low, std::uint8_t high) {
        const node_id made = into_.add_node(rule);
        into_.add_edge(made, counted_edge(to, low, high, false));
        return made;
    };
    first(body, 0x20, 0x21);
    first(body, 0x23, 0x5B);
    first(body, 0x5D, 0x7F);
    const node_id last = more(body, 0x80, 0xBF);
    const node_id last_two = more(last, 0x80, 0xBF);
    first(last, 0xC2, 0xDF);
    first(more(last, 0xA0, 0xBF), 0xE0, 0xE0);
    first(last_two, 0xE1, 0xEC);
    first(more(last, 0x80, 0x9F), 0xED, 0xED);
    first(last_two, 0xEE, 0xEF);
    first(more(last_two, 0x90, 0xBF), 0xF0, 0xF0);
    first(more(last_two, 0x80, 0xBF), 0xF1, 0xF3);
    first(more(last_two, 0x80, 0x8F), 0xF4, 0xF4);
    escapes(rule, body, counted);
}

void json_writer::escapes(rule_id rule, node_id body, bool counted)
{
    const node_id escape = into_.add_node(rule);
    into_.add_edge(body, counted_edge(escape, '\\', '\\', counted));
    for (const char letter : {'"', '\\', '/', 'b', 'f', 'n', 'r', 't'})
        into_.byte(escape, body, letter);
    using ranges = std::initializer_list<std::pair<char, char>>;
    const auto hex = [&](node_id from, node_id to, ranges allowed) {
        for (const auto& [low, high] : allowed)
            into_.bytes(from, to, low, high);
    };
    const ranges all{{'0', '9'}, {'a', 'f'}, {'A', 'F'}};
    const auto before = [&](node_id to, ranges allowed) {
        const node_id made = into_.add_node(rule);
        hex(made, to, allowed);
        return made;
    };
    const node_id unicode = into_.add_node(rule);
    into_.byte(escape, unicode, 'u');
    const node_id one_left = before(body, all);
    const node_id two_left = before(one_left, all);
    hex(unicode,
        before(two_left, all),
        {{'0', '9'}, {'a', 'c'}, {'A', 'C'}, {'e', 'f'}, {'E', 'F'}});
    // U+D800 to U+DBFF, and then U+DC00 to U+DFFF.
    const node_id surrogate = into_.add_node(rule);
    hex(unicode, surrogate, {{'d', 'd'}, {'D', 'D'}});
    hex(surrogate, two_left, {{'0', '7'}});
    const node_id second = into_.add_node(rule);
    hex(surrogate, before(before(second, all), all), {{'8', '9'}, {'a', 'b'}, {'A', 'B'}});
    const node_id low = into_.literal(second, "\\u");
    hex(low, before(two_left, {{'c', 'f'}, {'C', 'F'}}), {{'d', 'd'}, {'D', 'D'}});
}

void json_writer::string_in(rule_id rule, node_id from, node_id to, const char_graph& texts)
{
    const node_id begin = into_.add_node(rule);
    const node_id end = into_.add_node(rule);
    into_.byte(from, begin, '"');
    write_chars(texts, into_, rule, begin, end);
    into_.byte(end, to, '"');
}

void json_writer::scalar(rule_id rule, node_id from, node_id to, const std::string& text)
{
    node_id node = from;
    for (const char byte : text) {
        const auto [place, added] = scalars_.try_emplace({node, byte}, 0);
        if (added) {
            place->second = into_.add_node(rule);
            into_.byte(node, place->second, byte);
        }
        node = place->second;
    }
    into_.skip(node, to);
}

void json_writer::literal(rule_id rule, node_id from, node_id to, const json& value)
{
    if (!value.is_structured()) {
        scalar(rule, from, to, value.dump());
        if (value.is_string()) scalar(rule, from, to, value.dump(-1, ' ', true));
        return;
    }
    const bool is_object = value.is_object();
    node_id node = into_.literal(from, is_object ? "{" : "[");
    bool first = true;
    for (const auto& [key, element] : value.items()) {
        if (!std::exchange(first, false)) node = into_.literal(spaced(rule, node), ",");
        node = spaced(rule, node);
        if (is_object) {
            node = into_.literal(node, json_quoted(key, false));
            node = spaced(rule, into_.literal(spaced(rule, node), ":"));
        }
        const node_id next = into_.add_node(rule);
        literal(rule, node, next, element);
        node = next;
    }
    into_.byte(spaced(rule, node), to, is_object ? '}' : ']');
}

// --- numbers -------------------------------------------------------------------------------------

node_id json_writer::digits(rule_id rule, node_id from, std::size_t least, std::size_t most)
{
    const node_id end = into_.add_node(rule);
    for (std::size_t i = 0; i < most; ++i) {
        if (i >= least) into_.skip(from, end);
        const node_id next = into_.add_node(rule);
        into_.bytes(from, next, '0', '9');
        from = next;
    }
    into_.skip(from, end);
    return end;
}

// Of bounded length: no reader has to fear for its number types, and no model writes digits for
// ever.
void json_writer::make_numbers()
{
    constexpr std::size_t max_exponent_digits = 2;
    const auto whole = [&](rule_id rule) {
        const node_id unsigned_part = into_.add_node(rule);
        into_.skip(into_.at(rule).start, unsigned_part);
        into_.byte(into_.at(rule).start, unsigned_part, '-');
        const node_id first = into_.add_node(rule);
        into_.bytes(unsigned_part, first, '1', '9');
        const node_id end = digits(rule, first, 0, max_number_digits - 1);
        into_.byte(unsigned_part, end, '0');
        return end;
    };
    integer_ = into_.add_rule();
    into_.skip(whole(integer_), into_.at(integer_).end);
    number_ = into_.add_rule();
    const node_id end_of_whole = whole(number_);
    const node_id point = into_.literal(end_of_whole, ".");
    const node_id end_of_fraction = digits(number_, point, 1, max_number_digits);
    into_.skip(end_of_whole, end_of_fraction);
    into_.skip(end_of_fraction, into_.at(number_).end);
    const node_id exponent = into_.add_node(number_);
    into_.byte(end_of_fraction, exponent, 'e');
    into_.byte(end_of_fraction, exponent, 'E');
    const node_id exponent_digits = into_.add_node(number_);
    into_.skip(exponent, exponent_digits);
    into_.byte(exponent, exponent_digits, '+');
    into_.byte(exponent, exponent_digits, '-');
    into_.skip(digits(number_, exponent_digits, 1, max_exponent_digits), into_.at(number_).end);
}

// --- objects and arrays --------------------------------------------------------------------------

rule_id json_writer::any()
{
    if (!any_) any_ = make_any();
    return *any_;
}

rule_id json_writer::make_any()
{
    rule_id inner = 0;
    for (std::size_t depth = 0; depth < max_free_depth; ++depth) {
        const rule_id made = into_.add_rule();
        const node_id start = into_.at(made).start;
        const node_id end = into_.at(made).end;
        for (const std::string_view word : {"null", "true", "false"})
            into_.literal(start, end, word);
        into_.call(start, end, string_);
        into_.call(start, end, number_);
        if (depth > 0) {
            json_object_shape members;
            members.others.push_back({std::nullopt, inner});
            into_.call(start, end, object(members));
            json_array_shape elements;
            elements.rest = inner;
            into_.call(start, end, array(elements));
        }
        inner = made;
    }
    return inner;
}

void json_writer::member(rule_id rule, node_id from, node_id to, const json_member& one)
{
    const node_id end_of_key = into_.add_node(rule);
    into_.literal(from, end_of_key, json_quoted(one.name, false));
    const std::string escaped = json_quoted(one.name, true);
    if (escaped != json_quoted(one.name, false)) into_.literal(from, end_of_key, escaped);
    const node_id colon = into_.literal(spaced(rule, end_of_key), ":");
    into_.call(spaced(rule, colon), to, one.value);
}

rule_id json_writer::other_member(const json_other_members& others)
{
    const rule_id made = into_.add_rule();
    const node_id start = into_.at(made).start;
    const node_id end_of_key = into_.add_node(made);
    if (others.keys)
        string_in(made, start, end_of_key, *others.keys);
    else
        into_.call(start, end_of_key, string_);
    const node_id colon = into_.literal(spaced(made, end_of_key), ":");
    into_.call(spaced(made, colon), into_.at(made).end, others.value);
    return made;
}

rule_id json_writer::object(const json_object_shape& shape)
{
    const rule_id made = into_.add_rule();
    const bool bounded = shape.most != grammar_count::any;
    into_.at(made).count = {0, shape.most};
    const node_id end = into_.at(made).end;
    std::vector<rule_id> others;
    others.reserve(shape.others.size());
    for (const json_other_members& each : shape.others)
        others.push_back(other_member(each));
    const std::size_t n = shape.members.size();
    // Before each member: where one must come, and where one has come.
    std::vector<node_id> wanted(n + 1);
    std::vector<node_id> written(n + 1);
    for (std::size_t i = 0; i <= n; ++i) {
        wanted[i] = into_.add_node(made);
        written[i] = into_.add_node(made);
    }
    const auto add_others = [&](node_id from, node_id to) {
        for (const rule_id each : others) {
            grammar_edge edge{to};
            edge.kind = edge_kind::call;
            edge.callee = each;
            edge.counts = bounded;
            edge.needs_room = bounded;
            into_.add_edge(from, edge);
        }
    };
    bool may_end = true;
    for (std::size_t i = n + 1; i-- > 0;) {
        const node_id before_comma = spaced(made, written[i]);
        const node_id after_comma = into_.add_node(made);
        const bool takes_others = !others.empty() && (!bounded || i == n);
        if (i < n) {
            const json_member& one = shape.members[i];
            const node_id counted = into_.add_node(made);
            grammar_edge count{counted};
            count.counts = bounded;
            into_.add_edge(wanted[i], count);
            member(made, counted, written[i + 1], one);
            if (!one.required) into_.skip(wanted[i], wanted[i + 1]);
            into_.byte(before_comma, after_comma, ',');
            space(after_comma, wanted[i]);
            may_end = may_end && !one.required;
        }
        if (takes_others) {
            const node_id after = into_.add_node(made);
            grammar_edge comma = byte_edge(after, ',');
            comma.needs_room = bounded;
            into_.add_edge(before_comma, comma);
            add_others(spaced(made, after), written[i]);
        }
        if (may_end) into_.byte(before_comma, end, '}');
    }
    const node_id begin = spaced(made, into_.literal(into_.at(made).start, "{"));
    into_.skip(begin, wanted[0]);
    // Others may come first, but where they must wait for members that may all be left out.
    if (!bounded) {
        add_others(begin, written[0]);
    } else if (may_end) {
        add_others(begin, written[n]);
    }
    if (may_end && !shape.not_empty) into_.byte(begin, end, '}');
    return made;
}

rule_id json_writer::array(const json_array_shape& shape)
{
    const rule_id made = into_.add_rule();
    const node_id end = into_.at(made).end;
    const std::size_t n_first = shape.first.size();
    const auto n = static_cast<std::uint32_t>(n_first);
    const bool unbounded = shape.most == grammar_count::any;
    into_.at(made).count = {
        shape.least > n ? shape.least - n : 0,
        unbounded ? shape.most : shape.most - std::min(shape.most, n)};
    node_id node = into_.literal(into_.at(made).start, "[");
    for (std::size_t i = 0;; ++i) {
        // `node` stands behind the bracket or behind an element.
        const node_id before_comma = spaced(made, node);
        const bool in_front = i < n_first;
        if (i >= shape.least || !in_front) {
            grammar_edge close = byte_edge(end, ']');
            close.needs_enough = !in_front;
            into_.add_edge(before_comma, close);
        }
        if (i >= shape.most || (!in_front && !shape.rest)) return made;
        node_id begin = before_comma;
        if (i > 0) {
            const node_id after = into_.add_node(made);
            grammar_edge comma = byte_edge(after, ',');
            comma.needs_room = !in_front;
            into_.add_edge(before_comma, comma);
            begin = spaced(made, after);
        }
        const node_id next = into_.add_node(made);
        grammar_edge element{next};
        element.kind = edge_kind::call;
        element.callee = in_front ? shape.first[i] : *shape.rest;
        element.counts = !in_front;
        element.needs_room = !in_front;
        into_.add_edge(begin, element);
        node = next;
        if (in_front) continue;
        // Behind the first of the rest, as behind all others of them.
        const node_id again = spaced(made, node);
        grammar_edge close = byte_edge(end, ']');
        close.needs_enough = true;
        into_.add_edge(again, close);
        const node_id after = into_.add_node(made);
        grammar_edge comma = byte_edge(after, ',');
        comma.needs_room = true;
        into_.add_edge(again, comma);
        element.target = node;
        into_.add_edge(spaced(made, after), element);
        return made;
    }
}

}  // namespace modelpool::text

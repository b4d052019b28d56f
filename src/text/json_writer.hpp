#pragma once

#include <nlohmann/json.hpp>

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/json_decimal.hpp"
#include "text/json_grammar.hpp"
#include "text/json_pattern.hpp"

namespace modelpool::text {

/// A property of an object, in the order in which objects are written.
struct json_member {
    std::string name;
    rule_id value{0};
    bool required{false};
};

/// Keys besides the named ones, and what their values are.
struct json_other_members {
    std::optional<char_graph> keys;  ///< none: any
    rule_id value{0};
};

struct json_object_shape {
    std::vector<json_member> members;
    std::vector<json_other_members> others;  ///< before, between and after the members
    bool not_empty{false};
    /// The most members of both kinds, at least as many as there are named ones. Others then come
    /// last.
    std::uint32_t most{grammar_count::any};
};

struct json_array_shape {
    std::vector<rule_id> first;  ///< of the elements in front
    std::optional<rule_id> rest;
    std::uint32_t least{0};
    std::uint32_t most{grammar_count::any};
};

/// Adds to a grammar what JSON values look like.
class json_writer {
public:
    explicit json_writer(json_grammar_graph& into);

    /// A rule for any value, nested not too deeply.
    rule_id any();
    rule_id integer() const noexcept { return integer_; }
    rule_id number() const noexcept { return number_; }
    /// A rule for strings of so many characters.
    rule_id string(std::uint32_t least, std::uint32_t most);
    rule_id string() const noexcept { return string_; }

    /// The rule of a whole text: a value, with little space before it.
    rule_id text_of(rule_id value);

    /// These too are rules of their own, since they count.
    rule_id object(const json_object_shape& shape);
    rule_id array(const json_array_shape& shape);

    /// Each adds paths between two nodes of a rule.
    void string_in(rule_id rule, node_id from, node_id to, const char_graph& texts);
    void literal(rule_id rule, node_id from, node_id to, const nlohmann::ordered_json& value);

private:
    // Strings, numbers and words share their beginnings.
    void scalar(rule_id rule, node_id from, node_id to, const std::string& text);
    void space(node_id from, node_id to);
    node_id spaced(rule_id rule, node_id from);
    void characters(rule_id rule, node_id body, bool counted);
    void escapes(rule_id rule, node_id body, bool counted);
    void make_space();
    void make_numbers();
    node_id digits(rule_id rule, node_id from, std::size_t least, std::size_t most);
    rule_id make_any();
    rule_id object_of_any(rule_id value);
    void member(rule_id rule, node_id from, node_id to, const json_member& one);
    rule_id other_member(const json_other_members& others);

    json_grammar_graph& into_;
    rule_id space_{0};
    rule_id string_{0};
    rule_id integer_{0};
    rule_id number_{0};
    std::optional<rule_id> any_;  // made where a schema needs it: it is the largest of all
    std::map<std::pair<std::uint32_t, std::uint32_t>, rule_id> strings_;
    std::map<std::pair<node_id, char>, node_id> scalars_;
};

/// A string as JSON writes it, between its quotes; `ascii`: all else escaped.
std::string json_quoted(std::string_view text, bool ascii);

}  // namespace modelpool::text

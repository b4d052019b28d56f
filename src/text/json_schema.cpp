#include "text/json_schema.hpp"

#include <modelpool/error.hpp>

#include <algorithm>
#include <functional>
#include <map>
#include <utility>
#include <vector>

#include "text/json_pattern.hpp"
#include "text/json_schema_parts.hpp"
#include "text/json_writer.hpp"

namespace modelpool::text {
namespace {

constexpr std::size_t max_nodes = std::size_t{1} << 18U;
constexpr std::size_t max_rules = 20'000;
constexpr std::size_t max_names = 2000;
constexpr std::uint32_t max_counted_pattern = 4096;
// Within a second; schemas of people take a thousandth of it.
constexpr std::uint64_t max_work = 100'000'000;
constexpr std::uint64_t looks_a_state = 16;  // that parsing takes, about

class schema_compiler {
public:
    explicit schema_compiler(std::string_view text)
        : schema_{text}
    {}

    json_grammar_graph compile()
    {
        const rule_id root = rule_of({schema_.item_of(schema_.root())});
        while (!open_.empty()) {
            const auto [set, rule] = std::move(open_.back());
            open_.pop_back();
            write(set, rule);
        }
        graph_.finish(writer_.text_of(root));
        return std::move(graph_);
    }

private:
    // The rule of values that satisfy all of those schemas; written later.
    rule_id rule_of(schema_set set)
    {
        std::ranges::sort(set);
        set.erase(std::unique(set.begin(), set.end()), set.end());
        if (set.empty()) return writer_.any();
        const auto [place, added] = rules_.try_emplace(set, 0);
        if (!added) return place->second;
        if (rules_.size() > max_rules)
            fail_schema("its combinations make more than " + std::to_string(max_rules) + " rules");
        place->second = graph_.add_rule();
        open_.emplace_back(std::move(set), place->second);
        return place->second;
    }

    void write(schema_set set, rule_id rule)
    {
        if (!schema_.expand(set)) return;
        const auto choice = std::ranges::find_if(set, [](const schema_item& item) {
            return item.part == schema_part::any_of || item.part == schema_part::one_of;
        });
        if (choice != set.end()) {
            write_choice(set, *choice, rule);
            return;
        }
        schema_facts facts;
        for (const schema_item& item : set)
            facts.add(schema_.at(item));
        if (!facts.literals.empty())
            write_literals(facts, rule);
        else
            write_types(facts, rule);
    }

    void write_choice(const schema_set& set, schema_item choice, rule_id rule)
    {
        const char* const key = choice.part == schema_part::any_of ? "anyOf" : "oneOf";
        const schema_json& alternatives = *schema_.at(choice).find(key);
        for (const schema_json& each : alternatives) {
            schema_set with = set;
            std::erase(with, choice);
            with.push_back(schema_.item_of(each));
            graph_.call(start(rule), end(rule), rule_of(std::move(with)));
        }
    }

    void write_literals(const schema_facts& facts, rule_id rule)
    {
        const auto values_of = [](const schema_json& from) {
            return from.is_array() ? from : schema_json::array({from["const"]});
        };
        const schema_json first = values_of(*facts.literals.front());
        for (const schema_json& value : first) {
            bool everywhere = true;
            for (std::size_t i = 1; i < facts.literals.size() && everywhere; ++i) {
                const schema_json others = values_of(*facts.literals[i]);
                everywhere = std::ranges::find(others, value) != others.end();
            }
            if (everywhere && facts.allow(value) && fits_patterns(facts, value))
                writer_.literal(rule, start(rule), end(rule), value);
        }
    }

    bool fits_patterns(const schema_facts& facts, const schema_json& value)
    {
        if (!value.is_string()) return true;
        const std::string& text = value.get_ref<const std::string&>();
        return std::ranges::all_of(patterns_of(facts), [&](std::string_view pattern) {
            return pattern_of(pattern).matches(text, budget_);
        });
    }

    // Of its formats too.
    static std::vector<std::string_view> patterns_of(const schema_facts& facts)
    {
        std::vector<std::string_view> patterns{facts.patterns.begin(), facts.patterns.end()};
        for (const std::string& format : facts.formats)
            patterns.push_back(*pattern_of_format(format));
        return patterns;
    }

    void write_types(const schema_facts& facts, rule_id rule)
    {
        const std::uint8_t types = facts.allowed_types();
        if ((types & type_null) != 0) graph_.literal(start(rule), end(rule), "null");
        if ((types & type_boolean) != 0) {
            graph_.literal(start(rule), end(rule), "true");
            graph_.literal(start(rule), end(rule), "false");
        }
        if ((types & type_number) != 0) write_number(facts, rule, (types & type_fraction) == 0);
        if ((types & type_string) != 0) write_string(facts, rule);
        if ((types & type_array) != 0) write_array(facts, rule);
        if ((types & type_object) != 0) write_object(facts, rule);
    }

    void write_number(const schema_facts& facts, rule_id rule, bool whole_only)
    {
        if (facts.range.low || facts.range.high) {
            write_range(facts.range, whole_only, graph_, rule, start(rule), end(rule));
            return;
        }
        graph_.call(start(rule), end(rule), whole_only ? writer_.integer() : writer_.number());
    }

    void write_string(const schema_facts& facts, rule_id rule)
    {
        if (facts.min_length > facts.max_length) return;
        const std::vector<std::string_view> patterns = patterns_of(facts);
        if (patterns.empty()) {
            graph_.call(start(rule), end(rule), writer_.string(facts.min_length, facts.max_length));
            return;
        }
        char_graph texts = pattern_of(patterns.front());
        for (std::size_t i = 1; i < patterns.size(); ++i)
            texts = both(texts, pattern_of(patterns[i]), budget_);
        const bool bounded = facts.max_length != grammar_count::any;
        if (facts.min_length > 0 || bounded) {
            const std::uint32_t most = bounded ? facts.max_length : facts.min_length;
            if (most > max_counted_pattern)
                throw error{
                    errc::unsupported,
                    "JSON schema: minLength or maxLength above " +
                        std::to_string(max_counted_pattern) +
                        ", beside pattern or format, is not supported"};
            texts = both(texts, texts_of_length(facts.min_length, facts.max_length), budget_);
        }
        writer_.string_in(rule, start(rule), end(rule), texts);
    }

    void write_array(const schema_facts& facts, rule_id rule)
    {
        if (facts.min_items > facts.max_items) return;
        json_array_shape shape;
        shape.least = facts.min_items;
        shape.most = facts.max_items;
        std::size_t n_first = 0;
        bool says_rest = false;
        for (const schema_json* const each : facts.arrays) {
            n_first = std::max(n_first, first_items(*each).size());
            says_rest = says_rest || rest_items(*each) != nullptr;
        }
        if (n_first > max_names) fail_schema("prefixItems has too many elements");
        for (std::size_t i = 0; i < n_first; ++i)
            shape.first.push_back(element(facts, i));
        // What a schema lists, and says no more of, is all there is.
        if (says_rest || n_first == 0 || facts.min_items > n_first)
            shape.rest = element(facts, n_first);
        graph_.call(start(rule), end(rule), writer_.array(shape));
    }

    // Draft 7 has the elements in front as an array of "items".
    static const schema_json& first_items(const schema_json& schema)
    {
        static const schema_json none = schema_json::array();
        auto found = schema.find("prefixItems");
        if (found == schema.end()) {
            found = schema.find("items");
            if (found == schema.end() || !found->is_array()) return none;
        }
        if (!found->is_array()) fail_schema("prefixItems is no array");
        return *found;
    }
    static const schema_json* rest_items(const schema_json& schema)
    {
        auto found = schema.find("items");
        if (found != schema.end() && found->is_array()) found = schema.find("additionalItems");
        if (found == schema.end()) found = schema.find("unevaluatedItems");
        return found == schema.end() ? nullptr : &*found;
    }

    rule_id element(const schema_facts& facts, std::size_t index)
    {
        schema_set set;
        for (const schema_json* const each : facts.arrays) {
            const schema_json& first = first_items(*each);
            if (index < first.size())
                set.push_back(schema_.item_of(first[index]));
            else if (const schema_json* const rest = rest_items(*each))
                set.push_back(schema_.item_of(*rest));
        }
        return rule_of(std::move(set));
    }

    static const schema_json* member(const schema_json& of, const char* key)
    {
        const auto found = of.find(key);
        return found == of.end() ? nullptr : &*found;
    }

    void write_object(const schema_facts& facts, rule_id rule)
    {
        const std::vector<std::string> names = names_of(facts);
        json_object_shape shape;
        for (const std::string& name : names) {
            const bool required = std::ranges::find(facts.required, name) != facts.required.end();
            shape.members.push_back({name, member_value(facts, name), required});
        }
        add_others(facts, names, shape);
        if (facts.min_members > std::max<std::size_t>(facts.required.size(), 1))
            throw error{
                errc::unsupported,
                "JSON schema: minProperties above the number of required properties is not "
                "supported"};
        shape.not_empty = facts.min_members > 0;
        if (facts.max_members < facts.required.size()) return;
        if (facts.max_members < names.size())
            throw error{
                errc::unsupported,
                "JSON schema: maxProperties below the number of properties is not supported"};
        if (!shape.others.empty()) shape.most = facts.max_members;
        graph_.call(start(rule), end(rule), writer_.object(shape));
    }

    static std::vector<std::string> names_of(const schema_facts& facts)
    {
        std::vector<std::string> names;
        const auto add = [&](const std::string& name) {
            if (std::ranges::find(names, name) == names.end()) names.push_back(name);
        };
        for (const schema_json* const each : facts.objects)
            if (const schema_json* const properties = member(*each, "properties"))
                for (const auto& [name, unused] : properties->items())
                    add(name);
        for (const std::string& name : facts.required)
            add(name);
        if (names.size() > max_names)
            fail_schema("an object has more than " + std::to_string(max_names) + " properties");
        return names;
    }

    const char_graph& pattern_of(std::string_view text)
    {
        const auto found = patterns_.find(text);
        if (found != patterns_.end()) return found->second;
        char_graph made = parse_pattern(text);
        budget_.spend(looks_a_state * made.n_nodes());
        return patterns_.emplace(text, std::move(made)).first->second;
    }

    rule_id member_value(const schema_facts& facts, const std::string& name)
    {
        schema_set set;
        for (const schema_json* const each : facts.objects) {
            bool said = false;
            const auto add = [&](const schema_json& schema) {
                set.push_back(schema_.item_of(schema));
                said = true;
            };
            if (const schema_json* const properties = member(*each, "properties"))
                if (const auto found = properties->find(name); found != properties->end())
                    add(*found);
            if (const schema_json* const patterns = member(*each, "patternProperties"))
                for (const auto& [pattern, schema] : patterns->items())
                    if (pattern_of(pattern).matches(name, budget_)) add(schema);
            const schema_json* const rest = member(*each, "additionalProperties");
            if (!said && rest != nullptr) add(*rest);
        }
        return rule_of(std::move(set));
    }

    // Members that no schema names. Where schemas name some and say nothing of others, there are
    // none.
    void add_others(
        const schema_facts& facts, const std::vector<std::string>& names, json_object_shape& shape)
    {
        schema_set rest;
        bool says_rest = false;
        bool closed = false;
        std::size_t n_patterns = 0;
        bool lists = false;
        for (const schema_json* const each : facts.objects) {
            const schema_json* const properties = member(*each, "properties");
            lists = lists || (properties != nullptr && !properties->empty());
            if (const schema_json* const patterns = member(*each, "patternProperties"))
                n_patterns += patterns->size();
            const schema_json* schema = member(*each, "additionalProperties");
            if (schema == nullptr) schema = member(*each, "unevaluatedProperties");
            if (schema == nullptr) continue;
            says_rest = true;
            closed = closed || *schema == false;
            rest.push_back(schema_.item_of(*schema));
        }
        if (n_patterns > 0) {
            if ((says_rest && !closed) || facts.objects.size() > 1)
                throw error{
                    errc::unsupported,
                    "JSON schema: patternProperties beside other additionalProperties than false, "
                    "or in allOf, is not supported"};
            add_patterns(*facts.objects.front(), names, shape);
            return;
        }
        if (closed || (lists && !says_rest)) return;
        json_other_members others;
        if (!names.empty()) others.keys = texts_but(names);
        others.value = rule_of(std::move(rest));
        shape.others.push_back(std::move(others));
    }

    void add_patterns(
        const schema_json& schema, const std::vector<std::string>& names, json_object_shape& shape)
    {
        const char_graph unnamed = texts_but(names);
        for (const auto& [pattern, value] : member(schema, "patternProperties")->items()) {
            json_other_members others;
            others.keys = both(pattern_of(pattern), unnamed, budget_);
            for (const json_other_members& before : shape.others)
                if (!both(*before.keys, *others.keys, budget_).empty())
                    throw error{
                        errc::unsupported,
                        "JSON schema: patternProperties that match the same names are not "
                        "supported"};
            others.value = rule_of({schema_.item_of(value)});
            shape.others.push_back(std::move(others));
        }
    }

    node_id start(rule_id rule) const { return graph_.at(rule).start; }
    node_id end(rule_id rule) const { return graph_.at(rule).end; }

    schema_document schema_;
    json_grammar_graph graph_{max_nodes};
    json_writer writer_{graph_};
    std::map<schema_set, rule_id> rules_;
    std::vector<std::pair<schema_set, rule_id>> open_;
    std::map<std::string, char_graph, std::less<>> patterns_;
    work_budget budget_{max_work};
};

}  // namespace

json_grammar_graph compile_json_schema(std::string_view schema)
{
    return schema_compiler{schema}.compile();
}

}  // namespace modelpool::text

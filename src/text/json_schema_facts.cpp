#include <modelpool/error.hpp>

#include <algorithm>
#include <array>

#include "support/printable.hpp"
#include "text/json_pattern.hpp"
#include "text/json_schema_parts.hpp"
#include "text/utf8.hpp"

namespace modelpool::text {
namespace {

constexpr std::uint32_t max_count = 1'000'000'000;

const schema_json* find(const schema_json& in, const char* key)
{
    const auto found = in.find(key);
    return found == in.end() ? nullptr : &*found;
}

const std::string& text_of(const schema_json& value, const char* key)
{
    if (!value.is_string()) fail_schema(std::string{key} + " is no string");
    return value.get_ref<const std::string&>();
}

void read_count(const schema_json& schema, const char* key, std::uint32_t& into, bool is_least)
{
    const schema_json* const value = find(schema, key);
    if (value == nullptr) return;
    const double number = value->is_number() ? value->get<double>() : -1;
    if (!(number >= 0) ||
        number != static_cast<double>(static_cast<std::uint64_t>(std::min(number, 1e15))))
        fail_schema(std::string{key} + " is no whole number from 0 up");
    if (is_least && number > max_count)
        fail_schema(std::string{key} + " is above " + std::to_string(max_count));
    const auto count = number > max_count ? grammar_count::any : static_cast<std::uint32_t>(number);
    into = is_least ? std::max(into, count) : std::min(into, count);
}

std::uint8_t type_named(const schema_json& name)
{
    static constexpr std::array<std::pair<std::string_view, std::uint8_t>, 7> known{
        {{"null", type_null},
         {"boolean", type_boolean},
         {"integer", type_integer},
         {"number", type_number},
         {"string", type_string},
         {"array", type_array},
         {"object", type_object}}};
    const std::string& text = text_of(name, "type");
    for (const auto& [each, bit] : known)
        if (text == each) return bit;
    fail_schema("type " + support::in_quotes(text) + " is unknown");
}

std::uint8_t type_of(const schema_json& value)
{
    switch (value.type()) {
    case schema_json::value_t::null:
        return type_null;
    case schema_json::value_t::boolean:
        return type_boolean;
    case schema_json::value_t::string:
        return type_string;
    case schema_json::value_t::array:
        return type_array;
    case schema_json::value_t::object:
        return type_object;
    default:
        break;
    }
    const auto exact = json_decimal::read(value.dump());
    return !exact || exact->fraction.empty() ? type_integer : type_fraction;
}

// What would change which values are allowed, and is not understood here.
void refuse_unsupported(const schema_json& schema)
{
    static constexpr std::array<const char*, 12> refused{
        "not",
        "if",
        "dependentRequired",
        "dependentSchemas",
        "dependencies",
        "propertyNames",
        "contains",
        "$dynamicRef",
        "$recursiveRef",
        "extends",
        "disallow",
        "divisibleBy"};
    for (const char* const key : refused)
        if (schema.contains(key)) refuse_keyword(key);
    for (const char* const key : {"unevaluatedProperties", "unevaluatedItems"}) {
        const schema_json* const value = find(schema, key);
        if (value != nullptr && !value->is_boolean()) refuse_keyword(key);
    }
    const schema_json* const unique = find(schema, "uniqueItems");
    if (unique != nullptr && *unique != false) {
        std::uint32_t most = grammar_count::any;
        read_count(schema, "maxItems", most, false);
        if (most > 1) refuse_keyword("uniqueItems");
    }
}

}  // namespace

void schema_facts::add(const schema_json& schema)
{
    refuse_unsupported(schema);
    add_type(schema);
    add_numbers(schema);
    add_strings(schema);
    add_arrays(schema);
    add_objects(schema);
}

void schema_facts::add_type(const schema_json& schema)
{
    std::uint8_t named = type_any;
    if (const schema_json* const type = find(schema, "type")) {
        typed = true;
        named = 0;
        if (type->is_array())
            for (const schema_json& each : *type)
                named |= type_named(each);
        else
            named = type_named(*type);
        const schema_json* const nullable = find(schema, "nullable");
        if (nullable != nullptr && *nullable == true) named |= type_null;
    }
    types &= named;
    if (const schema_json* const values = find(schema, "enum")) {
        if (!values->is_array()) fail_schema("enum is no array");
        literals.push_back(values);
    }
    if (find(schema, "const") != nullptr) literals.push_back(&schema);
}

void schema_facts::add_numbers(const schema_json& schema)
{
    const auto bound_of = [](const schema_json& value, const char* key) {
        if (!value.is_number()) fail_schema(std::string{key} + " is no number");
        const auto exact = json_decimal::read(value.dump());
        if (!exact)
            throw error{
                errc::unsupported,
                "JSON schema: " + std::string{key} + " is " + value.dump() +
                    ": bounds with more than 40 places are not supported"};
        return *exact;
    };
    for (const bool is_low : {true, false}) {
        const char* const key = is_low ? "minimum" : "maximum";
        const char* const exclusive_key = is_low ? "exclusiveMinimum" : "exclusiveMaximum";
        const schema_json* const plain = find(schema, key);
        const schema_json* const exclusive = find(schema, exclusive_key);
        const auto narrow = [&](const json_bound& bound) {
            implied |= type_number;
            if (is_low)
                range.raise(bound);
            else
                range.lower(bound);
        };
        // Draft 4 has a boolean there.
        const bool old_style = exclusive != nullptr && exclusive->is_boolean();
        if (plain != nullptr) narrow({bound_of(*plain, key), old_style && exclusive->get<bool>()});
        if (exclusive != nullptr && !old_style) narrow({bound_of(*exclusive, exclusive_key), true});
    }
    if (const schema_json* const step = find(schema, "multipleOf")) {
        if (*step != 1) refuse_keyword("multipleOf");
        implied |= type_integer;
        types &= static_cast<std::uint8_t>(~type_fraction);
    }
}

void schema_facts::add_strings(const schema_json& schema)
{
    if (const schema_json* const pattern = find(schema, "pattern")) {
        patterns.push_back(text_of(*pattern, "pattern"));
        implied |= type_string;
    }
    if (const schema_json* const format = find(schema, "format")) {
        const std::string& name = text_of(*format, "format");
        if (pattern_of_format(name)) {
            formats.push_back(name);
            implied |= type_string;
        }
    }
    if (find(schema, "minLength") != nullptr || find(schema, "maxLength") != nullptr)
        implied |= type_string;
    read_count(schema, "minLength", min_length, true);
    read_count(schema, "maxLength", max_length, false);
}

void schema_facts::add_arrays(const schema_json& schema)
{
    for (const char* const key : {"items", "prefixItems", "minItems", "maxItems"})
        if (schema.contains(key)) implied |= type_array;
    if (schema.contains("items") || schema.contains("prefixItems")) arrays.push_back(&schema);
    read_count(schema, "minItems", min_items, true);
    read_count(schema, "maxItems", max_items, false);
}

void schema_facts::add_objects(const schema_json& schema)
{
    static constexpr std::array<const char*, 4> of_members{
        "properties", "patternProperties", "additionalProperties", "unevaluatedProperties"};
    if (std::ranges::any_of(of_members, [&](const char* key) { return schema.contains(key); })) {
        for (const char* const key : {"properties", "patternProperties"}) {
            const schema_json* const all = find(schema, key);
            if (all != nullptr && !all->is_object())
                fail_schema(std::string{key} + " is no object");
        }
        objects.push_back(&schema);
        implied |= type_object;
    }
    if (const schema_json* const names = find(schema, "required");
        names != nullptr && !names->is_boolean()) {
        if (!names->is_array()) fail_schema("required is no array");
        implied |= type_object;
        for (const schema_json& name : *names) {
            const std::string& text = text_of(name, "required");
            if (std::ranges::find(required, text) == required.end()) required.push_back(text);
        }
    }
    for (const char* const key : {"minProperties", "maxProperties"})
        if (schema.contains(key)) implied |= type_object;
    read_count(schema, "minProperties", min_members, true);
    read_count(schema, "maxProperties", max_members, false);
}

bool schema_facts::allow_size(const schema_json& value) const
{
    if (value.is_array()) {
        if (!arrays.empty())
            throw error{
                errc::unsupported,
                "JSON schema: an array in enum or const, beside items, is not supported"};
        return value.size() >= min_items && value.size() <= max_items;
    }
    if (!value.is_object()) return true;
    if (!objects.empty())
        throw error{
            errc::unsupported,
            "JSON schema: an object in enum or const, beside properties, is not supported"};
    const bool complete = std::ranges::all_of(
        required, [&](const std::string& name) { return value.contains(name); });
    return complete && value.size() >= min_members && value.size() <= max_members;
}

bool schema_facts::allow(const schema_json& value) const
{
    if ((types & type_of(value)) == 0) return false;
    if (value.is_number()) {
        const auto exact = json_decimal::read(value.dump());
        return exact ? range.holds(*exact) : !range.low && !range.high;
    }
    if (!value.is_string()) return allow_size(value);
    const std::string& text = value.get_ref<const std::string&>();
    const std::size_t n_chars = count_utf8(text);
    return n_chars >= min_length && n_chars <= max_length;
}

}  // namespace modelpool::text

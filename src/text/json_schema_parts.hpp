#pragma once

#include <nlohmann/json.hpp>

#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "text/json_decimal.hpp"
#include "text/json_grammar.hpp"

namespace modelpool::text {

using schema_json = nlohmann::ordered_json;

/// Which part of a schema is meant.
enum class schema_part : std::uint8_t { whole = 1, own, any_of, one_of };

/// A schema, or a part of it, that a value has to satisfy.
struct schema_item {
    std::uint32_t number{0};  ///< in the order in which schemas are met
    schema_part part{schema_part::whole};

    friend auto operator<=>(const schema_item&, const schema_item&) = default;
};

/// Schemas that a value has to satisfy together; sorted.
using schema_set = std::vector<schema_item>;

/// A schema's text, read, and its references followed.
class schema_document {
public:
    /// Errors: errc::invalid_argument for what is no JSON, too large or nested too deeply.
    explicit schema_document(std::string_view text);

    const schema_json& root() const noexcept { return root_; }
    const schema_json& at(const schema_item& item) const { return *schemas_[item.number]; }
    schema_item item_of(const schema_json& schema, schema_part part = schema_part::whole);

    /// What a set means: each whole schema of it is replaced by its own keywords, those that it
    /// refers to or is composed of, and its choices. False where nothing satisfies it.
    /// Errors: errc::invalid_argument for a schema that is neither object nor boolean, a reference
    /// to nothing or to itself; errc::unsupported for keywords, by name.
    bool expand(schema_set& set);

private:
    bool expand(const schema_item& item, std::vector<schema_item>& into, std::size_t depth);
    const schema_json& referred(const schema_json& reference) const;

    schema_json root_;
    std::vector<const schema_json*> schemas_;
    std::unordered_map<const schema_json*, std::uint32_t> numbers_;
    std::vector<char> states_;  // of schemas, while a set is expanded
};

/// Types of JSON values, as bits.
enum schema_type : std::uint8_t {
    type_null = 1,
    type_boolean = 2,
    type_integer = 4,
    type_fraction = 8,
    type_string = 16,
    type_array = 32,
    type_object = 64,
    type_number = type_integer | type_fraction,
    type_any = 127,
};

/// What several schemas, without references and choices, ask for together.
struct schema_facts {
    std::uint8_t types{type_any};
    std::uint8_t implied{0};  ///< types that keywords speak of
    bool typed{false};
    std::vector<const schema_json*> literals;  ///< arrays of values: one of each
    json_range range;
    std::vector<std::string> patterns;
    std::vector<std::string> formats;
    std::uint32_t min_length{0};
    std::uint32_t max_length{grammar_count::any};
    std::vector<const schema_json*> arrays;  ///< schemas that speak of elements
    std::uint32_t min_items{0};
    std::uint32_t max_items{grammar_count::any};
    std::vector<const schema_json*> objects;  ///< schemas that speak of members
    std::vector<std::string> required;
    std::uint32_t min_members{0};
    std::uint32_t max_members{grammar_count::any};

    /// Narrows them by the keywords of one more schema.
    /// Errors: errc::invalid_argument for a malformed keyword, errc::unsupported by name.
    void add(const schema_json& schema);
    /// The types after all: where none is named, those that keywords speak of.
    std::uint8_t allowed_types() const noexcept
    {
        return typed || implied == 0 ? types : static_cast<std::uint8_t>(types & implied);
    }
    /// Whether a value passes all but what is said of its elements and members, and patterns and
    /// formats.
    /// Errors: errc::unsupported where these are said.
    bool allow(const schema_json& value) const;

private:
    void add_type(const schema_json& schema);
    void add_numbers(const schema_json& schema);
    void add_strings(const schema_json& schema);
    void add_arrays(const schema_json& schema);
    void add_objects(const schema_json& schema);
    bool allow_size(const schema_json& value) const;
};

[[noreturn]] void fail_schema(const std::string& sentence);
[[noreturn]] void refuse_keyword(const std::string& name);

}  // namespace modelpool::text

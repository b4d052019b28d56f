#include <modelpool/error.hpp>

#include <algorithm>
#include <charconv>

#include "support/json.hpp"
#include "support/printable.hpp"
#include "text/json_schema_parts.hpp"

namespace modelpool::text {
namespace {

constexpr std::size_t max_schema_bytes = std::size_t{1} << 20U;
constexpr std::size_t max_members = 2000;
constexpr std::size_t max_set = 128;
constexpr std::size_t max_chain = 200;

// Objects of ordered_json are searched from the front: without a limit, reading takes the square of
// their size. Not recursive beyond the nesting that the reader allows.
void check_sizes(const nlohmann::json& value)
{
    if (value.is_object() && value.size() > max_members)
        fail_schema(
            "an object has " + std::to_string(value.size()) + " members; at most " +
            std::to_string(max_members) + " are supported");
    if (value.is_structured())
        for (const nlohmann::json& each : value)
            check_sizes(each);
}

schema_json read(std::string_view text)
{
    if (text.size() > max_schema_bytes)
        fail_schema(
            "it has " + std::to_string(text.size()) + " bytes; at most " +
            std::to_string(max_schema_bytes) + " are supported");
    const support::json_file checked{text, "JSON schema", errc::invalid_argument};
    check_sizes(checked.root());
    return schema_json::parse(text);
}

// A part of a JSON pointer: RFC 6901, inside a URI fragment.
std::string unescape(std::string_view part, const std::string& reference)
{
    std::string made;
    for (std::size_t i = 0; i < part.size(); ++i) {
        if (part[i] == '%') {
            unsigned value = 0;
            const char* const begin = part.data() + i + 1;
            const char* const end = part.data() + std::min(i + 3, part.size());
            const auto [last, problem] = std::from_chars(begin, end, value, 16);
            if (problem != std::errc{} || last != begin + 2)
                fail_schema("$ref " + reference + " is malformed");
            made += static_cast<char>(value);
            i += 2;
        } else {
            made += part[i];
        }
    }
    std::string plain;
    for (std::size_t i = 0; i < made.size(); ++i) {
        if (made[i] != '~') {
            plain += made[i];
            continue;
        }
        ++i;
        if (i >= made.size() || (made[i] != '0' && made[i] != '1'))
            fail_schema("$ref " + reference + " is malformed");
        plain += made[i] == '0' ? '~' : '/';
    }
    return plain;
}

}  // namespace

void fail_schema(const std::string& sentence)
{
    throw error{errc::invalid_argument, "JSON schema: " + sentence};
}

void refuse_keyword(const std::string& name)
{
    throw error{errc::unsupported, "JSON schema: the keyword '" + name + "' is not supported"};
}

schema_document::schema_document(std::string_view text)
    : root_(read(text))
{}

schema_item schema_document::item_of(const schema_json& schema, schema_part part)
{
    const auto [place, added] =
        numbers_.try_emplace(&schema, static_cast<std::uint32_t>(schemas_.size()));
    if (added) schemas_.push_back(&schema);
    return {place->second, part};
}

const schema_json& schema_document::referred(const schema_json& reference) const
{
    if (!reference.is_string()) fail_schema("$ref is no string");
    const std::string& text = reference.get_ref<const std::string&>();
    const std::string shown = support::in_quotes(text);
    if (text.empty() || text.front() != '#')
        throw error{
            errc::unsupported,
            "JSON schema: $ref " + shown + " leads outside the document, which is not supported"};
    if (text.size() > 1 && text[1] != '/')
        throw error{
            errc::unsupported,
            "JSON schema: $ref " + shown + " names an anchor, which is not supported"};
    const schema_json* at = &root_;
    std::string_view rest = std::string_view{text}.substr(1);
    while (!rest.empty()) {
        rest.remove_prefix(1);
        const std::size_t end = std::min(rest.find('/'), rest.size());
        const std::string key = unescape(rest.substr(0, end), shown);
        rest.remove_prefix(end);
        const schema_json* next = nullptr;
        if (at->is_object()) {
            const auto found = at->find(key);
            if (found != at->end()) next = &*found;
        } else if (at->is_array()) {
            std::size_t index = 0;
            const auto [last, problem] =
                std::from_chars(key.data(), key.data() + key.size(), index);
            if (problem == std::errc{} && last == key.data() + key.size() && index < at->size())
                next = &(*at)[index];
        }
        if (next == nullptr) fail_schema("$ref " + shown + " leads to nothing");
        at = next;
    }
    return *at;
}

bool schema_document::expand(schema_set& set)
{
    states_.assign(schemas_.size(), 0);
    std::vector<schema_item> found;
    for (const schema_item& item : set)
        if (!expand(item, found, 0)) return false;
    std::ranges::sort(found);
    found.erase(std::unique(found.begin(), found.end()), found.end());
    if (found.size() > max_set)
        fail_schema("more than " + std::to_string(max_set) + " schemas have to hold of one value");
    set = std::move(found);
    return true;
}

bool schema_document::expand(
    const schema_item& item, std::vector<schema_item>& into, std::size_t depth)
{
    if (item.part != schema_part::whole) {
        into.push_back(item);
        return true;
    }
    const schema_json& schema = at(item);
    if (schema.is_boolean()) return schema.get<bool>();
    if (!schema.is_object()) fail_schema("a schema is neither an object nor true or false");
    if (depth > max_chain) fail_schema("references lead too far");
    states_.resize(schemas_.size(), 0);
    constexpr char open = 1;
    constexpr char done = 2;
    if (states_[item.number] == open) fail_schema("a $ref leads back to itself");
    if (states_[item.number] == done) return true;
    states_[item.number] = open;
    into.push_back({item.number, schema_part::own});
    const auto go_on = [&](const schema_json& other) {
        const schema_item next = item_of(other);
        states_.resize(schemas_.size(), 0);
        return expand(next, into, depth + 1);
    };
    bool possible = true;
    if (const auto reference = schema.find("$ref"); reference != schema.end())
        possible = go_on(referred(*reference));
    if (const auto all = schema.find("allOf"); all != schema.end()) {
        if (!all->is_array()) fail_schema("allOf is no array");
        for (const schema_json& each : *all)
            possible = possible && go_on(each);
    }
    for (const auto& [key, part] :
         {std::pair{"anyOf", schema_part::any_of}, std::pair{"oneOf", schema_part::one_of}}) {
        const auto choice = schema.find(key);
        if (choice == schema.end()) continue;
        if (!choice->is_array() || choice->empty())
            fail_schema(std::string{key} + " is no array of schemas");
        into.push_back({item.number, part});
    }
    states_[item.number] = done;
    return possible;
}

}  // namespace modelpool::text

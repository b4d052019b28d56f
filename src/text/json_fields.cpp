#include "text/json_fields.hpp"

#include <limits>

#include "support/printable.hpp"

namespace modelpool::text {

std::string json_value::shown() const
{
    switch (value_.type()) {
    case simdjson::dom::element_type::ARRAY:
        return "an array";
    case simdjson::dom::element_type::OBJECT:
        return "an object";
    default:
        return support::printable(simdjson::minify(value_), 80);
    }
}

void json_value::fail(const std::string& sentence) const
{
    throw error{
        text_errc::bad_file, file_ + ": " + (place_.empty() ? "" : place_ + " ") + sentence};
}

void json_value::refuse(const std::string& sentence) const
{
    throw error{
        text_errc::unsupported, file_ + ": " + (place_.empty() ? "" : place_ + " ") + sentence};
}

simdjson::dom::object json_value::object() const
{
    simdjson::dom::object found;
    if (value_.get(found) != simdjson::SUCCESS) fail("must be an object, found " + shown());
    return found;
}

simdjson::dom::array json_value::array() const
{
    simdjson::dom::array found;
    if (value_.get(found) != simdjson::SUCCESS) fail("must be an array, found " + shown());
    return found;
}

std::string_view json_value::string() const
{
    std::string_view found;
    if (value_.get(found) != simdjson::SUCCESS) fail("must be a string, found " + shown());
    return found;
}

bool json_value::boolean() const
{
    bool found = false;
    if (value_.get(found) != simdjson::SUCCESS) fail("must be true or false, found " + shown());
    return found;
}

double json_value::number() const
{
    double found = 0;
    if (value_.get(found) != simdjson::SUCCESS) fail("must be a number, found " + shown());
    return found;
}

std::uint64_t json_value::count(std::uint64_t highest) const
{
    std::uint64_t found = 0;
    if (value_.get(found) != simdjson::SUCCESS || found > highest)
        fail("must be a whole number from 0 to " + std::to_string(highest) + ", found " + shown());
    return found;
}

token_id json_value::id() const
{
    // One less than the largest, so that one more than an id is an id too.
    return static_cast<token_id>(count(std::numeric_limits<token_id>::max() - 1));
}

std::optional<json_value> json_value::find(std::string_view key) const
{
    simdjson::dom::element found;
    if (object().at_key(key).get(found) != simdjson::SUCCESS || found.is_null())
        return std::nullopt;
    return json_value{found, file_, (place_.empty() ? "" : place_ + ".") + std::string{key}};
}

json_value json_value::need(std::string_view key) const
{
    std::optional<json_value> found = find(key);
    if (!found) fail("lacks the field " + support::in_quotes(key));
    return *std::move(found);
}

json_value json_value::item(simdjson::dom::element value, std::size_t index) const
{
    return json_value{value, file_, place_ + "[" + std::to_string(index) + "]"};
}

}  // namespace modelpool::text

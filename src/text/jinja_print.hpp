#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "text/jinja_value.hpp"

namespace modelpool::text::jinja {

/// str() of a value, appended.
void append_text(std::string& out, const value& of);
std::string to_text(const value& of);
/// repr()
std::string repr(const value& of);
std::string repr(double number);

/// `format % arguments`
std::string format_percent(heap& in, std::string_view format, const value& arguments);
/// str.format
std::string format_braces(heap& in, std::string_view format, const call_arguments& arguments);

/// The arguments of json.dumps that templates have.
struct json_format {
    bool ensure_ascii{false};
    bool sort_keys{false};
    std::optional<std::string> indent;
    std::string item_separator{", "};
    std::string key_separator{": "};
};
std::string to_json(heap& in, const value& of, const json_format& how);

/// A value from JSON text. Errors: `code`, with `name`, for what is not JSON.
value from_json(
    heap& in,
    std::string_view json,
    const std::string& name,
    const boost::system::error_code& code);

}  // namespace modelpool::text::jinja

#include "support/json.hpp"

#include <algorithm>
#include <fstream>
#include <limits>

#include "support/printable.hpp"

namespace modelpool::support {
namespace {

// Deep enough for any file of a checkpoint, shallow enough that recursive readers of the result are
// safe.
constexpr int max_depth = 256;

// A value as it stands in a message: its JSON, cut to a readable length.
std::string shown(const nlohmann::json& value)
{
    if (value.is_structured()) return value.is_object() ? "an object" : "an array";
    return printable(value.dump(), 80);
}

}  // namespace

std::string json_problem(const nlohmann::json::exception& problem)
{
    // nlohmann's text starts with "[json.exception.parse_error.101] ", and may quote a token of any
    // length.
    const std::string_view text = problem.what();
    const std::size_t end = text.find("] ");
    return printable(end == std::string_view::npos ? text : text.substr(end + 2), 300);
}

std::string blocking_read_file(
    const std::filesystem::path& path, boost::system::error_code code, std::size_t max_bytes)
{
    const auto refuse = [&path, &code](const std::string& sentence) {
        throw error{code, path.string() + ": " + sentence};
    };
    std::error_code problem;
    const std::filesystem::file_status status = std::filesystem::status(path, problem);
    if (status.type() == std::filesystem::file_type::not_found) refuse("no such file");
    if (status.type() == std::filesystem::file_type::none)
        refuse("cannot be read: " + problem.message());
    if (!std::filesystem::is_regular_file(status)) refuse("not a regular file");
    std::ifstream in{path, std::ios::binary};
    if (!in) refuse("cannot be opened for reading");
    std::string bytes;
    // Only to spare the growing; the file may have another size by the time it is read.
    const std::uintmax_t expected_bytes = std::filesystem::file_size(path, problem);
    if (!problem) bytes.reserve(std::min<std::uintmax_t>(expected_bytes, max_bytes));
    std::string block(std::size_t{1} << 16U, '\0');
    while (in.read(block.data(), static_cast<std::streamsize>(block.size())) || in.gcount() > 0) {
        const auto n_read = static_cast<std::size_t>(in.gcount());
        if (n_read > max_bytes - bytes.size())
            refuse("larger than the limit of " + std::to_string(max_bytes) + " bytes");
        bytes.append(block, 0, n_read);
    }
    if (in.bad()) refuse("reading failed");
    return bytes;
}

json_file::json_file(std::string_view bytes, std::string name, boost::system::error_code code)
    : name_{std::move(name)}
    , code_{code}
{
    // nlohmann takes NUL for the end of the text and would not look at what follows.
    if (const std::size_t nul = bytes.find('\0'); nul != std::string_view::npos)
        fail("not valid JSON: a NUL byte at " + std::to_string(nul));
    int depth = 0;
    const auto watch_depth = [&depth](int, nlohmann::json::parse_event_t event, nlohmann::json&) {
        using kind = nlohmann::json::parse_event_t;
        if (event == kind::object_start || event == kind::array_start) ++depth;
        if (event == kind::object_end || event == kind::array_end) --depth;
        if (depth > max_depth)
            throw std::length_error{"nested more than " + std::to_string(max_depth) + " deep"};
        return true;
    };
    try {
        root_ = nlohmann::json::parse(bytes.begin(), bytes.end(), watch_depth);
    } catch (const nlohmann::json::exception& problem) {
        fail("not valid JSON: " + json_problem(problem));
    } catch (const std::length_error& problem) {
        fail(std::string{"not valid JSON: "} + problem.what());
    }
}

json_file json_file::blocking_read(
    const std::filesystem::path& path, boost::system::error_code code, std::size_t max_bytes)
{
    const std::string bytes = blocking_read_file(path, code, max_bytes);
    return json_file{bytes, path.string(), code};
}

void json_file::fail(const std::string& sentence) const
{
    throw error{code_, name_ + ": " + sentence};
}

const nlohmann::json* json_file::find(const std::string& key) const
{
    if (!root_.is_object()) fail(std::string{"expected an object, found "} + root_.type_name());
    const auto place = root_.find(key);
    return place == root_.end() || place->is_null() ? nullptr : &*place;
}

std::optional<std::int64_t>
json_file::find_int(const std::string& key, std::int64_t lowest, std::int64_t highest) const
{
    const nlohmann::json* value = find(key);
    if (value == nullptr) return std::nullopt;
    if (!value->is_number_integer())
        fail("'" + key + "' must be an integer, found " + shown(*value));
    const bool too_large = value->is_number_unsigned() &&
                           value->get<std::uint64_t>() >
                               static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    const std::int64_t number = too_large ? 0 : value->get<std::int64_t>();
    if (too_large || number < lowest || number > highest)
        fail(
            "'" + key + "' must lie in [" + std::to_string(lowest) + ", " +
            std::to_string(highest) + "], found " + shown(*value));
    return number;
}

std::optional<double> json_file::find_number(const std::string& key) const
{
    const nlohmann::json* value = find(key);
    if (value == nullptr) return std::nullopt;
    if (!value->is_number()) fail("'" + key + "' must be a number, found " + shown(*value));
    return value->get<double>();
}

std::optional<bool> json_file::find_bool(const std::string& key) const
{
    const nlohmann::json* value = find(key);
    if (value == nullptr) return std::nullopt;
    if (!value->is_boolean()) fail("'" + key + "' must be true or false, found " + shown(*value));
    return value->get<bool>();
}

std::optional<std::string> json_file::find_string(const std::string& key) const
{
    const nlohmann::json* value = find(key);
    if (value == nullptr) return std::nullopt;
    if (!value->is_string()) fail("'" + key + "' must be a string, found " + shown(*value));
    return value->get<std::string>();
}

std::int64_t
json_file::need_int(const std::string& key, std::int64_t lowest, std::int64_t highest) const
{
    const std::optional<std::int64_t> value = find_int(key, lowest, highest);
    if (!value) fail("'" + key + "' is missing");
    return *value;
}

std::string json_file::need_string(const std::string& key) const
{
    const std::optional<std::string> value = find_string(key);
    if (!value) fail("'" + key + "' is missing");
    return *value;
}

}  // namespace modelpool::support

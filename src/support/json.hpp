#pragma once

#include <modelpool/error.hpp>

#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace modelpool::support {

/// A parsed JSON document that knows where it came from, so that an error about a field names the
/// file. Not part of the public interface: nlohmann's types stay inside the compiled parts.
class json_file {
public:
    /// Parses `bytes`; `name` goes into messages and `code` into errors. Refused are what RFC 8259
    /// does not allow, bytes that are not UTF-8, a number too large for a double, and nesting of
    /// more than 256 levels. Of a key that is there twice, the last counts. The document takes up
    /// to about 30 times the bytes of the text.
    json_file(std::string_view bytes, std::string name, boost::system::error_code code);

    /// Reads and parses a file of at most `max_bytes`.
    static json_file blocking_read(
        const std::filesystem::path& path,
        boost::system::error_code code,
        std::size_t max_bytes = std::size_t{64} << 20U);

    const nlohmann::json& root() const noexcept { return root_; }
    const std::string& name() const noexcept { return name_; }

    /// A field of the top-level object; nullopt where it is absent or null. Throws where it has
    /// another type, or lies outside [lowest, highest].
    std::optional<std::int64_t>
    find_int(const std::string& key, std::int64_t lowest, std::int64_t highest) const;
    std::optional<double> find_number(const std::string& key) const;
    std::optional<bool> find_bool(const std::string& key) const;
    std::optional<std::string> find_string(const std::string& key) const;

    /// The same for a field that must be there.
    std::int64_t need_int(const std::string& key, std::int64_t lowest, std::int64_t highest) const;
    std::string need_string(const std::string& key) const;

    /// Throws the error of this file: "<name>: <sentence>".
    [[noreturn]] void fail(const std::string& sentence) const;

private:
    const nlohmann::json* find(const std::string& key) const;

    nlohmann::json root_;
    std::string name_;
    boost::system::error_code code_;
};

/// What nlohmann says about a text, without its own codes, short enough for a message.
std::string json_problem(const nlohmann::json::exception& problem);

/// The whole of a file. Throws `code` with the file's name where it cannot be read, is not a
/// regular file, or is larger than `max_bytes`.
std::string blocking_read_file(
    const std::filesystem::path& path, boost::system::error_code code, std::size_t max_bytes);

}  // namespace modelpool::support

#pragma once

#include <modelpool/error.hpp>
#include <modelpool/text/tokenizer.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <simdjson.h>

namespace modelpool::text {

/// A value of a tokenizer file and where it stands, so that an error names both.
class json_value {
public:
    json_value(simdjson::dom::element value, std::string file, std::string place)
        : value_{value}
        , file_{std::move(file)}
        , place_{std::move(place)}
    {}

    const simdjson::dom::element& get() const noexcept { return value_; }
    bool is_null() const noexcept { return value_.is_null(); }
    bool is_string() const noexcept { return value_.is_string(); }

    // The value as what it must be; throws text_errc::bad_file where it is something else.
    simdjson::dom::object object() const;
    simdjson::dom::array array() const;
    std::string_view string() const;
    bool boolean() const;
    double number() const;
    std::uint64_t count(std::uint64_t highest) const;
    token_id id() const;

    /// A field of an object; nullopt where it is absent or null.
    std::optional<json_value> find(std::string_view key) const;
    /// The same, where it must be there.
    json_value need(std::string_view key) const;
    /// A field that says which of several things the object is.
    std::string_view type() const { return need("type").string(); }
    /// The value at `index` of an array, which it was read from.
    json_value item(simdjson::dom::element value, std::size_t index) const;

    /// Throws text_errc::bad_file: "<file>: <place> <sentence>".
    [[noreturn]] void fail(const std::string& sentence) const;
    /// Throws text_errc::unsupported: "<file>: <place> <sentence>".
    [[noreturn]] void refuse(const std::string& sentence) const;

private:
    std::string shown() const;

    simdjson::dom::element value_;
    std::string file_;
    std::string place_;  // "model.vocab"; empty for the whole file
};

}  // namespace modelpool::text

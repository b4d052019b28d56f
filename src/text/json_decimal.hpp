#pragma once

#include <compare>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "text/json_grammar.hpp"

namespace modelpool::text {

/// A number exactly as it is written.
struct json_decimal {
    bool negative{false};    ///< never of zero
    std::string whole{"0"};  ///< without zeros in front
    std::string fraction;    ///< without zeros at the end

    bool is_zero() const { return whole == "0" && fraction.empty(); }

    /// Reads a JSON number. Nothing where its digits lie more than 40 places from the point.
    static std::optional<json_decimal> read(std::string_view text);

    friend bool operator==(const json_decimal&, const json_decimal&) = default;
};

std::strong_ordering compare(const json_decimal& a, const json_decimal& b);

/// An end of a range of numbers.
struct json_bound {
    json_decimal value;
    bool exclusive{false};
};

struct json_range {
    std::optional<json_bound> low;
    std::optional<json_bound> high;

    /// Narrows the range to numbers at or above, or at or below, a bound.
    void raise(const json_bound& bound);
    void lower(const json_bound& bound);
    bool holds(const json_decimal& value) const;
};

/// Numbers written without an exponent have at most so many digits before and after the point,
/// where no bound asks for more.
inline constexpr std::size_t max_number_digits = 20;

/// Adds paths for the numbers of a range, as JSON writes them without an exponent; `whole_only`:
/// those without a fraction.
void write_range(
    const json_range& range,
    bool whole_only,
    json_grammar_graph& into,
    rule_id rule,
    node_id from,
    node_id to);

}  // namespace modelpool::text

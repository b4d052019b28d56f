#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

#include "text/jinja_value.hpp"

namespace modelpool::text::jinja {

// What Python's operators do with values. Errors: `failure`, as Python raises.

bool is_true(const value& of);
bool are_equal(const value& left, const value& right);
/// Whether `left < right`; `sign` is the operator, for the message.
bool is_less(const value& left, const value& right, const char* sign = "<");

void check_hashable(const value& key);
/// Equal values have equal hashes.
std::size_t hash_of(const value& key);
std::size_t hash_of(std::string_view key);

enum class arithmetic : std::uint8_t {
    add,
    subtract,
    multiply,
    divide,
    floor_divide,
    modulo,
    power
};

value calculate(heap& in, arithmetic what, const value& left, const value& right);
value negate(const value& number);
value plus(const value& number);

/// `item in container`. An iterator is used up to the item.
bool contains(heap& in, const value& container, const value& item);
/// len(); refused for what has none.
std::size_t length_of(const value& of);
bool has_length(const value& of);

/// `of[key]`, or what stands for it where there is no such element: undefined.
value get_item(heap& in, const value& of, const value& key);
value get_item(heap& in, const value& of, std::int64_t index);
value get_slice(
    heap& in, const value& of, const value& start, const value& stop, const value& step);

/// Elements one after another. The value must stay while the cursor is used.
class cursor {
public:
    /// Errors: refused for what cannot be iterated.
    cursor(heap& in, const value& over);
    bool next(value& into);
    /// How many elements are left, where that is known.
    bool knows_size() const noexcept { return !over_.is(kind::iterator); }
    std::size_t size() const { return length_of(over_); }

private:
    heap& heap_;
    value over_;
    std::size_t at_{0};
};

bool is_iterable(const value& of);
/// All elements.
values to_values(heap& in, const value& over);

/// Python's sorted(): stable, by `is_less`. `keys` has one key for every item.
values sorted(heap& in, const values& items, const values& keys, bool reverse);

}  // namespace modelpool::text::jinja

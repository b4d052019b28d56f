#include "text/char_map.hpp"

#include <stdexcept>

#include "text/utf8.hpp"

namespace modelpool::text {
namespace {

std::uint32_t read_u32(std::string_view bytes, std::size_t at)
{
    std::uint32_t value = 0;
    for (std::size_t i = 4; i-- > 0;)
        value = (value << 8U) | static_cast<unsigned char>(bytes[at + i]);
    return value;
}

// The fields of a unit of the double array.
bool has_leaf(std::uint32_t unit)
{
    return ((unit >> 8U) & 1U) != 0;
}

std::uint32_t label(std::uint32_t unit)
{
    return unit & ((1U << 31U) | 0xFFU);
}

std::uint32_t offset(std::uint32_t unit)
{
    return (unit >> 10U) << ((unit & (1U << 9U)) >> 6U);
}

std::uint32_t leaf_value(std::uint32_t unit)
{
    return unit & 0x7FFFFFFFU;
}

}  // namespace

char_map::char_map(std::string_view charsmap)
{
    if (charsmap.size() < 4) throw std::invalid_argument{"has fewer than 4 bytes"};
    const std::size_t n_units = read_u32(charsmap, 0) / 4;
    if (n_units == 0 || n_units > (charsmap.size() - 4) / 4)
        throw std::invalid_argument{
            "promises an array of " + std::to_string(n_units) + " units in " +
            std::to_string(charsmap.size()) + " bytes"};
    units_.reserve(n_units);
    for (std::size_t i = 0; i < n_units; ++i)
        units_.push_back(read_u32(charsmap, 4 + 4 * i));
    texts_ = charsmap.substr(4 + 4 * n_units);
    if (find_bad_utf8(texts_) != std::string_view::npos)
        throw std::invalid_argument{"has texts that are not valid UTF-8"};
}

std::optional<std::string_view> char_map::text_at(std::size_t begin) const
{
    if (begin > texts_.size() || (begin < texts_.size() && is_utf8_tail(texts_[begin])))
        return std::nullopt;
    const std::string_view rest = std::string_view{texts_}.substr(begin);
    return rest.substr(0, rest.find('\0'));
}

// Gives `take` the length and the value of each entry that `text` starts with, short ones first,
// until it says that it has seen enough.
template <typename Take>
void char_map::walk(std::string_view text, const Take& take) const
{
    std::size_t at = offset(units_[0]);
    for (std::size_t i = 0; i < text.size(); ++i) {
        const auto value = static_cast<unsigned char>(text[i]);
        if (value == 0) return;
        at ^= value;
        if (at >= units_.size() || label(units_[at]) != value) return;
        const std::uint32_t unit = units_[at];
        at ^= offset(unit);
        if (!has_leaf(unit)) continue;
        if (at >= units_.size() || take(i + 1, std::size_t{leaf_value(units_[at])})) return;
    }
}

std::optional<std::string_view> char_map::find_shortest(std::string_view text) const
{
    std::optional<std::string_view> found;
    walk(text, [&](std::size_t, std::size_t value) {
        found = text_at(value);
        return true;
    });
    return found;
}

std::optional<char_map::entry> char_map::find_longest(std::string_view text) const
{
    std::optional<entry> found;
    walk(text, [&](std::size_t n_bytes, std::size_t value) {
        // An entry that ends inside a character would leave bytes that are none.
        const bool ends_char = n_bytes == text.size() || !is_utf8_tail(text[n_bytes]);
        const std::optional<std::string_view> with = text_at(value);
        if (ends_char && with) found = entry{n_bytes, *with};
        return false;
    });
    return found;
}

}  // namespace modelpool::text

#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace modelpool::support {

/// Text from outside as it may stand in a message: valid UTF-8 on one line. Control characters and
/// bytes that are not UTF-8 become "\xNN"; what is longer than `max_bytes` is cut at a character
/// and ends in "...".
std::string printable(std::string_view text, std::size_t max_bytes = 120);

/// The same between single quotes.
std::string in_quotes(std::string_view text, std::size_t max_bytes = 120);

}  // namespace modelpool::support

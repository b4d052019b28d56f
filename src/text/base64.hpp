#pragma once

#include <string>
#include <string_view>

namespace modelpool::text {

/// The bytes of a text in base64 (RFC 4648, padded). Errors: std::invalid_argument.
std::string decode_base64(std::string_view text);

}  // namespace modelpool::text

#pragma once

#include <span>
#include <string>

#include "text/jinja_methods.hpp"

namespace modelpool::text::jinja {

/// The methods of Python's str that templates may use.
std::span<const method> string_methods() noexcept;

}  // namespace modelpool::text::jinja

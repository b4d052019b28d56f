#pragma once

#include <cstdint>

#include "decoder/matrices.hpp"

namespace modelpool::models {

/// Where the weights of a file of that size are computed on: packed copies as long as they take at
/// most half of the machine's memory.
decoder::weight_layout layout_for(std::uint64_t weight_bytes) noexcept;

}  // namespace modelpool::models

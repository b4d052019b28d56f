#pragma once

#include <cstdint>
#include <vector>

namespace modelpool::nn {

/// How far one position turns each pair of a head's numbers: base^(-2i / head_size).
std::vector<float> rope_frequencies(std::int64_t head_size, double base);

}  // namespace modelpool::nn

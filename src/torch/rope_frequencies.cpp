#include "torch/rope_frequencies.hpp"

#include <cmath>

namespace modelpool::nn {

std::vector<float> rope_frequencies(std::int64_t head_size, double base)
{
    std::vector<float> frequencies;
    for (std::int64_t i = 0; i < head_size; i += 2)
        frequencies.push_back(static_cast<float>(
            std::pow(base, -static_cast<double>(i) / static_cast<double>(head_size))));
    return frequencies;
}

}  // namespace modelpool::nn

#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "torch/packing.hpp"

namespace modelpool::nn {

/// Rotary positions, for heads whose halves are the two numbers of each pair (NEOX). Keeps the
/// turns of the positions seen so far. Belongs to one replica. Not thread-safe. Paper:
/// https://arxiv.org/abs/2104.09864
class rope {
public:
    explicit rope(std::vector<float> frequencies)
        : frequencies_{std::move(frequencies)}
    {}

    /// Turns the first `n_heads` heads of each row in place: qkv is [n, heads * head_size], of
    /// packed texts.
    void turn(const at::Tensor& qkv, std::span<const text_group> groups, std::int64_t n_heads);

private:
    void grow(std::int64_t length);

    std::vector<float> frequencies_;
    at::Tensor cos_;  // [longest, head_size / 2] f32
    at::Tensor sin_;
};

}  // namespace modelpool::nn

#include "torch/rope.hpp"

#include <ATen/ops/arange.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/sin.h>
#include <ATen/ops/tensor.h>

namespace modelpool::nn {

void rope::grow(std::int64_t length)
{
    if (cos_.defined() && cos_.size(0) >= length) return;
    const at::Tensor place =
        at::arange(length, at::TensorOptions{}.dtype(c10::ScalarType::Float)).view({-1, 1});
    const at::Tensor angle = place.mul(at::tensor(frequencies_).view({1, -1}));
    cos_ = angle.cos();
    sin_ = angle.sin();
}

void rope::turn(const at::Tensor& qkv, std::span<const text_group> groups, std::int64_t n_heads)
{
    const auto half = static_cast<std::int64_t>(frequencies_.size());
    for (const text_group& group : groups) {
        grow(group.length);
        const at::Tensor cos = cos_.narrow(0, 0, group.length).view({1, group.length, 1, half});
        const at::Tensor sin = sin_.narrow(0, 0, group.length).view({1, group.length, 1, half});
        const at::Tensor heads = qkv.narrow(0, group.first_row, group.n_rows())
                                     .narrow(1, 0, n_heads * 2 * half)
                                     .view({group.n_texts, group.length, n_heads, 2 * half});
        const at::Tensor first = heads.narrow(3, 0, half);
        const at::Tensor second = heads.narrow(3, half, half);
        const at::Tensor turned = at::mul(first, cos).sub_(at::mul(second, sin));
        second.copy_(at::mul(second, cos).add_(at::mul(first, sin)));
        first.copy_(turned);
    }
}

}  // namespace modelpool::nn

#include "torch/attention.hpp"

#include <ATen/ops/arange.h>
#include <ATen/ops/as_strided.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/tensor.h>

#include <bit>
#include <cmath>
#include <cstddef>

namespace modelpool::nn {

void attend_shared_heads(
    const at::Tensor& qkv,
    std::span<const text_group> groups,
    const head_layout& layout,
    at::Tensor& out)
{
    const std::int64_t size = layout.head_size;
    const std::int64_t n_kv = layout.n_kv_heads;
    const std::int64_t n_shared = layout.n_heads / n_kv;
    for (const text_group& group : groups) {
        const at::Tensor rows = qkv.narrow(0, group.first_row, group.n_rows())
                                    .view({group.n_texts, group.length, -1, size});
        // Nothing is masked, so the query heads of one key head are as good as more queries of one
        // head.
        const at::Tensor query = rows.narrow(2, 0, layout.n_heads)
                                     .view({group.n_texts, group.length, n_kv, n_shared, size})
                                     .permute({0, 2, 3, 1, 4})
                                     .reshape({group.n_texts, n_kv, n_shared * group.length, size});
        const at::Tensor key = rows.narrow(2, layout.n_heads, n_kv).transpose(1, 2);
        const at::Tensor value = rows.narrow(2, layout.n_heads + n_kv, n_kv).transpose(1, 2);
        const at::Tensor result = at::scaled_dot_product_attention(query, key, value);
        out.narrow(0, group.first_row, group.n_rows())
            .view({group.n_texts, group.length, n_kv, n_shared, size})
            .copy_(result.reshape({group.n_texts, n_kv, n_shared, group.length, size})
                       .permute({0, 3, 1, 2, 4}));
    }
}

std::vector<float> alibi_slopes(std::int64_t n_heads)
{
    const auto wanted = static_cast<std::size_t>(n_heads);
    const std::size_t power = std::bit_floor(wanted);
    const auto slope = [](std::size_t i, std::size_t n) {
        return static_cast<float>(
            std::exp2(-8.0 * static_cast<double>(i + 1) / static_cast<double>(n)));
    };
    std::vector<float> slopes;
    for (std::size_t i = 0; i < power; ++i)
        slopes.push_back(slope(i, power));
    // What a power of two lacks comes from the next one, every other slope of it.
    for (std::size_t i = 0; slopes.size() < wanted; i += 2)
        slopes.push_back(slope(i, 2 * power));
    return slopes;
}

// [1, n_heads, length, length]: element (i, j) belongs to query i and, keys being in reverse, key
// length - 1 - j, which makes their distance depend on i + j alone.
at::Tensor alibi_attention::bias(std::int64_t length)
{
    const auto n_heads = static_cast<std::int64_t>(slopes_.size());
    if (!penalties_.defined() || (penalties_.size(1) + 1) / 2 < length) {
        const at::Tensor distance =
            at::arange(2 * length - 1, at::TensorOptions{}.dtype(c10::ScalarType::Float))
                .sub_(static_cast<double>(length - 1))
                .abs_();
        penalties_ = at::tensor(slopes_).neg_().view({n_heads, 1}).mul(distance.view({1, -1}));
    }
    const std::int64_t width = penalties_.size(1);
    const std::int64_t longest = (width + 1) / 2;
    return penalties_.as_strided({1, n_heads, length, length}, {0, width, 1, 1}, longest - length);
}

void alibi_attention::run(
    const at::Tensor& qkv, std::span<const text_group> groups, at::Tensor& out)
{
    const auto n_heads = static_cast<std::int64_t>(slopes_.size());
    const std::int64_t size = out.size(1) / n_heads;
    for (const text_group& group : groups) {
        const at::Tensor split = qkv.narrow(0, group.first_row, group.n_rows())
                                     .view({group.n_texts, group.length, 3, n_heads, size});
        const at::Tensor query = split.select(2, 0).transpose(1, 2);
        const at::Tensor key = split.select(2, 1).flip(1).transpose(1, 2);
        const at::Tensor value = split.select(2, 2).flip(1).transpose(1, 2);
        const at::Tensor result =
            at::scaled_dot_product_attention(query, key, value, bias(group.length));
        out.narrow(0, group.first_row, group.n_rows())
            .view({group.n_texts, group.length, n_heads, size})
            .copy_(result.transpose(1, 2));
    }
}

}  // namespace modelpool::nn

#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "torch/packing.hpp"

namespace modelpool::nn {

/// The heads of an attention layer; `n_heads / n_kv_heads` query heads share each key and value
/// head.
struct head_layout {
    std::int64_t n_heads{0};
    std::int64_t n_kv_heads{0};
    std::int64_t head_size{0};

    /// Columns of a matrix of queries, keys and values side by side.
    std::int64_t qkv_width() const noexcept { return (n_heads + 2 * n_kv_heads) * head_size; }
    std::int64_t context_width() const noexcept { return n_heads * head_size; }
};

/// Every token attends to all tokens of its own text, before and after it, with scale 1/sqrt(head
/// size). qkv: [n, layout.qkv_width()]; out: [n, layout.context_width()].
void attend_shared_heads(
    const at::Tensor& qkv,
    std::span<const text_group> groups,
    const head_layout& layout,
    at::Tensor& out);

/// What ALiBi takes from a score for each token between the two: one slope a head.
/// Paper: https://arxiv.org/abs/2108.12409, in its form without direction.
std::vector<float> alibi_slopes(std::int64_t n_heads);

/// Attention with ALiBi. The penalties of all pairs of tokens are one row of numbers a head, read
/// with overlapping strides, so their memory grows with the length of a text and not with its
/// square. Belongs to one replica. Not thread-safe.
class alibi_attention {
public:
    explicit alibi_attention(std::int64_t n_heads)
        : slopes_{alibi_slopes(n_heads)}
    {}

    /// As attend_shared_heads, with as many key and value heads as query heads.
    void run(const at::Tensor& qkv, std::span<const text_group> groups, at::Tensor& out);

private:
    at::Tensor bias(std::int64_t length);

    std::vector<float> slopes_;
    at::Tensor penalties_;  // [n_heads, 2 * longest - 1]
};

}  // namespace modelpool::nn

#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "torch/activation.hpp"
#include "torch/packing.hpp"
#include "torch/weight_reader.hpp"

namespace modelpool::nn {

/// x · weightᵀ + bias.
class linear {
public:
    linear() = default;
    /// Reads "<module>.weight" [n_out, n_in] and "<module>.bias" [n_out] as `dtype`.
    static linear read(
        const weight_reader& reader,
        std::string_view module,
        std::pair<std::int64_t, std::int64_t> in_out,
        c10::ScalarType dtype);
    /// Several modules of one shape as one: their outputs stand side by side.
    static linear read_fused(
        const weight_reader& reader,
        const std::vector<std::string>& modules,
        std::pair<std::int64_t, std::int64_t> in_out,
        c10::ScalarType dtype);

    /// out = x · weightᵀ + bias; out is [n, n_out] of the layer's dtype, x is [n, n_in].
    void run(const at::Tensor& x, at::Tensor& out) const;
    /// sum += x · weightᵀ + bias, where `sum` may be wider than the layer's dtype.
    void add_to(const at::Tensor& x, at::Tensor& sum) const;

private:
    at::Tensor weight_t_;  // [n_in, n_out]; a view of what the checkpoint stores, unless fused
    at::Tensor bias_;      // [n_out]
};

/// Scales each row to zero mean and unit variance, then by weight and bias; in f32.
class layer_norm {
public:
    layer_norm() = default;
    /// Reads "weight" and "bias", or "gamma" and "beta" as the first BERT checkpoints have them.
    static layer_norm read(const weight_reader& reader, std::int64_t size, double epsilon);

    at::Tensor run(const at::Tensor& x) const;

private:
    at::Tensor weight_;
    at::Tensor bias_;
    double epsilon_{0};
};

/// Scales each row to a mean square of one, then by weight; in f32.
class rms_norm {
public:
    rms_norm() = default;
    /// Reads "weight".
    static rms_norm read(const weight_reader& reader, std::int64_t size, double epsilon);

    /// x and out: [n, size] f32, not the same memory.
    void run(const at::Tensor& x, at::Tensor& out) const;

private:
    at::Tensor weight_;
    double epsilon_{0};
};

/// out = the rows `ids` of `table`; `out` is f32, the table as it is stored.
void gather_rows(const at::Tensor& table, const at::Tensor& ids, at::Tensor& out);

/// In place.
void apply(activation function, at::Tensor& x);

/// Every token attends to all tokens of its own text, with scale 1/sqrt(head size). qkv: [n, 3 *
/// hidden], queries, keys and values side by side, each of `n_heads` heads; out: [n, hidden].
void attend_within_texts(
    const at::Tensor& qkv,
    std::span<const text_group> groups,
    std::int64_t n_heads,
    at::Tensor& out);

}  // namespace modelpool::nn

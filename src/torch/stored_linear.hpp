#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <string_view>
#include <utility>

#include "torch/weight_reader.hpp"

namespace modelpool::nn {

/// Room of one replica in which a few rows of a stored weight at a time are converted to the number
/// format that is computed in. Not thread-safe.
class widening_buffer {
public:
    /// Rows that fit: as many as take about the size of a core's cache, and at least one.
    static std::int64_t fitting_rows(std::int64_t width) noexcept;

    /// `rows` as `dtype`, valid until the next call. Precondition: at most fitting_rows of them.
    at::Tensor widened(const at::Tensor& rows, c10::ScalarType dtype);

private:
    at::Tensor room_;
};

/// x · weightᵀ + bias for models of gigabytes: in f32 the weight stays in the mapped file in the
/// format it is stored in, and is widened a few rows at a time on its way into the product.
class stored_linear {
public:
    enum class bias { none, stored };

    stored_linear() = default;
    /// Reads "<module>.weight" [n_out, n_in] and, where asked for, "<module>.bias" [n_out]. Where
    /// `dtype` is no wider than what is stored, the weight is converted once.
    static stored_linear read(
        const weight_reader& reader,
        std::string_view module,
        std::pair<std::int64_t, std::int64_t> in_out,
        std::pair<c10::ScalarType, bias> how);

    std::int64_t n_out() const { return weight_.size(0); }

    /// out = x · weightᵀ + bias; x is [n, n_in] and out [n, n_out], both of the dtype computed in.
    /// `out` may be some columns of a wider matrix.
    void run(const at::Tensor& x, const at::Tensor& out, widening_buffer& room) const;
    /// sum += x · weightᵀ + bias, where `sum` may be wider than the dtype computed in.
    void add_to(const at::Tensor& x, const at::Tensor& sum, widening_buffer& room) const;

private:
    template <class Work>
    void for_parts(c10::ScalarType dtype, widening_buffer& room, Work&& work) const;

    at::Tensor weight_;  // [n_out, n_in], as stored
    at::Tensor bias_;    // [n_out] of the dtype computed in; undefined where there is none
};

}  // namespace modelpool::nn

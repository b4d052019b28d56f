#pragma once

#include <cstdint>

namespace modelpool::kernels {

/// Rows of numbers, `stride` numbers from one to the next; a view.
struct const_matrix {
    const float* data{nullptr};
    std::int64_t n_rows{0};
    std::int64_t n{0};
    std::int64_t stride{0};

    const float* row(std::int64_t index) const { return data + index * stride; }
};

/// The same, to be written.
struct matrix {
    float* data{nullptr};
    std::int64_t n_rows{0};
    std::int64_t n{0};
    std::int64_t stride{0};

    float* row(std::int64_t index) const { return data + index * stride; }
    operator const_matrix() const  // NOLINT(google-explicit-constructor): a view of the same
    {
        return {data, n_rows, n, stride};
    }
};

}  // namespace modelpool::kernels

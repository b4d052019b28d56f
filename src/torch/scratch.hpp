#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include <cstdint>

namespace modelpool::nn {

/// A matrix that one replica writes anew in every call and keeps between calls, since fresh pages
/// cost more than what is written to them. It grows to the most rows ever asked for. Not
/// thread-safe.
class row_buffer {
public:
    row_buffer(std::int64_t width, c10::ScalarType dtype)
        : width_{width}
        , dtype_{dtype}
    {}

    /// The first `n_rows` rows: [n_rows, width], contiguous, with any content. Rows handed out
    /// before share the memory, unless the buffer had to grow.
    at::Tensor rows(std::int64_t n_rows);

private:
    at::Tensor all_;
    std::int64_t width_;
    c10::ScalarType dtype_;
};

/// `x` [n, width] as `dtype`: `x` itself, or a copy in `buffer`.
at::Tensor as_dtype(const at::Tensor& x, c10::ScalarType dtype, row_buffer& buffer);

}  // namespace modelpool::nn

#include "torch/scratch.hpp"

#include <ATen/ops/empty.h>

namespace modelpool::nn {

at::Tensor row_buffer::rows(std::int64_t n_rows)
{
    if (!all_.defined() || all_.size(0) < n_rows) {
        all_.reset();  // before the new one is made, so that both never exist
        all_ = at::empty({n_rows, width_}, at::TensorOptions{}.dtype(dtype_));
    }
    return all_.narrow(0, 0, n_rows);
}

at::Tensor as_dtype(const at::Tensor& x, c10::ScalarType dtype, row_buffer& buffer)
{
    if (x.scalar_type() == dtype) return x;
    at::Tensor narrowed = buffer.rows(x.size(0));
    narrowed.copy_(x);
    return narrowed;
}

}  // namespace modelpool::nn

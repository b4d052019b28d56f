#include "torch/stored_linear.hpp"

#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>

#include <algorithm>

namespace modelpool::nn {
namespace {

// 4 MiB in f32.
constexpr std::int64_t room_elements = std::int64_t{1} << 20;

}  // namespace

std::int64_t widening_buffer::fitting_rows(std::int64_t width) noexcept
{
    return std::max<std::int64_t>(1, room_elements / std::max<std::int64_t>(1, width));
}

at::Tensor widening_buffer::widened(const at::Tensor& rows, c10::ScalarType dtype)
{
    const std::int64_t needed = rows.numel();
    if (!room_.defined() || room_.scalar_type() != dtype || room_.numel() < needed)
        room_ = at::empty({std::max(needed, room_elements)}, at::TensorOptions{}.dtype(dtype));
    at::Tensor result = room_.narrow(0, 0, needed).view(rows.sizes());
    result.copy_(rows);
    return result;
}

stored_linear stored_linear::read(
    const weight_reader& reader,
    std::string_view module,
    std::pair<std::int64_t, std::int64_t> in_out,
    std::pair<c10::ScalarType, bias> how)
{
    const auto [n_in, n_out] = in_out;
    const auto [dtype, bias_use] = how;
    const weight_reader scope = reader.in(module);
    const c10::ScalarType stored = scope.stored_type("weight", {n_out, n_in});
    const bool kept = c10::elementSize(stored) < c10::elementSize(dtype);
    stored_linear result;
    result.weight_ = scope.read("weight", {n_out, n_in}, kept ? stored : dtype);
    if (bias_use == bias::stored) result.bias_ = scope.read("bias", {n_out}, dtype);
    return result;
}

// work(weight [n, n_in], first, n) for the rows [first, first + n) of the weight, in the dtype
// computed in.
template <class Work>
void stored_linear::for_parts(c10::ScalarType dtype, widening_buffer& room, Work&& work) const
{
    const std::int64_t n_rows = n_out();
    if (weight_.scalar_type() == dtype) {
        work(weight_, std::int64_t{0}, n_rows);
        return;
    }
    const std::int64_t step = widening_buffer::fitting_rows(weight_.size(1));
    for (std::int64_t first = 0; first < n_rows; first += step) {
        const std::int64_t n = std::min(step, n_rows - first);
        work(room.widened(weight_.narrow(0, first, n), dtype), first, n);
    }
}

void stored_linear::run(const at::Tensor& x, const at::Tensor& out, widening_buffer& room) const
{
    const auto multiply = [&](const at::Tensor& weight, std::int64_t first, std::int64_t n) {
        at::Tensor columns = out.narrow(1, first, n);
        if (bias_.defined())
            at::addmm_out(columns, bias_.narrow(0, first, n), x, weight.t());
        else
            at::mm_out(columns, x, weight.t());
    };
    for_parts(x.scalar_type(), room, multiply);
}

void stored_linear::add_to(const at::Tensor& x, const at::Tensor& sum, widening_buffer& room) const
{
    if (bias_.defined()) sum.add_(bias_);
    const bool narrow_product = sum.scalar_type() != x.scalar_type();
    const auto multiply = [&](const at::Tensor& weight, std::int64_t first, std::int64_t n) {
        at::Tensor columns = sum.narrow(1, first, n);
        if (narrow_product)
            columns.add_(at::mm(x, weight.t()));
        else
            columns.addmm_(x, weight.t());
    };
    for_parts(x.scalar_type(), room, multiply);
}

}  // namespace modelpool::nn

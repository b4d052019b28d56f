#include "torch/weight_reader.hpp"

#include <modelpool/error.hpp>

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>

#include "kernels/block_type.hpp"
#include "support/stop.hpp"

namespace modelpool::nn {
namespace {

// Blocks are read as f32.
c10::ScalarType scalar_type(const weights::stored_tensor& found)
{
    switch (*found.type) {
    case weights::number_type::f64:
        return c10::ScalarType::Double;
    case weights::number_type::f16:
        return c10::ScalarType::Half;
    case weights::number_type::bf16:
        return c10::ScalarType::BFloat16;
    default:
        return c10::ScalarType::Float;
    }
}

bool aligned(std::span<const std::byte> data, c10::ScalarType type)
{
    return reinterpret_cast<std::uintptr_t>(data.data()) % c10::elementSize(type) == 0;
}

// The numbers of blocks, rows one after another.
at::Tensor widened(const weights::stored_tensor& found)
{
    const auto type = static_cast<kernels::block_type>(*found.type);
    at::Tensor result = at::empty(found.shape, at::TensorOptions{}.dtype(c10::ScalarType::Float));
    const std::int64_t width = found.shape.empty() ? 1 : found.shape.back();
    const std::int64_t row_bytes = kernels::row_bytes(type, width);
    auto* to = result.mutable_data_ptr<float>();
    for (const std::span<const std::byte> piece : found.pieces) {
        const std::int64_t n_rows = static_cast<std::int64_t>(piece.size()) / row_bytes;
        for (std::int64_t row = 0; row < n_rows; ++row, to += width)
            kernels::dequantize_row(type, piece.data() + row * row_bytes, width, to);
    }
    return result;
}

// A copy, in one piece.
at::Tensor joined(const weights::stored_tensor& found, c10::ScalarType type)
{
    at::Tensor result = at::empty(found.shape, at::TensorOptions{}.dtype(type));
    auto* to = static_cast<std::byte*>(result.mutable_data_ptr());
    for (const std::span<const std::byte> piece : found.pieces)
        to = std::ranges::copy(piece, to).out;
    return result;
}

}  // namespace

struct weight_reader::state {
    std::shared_ptr<const weights::tensor_source> source;
    stop_flag stop;
    weight_footprint footprint;
};

weight_reader::weight_reader(std::shared_ptr<const weights::checkpoint> source, stop_flag stop)
    : weight_reader{weights::make_tensor_source(std::move(source)), std::move(stop)}
{}

weight_reader::weight_reader(std::shared_ptr<const weights::tensor_source> source, stop_flag stop)
    : state_{std::make_shared<state>()}
{
    state_->source = std::move(source);
    state_->stop = std::move(stop);
}

weight_reader::weight_reader(std::shared_ptr<state> shared, std::string prefix)
    : state_{std::move(shared)}
    , prefix_{std::move(prefix)}
{}

weight_reader weight_reader::in(std::string_view module) const
{
    std::string prefix = prefix_ + std::string{module};
    if (!module.empty()) prefix += '.';
    return weight_reader{state_, std::move(prefix)};
}

bool weight_reader::has(std::string_view name) const
{
    return state_->source->find(prefix_ + std::string{name}).has_value();
}

weights::stored_tensor weight_reader::pieces(std::string_view name, at::IntArrayRef shape) const
{
    const std::string full_name = prefix_ + std::string{name};
    const std::string where = state_->source->where() + ": tensor '" + full_name + "'";
    support::end_if_stopped(state_->stop, "loading " + where);
    std::optional<weights::stored_tensor> found = state_->source->find(full_name);
    if (!found) throw error{model_errc::missing_tensor, where + " is missing"};
    if (!std::ranges::equal(found->shape, shape))
        throw error{
            model_errc::shape_mismatch,
            where + " has shape " + weights::shape_text(found->shape) +
                ", the configuration asks for " +
                weights::shape_text({shape.data(), shape.size()})};
    if (!found->type)
        throw error{
            model_errc::dtype_mismatch,
            where + " has type " + std::string{found->type_name} +
                ", expected one of F32, F16, BF16, F64"};
    return std::move(*found);
}

const std::shared_ptr<const weights::tensor_source>& weight_reader::source() const noexcept
{
    return state_->source;
}

void weight_reader::count(weight_footprint more) const noexcept
{
    state_->footprint.mapped_bytes += more.mapped_bytes;
    state_->footprint.copied_bytes += more.copied_bytes;
}

at::Tensor weight_reader::tensor(const weights::stored_tensor& found) const
{
    if (!weights::is_dense(*found.type)) return widened(found);
    const c10::ScalarType type = scalar_type(found);
    if (found.pieces.size() != 1 || !aligned(found.pieces.front(), type))
        return joined(found, type);
    // from_blob takes a pointer to mutable bytes; the mapping is read-only and nothing writes to
    // weights.
    auto* data = const_cast<std::byte*>(found.pieces.front().data());
    auto keep = [source = state_->source](void*) {};
    return at::from_blob(data, found.shape, std::move(keep), at::TensorOptions{}.dtype(type));
}

c10::ScalarType weight_reader::stored_type(std::string_view name, at::IntArrayRef shape) const
{
    return scalar_type(pieces(name, shape));
}

at::Tensor weight_reader::stored(std::string_view name, at::IntArrayRef shape) const
{
    return read(name, shape, stored_type(name, shape));
}

at::Tensor
weight_reader::read(std::string_view name, at::IntArrayRef shape, c10::ScalarType dtype) const
{
    const weights::stored_tensor found = pieces(name, shape);
    at::Tensor result = tensor(found).to(dtype);
    const bool mapped =
        result.const_data_ptr() == static_cast<const void*>(found.pieces.front().data());
    (mapped ? state_->footprint.mapped_bytes : state_->footprint.copied_bytes) += result.nbytes();
    return result;
}

at::Tensor weight_reader::stacked(
    const std::vector<std::string>& names, at::IntArrayRef shape, c10::ScalarType dtype) const
{
    std::vector<std::int64_t> sizes = shape.vec();
    sizes.front() *= static_cast<std::int64_t>(names.size());
    at::Tensor result = at::empty(sizes, at::TensorOptions{}.dtype(dtype));
    std::int64_t row = 0;
    for (const std::string& name : names) {
        result.narrow(0, row, shape.front()).copy_(tensor(pieces(name, shape)));
        row += shape.front();
    }
    state_->footprint.copied_bytes += result.nbytes();
    return result;
}

at::Tensor weight_reader::stacked_transposed(
    const std::vector<std::string>& names, at::IntArrayRef shape, c10::ScalarType dtype) const
{
    const std::int64_t n_out = shape[0];
    const std::int64_t n_in = shape[1];
    const auto n_matrices = static_cast<std::int64_t>(names.size());
    at::Tensor result = at::empty({n_in, n_out * n_matrices}, at::TensorOptions{}.dtype(dtype));
    std::int64_t column = 0;
    for (const std::string& name : names) {
        result.narrow(1, column, n_out).copy_(tensor(pieces(name, shape)).t());
        column += n_out;
    }
    state_->footprint.copied_bytes += result.nbytes();
    return result;
}

weight_footprint weight_reader::footprint() const noexcept
{
    return state_->footprint;
}

void weight_reader::drop_pages() const noexcept
{
    state_->source->drop_pages();
}

}  // namespace modelpool::nn

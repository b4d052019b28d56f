#include "torch/weight_reader.hpp"

#include <modelpool/error.hpp>

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "support/stop.hpp"

namespace modelpool::nn {
namespace {

std::optional<c10::ScalarType> scalar_type(weights::element type)
{
    switch (type) {
    case weights::element::f64:
        return c10::ScalarType::Double;
    case weights::element::f32:
        return c10::ScalarType::Float;
    case weights::element::f16:
        return c10::ScalarType::Half;
    case weights::element::bf16:
        return c10::ScalarType::BFloat16;
    default:
        return std::nullopt;
    }
}

bool aligned(const weights::tensor_view& found)
{
    const auto address = reinterpret_cast<std::uintptr_t>(found.data.data());
    return address % weights::size_of(found.type) == 0;
}

}  // namespace

struct weight_reader::state {
    std::shared_ptr<const weights::checkpoint> source;
    stop_flag stop;
    weight_footprint footprint;
};

weight_reader::weight_reader(std::shared_ptr<const weights::checkpoint> source, stop_flag stop)
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
    return state_->source->find(prefix_ + std::string{name}) != nullptr;
}

const weights::tensor_view& weight_reader::view(std::string_view name, at::IntArrayRef shape) const
{
    const std::string full_name = prefix_ + std::string{name};
    const std::string where = state_->source->path().string() + ": tensor '" + full_name + "'";
    support::end_if_stopped(state_->stop, "loading " + where);
    const weights::tensor_view* found = state_->source->find(full_name);
    if (found == nullptr) throw error{model_errc::missing_tensor, where + " is missing"};
    if (!std::ranges::equal(found->shape, shape))
        throw error{
            model_errc::shape_mismatch,
            where + " has shape " + weights::shape_text(found->shape) +
                ", the configuration asks for " +
                weights::shape_text({shape.data(), shape.size()})};
    if (!scalar_type(found->type))
        throw error{
            model_errc::dtype_mismatch,
            where + " has type " + std::string{weights::to_string(found->type)} +
                ", expected one of F32, F16, BF16, F64"};
    return *found;
}

at::Tensor weight_reader::in_place(const weights::tensor_view& found) const
{
    // from_blob takes a pointer to mutable bytes; the mapping is read-only and nothing writes to
    // weights.
    auto* data = const_cast<std::byte*>(found.data.data());
    const auto options = at::TensorOptions{}.dtype(*scalar_type(found.type));
    if (!aligned(found)) {
        at::Tensor copy = at::empty(found.shape, options);
        std::memcpy(copy.mutable_data_ptr(), data, found.data.size());
        return copy;
    }
    auto keep = [source = state_->source](void*) {};
    return at::from_blob(data, found.shape, std::move(keep), options);
}

c10::ScalarType weight_reader::stored_type(std::string_view name, at::IntArrayRef shape) const
{
    return *scalar_type(view(name, shape).type);
}

at::Tensor weight_reader::stored(std::string_view name, at::IntArrayRef shape) const
{
    return read(name, shape, stored_type(name, shape));
}

at::Tensor
weight_reader::read(std::string_view name, at::IntArrayRef shape, c10::ScalarType dtype) const
{
    const weights::tensor_view& found = view(name, shape);
    const at::Tensor source = in_place(found);
    at::Tensor result = source.to(dtype);
    const bool mapped = result.const_data_ptr() == static_cast<const void*>(found.data.data());
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
        result.narrow(0, row, shape.front()).copy_(in_place(view(name, shape)));
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
        result.narrow(1, column, n_out).copy_(in_place(view(name, shape)).t());
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
    for (const auto& file : state_->source->files())
        file->drop_pages();
}

}  // namespace modelpool::nn

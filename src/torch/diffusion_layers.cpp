#include "torch/diffusion_layers.hpp"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/rms_norm.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/silu.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "support/stop.hpp"
#include "torch/threads.hpp"

namespace modelpool::nn {
namespace {

constexpr auto f32 = c10::ScalarType::Float;
constexpr std::int64_t n_time_channels = 256;
constexpr double norm_epsilon = 1e-6;  // of all norms in these transformers

}  // namespace

at::Tensor
project(const projection& by, const at::Tensor& x, projection_room& room, projection::function f)
{
    std::vector<std::int64_t> shape = x.sizes().vec();
    const at::Tensor rows = by.run(x.reshape({-1, shape.back()}), room, f);
    shape.back() = rows.size(1);
    return rows.view(shape);
}

void enter_block(run_context& context, projection_room& room)
{
    support::end_if_stopped(context.stop(), "a step");
    context.step_done();
    use_threads(context.n_threads());
    room.use_threads(context.n_threads());
}

void step_modulations::begin(std::size_t step, std::size_t n_steps)
{
    constexpr std::size_t most_steps = 8;
    first_ = step;
    end_ = step + std::min(most_steps, n_steps - step);
}

at::Tensor step_modulations::of(std::size_t block, std::size_t step) const
{
    const at::Tensor& all = blocks_[block];
    const std::int64_t n_samples = all.size(0) / static_cast<std::int64_t>(end_ - first_);
    return all.narrow(0, static_cast<std::int64_t>(step - first_) * n_samples, n_samples);
}

at::Tensor time_embedding(const at::Tensor& times)
{
    constexpr std::int64_t n_half = n_time_channels / 2;
    const at::Tensor frequencies = at::arange(n_half, at::TensorOptions{}.dtype(f32))
                                       .mul_(-std::log(10000.0))
                                       .div_(static_cast<double>(n_half))
                                       .exp_();
    const at::Tensor angles = times.view({-1, 1}).mul(frequencies.view({1, -1}));
    return at::cat({angles.cos(), angles.sin()}, 1);
}

embedding_mlp embedding_mlp::read(
    const weight_reader& reader, std::int64_t n_in, std::int64_t width, const weight_format& format)
{
    embedding_mlp result;
    result.dtype_ = format.compute;
    result.linear_1_ = projection::read(reader, "linear_1", {n_in, width}, format);
    result.linear_2_ = projection::read(reader, "linear_2", {width, width}, format);
    return result;
}

at::Tensor embedding_mlp::run(const at::Tensor& x, projection_room& room) const
{
    at::Tensor inner = linear_1_.run(x.to(dtype_), room);
    at::silu_(inner);
    return linear_2_.run(inner, room).to(f32);
}

modulation modulation::read(
    const weight_reader& reader,
    std::int64_t width,
    std::int64_t n_parts,
    const weight_format& format)
{
    modulation result;
    result.dtype_ = format.compute;
    result.n_parts_ = n_parts;
    result.linear_ = projection::read(reader, "linear", {width, n_parts * width}, format);
    return result;
}

at::Tensor modulation::run(const at::Tensor& activated, projection_room& room) const
{
    return linear_.run(activated.to(dtype_), room)
        .to(f32)
        .view({activated.size(0), n_parts_, activated.size(1)});
}

at::Tensor modulated(
    const at::Tensor& x, const at::Tensor& shift, const at::Tensor& scale, c10::ScalarType dtype)
{
    const at::Tensor weight = scale.add(1);
    const auto normed = [&](const at::Tensor& states, std::int64_t sample) {
        return at::layer_norm(
            states, {x.size(2)}, weight.select(0, sample), shift.select(0, sample), norm_epsilon);
    };
    if (x.size(0) == 1) return normed(x, 0).to(dtype);
    at::Tensor result = at::empty(x.sizes(), x.options().dtype(dtype));
    for (std::int64_t i = 0; i < x.size(0); ++i)
        result.select(0, i).copy_(normed(x.select(0, i), i));
    return result;
}

void add_gated(const at::Tensor& x, const at::Tensor& gate, const at::Tensor& by)
{
    x.addcmul_(gate.unsqueeze(1), by.to(f32));
}

head_norm head_norm::read(const weight_reader& reader, std::int64_t head_size)
{
    head_norm result;
    result.weight_ = reader.read("weight", {head_size}, f32);
    return result;
}

at::Tensor head_norm::run(const at::Tensor& x) const
{
    if (!weight_.defined()) return x;
    return at::rms_norm(x.to(f32), weight_.sizes(), weight_, norm_epsilon);
}

gelu_feed_forward gelu_feed_forward::read(
    const weight_reader& reader,
    std::int64_t width,
    std::int64_t inner,
    const weight_format& format)
{
    gelu_feed_forward result;
    result.proj_in_ = projection::read(reader, "net.0.proj", {width, inner}, format);
    result.proj_out_ = projection::read(reader, "net.2", {inner, width}, format);
    return result;
}

at::Tensor gelu_feed_forward::run(const at::Tensor& x, projection_room& room) const
{
    const at::Tensor inner = project(proj_in_, x, room, projection::function::gelu_tanh);
    return project(proj_out_, inner, room);
}

head_projections head_projections::read(
    const weight_reader& reader,
    const names& called,
    const layout& heads,
    const weight_format& format)
{
    const std::int64_t width = heads.n_heads * heads.head_size;
    const auto norm = [&](std::string_view name) {
        return heads.normed ? head_norm::read(reader.in(name), heads.head_size) : head_norm{};
    };
    head_projections result;
    result.n_heads_ = heads.n_heads;
    result.dtype_ = format.compute;
    result.query_ = projection::read(reader, called.query, {width, width}, format);
    result.key_ = projection::read(reader, called.key, {width, width}, format);
    result.value_ = projection::read(reader, called.value, {width, width}, format);
    result.query_norm_ = norm(called.query_norm);
    result.key_norm_ = norm(called.key_norm);
    return result;
}

head_states head_projections::run(const at::Tensor& x, projection_room& room) const
{
    return run(room.input(x.reshape({-1, x.size(2)})), x.size(0), room);
}

head_states head_projections::run(
    const projection_input& x, std::int64_t n_samples, projection_room& room) const
{
    const std::int64_t n_tokens = x.rows.size(0) / n_samples;
    const auto heads = [&](const projection& by) {
        return by.run(x, room).view({n_samples, n_tokens, n_heads_, -1});
    };
    return {query_norm_.run(heads(query_)), key_norm_.run(heads(key_)), heads(value_)};
}

head_states joined(const head_states& first, const head_states& then)
{
    return {
        at::cat({first.query, then.query}, 1),
        at::cat({first.key, then.key}, 1),
        at::cat({first.value, then.value}, 1)};
}

at::Tensor attend(const head_states& heads)
{
    // each [n_samples, n_heads, n_tokens, head_size]
    const auto turned = [&](const at::Tensor& x) {
        return x.to(heads.value.scalar_type()).transpose(1, 2);
    };
    const at::Tensor result = at::scaled_dot_product_attention(
        turned(heads.query), turned(heads.key), turned(heads.value));
    return result.transpose(1, 2).reshape({heads.query.size(0), heads.query.size(1), -1});
}

}  // namespace modelpool::nn

#include "torch/t5_encoder.hpp"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/where.h>

#include <cmath>
#include <string>

#include "support/stop.hpp"
#include "torch/threads.hpp"

namespace modelpool::nn {
namespace {

constexpr auto f32 = c10::ScalarType::Float;

at::Tensor normed(const rms_norm& norm, const at::Tensor& x, c10::ScalarType dtype)
{
    at::Tensor result = at::empty_like(x);
    norm.run(x, result);
    return result.to(dtype);
}

}  // namespace

t5_encoder::block t5_encoder::block::read(
    const weight_reader& reader, const t5_config& config, const weight_format& format)
{
    const std::int64_t width = config.d_model;
    const std::int64_t inner = config.n_heads * config.d_kv;
    const auto linear = [&](const char* name, std::int64_t n_in, std::int64_t n_out) {
        return projection::read(reader, name, {n_in, n_out}, format, projection::bias::none);
    };
    block result;
    result.layer_norm = rms_norm::read(reader.in("layer.0.layer_norm"), width, config.epsilon);
    result.q = linear("layer.0.SelfAttention.q", width, inner);
    result.k = linear("layer.0.SelfAttention.k", width, inner);
    result.v = linear("layer.0.SelfAttention.v", width, inner);
    result.o = linear("layer.0.SelfAttention.o", inner, width);
    result.ff_layer_norm = rms_norm::read(reader.in("layer.1.layer_norm"), width, config.epsilon);
    result.wi_0 = linear("layer.1.DenseReluDense.wi_0", width, config.d_ff);
    result.wi_1 = linear("layer.1.DenseReluDense.wi_1", width, config.d_ff);
    result.wo = linear("layer.1.DenseReluDense.wo", config.d_ff, width);
    return result;
}

t5_encoder
t5_encoder::read(const weight_reader& reader, const t5_config& config, const weight_format& format)
{
    t5_encoder result;
    result.config_ = config;
    result.dtype_ = format.compute;
    result.shared_ = reader.stored("shared.weight", {config.vocab_size, config.d_model});
    const weight_reader blocks = reader.in("encoder.block");
    result.relative_attention_bias_ = blocks.read(
        "0.layer.0.SelfAttention.relative_attention_bias.weight",
        {config.n_buckets, config.n_heads},
        f32);
    for (std::int64_t i = 0; i < config.n_layers; ++i) {
        result.blocks_.push_back(block::read(blocks.in(std::to_string(i)), config, format));
        reader.drop_pages();  // what became something else is not looked at again
    }
    result.final_layer_norm_ =
        rms_norm::read(reader.in("encoder.final_layer_norm"), config.d_model, config.epsilon);
    return result;
}

// [1, n_heads, length, length], one number for each pair of positions, which all layers share. Half
// of the buckets are for keys that lie behind; of each half, the first half is exact and the rest
// grows logarithmically up to max_distance.
at::Tensor t5_encoder::position_bias(std::int64_t length) const
{
    const std::int64_t n_half = config_.n_buckets / 2;
    const std::int64_t n_exact = n_half / 2;
    const at::Tensor places = at::arange(length, at::TensorOptions{}.dtype(c10::ScalarType::Long));
    const at::Tensor distance = places.view({1, -1}).sub(places.view({-1, 1}));  // key - query
    const at::Tensor far = distance.abs();
    const double span =
        std::log(static_cast<double>(config_.max_distance) / static_cast<double>(n_exact));
    const at::Tensor coarse = far.to(f32)
                                  .div_(static_cast<double>(n_exact))
                                  .log_()
                                  .div_(span)
                                  .mul_(static_cast<double>(n_half - n_exact))
                                  .clamp_(0)  // the logarithm of distance 0, which is exact
                                  .to(c10::ScalarType::Long)
                                  .add_(n_exact)
                                  .clamp_max_(n_half - 1);
    const at::Tensor bucket =
        at::where(far.lt(n_exact), far, coarse).add_(distance.gt(0).to(far.scalar_type()), n_half);
    return at::index_select(relative_attention_bias_, 0, bucket.view({-1}))
        .view({length, length, config_.n_heads})
        .permute({2, 0, 1})
        .unsqueeze(0)
        .to(dtype_)
        .contiguous();
}

at::Tensor t5_encoder::run(const at::Tensor& ids, projection_room& room, run_context& context) const
{
    const at::Tensor hidden =
        at::empty({ids.size(0), config_.d_model}, at::TensorOptions{}.dtype(f32));
    at::Tensor embedded = hidden;
    gather_rows(shared_, ids, embedded);
    const at::Tensor bias = position_bias(ids.size(0));
    for (const block& one : blocks_) {
        support::end_if_stopped(context.stop(), "encoding a prompt");
        use_threads(context.n_threads());
        room.use_threads(context.n_threads());
        attend(one, hidden, bias, room);
        feed_forward(one, hidden, room);
        context.step_done();
    }
    return normed(final_layer_norm_, hidden, f32);
}

void t5_encoder::attend(
    const block& one, const at::Tensor& hidden, const at::Tensor& bias, projection_room& room) const
{
    const at::Tensor x = normed(one.layer_norm, hidden, dtype_);
    const projection_input input = room.input(x);
    // [1, n_heads, n, d_kv]
    const auto heads = [&](const projection& by) {
        return by.run(input, room)
            .view({1, x.size(0), config_.n_heads, config_.d_kv})
            .transpose(1, 2);
    };
    // T5 does not scale the products.
    const at::Tensor result = at::scaled_dot_product_attention(
        heads(one.q), heads(one.k), heads(one.v), bias, 0.0, false, 1.0);
    hidden.add_(one.o.run(result.transpose(1, 2).reshape({x.size(0), -1}), room));
}

void t5_encoder::feed_forward(
    const block& one, const at::Tensor& hidden, projection_room& room) const
{
    const at::Tensor x = normed(one.ff_layer_norm, hidden, dtype_);
    const projection_input input = room.input(x);
    const at::Tensor gate = one.wi_0.run(input, room, projection::function::gelu_tanh);
    gate.mul_(one.wi_1.run(input, room));
    hidden.add_(one.wo.run(gate, room));
}

}  // namespace modelpool::nn

#include "torch/clip_encoder.hpp"

#include <modelpool/assert.hpp>

#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/silu.h>

#include <algorithm>
#include <string>

#include "torch/threads.hpp"

namespace modelpool::nn {
namespace {

// x · sigmoid(1.702 x) is SiLU of 1.702 x over 1.702.
void quick_gelu(at::Tensor& x)
{
    constexpr double slope = 1.702;
    x.mul_(slope);
    at::silu_(x);
    x.mul_(1 / slope);
}

// qkv: [n, 3 * hidden], queries, keys and values side by side; out: [n, hidden].
void attend_heads(
    const at::Tensor& qkv,
    std::span<const text_group> groups,
    clip_view view,
    std::int64_t n_heads,
    const at::Tensor& out)
{
    const std::int64_t head_size = out.size(1) / n_heads;
    const bool causal = view == clip_view::backwards;
    for (const text_group& group : groups) {
        // [n_texts, length, 3, n_heads, head_size]
        const at::Tensor split = qkv.narrow(0, group.first_row, group.n_rows())
                                     .view({group.n_texts, group.length, 3, n_heads, head_size});
        // each [n_texts, n_heads, length, head_size]
        const at::Tensor query = split.select(2, 0).transpose(1, 2);
        const at::Tensor key = split.select(2, 1).transpose(1, 2);
        const at::Tensor value = split.select(2, 2).transpose(1, 2);
        const at::Tensor result =
            at::scaled_dot_product_attention(query, key, value, {}, 0.0, causal);
        out.narrow(0, group.first_row, group.n_rows())
            .view({group.n_texts, group.length, n_heads, head_size})
            .copy_(result.transpose(1, 2));
    }
}

}  // namespace

clip_encoder::scratch::scratch(const clip_tower_config& config, c10::ScalarType dtype)
    : hidden_{config.hidden_size, c10::ScalarType::Float}
    , narrowed_{config.hidden_size, dtype}
    , qkv_{3 * config.hidden_size, dtype}
    , context_{config.hidden_size, dtype}
    , inner_{config.intermediate_size, dtype}
{}

clip_encoder::layer clip_encoder::layer::read(
    const weight_reader& reader, const clip_tower_config& config, c10::ScalarType dtype)
{
    const std::int64_t hidden = config.hidden_size;
    const std::int64_t inner = config.intermediate_size;
    const auto linear = [&](const char* name, std::int64_t n_in, std::int64_t n_out) {
        return stored_linear::read(
            reader, name, {n_in, n_out}, {dtype, stored_linear::bias::stored});
    };
    layer result;
    result.layer_norm1 = layer_norm::read(reader.in("layer_norm1"), hidden, config.layer_norm_eps);
    result.q_proj = linear("self_attn.q_proj", hidden, hidden);
    result.k_proj = linear("self_attn.k_proj", hidden, hidden);
    result.v_proj = linear("self_attn.v_proj", hidden, hidden);
    result.out_proj = linear("self_attn.out_proj", hidden, hidden);
    result.layer_norm2 = layer_norm::read(reader.in("layer_norm2"), hidden, config.layer_norm_eps);
    result.fc1 = linear("mlp.fc1", hidden, inner);
    result.fc2 = linear("mlp.fc2", inner, hidden);
    return result;
}

clip_encoder clip_encoder::read(
    const weight_reader& reader, const clip_tower_config& config, c10::ScalarType dtype)
{
    clip_encoder result;
    result.config_ = config;
    result.dtype_ = dtype;
    for (std::int64_t i = 0; i < config.n_layers; ++i)
        result.layers_.push_back(
            layer::read(reader.in("layers." + std::to_string(i)), config, dtype));
    return result;
}

void clip_encoder::run(
    const at::Tensor& hidden,
    std::span<const text_group> groups,
    clip_view view,
    layer_range layers,
    scratch& buffers,
    run_context& context) const
{
    MODELPOOL_ASSERT(
        layers.begin >= 0 && layers.begin <= layers.end && layers.end <= config_.n_layers);
    const auto n = static_cast<std::size_t>(layers.end - layers.begin);
    for (const layer& one : std::span{layers_}.subspan(static_cast<std::size_t>(layers.begin), n)) {
        if (context.stop_requested()) return;
        use_threads(context.n_threads());
        attend(one, hidden, groups, view, buffers);
        feed_forward(one, hidden, buffers);
        context.step_done();
    }
}

void clip_encoder::attend(
    const layer& one,
    const at::Tensor& hidden,
    std::span<const text_group> groups,
    clip_view view,
    scratch& buffers) const
{
    const std::int64_t width = config_.hidden_size;
    const at::Tensor x = as_dtype(one.layer_norm1.run(hidden), dtype_, buffers.narrowed_);
    const at::Tensor qkv = buffers.qkv_.rows(hidden.size(0));
    one.q_proj.run(x, qkv.narrow(1, 0, width), buffers.room_);
    one.k_proj.run(x, qkv.narrow(1, width, width), buffers.room_);
    one.v_proj.run(x, qkv.narrow(1, 2 * width, width), buffers.room_);
    const at::Tensor context = buffers.context_.rows(hidden.size(0));
    attend_heads(qkv, groups, view, config_.n_heads, context);
    one.out_proj.add_to(context, hidden, buffers.room_);
}

void clip_encoder::feed_forward(const layer& one, const at::Tensor& hidden, scratch& buffers) const
{
    const at::Tensor x = as_dtype(one.layer_norm2.run(hidden), dtype_, buffers.narrowed_);
    at::Tensor inner = buffers.inner_.rows(hidden.size(0));
    one.fc1.run(x, inner, buffers.room_);
    if (config_.hidden_act)
        apply(*config_.hidden_act, inner);
    else
        quick_gelu(inner);
    one.fc2.add_to(inner, hidden, buffers.room_);
}

}  // namespace modelpool::nn

#include "torch/layers.hpp"

#include <ATen/ops/add.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/silu.h>

namespace modelpool::nn {

linear linear::read(
    const weight_reader& reader,
    std::string_view module,
    std::pair<std::int64_t, std::int64_t> in_out,
    c10::ScalarType dtype)
{
    const auto [n_in, n_out] = in_out;
    const weight_reader scope = reader.in(module);
    linear result;
    result.weight_t_ = scope.read("weight", {n_out, n_in}, dtype).t();
    result.bias_ = scope.read("bias", {n_out}, dtype);
    return result;
}

linear linear::read_fused(
    const weight_reader& reader,
    const std::vector<std::string>& modules,
    std::pair<std::int64_t, std::int64_t> in_out,
    c10::ScalarType dtype)
{
    const auto [n_in, n_out] = in_out;
    std::vector<std::string> weights;
    std::vector<std::string> biases;
    for (const std::string& module : modules) {
        weights.push_back(module + ".weight");
        biases.push_back(module + ".bias");
    }
    linear result;
    result.weight_t_ = reader.stacked_transposed(weights, {n_out, n_in}, dtype);
    result.bias_ = reader.stacked(biases, {n_out}, dtype);
    return result;
}

void linear::run(const at::Tensor& x, at::Tensor& out) const
{
    at::addmm_out(out, bias_, x, weight_t_);
}

void linear::add_to(const at::Tensor& x, at::Tensor& sum) const
{
    if (sum.scalar_type() != weight_t_.scalar_type()) {
        sum.add_(at::addmm(bias_, x, weight_t_));
        return;
    }
    // The product is accumulated where the sum lies, so neither needs a matrix of its own.
    sum.add_(bias_);
    sum.addmm_(x, weight_t_);
}

layer_norm layer_norm::read(const weight_reader& reader, std::int64_t size, double epsilon)
{
    const bool legacy = !reader.has("weight") && reader.has("gamma");
    layer_norm result;
    result.weight_ = reader.read(legacy ? "gamma" : "weight", {size}, c10::ScalarType::Float);
    result.bias_ = reader.read(legacy ? "beta" : "bias", {size}, c10::ScalarType::Float);
    result.epsilon_ = epsilon;
    return result;
}

at::Tensor layer_norm::run(const at::Tensor& x) const
{
    return at::layer_norm(x, weight_.sizes(), weight_, bias_, epsilon_);
}

rms_norm rms_norm::read(const weight_reader& reader, std::int64_t size, double epsilon)
{
    rms_norm result;
    result.weight_ = reader.read("weight", {size}, c10::ScalarType::Float);
    result.epsilon_ = epsilon;
    return result;
}

void rms_norm::run(const at::Tensor& x, at::Tensor& out) const
{
    at::mul_out(out, x, x);
    const at::Tensor scale = out.mean(1, true).add_(epsilon_).rsqrt_();
    at::mul_out(out, x, scale);
    out.mul_(weight_);
}

void gather_rows(const at::Tensor& table, const at::Tensor& ids, at::Tensor& out)
{
    if (table.scalar_type() == out.scalar_type())
        at::index_select_out(out, table, 0, ids);
    else
        out.copy_(at::index_select(table, 0, ids));
}

void apply(activation function, at::Tensor& x)
{
    switch (function) {
    case activation::gelu:
        at::gelu_(x, "none");
        break;
    case activation::gelu_tanh:
        at::gelu_(x, "tanh");
        break;
    case activation::relu:
        at::relu_(x);
        break;
    case activation::silu:
        at::silu_(x);
        break;
    }
}

void attend_within_texts(
    const at::Tensor& qkv,
    std::span<const text_group> groups,
    std::int64_t n_heads,
    at::Tensor& out)
{
    const std::int64_t head_size = out.size(1) / n_heads;
    for (const text_group& group : groups) {
        // [n_texts, length, 3, n_heads, head_size]
        const at::Tensor split = qkv.narrow(0, group.first_row, group.n_rows())
                                     .view({group.n_texts, group.length, 3, n_heads, head_size});
        // each [n_texts, n_heads, length, head_size]
        const at::Tensor query = split.select(2, 0).transpose(1, 2);
        const at::Tensor key = split.select(2, 1).transpose(1, 2);
        const at::Tensor value = split.select(2, 2).transpose(1, 2);
        const at::Tensor result = at::scaled_dot_product_attention(query, key, value);
        out.narrow(0, group.first_row, group.n_rows())
            .view({group.n_texts, group.length, n_heads, head_size})
            .copy_(result.transpose(1, 2));
    }
}

}  // namespace modelpool::nn

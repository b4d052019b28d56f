#include "models/sentence_head.hpp"

#include <ATen/ops/gelu.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/tanh.h>

#include <cstdint>
#include <utility>

namespace modelpool::models {
namespace {

at::Tensor activated(dense_activation activation, at::Tensor rows)
{
    switch (activation) {
    case dense_activation::identity:
        return rows;
    case dense_activation::tanh:
        return at::tanh(rows);
    case dense_activation::relu:
        return at::relu(rows);
    case dense_activation::gelu:
        return at::gelu(rows);
    case dense_activation::sigmoid:
        return at::sigmoid(rows);
    case dense_activation::silu:
        return at::silu(rows);
    }
    return rows;
}

// As torch.nn.functional.normalize does: a row of zeroes stays one.
at::Tensor normalized(const at::Tensor& rows)
{
    constexpr double smallest = 1e-12;
    return rows.div(rows.norm(2, {1}, true).clamp_min(smallest));
}

}  // namespace

at::Tensor sentence_head::dense::run(const at::Tensor& rows) const
{
    const auto bias_or_none = bias.defined() ? std::optional{bias} : std::nullopt;
    at::Tensor out = activated(activation, at::linear(rows, weight, bias_or_none));
    if (!residual) return out;
    return out.add(residual_weight.defined() ? at::linear(rows, residual_weight) : rows);
}

sentence_head::dense sentence_head::dense::blocking_read(
    const dense_config& config, const stop_flag& stop, nn::weight_footprint& sum)
{
    const nn::weight_reader reader{weights::checkpoint::blocking_open(config.dir), stop};
    const auto n_in = static_cast<std::int64_t>(config.in_features);
    const auto n_out = static_cast<std::int64_t>(config.out_features);
    dense layer;
    layer.activation = config.activation;
    layer.residual = config.residual;
    layer.weight = reader.read("linear.weight", {n_out, n_in}, c10::ScalarType::Float);
    if (config.bias) layer.bias = reader.read("linear.bias", {n_out}, c10::ScalarType::Float);
    if (config.residual && n_in != n_out)
        layer.residual_weight =
            reader.read("residual.weight", {n_out, n_in}, c10::ScalarType::Float);
    sum.mapped_bytes += reader.footprint().mapped_bytes;
    sum.copied_bytes += reader.footprint().copied_bytes;
    return layer;
}

sentence_head sentence_head::blocking_read(const sentence_modules& modules, const stop_flag& stop)
{
    sentence_head head;
    for (const head_step& step : modules.head) {
        const auto* config = std::get_if<dense_config>(&step);
        if (config == nullptr)
            head.steps_.emplace_back(std::nullopt);
        else
            head.steps_.emplace_back(dense::blocking_read(*config, stop, head.footprint_));
    }
    const std::size_t usual = modules.dense_choices.empty()
                                  ? 0
                                  : std::get<dense_config>(modules.head.front()).out_features;
    for (const auto& [dim, config] : modules.dense_choices) {
        if (dim == usual)
            head.choices_.emplace(dim, *head.steps_.front());
        else
            head.choices_.emplace(dim, dense::blocking_read(config, stop, head.footprint_));
    }
    return head;
}

at::Tensor sentence_head::run(const at::Tensor& rows) const
{
    at::Tensor result = rows;
    for (const std::optional<dense>& step : steps_)
        result = step ? step->run(result) : normalized(result);
    return result;
}

at::Tensor sentence_head::run(const at::Tensor& rows, std::size_t dim) const
{
    return choices_.empty() ? run(rows) : choices_.at(dim).run(rows);
}

}  // namespace modelpool::models

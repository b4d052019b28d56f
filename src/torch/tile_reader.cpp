#include "torch/tile_reader.hpp"

#include <ATen/core/Tensor.h>

#include <span>

namespace modelpool::nn {
namespace {

std::span<const float> numbers_of(const at::Tensor& f32)
{
    return {f32.const_data_ptr<float>(), static_cast<std::size_t>(f32.numel())};
}

std::vector<float> read_numbers(const weight_reader& reader, const char* name, std::int64_t size)
{
    const at::Tensor read = reader.read(name, {size}, c10::ScalarType::Float);
    const auto numbers = numbers_of(read);
    return {numbers.begin(), numbers.end()};
}

}  // namespace

kernels::bf16_linear read_tile_linear(
    const weight_reader& reader,
    const std::vector<std::string>& modules,
    std::pair<std::int64_t, std::int64_t> in_out,
    kernels::bf16_parts parts)
{
    const auto [n_in, n_out] = in_out;
    std::vector<std::string> weights;
    std::vector<std::string> biases;
    for (const std::string& module : modules) {
        weights.push_back(module + ".weight");
        biases.push_back(module + ".bias");
    }
    constexpr auto f32 = c10::ScalarType::Float;
    const bool one = modules.size() == 1;  // which may be read where it lies
    const at::Tensor weight = one ? reader.read(weights.front(), {n_out, n_in}, f32)
                                  : reader.stacked(weights, {n_out, n_in}, f32);
    const at::Tensor bias = reader.stacked(biases, {n_out}, f32);
    return {numbers_of(weight), numbers_of(bias), n_in, parts};
}

tile_norm read_tile_norm(const weight_reader& reader, std::int64_t size)
{
    const bool legacy = !reader.has("weight") && reader.has("gamma");
    return {
        read_numbers(reader, legacy ? "gamma" : "weight", size),
        read_numbers(reader, legacy ? "beta" : "bias", size)};
}

}  // namespace modelpool::nn

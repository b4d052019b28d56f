#include "torch/activation.hpp"

#include <array>
#include <utility>

namespace modelpool::nn {

std::optional<activation> parse_activation(std::string_view name) noexcept
{
    // Source: https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/activations.py
    constexpr std::array<std::pair<std::string_view, activation>, 8> known{{
        {"gelu", activation::gelu},
        {"gelu_python", activation::gelu},
        {"gelu_new", activation::gelu_tanh},
        {"gelu_fast", activation::gelu_tanh},
        {"gelu_pytorch_tanh", activation::gelu_tanh},
        {"relu", activation::relu},
        {"silu", activation::silu},
        {"swish", activation::silu},
    }};
    for (const auto& [known_name, value] : known)
        if (name == known_name) return value;
    return std::nullopt;
}

std::string_view activation_names() noexcept
{
    return "gelu, gelu_python, gelu_new, gelu_fast, gelu_pytorch_tanh, relu, silu, swish";
}

}  // namespace modelpool::nn

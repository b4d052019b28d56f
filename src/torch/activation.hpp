#pragma once

#include <optional>
#include <string_view>

namespace modelpool::nn {

/// The activation functions that are computed here.
enum class activation { gelu, gelu_tanh, relu, silu };

/// Reads a `hidden_act` of a config.json; nullopt for one that is not supported.
std::optional<activation> parse_activation(std::string_view name) noexcept;

/// The names that parse_activation takes, for messages.
std::string_view activation_names() noexcept;

}  // namespace modelpool::nn

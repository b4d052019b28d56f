#pragma once

#include <cstddef>
#include <cstdint>

#include "torch/activation.hpp"

namespace modelpool::nn {

/// The sizes of a `llama_encoder`. Apart from it, so that a checkpoint can be looked at without
/// libtorch.
struct llama_encoder_config {
    std::int64_t vocab_size{0};
    std::int64_t hidden_size{0};
    std::int64_t n_layers{0};
    std::int64_t n_heads{0};
    std::int64_t n_kv_heads{0};
    std::int64_t head_size{0};
    std::int64_t intermediate_size{0};
    std::int64_t max_position_embeddings{0};
    double rms_norm_eps{1e-6};
    double rope_theta{10000};
    bool qkv_bias{false};
    activation hidden_act{activation::silu};

    /// Bytes of the temporaries of one replica that computes `n_rows` tokens at once, where a
    /// number of the layers takes `element_bytes`.
    std::size_t scratch_bytes(std::int64_t n_rows, std::size_t element_bytes) const noexcept;
};

}  // namespace modelpool::nn

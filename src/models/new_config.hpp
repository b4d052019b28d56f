#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "support/json.hpp"
#include "torch/activation.hpp"

namespace modelpool::models {

/// The fields of a config.json whose `model_type` is "new" (GTE v1.5, Stella 400M) that its
/// computation depends on. Source:
/// https://huggingface.co/Alibaba-NLP/new-impl/blob/main/configuration.py
struct new_config {
    std::int64_t vocab_size{0};
    std::int64_t hidden_size{0};
    std::int64_t num_hidden_layers{0};
    std::int64_t num_attention_heads{0};
    std::int64_t intermediate_size{0};
    std::int64_t max_position_embeddings{8192};
    std::int64_t type_vocab_size{0};
    double layer_norm_eps{1e-12};
    double rope_theta{10000};
    double rope_factor{1};  ///< of `rope_scaling` "ntk", which is on at every length
    bool pack_qkv{true};
    nn::activation hidden_act{nn::activation::gelu};

    /// Errors: model_errc::bad_config (a field missing, of the wrong type or out of range),
    /// model_errc::unsupported (another architecture, or a variant of this one, by name).
    static new_config read(const support::json_file& file);

    /// The turns of the rotary positions, stretched as `rope_scaling` says.
    std::vector<float> frequencies() const;

    /// Bytes of the temporaries of one replica that computes `n_rows` tokens at once.
    std::size_t scratch_bytes(std::int64_t n_rows, std::size_t element_bytes) const noexcept;
};

}  // namespace modelpool::models

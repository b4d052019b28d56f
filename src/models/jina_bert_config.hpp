#pragma once

#include <cstddef>
#include <cstdint>

#include "support/json.hpp"
#include "torch/activation.hpp"

namespace modelpool::models {

/// The fields of a Jina-BERT v2 encoder's config.json that its computation depends on.
/// Source: https://huggingface.co/jinaai/jina-bert-implementation/blob/main/configuration_bert.py
struct jina_bert_config {
    std::int64_t vocab_size{0};
    std::int64_t hidden_size{0};
    std::int64_t num_hidden_layers{0};
    std::int64_t num_attention_heads{0};
    std::int64_t intermediate_size{0};
    std::int64_t max_position_embeddings{8192};
    std::int64_t type_vocab_size{2};
    double layer_norm_eps{1e-12};
    nn::activation gate{nn::activation::gelu};

    /// Errors: model_errc::bad_config (a field missing, of the wrong type or out of range),
    /// model_errc::unsupported (another architecture, or a variant of this one, by name).
    static jina_bert_config read(const support::json_file& file);

    /// Bytes of the temporaries of one replica that computes `n_rows` tokens at once.
    std::size_t scratch_bytes(std::int64_t n_rows, std::size_t element_bytes) const noexcept;
};

}  // namespace modelpool::models

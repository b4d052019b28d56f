#pragma once

#include <cstddef>
#include <cstdint>

#include "support/json.hpp"
#include "torch/activation.hpp"
#include "torch/tile_shape.hpp"

namespace modelpool::models {

/// The fields of a BERT encoder's config.json that its computation depends on. Apart from the model, so that a
/// checkpoint can be looked at without libtorch and by the same rules.
/// Source: https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/bert/configuration_bert.py
struct bert_config {
    std::int64_t vocab_size{0};
    std::int64_t hidden_size{0};
    std::int64_t num_hidden_layers{0};
    std::int64_t num_attention_heads{0};
    std::int64_t intermediate_size{0};
    std::int64_t max_position_embeddings{512};
    std::int64_t type_vocab_size{2};
    double layer_norm_eps{1e-12};
    nn::activation hidden_act{nn::activation::gelu};

    /// Errors: model_errc::bad_config (a field missing, of the wrong type or out of range),
    /// model_errc::unsupported (another architecture, or a variant of this one, by name).
    static bert_config read(const support::json_file& file);

    /// The encoder as one that computes in tiles.
    nn::tile_shape tiles(kernels::bf16_parts parts) const noexcept;

    /// Bytes of one replica's temporaries, where a number of the layers takes `element_bytes`: on
    /// this machine, which may have tiles or not.
    std::size_t replica_bytes(std::int64_t max_block_rows, std::size_t element_bytes) const;

private:
    std::size_t scratch_bytes(std::int64_t n_rows, std::size_t element_bytes) const noexcept;
};

}  // namespace modelpool::models

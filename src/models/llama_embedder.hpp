#pragma once

#include <modelpool/capability/text_embedding.hpp>

#include <memory>
#include <string>

#include "models/packed_embedder.hpp"
#include "torch/llama_encoder.hpp"

namespace modelpool::models {

/// What the replicas of a text embedding model over a `nn::llama_encoder` share.
struct llama_embedder_parts : embedder_parts {
    nn::llama_encoder encoder;
};

/// The sizes as a tokenizer and what follows the pooling must fit them.
encoder_size size_of(const nn::llama_encoder_config& config) noexcept;

/// Reads the encoder of `parts.modules.transformer_dir`, whose tensors may lie under "<scope>.".
/// Errors: those of weights::checkpoint and nn::weight_reader.
void blocking_read_encoder(
    llama_embedder_parts& parts,
    const nn::llama_encoder_config& config,
    const std::string& scope,
    const stop_flag& stop);

/// A model that pools what the encoder makes of its tokens.
std::unique_ptr<embedder> make_llama_embedder(std::shared_ptr<const llama_embedder_parts> parts);

}  // namespace modelpool::models

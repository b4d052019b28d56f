#pragma once

#include <string_view>

#include "decoder/decoder_config.hpp"

namespace modelpool::models {

/// What a family makes of the hyperparameters of one of its checkpoints.
/// Errors: model_errc::unsupported for a variant that is not computed with here.
using decoder_family = decoder::decoder_config (*)(decoder::hyperparameters sizes);

decoder::decoder_config llama_decoder(decoder::hyperparameters sizes);
decoder::decoder_config qwen2_decoder(decoder::hyperparameters sizes);
decoder::decoder_config qwen3_decoder(decoder::hyperparameters sizes);
decoder::decoder_config qwen3moe_decoder(decoder::hyperparameters sizes);
decoder::decoder_config phi3_decoder(decoder::hyperparameters sizes);
decoder::decoder_config deepseek2_decoder(decoder::hyperparameters sizes);

/// The family of a GGUF file's "general.architecture"; null where there is none.
decoder_family find_decoder_family(std::string_view architecture) noexcept;
/// The GGUF name of a `model_type` of transformers; empty where no family has it.
std::string_view decoder_architecture(std::string_view model_type) noexcept;
/// "llama, qwen2, …"
std::string_view decoder_architectures() noexcept;

/// "llama, mistral, …": those that decoder_architecture knows.
std::string_view decoder_model_types() noexcept;

}  // namespace modelpool::models

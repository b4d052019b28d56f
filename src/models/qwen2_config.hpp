#pragma once

#include "support/json.hpp"
#include "torch/llama_encoder_config.hpp"

namespace modelpool::models {

/// Reads the sizes of a Qwen2 model that was trained on into an encoder: every token sees its whole
/// text. Such checkpoints say so with `is_causal` false, or bring modelling code of their own
/// (`auto_map`) for it.
/// Errors: model_errc::bad_config (a field missing, of the wrong type or out of range),
/// model_errc::unsupported (another architecture, causal attention, or a variant, by name).
nn::llama_encoder_config read_qwen2_encoder_config(const support::json_file& file);

/// Whether a configuration of `model_type` "qwen2" is that of an encoder.
bool is_qwen2_encoder(const support::json_file& file);

}  // namespace modelpool::models

#pragma once

#include <filesystem>

#include "decoder/quantization.hpp"
#include "models/checkpoint_facts.hpp"
#include "support/json.hpp"
#include "weights/safetensors.hpp"

namespace modelpool::models {

/// What a GGUF file says of itself. An architecture that is not computed with here, or a variant of
/// one, is said in `unsupported`. Errors: model_errc::bad_file, model_errc::missing_tensor,
/// model_errc::shape_mismatch.
checkpoint_facts
blocking_read_gguf_facts(const std::filesystem::path& path, dtype precision = dtype::automatic);

/// Adds to the facts of a folder with a decoder, whose configuration is its config.json or a part of
/// it. Errors: as above, model_errc::bad_config, model_errc::unsupported.
void blocking_add_decoder_facts(
    const std::filesystem::path& dir,
    const support::json_file& config,
    checkpoint_facts& facts,
    dtype precision = dtype::automatic);

/// Adds what the matrices of a safetensors decoder take when they are held as `layout` says, and
/// what of them stays in the files. Tensors of a vision tower count as staying.
void add_decoder_memory(
    const weights::checkpoint& files, decoder::weight_layout layout, checkpoint_facts& facts);

}  // namespace modelpool::models

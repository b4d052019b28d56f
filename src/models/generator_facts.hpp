#pragma once

#include <filesystem>

#include "models/checkpoint_facts.hpp"

namespace modelpool::models {

/// What a GGUF file says of itself. An architecture that is not computed with here, or a variant of
/// one, is said in `unsupported`. Errors: model_errc::bad_file, model_errc::missing_tensor,
/// model_errc::shape_mismatch.
checkpoint_facts blocking_read_gguf_facts(const std::filesystem::path& path);

/// Adds to the facts of a folder whose config.json is that of a decoder. `facts.family` is its
/// `model_type`. Errors: as above, model_errc::bad_config, model_errc::unsupported.
void blocking_add_decoder_facts(const std::filesystem::path& dir, checkpoint_facts& facts);

}  // namespace modelpool::models

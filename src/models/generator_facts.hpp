#pragma once

#include <filesystem>

#include "models/checkpoint_facts.hpp"
#include "support/json.hpp"

namespace modelpool::models {

/// What a GGUF file says of itself. An architecture that is not computed with here, or a variant of
/// one, is said in `unsupported`. Errors: model_errc::bad_file, model_errc::missing_tensor,
/// model_errc::shape_mismatch.
checkpoint_facts blocking_read_gguf_facts(const std::filesystem::path& path);

/// Adds to the facts of a folder with a decoder, whose configuration is its config.json or a part of
/// it. Errors: as above, model_errc::bad_config, model_errc::unsupported.
void blocking_add_decoder_facts(
    const std::filesystem::path& dir, const support::json_file& config, checkpoint_facts& facts);

}  // namespace modelpool::models

#pragma once

#include <modelpool/capability/generation.hpp>
#include <modelpool/models/load_options.hpp>

#include <filesystem>
#include <memory>

#include "models/image_encoder.hpp"
#include "support/json.hpp"

namespace modelpool::models {

/// Loads a decoder from a GGUF file, as load_generator does; it takes images where `images` has an
/// encoder.
std::unique_ptr<generator> load_gguf_decoder(
    const std::filesystem::path& path, const load_options& options, image_input images);

/// The same from a folder as transformers writes it. `config` is the decoder's own, which vision
/// models have inside their config.json.
std::unique_ptr<generator> load_folder_decoder(
    const std::filesystem::path& dir,
    const support::json_file& config,
    const load_options& options,
    image_input images);

}  // namespace modelpool::models

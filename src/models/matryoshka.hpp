#pragma once

#include <filesystem>

namespace modelpool::models {

/// Whether a checkpoint's config.json says that its model was trained for rows that are cut to
/// fewer numbers: `is_matryoshka`, or sizes in `matryoshka_dimensions`. False without such a file.
/// Source: https://docs.vllm.ai/en/latest/models/pooling_models.html#matryoshka-embeddings
/// Errors: model_errc::bad_file (not JSON), model_errc::bad_config (of another type).
bool blocking_is_matryoshka(const std::filesystem::path& transformer_dir);

}  // namespace modelpool::models

#pragma once

#include <filesystem>

#include "models/checkpoint_facts.hpp"

namespace modelpool::models {

/// What the files of an image pipeline say of it. A pipeline of another kind, and one of which
/// files are missing, is said in `unsupported`. Errors: model_errc::bad_file, model_errc::bad_config
/// for malformed files.
checkpoint_facts blocking_read_pipeline_facts(const std::filesystem::path& path);

}  // namespace modelpool::models

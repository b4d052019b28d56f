#pragma once

#include <filesystem>
#include <optional>

namespace modelpool::models {

/// The model in a folder of GGUF files: the only one, a split one counting once by its first part,
/// or the only one whose name holds "Q4_K_M". Nothing where the folder has none.
/// Errors: model_errc::bad_file where there are several to choose from, with their names.
std::optional<std::filesystem::path> blocking_find_gguf(const std::filesystem::path& dir);

/// The file that has the image encoder of a model, among those beside `model` or, where that is a
/// folder, in it: the only one whose name holds "mmproj", or of several the only one whose name
/// holds "f16". Nothing where there is none.
/// Errors: model_errc::bad_file where there are several to choose from, with their names.
std::optional<std::filesystem::path> blocking_find_mmproj(const std::filesystem::path& model);

}  // namespace modelpool::models

#pragma once

#include <filesystem>
#include <optional>

namespace modelpool::models {

/// The model in a folder of GGUF files: the only one, a split one counting once by its first part,
/// or the only one whose name holds "Q4_K_M". Nothing where the folder has none.
/// Errors: model_errc::bad_file where there are several to choose from, with their names.
std::optional<std::filesystem::path> blocking_find_gguf(const std::filesystem::path& dir);

}  // namespace modelpool::models

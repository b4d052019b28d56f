#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace modelpool::fetching {

/// The files that the shard index `path` (its text in `json`) names, as paths in the repository,
/// sorted. Errors: hub_errc::corrupt.
std::vector<std::string> index_files(const std::string& path, std::string_view json);

/// Whether a path is a shard index: "*.safetensors.index.json" or "*.bin.index.json".
bool is_shard_index(std::string_view path);

/// The selected files with all parts of each split GGUF that has one part selected, sorted.
/// Errors: hub_errc::not_found where `all` lacks a part.
std::vector<std::string>
with_gguf_parts(std::vector<std::string> selected, const std::vector<std::string>& all);

}  // namespace modelpool::fetching

#pragma once

#include <modelpool/hub/snapshot.hpp>
#include <modelpool/registry/card.hpp>

#include <filesystem>
#include <optional>
#include <string>

#include "common.hpp"

namespace modelpool::cli {

// Each takes what --model names: a folder or file, a key of the catalogue, a folder below the
// cache folder, or a repository of the hub, whose files are fetched where they are not here yet.
// Errors: usage_error where --model is missing; hub_errc::not_found, with what to do; those of a
// fetch.

/// The card of a model that is to run. Errors: also those of models::blocking_card.
card blocking_find_card(const settings& wanted);

/// The folder of what describes a model, or its one file: enough for a tokenizer or a template.
std::filesystem::path blocking_find_folder(const settings& wanted);

/// The folder of a whole model with its weights, or its one file.
std::filesystem::path blocking_find_checkpoint(const settings& wanted);

/// Where the selected files of a plain folder lie below the cache folder. Empty where they do not.
std::optional<std::filesystem::path>
blocking_find_cached(const settings& wanted, const repository& repo, const file_selection& files);

}  // namespace modelpool::cli

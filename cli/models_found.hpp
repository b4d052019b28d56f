#pragma once

#include <modelpool/hub/snapshot.hpp>
#include <modelpool/registry/card.hpp>

#include <filesystem>
#include <optional>
#include <string>

#include "common.hpp"

namespace modelpool::cli {

/// The card that --model names: of a folder, of the catalogue, or of a folder below the cache.
/// Errors: usage_error where --model is missing; hub_errc::not_found, with what to do; those of
/// models::blocking_card.
card blocking_find_card(const settings& wanted);

/// The folder that --model names, or whose file it names. Errors: as above.
std::filesystem::path blocking_find_folder(const settings& wanted);

/// Where the selected files of a repository lie below the cache. Empty where they do not.
std::optional<std::filesystem::path>
blocking_find_cached(const settings& wanted, const repository& repo, const file_selection& files);

}  // namespace modelpool::cli

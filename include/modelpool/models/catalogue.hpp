#pragma once

#include <modelpool/registry/card.hpp>

#include <string>
#include <vector>

namespace modelpool::models {

/// The models that this build runs, with loaders that get their files through the runtime's
/// fetcher.
/// Result: one card a model, by key, for `registry::add`. A value: the caller may change or drop
/// cards.
/// Runs: at once, without looking at any file.
std::vector<card> catalogue();

/// The files of an image pipeline in the layout of diffusers, once: repositories have the same
/// weights as single files, and in other precisions, too.
file_selection pipeline_files();

/// The end of a sentence that says how to get access to a gated repository ("org/name").
std::string access_hint(const std::string& repo_id);

}  // namespace modelpool::models

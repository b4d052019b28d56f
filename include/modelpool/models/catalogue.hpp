#pragma once

#include <modelpool/registry/card.hpp>

#include <vector>

namespace modelpool::models {

/// The models that this build runs, with loaders that get their files through the runtime's
/// fetcher.
/// Result: one card a model, by key, for `registry::add`. A value: the caller may change or drop
/// cards.
/// Runs: at once, without looking at any file.
std::vector<card> catalogue();

}  // namespace modelpool::models

#pragma once

#include <modelpool/hub/cache.hpp>
#include <modelpool/hub/snapshot.hpp>

#include <filesystem>
#include <stop_token>
#include <string>
#include <vector>

namespace modelpool::fetching {

// Looking after a cache. Errors: hub_fault; operation_aborted once `stop` asks.

std::vector<cached_repository>
blocking_scan(const std::filesystem::path& cache, const std::stop_token& stop);

std::vector<cache_fault> blocking_verify(
    const std::filesystem::path& cache, const std::string& id, const std::stop_token& stop);

pruned blocking_prune(
    const std::filesystem::path& cache, const prune_options& options, const std::stop_token& stop);

snapshot blocking_import(
    const std::filesystem::path& cache,
    const std::filesystem::path& from,
    const repository& repo,
    bool symlinks,
    const std::stop_token& stop);

}  // namespace modelpool::fetching

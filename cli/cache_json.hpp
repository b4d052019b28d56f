#pragma once

#include <modelpool/hub/cache.hpp>

#include <chrono>
#include <string>
#include <vector>

namespace modelpool::cli {

/// A moment as "2025-01-31T12:00:00Z"; empty for none.
std::string utc_time(std::chrono::system_clock::time_point moment);

/// The repositories of the cache as the member "entries" of a JSON object, without its braces.
std::string entries_json(const std::vector<cached_repository>& all);

/// The same as a table.
std::string entries_text(const std::vector<cached_repository>& all);

/// Rows of cells, the columns aligned, a line each.
std::string table(const std::vector<std::vector<std::string>>& rows);

}  // namespace modelpool::cli

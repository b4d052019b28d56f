#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

namespace modelpool::cli {

/// Checks, before anything expensive, that a file can be made there: its folder exists and may be
/// written to, and no folder has its name. Errors: usage_error.
void blocking_check_writable(const std::filesystem::path& path, const char* option);

/// Writes a file that is there whole or not at all: under another name first.
/// Errors: std::system_error.
void blocking_write_whole(const std::filesystem::path& path, std::span<const std::byte> bytes);

}  // namespace modelpool::cli

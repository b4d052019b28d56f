#pragma once

#include <filesystem>

namespace modelpool::cli {

/// Unpacks the files of an archive (tar, zip and what else libarchive reads, compressed or not)
/// into an empty folder. Links and devices are left out, and a name that leads out of the folder is
/// refused.
/// Errors: usage_error where it is no archive, or a harmful one; hub_errc::io_failed.
void blocking_unpack(const std::filesystem::path& archive, const std::filesystem::path& into);

}  // namespace modelpool::cli

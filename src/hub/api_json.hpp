#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace modelpool::fetching {

/// A file of a commit, as the hub lists it.
struct tree_file {
    std::uint64_t size{0};
    std::string oid;     ///< git's name of the content, or of the pointer to it
    std::string sha256;  ///< of a large file's content; empty for the others
    std::uint64_t lfs_size{0};
    std::string xet_hash;  ///< kept for other clients

    const std::string& blob() const noexcept { return sha256.empty() ? oid : sha256; }
    std::uint64_t bytes() const noexcept { return sha256.empty() ? size : lfs_size; }
    friend bool operator==(const tree_file&, const tree_file&) = default;
};
/// By path.
using tree = std::map<std::string, tree_file>;

/// Adds the files of one page of a listing. Paths and hashes are checked.
/// Errors: hub_errc::corrupt.
void read_tree_page(std::string_view json, tree& all);
/// Whether a listing may be kept for other clients: a hub that hides hashes writes asterisks.
bool is_keepable(const tree& all);

/// The cached listing of a commit, in the form of Python's client.
std::string write_tree_cache(const tree& all);
/// Empty for another form or version, or where hashes are hidden.
std::optional<tree> read_tree_cache(std::string_view text);

/// The commit in the hub's answer about a revision. Errors: hub_errc::corrupt.
std::string read_commit(std::string_view json);

}  // namespace modelpool::fetching

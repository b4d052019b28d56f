#pragma once

// What fetching costs on this machine, from a hub on loopback.

#include <modelpool/hub/hub.hpp>

#include <chrono>
#include <cstddef>
#include <filesystem>

#include "loopback_hub.hpp"

namespace modelpool::bench {

/// A repository on loopback and an empty cache, in memory where the machine has a file system
/// there.
class hub_stand {
public:
    /// So many files of so many bytes, all large ones or all small ones.
    hub_stand(std::size_t n_files, std::size_t file_bytes, bool large);
    ~hub_stand();
    hub_stand(const hub_stand&) = delete;
    hub_stand& operator=(const hub_stand&) = delete;
    hub_stand(hub_stand&&) = delete;
    hub_stand& operator=(hub_stand&&) = delete;

    std::size_t n_bytes() const noexcept { return n_bytes_; }

    /// Empties the cache, and fetches everything with a hub of its own.
    std::chrono::nanoseconds blocking_fetch(verification how);
    /// Fetches what is in the cache, `n` times: by its commit, or by its branch, which asks the
    /// server.
    std::chrono::nanoseconds blocking_hits(std::size_t n, bool by_commit);
    /// Reads and hashes as many bytes as the repository has: what no verified fetch can beat on
    /// one core.
    std::chrono::nanoseconds blocking_hash() const;

private:
    hub_options options() const;

    std::size_t n_bytes_;
    std::filesystem::path dir_;
    loopback_hub server_;
};

}  // namespace modelpool::bench

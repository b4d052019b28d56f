#pragma once

#include <array>
#include <cstddef>
#include <string_view>

namespace modelpool {

/// Where a worker stands.
enum class worker_state {
    spawning,    ///< has a thread; waits for room in the memory budget, or for a replica to copy
    loading,     ///< its model is being loaded
    ready,       ///< loaded and warm, never used yet
    processing,  ///< computes, or holds requests whose readers are behind
    idle,        ///< loaded; nothing runs and nothing waits
    evicting,    ///< takes no more work and is about to destroy its model
    failed,      ///< its model could not be loaded, or failed for good
    dead,        ///< its model is destroyed and its bytes are given back
};

constexpr std::size_t n_worker_states = 8;

constexpr std::string_view to_string(worker_state state) noexcept
{
    constexpr std::array<std::string_view, n_worker_states> names{
        "spawning", "loading", "ready", "processing", "idle", "evicting", "failed", "dead"};
    return names[static_cast<std::size_t>(state)];
}

}  // namespace modelpool

#pragma once

#include <modelpool/assert.hpp>

#include <array>
#include <cstddef>
#include <string_view>

namespace modelpool {

/// Where a worker stands.
enum class worker_state {
    spawning,    ///< has a thread; waits for room in the memory budget, or for a replica to copy
    loading,     ///< its model is being loaded
    ready,       ///< loaded and warm, never used yet
    processing,  ///< computes
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

/// Whether a worker may go from one state to another.
constexpr bool may_follow(worker_state from, worker_state to) noexcept
{
    using enum worker_state;
    switch (to) {
    case spawning:
        return false;
    case loading:
        return from == spawning;
    case ready:
        return from == loading;
    case processing:
        return from == ready || from == idle;
    case idle:
        return from == ready || from == processing;
    case evicting:
    case failed:
        return from != evicting && from != failed && from != dead;
    case dead:
        return from == evicting || from == failed;
    }
    return false;
}

/// A worker's state, which changes only along allowed transitions.
class worker_life {
public:
    worker_state now() const noexcept { return state_; }
    void enter(worker_state next)
    {
        MODELPOOL_ASSERT(may_follow(state_, next));
        state_ = next;
    }

    /// Loaded, or on the way to it: it counts against the largest number of workers.
    bool alive() const noexcept
    {
        return state_ != worker_state::failed && state_ != worker_state::dead &&
               state_ != worker_state::evicting;
    }
    /// Has a model, and takes work.
    bool serving() const noexcept
    {
        return state_ == worker_state::ready || state_ == worker_state::idle ||
               state_ == worker_state::processing;
    }
    bool resting() const noexcept
    {
        return state_ == worker_state::ready || state_ == worker_state::idle;
    }
    bool coming() const noexcept
    {
        return state_ == worker_state::spawning || state_ == worker_state::loading;
    }

private:
    worker_state state_{worker_state::spawning};
};

}  // namespace modelpool

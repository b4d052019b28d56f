#pragma once

#include <modelpool/assert.hpp>
#include <modelpool/runtime/worker_state.hpp>

namespace modelpool {

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

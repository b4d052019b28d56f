#pragma once

#include <modelpool/async/shared_mutex.hpp>

namespace modelpool {

/// Mutual exclusion for coroutines: holding it across a suspension blocks no thread. Fair,
/// thread-safe.
class mutex {
public:
    mutex() = default;
    mutex(const mutex&) = delete;
    mutex& operator=(const mutex&) = delete;
    mutex(mutex&&) = delete;
    mutex& operator=(mutex&&) = delete;
    ~mutex() = default;

    /// Waits until nobody else holds the lock.
    /// Runs: completes on the caller's executor. Errors: none of its own.
    /// Cancellation: terminal, partial and total at any time.
    awaitable<async_lock> lock() { return state_.lock(); }
    /// A lock that owns nothing where it would have to wait.
    async_lock try_lock() { return state_.try_lock(); }

private:
    shared_mutex state_;
};

}  // namespace modelpool

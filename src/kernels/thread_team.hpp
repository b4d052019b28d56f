#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

namespace modelpool::kernels {

/// A reference to a callable `void(int part, int thread)` that outlives the call it is given to.
class part_function {
public:
    template <class F>
        requires(!std::is_same_v<std::remove_cvref_t<F>, part_function>)
    // NOLINTNEXTLINE(google-explicit-constructor,bugprone-forwarding-reference-overload)
    part_function(F&& f) noexcept
        : object_{const_cast<void*>(static_cast<const void*>(std::addressof(f)))}
        , call_{[](void* object, int part, int thread) {
            (*static_cast<std::remove_reference_t<F>*>(object))(part, thread);
        }}
    {}

    void operator()(int part, int thread) const { call_(object_, part, thread); }

private:
    void* object_;
    void (*call_)(void*, int, int);
};

/// The threads on which one worker computes: its own, and helpers that this class owns. Whoever is
/// free takes the next part, so a helper whose core is busy with something else holds nothing up
/// before it has begun. Waiting spins for a bounded time and then sleeps.
/// Not thread-safe: run and resize are called by one thread at a time.
class thread_team {
public:
    /// `n_threads` counts the caller's own. At least 1.
    explicit thread_team(
        int n_threads, std::chrono::microseconds spin_limit = std::chrono::microseconds{30});
    thread_team(const thread_team&) = delete;
    thread_team(thread_team&&) = delete;
    thread_team& operator=(const thread_team&) = delete;
    thread_team& operator=(thread_team&&) = delete;
    ~thread_team();

    int n_threads() const noexcept { return static_cast<int>(helpers_.size()) + 1; }
    /// Ends helpers or starts more; at least 1.
    void resize(int n_threads);

    /// The most parts of one run.
    static constexpr int max_parts = (1 << 20) - 1;

    /// Calls f(part, thread) once for each part in [0, n_parts), in any order and on any of the
    /// threads; `thread` is in [0, n_threads()), and no two calls with the same one overlap.
    /// Returns when all have returned. `f` must not throw, nor run anything on this team.
    /// Precondition: 0 <= n_parts <= max_parts.
    void run(int n_parts, part_function f) { run(n_parts, f, nullptr); }
    /// The same; while others still have parts and the caller has none, it calls `idle` every 100
    /// microseconds, which must not throw. Null: it sleeps.
    void run(int n_parts, part_function f, const std::function<void()>& idle);

private:
    void help(int thread);
    bool take_part(int thread);
    void stop_helpers();

    // In `work_`, so that a part is taken in one step: generation, number of parts, next part.
    std::atomic<std::uint64_t> work_{0};
    std::atomic<int> n_done_{0};
    std::atomic<bool> ending_{false};
    const part_function* function_{nullptr};
    std::chrono::microseconds spin_limit_;
    std::vector<std::thread> helpers_;
};

}  // namespace modelpool::kernels

#pragma once

#include <modelpool/pool/histogram.hpp>
#include <modelpool/pool/worker_state.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace modelpool {

/// Whether a model takes requests, after failures.
enum class breaker_state {
    closed = 1,  ///< it does
    open,        ///< it failed too often in a row: requests are refused for a while
    half_open,   ///< a few requests try whether it works again
};

constexpr const char* to_string(breaker_state state) noexcept
{
    switch (state) {
    case breaker_state::closed:
        return "closed";
    case breaker_state::open:
        return "open";
    case breaker_state::half_open:
        return "half-open";
    }
    return "unknown";
}

/// One worker, as it was at the moment of the snapshot.
struct worker_stats {
    std::uint64_t id{0};
    worker_state state{worker_state::spawning};
    std::uint64_t n_batches{0};  ///< steps computed
    std::uint64_t n_items{0};    ///< texts, images or tokens computed
    std::uint64_t n_tokens{0};   ///< tokens computed
    std::uint64_t reserved_bytes{0};
    bool stalled{false};  ///< reported no progress for its stall limit, and gets no new work
};

/// One model of a pool, as it was at the moment of the snapshot.
struct model_stats {
    std::string pool;  ///< its capability
    std::string key;
    std::uint64_t n_requests{0};  ///< accepted
    std::uint64_t n_succeeded{0};
    std::uint64_t n_failed{0};  ///< ended with an error, cancelled ones apart
    std::uint64_t n_cancelled{0};
    std::uint64_t n_rejected{0};            ///< refused at the door, for whatever reason
    std::uint64_t n_circuit_rejections{0};  ///< of these: refused by the breaker
    std::uint64_t n_timeouts{0};            ///< failed: no worker began them before their deadline
    /// How many requests ended with, or were refused for, each error: "pool.queue_full" and so on;
    /// "other" for exceptions that are not the library's.
    std::map<std::string, std::uint64_t> errors;
    histogram queue_time;  ///< from acceptance until a worker began, of requests that were begun
    histogram run_time;    ///< from there to the end
    histogram total_time;  ///< of all requests that ended
    std::size_t n_waiting{0};    ///< in the queue now
    std::uint64_t n_spawned{0};  ///< workers started
    std::uint64_t n_loads{0};    ///< runs of the loader that gave a model
    std::uint64_t n_load_failures{0};
    std::uint64_t n_replicated{0};  ///< workers that share another one's weights
    std::uint64_t n_evicted{0};
    std::uint64_t n_stalled{0};             ///< workers found to make no progress
    std::uint64_t n_retired{0};             ///< workers whose model failed for good
    std::chrono::nanoseconds load_time{0};  ///< of all loads together
    std::uint64_t shared_bytes{0};          ///< reserved for weights, once for all workers
    breaker_state breaker{breaker_state::closed};
    std::vector<worker_stats> workers;

    /// Workers in that state.
    std::size_t n_workers(worker_state state) const
    {
        const auto same = [state](const worker_stats& one) { return one.state == state; };
        return static_cast<std::size_t>(std::count_if(workers.begin(), workers.end(), same));
    }
};

}  // namespace modelpool

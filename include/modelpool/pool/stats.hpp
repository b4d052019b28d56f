#pragma once

#include <modelpool/pool/worker_state.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace modelpool {

/// One worker, as it was at the moment of the snapshot.
struct worker_stats {
    std::uint64_t id{0};
    worker_state state{worker_state::spawning};
    std::uint64_t n_batches{0};  ///< steps computed
    std::uint64_t n_items{0};    ///< texts, images or tokens computed
    std::uint64_t n_tokens{0};   ///< tokens computed
    std::uint64_t reserved_bytes{0};
};

/// One model of a pool, as it was at the moment of the snapshot.
struct model_stats {
    std::string key;
    std::uint64_t n_requests{0};  ///< accepted
    std::uint64_t n_succeeded{0};
    std::uint64_t n_failed{0};  ///< ended with an error, cancelled ones apart
    std::uint64_t n_cancelled{0};
    std::uint64_t n_rejected{0};  ///< refused at the door: queue full, shut down
    std::size_t n_waiting{0};     ///< in the queue now
    std::uint64_t n_spawned{0};   ///< workers started
    std::uint64_t n_loads{0};     ///< runs of the loader that gave a model
    std::uint64_t n_load_failures{0};
    std::uint64_t n_replicated{0};  ///< workers that share another one's weights
    std::uint64_t n_evicted{0};
    std::chrono::nanoseconds load_time{0};  ///< of all loads together
    std::uint64_t shared_bytes{0};          ///< reserved for weights, once for all workers
    std::vector<worker_stats> workers;
};

}  // namespace modelpool

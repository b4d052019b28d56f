#pragma once

#include <modelpool/runtime/memory_governor.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace modelpool {

/// The memory budget of one device, as it was at the moment of the snapshot.
struct device_memory_stats {
    std::string device;  ///< "cpu" or "cuda:N"
    std::uint64_t limit_bytes{0};
    std::uint64_t reserved_bytes{0};
    std::vector<memory_use> holders;  ///< who has the reserved bytes, the largest first
    bool lost{false};                 ///< stopped working; nothing is started there
};

/// What the models of all pools share, as it was at the moment of the snapshot.
struct runtime_stats {
    std::vector<device_memory_stats> memory;  ///< each device once, the CPU first
    int n_cores{0};
    int n_busy_threads{0};
};

}  // namespace modelpool

#pragma once

#include <modelpool/pool/stats.hpp>

#include <algorithm>
#include <vector>

namespace modelpool {

/// What a probe wants to know of a model, the better the smaller.
enum class health {
    healthy = 1,  ///< requests are served, or would be: a model that is not loaded loads on demand
    degraded,     ///< they are served late or not all: every worker is busy and requests wait, one
                  ///< is stuck, or the breaker lets only a few through
    unhealthy,    ///< they are not: the breaker is open, or every worker is stuck
};

constexpr const char* to_string(health how) noexcept
{
    switch (how) {
    case health::healthy:
        return "healthy";
    case health::degraded:
        return "degraded";
    case health::unhealthy:
        return "unhealthy";
    }
    return "unknown";
}

/// Judges one model by a snapshot of it. Any thread; asks nothing of the pool.
inline health health_of(const model_stats& model)
{
    const auto gone = [](const worker_stats& one) {
        return one.state == worker_state::failed || one.state == worker_state::dead;
    };
    const auto busy = [](const worker_stats& one) { return one.state == worker_state::processing; };
    std::size_t n_live = 0;
    std::size_t n_busy = 0;
    std::size_t n_stalled = 0;
    for (const worker_stats& one : model.workers) {
        if (gone(one)) continue;
        ++n_live;
        if (one.stalled)
            ++n_stalled;
        else if (busy(one))
            ++n_busy;
    }
    if (model.breaker == breaker_state::open) return health::unhealthy;
    if (n_live > 0 && n_stalled == n_live) return health::unhealthy;
    const bool overtaken = n_live > 0 && n_busy + n_stalled == n_live && model.n_waiting > 0;
    if (model.breaker == breaker_state::half_open || n_stalled > 0 || overtaken)
        return health::degraded;
    return health::healthy;
}

/// The worst of them; healthy where there are none. `pool::stats()` gives such a list.
inline health health_of(const std::vector<model_stats>& models)
{
    health worst = health::healthy;
    for (const model_stats& one : models)
        worst = std::max(worst, health_of(one));
    return worst;
}

}  // namespace modelpool

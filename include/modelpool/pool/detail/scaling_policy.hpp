#pragma once

#include <modelpool/pool/options.hpp>

#include <algorithm>
#include <cstddef>

namespace modelpool::detail {

/// What a group looks like to its scaling policy.
struct group_view {
    std::size_t n_coming{0};   ///< workers spawning or loading
    std::size_t n_resting{0};  ///< loaded, and take more work
    std::size_t n_taken{0};    ///< take no more until they have done what they have
    std::size_t n_waiting{0};  ///< requests in the queue
};

/// Decides how many workers to start. Workers that still load count like loaded ones, so that a
/// slow load is not started again and again.
class scaling_policy {
public:
    explicit scaling_policy(scaling_options options)
        : options_{options}
    {}

    std::size_t n_to_start(const group_view& view) const noexcept
    {
        const std::size_t n_alive = view.n_coming + view.n_resting + view.n_taken;
        const std::size_t n_allowed = std::max<std::size_t>(1, options_.max_workers());
        if (view.n_waiting == 0 || n_alive >= n_allowed) return 0;
        if (n_alive == 0)
            return std::clamp<std::size_t>(options_.cold_start_workers(), 1, n_allowed);
        return view.n_coming == 0 && view.n_resting == 0 ? 1 : 0;
    }

private:
    scaling_options options_;
};

}  // namespace modelpool::detail

#pragma once

#include <modelpool/device.hpp>
#include <modelpool/runtime/clock.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <vector>

namespace modelpool::detail {

/// An idle worker that may be evicted to make room.
struct eviction_candidate {
    device where;
    clock::time_point last_used;
    std::uint64_t own_bytes{0};     ///< freed when this worker goes
    std::uint64_t shared_bytes{0};  ///< freed when the last of the workers that share them goes
    std::uint64_t shared_id{0};     ///< what they share; 0: nothing
    std::size_t n_sharers{0};       ///< workers that share it, busy ones included
    bool lent{false};               ///< cannot go now, but in a moment
    std::function<bool()> evict;    ///< begins it; false where the worker is not idle any more
};

/// Which of `candidates` to evict, least recently used first, to free at least `needed_bytes`:
/// their indices, or nothing where all of them together would not do. Those that would free nothing
/// by going, since busy workers keep what they share, stay.
inline std::vector<std::size_t>
pick_evictions(const std::vector<eviction_candidate>& candidates, std::uint64_t needed_bytes)
{
    std::vector<std::size_t> order(candidates.size());
    for (std::size_t i = 0; i < order.size(); ++i)
        order[i] = i;
    const auto older = [&](std::size_t a, std::size_t b) {
        return candidates[a].last_used < candidates[b].last_used;
    };
    std::stable_sort(order.begin(), order.end(), older);

    std::map<std::uint64_t, std::size_t> n_gone;
    std::vector<std::size_t> picked;
    std::uint64_t freed = 0;
    for (const std::size_t index : order) {
        if (freed >= needed_bytes) break;
        const eviction_candidate& one = candidates[index];
        picked.push_back(index);
        freed += one.own_bytes;
        if (one.shared_id != 0 && ++n_gone[one.shared_id] == one.n_sharers)
            freed += one.shared_bytes;
    }
    if (freed < needed_bytes) picked.clear();
    std::erase_if(picked, [&](std::size_t index) {
        const eviction_candidate& one = candidates[index];
        const bool ends_share =
            one.shared_id != 0 && one.shared_bytes > 0 && n_gone[one.shared_id] == one.n_sharers;
        return one.own_bytes == 0 && !ends_share;
    });
    return picked;
}

/// Who has workers that can go: a pool.
class evictable {
public:
    evictable() = default;
    evictable(const evictable&) = delete;
    evictable& operator=(const evictable&) = delete;
    evictable(evictable&&) = delete;
    evictable& operator=(evictable&&) = delete;
    virtual ~evictable() = default;

    virtual void list_idle(std::vector<eviction_candidate>& candidates) = 0;
    /// The device stopped working: workers on it go.
    virtual void device_lost(const device& where) = 0;
};

}  // namespace modelpool::detail

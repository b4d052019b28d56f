#pragma once

#include <modelpool/runtime.hpp>

#include <boost/asio/error.hpp>

namespace modelpool {

MODELPOOL_DECL reservation runtime::blocking_reserve(
    const device& where,
    std::uint64_t bytes,
    const std::string& holder,
    const std::function<bool()>& stop,
    std::uint64_t kept)
{
    memory_governor& budget = memory(where);
    for (;;) {
        const std::uint64_t seen = budget.n_changes();
        if (stop()) throw error{boost::asio::error::operation_aborted, "cancelled"};
        if (std::optional<reservation> taken = budget.try_reserve(bytes, holder))
            return std::move(*taken);
        if (make_room(where, bytes, holder, kept)) budget.blocking_wait_for_change(seen);
    }
}

MODELPOOL_DECL bool runtime::make_room(
    const device& where, std::uint64_t bytes, const std::string& holder, std::uint64_t kept)
{
    memory_governor& budget = memory(where);
    // Held over the choice and its execution, so that two newcomers do not count on the same
    // workers.
    const std::lock_guard lock{mutex_};
    const std::uint64_t coming = budget.releasing_bytes();
    const std::uint64_t available = budget.available_bytes();
    if (bytes <= available) return false;
    if (bytes - available <= coming) return true;
    std::vector<detail::eviction_candidate> candidates;
    for (detail::evictable* pool : pools_)
        pool->list_idle(candidates);
    std::erase_if(candidates, [&](const auto& one) {
        return !(one.where == where) || (kept != 0 && one.shared_id == kept);
    });
    const auto is_lent = [](const detail::eviction_candidate& one) { return one.lent; };
    const bool more_come = std::erase_if(candidates, is_lent) != 0;
    const std::vector<std::size_t> picked =
        detail::pick_evictions(candidates, bytes - available - coming);
    if (picked.empty() && more_come) return true;
    if (picked.empty()) throw budget.exhausted(bytes, holder);
    bool all_went = true;
    for (const std::size_t index : picked)
        all_went = candidates[index].evict() && all_went;
    return all_went;
}

MODELPOOL_DECL void runtime::report_device_lost(const device& where)
{
    if (where.is_cpu()) return;
    devices_.mark_lost(where);
    log(log_level::error,
        where.str() + " stopped working: its models are closed until it is revived");
    if (publisher_.wants(event_kind::device_lost)) {
        event happened;
        happened.kind = event_kind::device_lost;
        happened.when = time().now();
        happened.text = where.str();
        publisher_.publish(happened);
    }
    const std::lock_guard lock{mutex_};
    for (detail::evictable* pool : pools_)
        pool->device_lost(where);
}

}  // namespace modelpool

#pragma once

#include <modelpool/device.hpp>
#include <modelpool/error.hpp>
#include <modelpool/runtime/memory_governor.hpp>
#include <modelpool/runtime/stats.hpp>

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <utility>
#include <vector>

namespace modelpool {

/// Tells a runtime about the devices of the machine. The core knows none but the CPU; the part that
/// computes with libtorch brings one of these for CUDA devices. Called from any thread, several at
/// once.
class device_info {
public:
    device_info() = default;
    device_info(const device_info&) = delete;
    device_info& operator=(const device_info&) = delete;
    device_info(device_info&&) = delete;
    device_info& operator=(device_info&&) = delete;
    virtual ~device_info() = default;

    /// Bytes of the device's memory that nobody uses now, other programs included. May take a
    /// moment the first time, while the device wakes.
    /// Errors: errc::unsupported where there is no such device.
    virtual std::uint64_t free_bytes(const device& where) const = 0;
};

/// The memory budget of each device, and which devices stopped working. Thread-safe. The budgets
/// stay where they are until the table is destroyed.
class device_table {
public:
    /// `host_limit_bytes`: the CPU's budget. `info`, which may be null and must outlive the table,
    /// says what other devices have.
    device_table(std::uint64_t host_limit_bytes, const device_info* info)
        : info_{info}
        , host_{host_limit_bytes}
    {}
    device_table(const device_table&) = delete;
    device_table& operator=(const device_table&) = delete;
    device_table(device_table&&) = delete;
    device_table& operator=(device_table&&) = delete;
    ~device_table() = default;

    /// The budget of the device. A CUDA device gets one when it is first asked for: nine tenths of
    /// the bytes that are free then, the rest being left to what allocates without asking. It keeps
    /// it when it is lost.
    /// Errors: errc::unsupported where there is no such device, or no provider that knows one;
    /// whatever the provider throws.
    memory_governor& memory(const device& where)
    {
        if (where.is_cpu()) return host_;
        {
            const std::lock_guard lock{mutex_};
            const auto found = devices_.find(where.index());
            if (found != devices_.end() && found->second.memory) return *found->second.memory;
        }
        // Asked outside the lock: the provider is not ours, and may take its time. Where two
        // threads ask at once, the first answer stands.
        const std::uint64_t limit_bytes = budget_of(free_bytes(where));
        const std::lock_guard lock{mutex_};
        entry& one = devices_[where.index()];
        if (!one.memory) one.memory = std::make_unique<memory_governor>(limit_bytes);
        return *one.memory;
    }

    /// The budget of the device, where it was asked for before; null where not. Asks no provider.
    memory_governor* find_memory(const device& where) noexcept
    {
        if (where.is_cpu()) return &host_;
        const std::lock_guard lock{mutex_};
        const auto found = devices_.find(where.index());
        return found == devices_.end() ? nullptr : found->second.memory.get();
    }

    /// The device stopped working. The CPU cannot: for it this does nothing.
    void mark_lost(const device& where)
    {
        if (where.is_cpu()) return;
        const std::lock_guard lock{mutex_};
        devices_[where.index()].lost = true;
    }

    /// The user says that the device works again.
    void revive(const device& where)
    {
        const std::lock_guard lock{mutex_};
        const auto found = devices_.find(where.index());
        if (found != devices_.end()) found->second.lost = false;
    }

    bool lost(const device& where) const
    {
        const std::lock_guard lock{mutex_};
        const auto found = devices_.find(where.index());
        return found != devices_.end() && found->second.lost;
    }

    /// The CPU first, then the CUDA devices that were asked for or lost, by their numbers. One that
    /// was lost before it was ever asked for has no budget, and shows a limit of 0.
    std::vector<device_memory_stats> stats() const
    {
        std::vector<device_memory_stats> all;
        all.push_back(stats_of(device{}, &host_, false));
        const std::lock_guard lock{mutex_};
        for (const auto& [index, one] : devices_)
            if (one.memory || one.lost)
                all.push_back(stats_of(device::cuda(index), one.memory.get(), one.lost));
        return all;
    }

private:
    struct entry {
        std::unique_ptr<memory_governor> memory;
        bool lost{false};
    };

    std::uint64_t free_bytes(const device& where) const
    {
        if (info_ != nullptr) return info_->free_bytes(where);
        throw error{
            errc::unsupported,
            "nothing is known about device " + where.str() +
                ": the runtime was built without a device_info, and runs models on the cpu only"};
    }

    static constexpr std::uint64_t budget_of(std::uint64_t free_bytes) noexcept
    {
        return free_bytes / 10 * 9 + free_bytes % 10 * 9 / 10;
    }

    static device_memory_stats
    stats_of(const device& where, const memory_governor* memory, bool lost)
    {
        device_memory_stats one;
        one.device = where.str();
        one.lost = lost;
        if (memory == nullptr) return one;
        one.limit_bytes = memory->limit_bytes();
        one.holders = memory->holders();
        // Their sum, so that the two agree whatever is reserved meanwhile.
        const auto add = [](std::uint64_t sum, const memory_use& use) { return sum + use.bytes; };
        one.reserved_bytes =
            std::accumulate(one.holders.begin(), one.holders.end(), std::uint64_t{0}, add);
        return one;
    }

    const device_info* const info_;
    memory_governor host_;
    mutable std::mutex mutex_;
    std::map<int, entry> devices_;
};

}  // namespace modelpool

#pragma once

#include <modelpool/async/awaitable.hpp>
#include <modelpool/async/offload.hpp>
#include <modelpool/async/thread_pool.hpp>
#include <modelpool/config.hpp>
#include <modelpool/hub/fetcher.hpp>
#include <modelpool/log.hpp>
#include <modelpool/runtime/clock.hpp>
#include <modelpool/runtime/core_governor.hpp>
#include <modelpool/runtime/detail/eviction.hpp>
#include <modelpool/runtime/device_info.hpp>
#include <modelpool/runtime/events.hpp>
#include <modelpool/runtime/memory_governor.hpp>
#include <modelpool/runtime/stats.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace modelpool {

/// What a runtime is built from. Zero or empty: the default.
class runtime_options {
public:
    /// The memory budget of all pools together. Default: `default_memory_limit_bytes` of this
    /// machine.
    runtime_options& memory_limit_bytes(std::uint64_t value)
    {
        memory_limit_bytes_ = value;
        return *this;
    }
    std::uint64_t memory_limit_bytes() const noexcept { return memory_limit_bytes_; }

    /// Cores that the workers share. Default: those of the machine.
    runtime_options& n_cores(int value)
    {
        n_cores_ = value;
        return *this;
    }
    int n_cores() const noexcept { return n_cores_; }

    /// Threads for blocking work on files. Default: 2.
    runtime_options& n_file_threads(std::size_t value)
    {
        n_file_threads_ = value;
        return *this;
    }
    std::size_t n_file_threads() const noexcept { return n_file_threads_; }

    runtime_options& log(log_sink value)
    {
        log_ = std::move(value);
        return *this;
    }
    const log_sink& log() const noexcept { return log_; }

    /// A clock that outlives the runtime. Default: the machine's.
    runtime_options& time(clock& value)
    {
        time_ = &value;
        return *this;
    }
    clock* time() const noexcept { return time_; }

    /// What is known of devices besides the CPU; outlives the runtime. Default: nothing, and models
    /// run on the CPU only.
    runtime_options& devices(const device_info& value)
    {
        devices_ = &value;
        return *this;
    }
    const device_info* devices() const noexcept { return devices_; }

private:
    std::uint64_t memory_limit_bytes_{0};
    int n_cores_{0};
    std::size_t n_file_threads_{2};
    log_sink log_;
    clock* time_{nullptr};
    const device_info* devices_{nullptr};
};

/// What all pools of a program share: the executor they resume on, one memory budget, the cores, a
/// few threads for blocking work, the fetcher, the clock and the log. A resource: neither copied
/// nor moved; it outlives its pools, registries and every operation on them, and the fetcher and
/// the executor outlive it.
class runtime {
public:
    /// Loaders run, and shared work completes, on `ex`: usually that of the program's own
    /// io_context.
    runtime(executor ex, fetcher& files, const runtime_options& options = {})
        : runtime{std::move(ex), &files, options}
    {}
    /// A runtime without a fetcher: loaders that ask for one fail with hub_errc::no_fetcher.
    explicit runtime(executor ex, const runtime_options& options = {})
        : runtime{std::move(ex), nullptr, options}
    {}
    runtime(const runtime&) = delete;
    runtime& operator=(const runtime&) = delete;
    runtime(runtime&&) = delete;
    runtime& operator=(runtime&&) = delete;
    ~runtime() = default;

    const executor& get_executor() const noexcept { return executor_; }
    /// Errors: hub_errc::no_fetcher.
    fetcher& files() const
    {
        if (!fetcher_) throw error{hub_errc::no_fetcher};
        return *fetcher_;
    }
    /// The memory budget of the CPU's models.
    memory_governor& memory() { return devices_.memory(device{}); }
    /// The memory budget of a device. Errors: errc::unsupported for one that the runtime does not
    /// know.
    memory_governor& memory(const device& where) { return devices_.memory(where); }
    device_table& devices() noexcept { return devices_; }
    core_governor& cores() noexcept { return cores_; }
    clock& time() noexcept { return *clock_; }
    /// Threads for blocking work, for `offload`.
    thread_pool& file_threads() noexcept { return file_threads_; }
    void log(log_level level, std::string_view line) const
    {
        if (log_) log_(level, line);
    }

    /// Events from now on, of the kinds named, or of all. At most `limit` wait for their reader;
    /// then the oldest go.
    event_subscription events(std::initializer_list<event_kind> kinds = {}, std::size_t limit = 256)
    {
        return publisher_.subscribe(kinds, limit);
    }
    /// Where pools and registries publish events.
    event_hub& publisher() noexcept { return publisher_; }

    /// A snapshot of what the models share.
    runtime_stats stats() const
    {
        return runtime_stats{devices_.stats(), cores_.n_cores(), cores_.n_busy_threads()};
    }

    /// Closes a device for good: workers on it go, their requests fail with
    /// model_errc::device_lost, and nothing is started there until `devices().revive()`. Any
    /// thread, under no lock of the library.
    void report_device_lost(const device& where);

    /// Takes bytes from a device's memory budget, evicting idle workers of any pool, least recently
    /// used first, where there is no room; blocks while evicted workers go. `stop`, once true and
    /// after `memory().interrupt()`, ends the wait. Workers that hold the shared part `kept` (see
    /// `detail::eviction_candidate`; 0: none) stay: the bytes are for a copy of theirs.
    /// Errors: pool_errc::memory_exhausted; operation_aborted when stopped.
    reservation blocking_reserve(
        const device& where,
        std::uint64_t bytes,
        const std::string& holder,
        const std::function<bool()>& stop,
        std::uint64_t kept = 0);

    /// A pool makes its idle workers known, and takes itself back before it is destroyed.
    void enlist(detail::evictable& pool)
    {
        const std::lock_guard lock{mutex_};
        pools_.push_back(&pool);
    }
    void delist(detail::evictable& pool)
    {
        const std::lock_guard lock{mutex_};
        std::erase(pools_, &pool);
    }

private:
    runtime(executor ex, fetcher* files, const runtime_options& options)
        : executor_{std::move(ex)}
        , fetcher_{files}
        , devices_{options.memory_limit_bytes() != 0 ? options.memory_limit_bytes() : default_memory_limit_bytes(blocking_machine_memory_bytes()), options.devices()}
        , cores_{options.n_cores() > 0 ? options.n_cores() : static_cast<int>(std::max(1U, std::thread::hardware_concurrency()))}
        , clock_{options.time() ? options.time() : &own_clock_}
        , log_{options.log()}
        , file_threads_{options.n_file_threads()}
    {}

    /// Starts the eviction of enough idle workers for `bytes`; throws where that cannot be enough.
    /// True where bytes are on their way, false where trying again at once is right.
    bool make_room(
        const device& where, std::uint64_t bytes, const std::string& holder, std::uint64_t kept);

    executor executor_;
    fetcher* fetcher_;
    device_table devices_;
    core_governor cores_;
    steady_clock own_clock_;
    clock* clock_;
    log_sink log_;
    event_hub publisher_;
    std::mutex mutex_;
    std::vector<detail::evictable*> pools_;
    thread_pool file_threads_;
};

}  // namespace modelpool

#if defined(MODELPOOL_HEADER_ONLY)
#include <modelpool/runtime/impl/runtime.hpp>
#endif

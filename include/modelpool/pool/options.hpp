#pragma once

#include <modelpool/device.hpp>
#include <modelpool/pool/breaker_options.hpp>
#include <modelpool/runtime/clock.hpp>
#include <modelpool/runtime/events.hpp>
#include <modelpool/runtime/memory_governor.hpp>
#include <modelpool/sched/generation_options.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

namespace modelpool {

/// Which of the waiting requests goes first. A request that waits long enough outranks newer ones
/// of the next higher priority, so that none waits for ever.
enum class priority { low = 0, normal, high };

/// What any request may ask for besides its own parameters.
class request_options {
public:
    request_options& rank(priority value)
    {
        rank_ = value;
        return *this;
    }
    priority rank() const noexcept { return rank_; }

    /// Drops the request with pool_errc::deadline_missed at that time, where no worker has begun it
    /// by then.
    request_options& deadline(clock::time_point value)
    {
        deadline_ = value;
        return *this;
    }
    const std::optional<clock::time_point>& deadline() const noexcept { return deadline_; }

    /// Waits for a place in a full queue, rather than failing with pool_errc::queue_full.
    request_options& wait_for_place(bool value)
    {
        wait_for_place_ = value;
        return *this;
    }
    bool wait_for_place() const noexcept { return wait_for_place_; }

    /// Called on the caller's executor while the request waits for its model to be fetched and
    /// loaded. Where the executor is behind, only the newest report comes. It should not block; an
    /// exception it throws leaves through the executor. None comes after the request's own
    /// completion.
    request_options& on_progress(std::function<void(const load_progress&)> value)
    {
        on_progress_ = std::move(value);
        return *this;
    }
    const std::function<void(const load_progress&)>& on_progress() const noexcept
    {
        return on_progress_;
    }

private:
    priority rank_{priority::normal};
    std::optional<clock::time_point> deadline_;
    bool wait_for_place_{false};
    std::function<void(const load_progress&)> on_progress_;
};

/// Estimated bytes of a model, before it is loaded.
struct memory_estimate {
    std::uint64_t resident_bytes{
        0};  ///< weights in memory; must fit the budget; once for all replicas
    std::uint64_t replica_bytes{0};  ///< scratch and caches of each worker; must fit the budget
    std::uint64_t mapped_bytes{0};   ///< clean file pages; not counted against the budget
};

/// How many workers a model gets, and how they behave. A card may carry its own; the pool has the
/// default.
class scaling_options {
public:
    /// Workers started when the first request meets none; fewer where the memory budget has no
    /// room.
    scaling_options& cold_start_workers(std::size_t value)
    {
        cold_start_workers_ = value;
        return *this;
    }
    std::size_t cold_start_workers() const noexcept { return cold_start_workers_; }

    /// The most workers of one model, those still loading counted. One more starts whenever a
    /// request waits and all are busy.
    scaling_options& max_workers(std::size_t value)
    {
        max_workers_ = value;
        return *this;
    }
    std::size_t max_workers() const noexcept { return max_workers_; }

    /// A worker that has had nothing to do for so long is unloaded, unless it is pinned. Longer
    /// than a century: never.
    scaling_options& idle_limit(std::chrono::nanoseconds value)
    {
        idle_limit_ = value;
        return *this;
    }
    std::chrono::nanoseconds idle_limit() const noexcept { return idle_limit_; }

private:
    std::size_t cold_start_workers_{2};
    std::size_t max_workers_{4};
    std::chrono::nanoseconds idle_limit_{std::chrono::seconds{60}};
};

/// How a pool treats its models.
class pool_options {
public:
    /// The most requests that wait for one model; further ones fail with pool_errc::queue_full.
    pool_options& queue_limit(std::size_t value)
    {
        queue_limit_ = value;
        return *this;
    }
    std::size_t queue_limit() const noexcept { return queue_limit_; }

    pool_options& scaling(scaling_options value)
    {
        scaling_ = value;
        return *this;
    }
    const scaling_options& scaling() const noexcept { return scaling_; }

    /// The most tokens an embedding worker computes at once; one text longer than that goes alone.
    pool_options& batch_tokens(std::size_t value)
    {
        batch_tokens_ = value;
        return *this;
    }
    std::size_t batch_tokens() const noexcept { return batch_tokens_; }

    /// The most images an image embedding worker computes at once.
    pool_options& batch_images(std::size_t value)
    {
        batch_images_ = value;
        return *this;
    }
    std::size_t batch_images() const noexcept { return batch_images_; }

    /// When a model that keeps failing is given a rest.
    pool_options& breaker(breaker_options value)
    {
        breaker_ = value;
        return *this;
    }
    const breaker_options& breaker() const noexcept { return breaker_; }

    /// A worker that computes and reports no step for so long counts as stalled: it is reported,
    /// gets no new work, and goes once it comes back. It is looked at once in that time, so that up
    /// to twice as long may pass. A load that reports no progress for so long is reported too, and
    /// marked until it comes further; no other is started in its place, since it may only be slow.
    /// What stalls keeps its memory reserved. Longer than a century: never.
    pool_options& stall_limit(std::chrono::nanoseconds value)
    {
        stall_limit_ = value;
        return *this;
    }
    std::chrono::nanoseconds stall_limit() const noexcept { return stall_limit_; }

    /// How generating workers batch, and how large their KV caches may grow.
    pool_options& generation(const sched::generation_options& value)
    {
        generation_ = value;
        return *this;
    }
    const sched::generation_options& generation() const noexcept { return generation_; }

    /// Limits of images that are got from web addresses.
    pool_options& images(const url_limits& value)
    {
        images_ = value;
        return *this;
    }
    const url_limits& images() const noexcept { return images_; }

private:
    std::size_t queue_limit_{100};
    std::size_t batch_tokens_{4096};
    std::size_t batch_images_{8};
    std::chrono::nanoseconds stall_limit_{std::chrono::minutes{5}};
    scaling_options scaling_;
    breaker_options breaker_;
    sched::generation_options generation_;
    url_limits images_;
};

/// How a worker is started by `spawn_worker`.
class worker_options {
public:
    worker_options& device(modelpool::device value)
    {
        device_ = value;
        return *this;
    }
    /// Errors: errc::invalid_argument for text that names no device.
    worker_options& device(std::string_view value)
    {
        return device(modelpool::device::parse(value));
    }
    const modelpool::device& device() const noexcept { return device_; }

    worker_options& dtype(modelpool::dtype value)
    {
        dtype_ = value;
        return *this;
    }
    modelpool::dtype dtype() const noexcept { return dtype_; }

    /// What the model is expected to take; corrected by the measured bytes once it is loaded.
    worker_options& memory(memory_estimate value)
    {
        memory_ = value;
        return *this;
    }
    const memory_estimate& memory() const noexcept { return memory_; }

    /// Bytes that the caller reserved for this worker beforehand: the worker takes nothing else for
    /// its estimate, and gives them back when it ends.
    worker_options& reserved(reservation value)
    {
        reserved_ = value ? std::make_shared<reservation>(std::move(value)) : nullptr;
        return *this;
    }
    const std::shared_ptr<reservation>& reserved() const noexcept { return reserved_; }

    /// The most compute threads of the worker. 0: all cores of the runtime, as far as others leave
    /// them.
    worker_options& n_threads(int value)
    {
        n_threads_ = value;
        return *this;
    }
    int n_threads() const noexcept { return n_threads_; }

    /// A pinned worker is never evicted to make room, nor for being idle.
    worker_options& pinned(bool value)
    {
        pinned_ = value;
        return *this;
    }
    bool pinned() const noexcept { return pinned_; }

    /// Whether one small forward runs before the worker says that it is ready.
    worker_options& warm_up(bool value)
    {
        warm_up_ = value;
        return *this;
    }
    bool warm_up() const noexcept { return warm_up_; }

private:
    modelpool::device device_;
    modelpool::dtype dtype_{modelpool::dtype::automatic};
    memory_estimate memory_;
    std::shared_ptr<reservation> reserved_;
    int n_threads_{0};
    bool pinned_{false};
    bool warm_up_{false};
};

}  // namespace modelpool

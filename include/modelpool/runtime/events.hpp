#pragma once

#include <modelpool/async/awaitable.hpp>
#include <modelpool/async/queue.hpp>
#include <modelpool/config.hpp>
#include <modelpool/hub/fetcher.hpp>
#include <modelpool/runtime/clock.hpp>
#include <modelpool/runtime/worker_state.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace modelpool {

/// How far a load has come.
struct load_progress {
    std::string model;        ///< its key in its pool
    std::uint64_t worker{0};  ///< the worker that loads it
    std::string stage;  ///< what is under way: "fetch", "load", "warm up", or the loader's own word
    fetch_progress files;  ///< bytes and files of that stage, as far as known
};

/// What an event is about.
enum class event_kind {
    worker_state = 1,  ///< a worker went from `from` to `to`
    load_progress,     ///< a load advanced: `progress`
    load_failed,       ///< a load ended with `failure`, whether or not anybody waited for it
    evicted,           ///< an idle worker goes; `text` says why
    stalled,           ///< a worker reports no progress; it gets no new work
    worker_failed,     ///< a worker's model failed for good: `failure`; the worker is retired
    breaker,           ///< a model's breaker is now `text`: "open", "half-open" or "closed"
    device_lost,       ///< the device `text` stopped working; its models are closed
    model_added,       ///< a registry has a new entry
    model_removed,     ///< a registry lost an entry
};

/// Something that happened in the library. A value.
struct event {
    event_kind kind{event_kind::worker_state};
    clock::time_point when;
    std::string pool;         ///< the capability; empty where none is concerned
    std::string model;        ///< its key
    std::uint64_t worker{0};  ///< 0: no worker in particular
    worker_state from{worker_state::spawning};
    worker_state to{worker_state::spawning};
    std::optional<load_progress> progress;
    std::exception_ptr failure;
    std::string text;
};

namespace detail {

/// Where one subscriber's events wait.
class event_buffer {
public:
    event_buffer(std::uint32_t kinds, std::size_t limit)
        : kinds_{kinds}
        , values_{limit}
    {}

    std::uint32_t kinds() const noexcept { return kinds_; }
    std::uint64_t n_dropped() const noexcept { return n_dropped_.load(std::memory_order_relaxed); }

    /// Keeps the newest: where there is no room, the oldest goes.
    void offer(event one)
    {
        while (!values_.try_push(one))
            if (values_.try_pop()) n_dropped_.fetch_add(1, std::memory_order_relaxed);
    }
    /// Waits for the next one. `self` keeps the buffer alive meanwhile.
    static awaitable<event> next(std::shared_ptr<event_buffer> self);
    std::optional<event> try_next() { return values_.try_pop(); }

private:
    const std::uint32_t kinds_;
    queue<event> values_;
    std::atomic<std::uint64_t> n_dropped_{0};
};

}  // namespace detail

/// A stream of events, from the moment it was asked for. Movable; destroying it ends the
/// subscription. It may outlive its runtime, after which nothing more comes.
class event_subscription {
public:
    explicit event_subscription(std::shared_ptr<detail::event_buffer> buffer)
        : buffer_{std::move(buffer)}
    {}

    /// The next event, waiting for one.
    /// Runs: completes on the caller's executor. Errors: none of its own.
    /// Cancellation: terminal, partial and total; no event is lost.
    /// Lifetime: the subscription may be destroyed while it waits; the wait then ends only by
    /// cancellation.
    awaitable<event> next() { return detail::event_buffer::next(buffer_); }
    /// An event that waits already; empty where there is none.
    std::optional<event> try_next() { return buffer_->try_next(); }
    /// Events lost because the reader was behind: the oldest go first.
    std::uint64_t n_dropped() const noexcept { return buffer_->n_dropped(); }

private:
    std::shared_ptr<detail::event_buffer> buffer_;
};

/// Hands events to whoever subscribed. Thread-safe. Where nobody did, publishing costs one load of
/// an atomic.
class event_hub {
public:
    /// Whether anybody wants events of that kind: ask before making one.
    bool wants(event_kind kind) const noexcept
    {
        return (wanted_.load(std::memory_order_relaxed) & bit(kind)) != 0;
    }

    void publish(const event& one)
    {
        if (!wants(one.kind)) return;
        std::vector<std::shared_ptr<detail::event_buffer>> readers;
        {
            const std::lock_guard lock{mutex_};
            std::uint32_t wanted = 0;
            std::erase_if(buffers_, [](const auto& weak) { return weak.expired(); });
            for (const auto& weak : buffers_)
                if (auto buffer = weak.lock()) {
                    wanted |= buffer->kinds();
                    if ((buffer->kinds() & bit(one.kind)) != 0)
                        readers.push_back(std::move(buffer));
                }
            wanted_.store(wanted, std::memory_order_relaxed);
        }
        for (const auto& reader : readers)
            reader->offer(one);
    }

    /// Events of `kinds` (all kinds, where none is named); at most `limit` wait for their reader.
    event_subscription subscribe(std::initializer_list<event_kind> kinds, std::size_t limit)
    {
        std::uint32_t mask = kinds.size() == 0 ? ~std::uint32_t{0} : 0;
        for (const event_kind kind : kinds)
            mask |= bit(kind);
        auto buffer = std::make_shared<detail::event_buffer>(mask, limit);
        const std::lock_guard lock{mutex_};
        buffers_.push_back(buffer);
        wanted_.fetch_or(mask, std::memory_order_relaxed);
        return event_subscription{std::move(buffer)};
    }

private:
    static constexpr std::uint32_t bit(event_kind kind) noexcept
    {
        return std::uint32_t{1} << static_cast<unsigned>(kind);
    }

    std::mutex mutex_;
    std::vector<std::weak_ptr<detail::event_buffer>> buffers_;
    std::atomic<std::uint32_t> wanted_{0};
};

}  // namespace modelpool

#if defined(MODELPOOL_HEADER_ONLY)
#include <modelpool/runtime/impl/events.hpp>
#endif

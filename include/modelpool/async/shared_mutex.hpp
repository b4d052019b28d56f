#pragma once

#include <modelpool/async/awaitable.hpp>
#include <modelpool/async/detail/wait_list.hpp>
#include <modelpool/config.hpp>

#include <cstddef>
#include <memory>
#include <mutex>
#include <utility>

namespace modelpool {
namespace detail {

enum class lock_mode { none, shared, exclusive };
class shared_mutex_core;

}  // namespace detail

/// Owns a turn of a `mutex` or a `shared_mutex`, and gives it back when destroyed, from any thread.
/// A default-constructed lock owns nothing. Keeps the mutex's state alive, so it may outlive the
/// mutex.
class async_lock {
public:
    async_lock() = default;
    async_lock(async_lock&& other) noexcept
        : core_{std::move(other.core_)}
        , mode_{std::exchange(other.mode_, detail::lock_mode::none)}
    {}
    async_lock& operator=(async_lock&& other) noexcept
    {
        unlock();
        core_ = std::move(other.core_);
        mode_ = std::exchange(other.mode_, detail::lock_mode::none);
        return *this;
    }
    async_lock(const async_lock&) = delete;
    async_lock& operator=(const async_lock&) = delete;
    ~async_lock() { unlock(); }

    bool owns_lock() const noexcept { return mode_ != detail::lock_mode::none; }
    /// Gives the turn back now. The next waiter is resumed by a post, never inline.
    void unlock() noexcept;

private:
    friend class detail::shared_mutex_core;
    async_lock(std::shared_ptr<detail::shared_mutex_core> core, detail::lock_mode mode)
        : core_{std::move(core)}
        , mode_{mode}
    {}

    std::shared_ptr<detail::shared_mutex_core> core_;
    detail::lock_mode mode_{detail::lock_mode::none};
};

namespace detail {

/// The state behind both mutexes. Fair: turns are given in the order they were asked for, so a
/// writer that waits holds later readers back.
class shared_mutex_core : public std::enable_shared_from_this<shared_mutex_core> {
public:
    using waiter_type = waiter<shared_mutex_core, async_lock, lock_mode>;

    void enter(std::shared_ptr<waiter_type> one)
    {
        std::unique_lock lock{mutex_};
        if (!waiting_.empty() || !free_for(one->tag)) {
            waiting_.push(std::move(one));
            return;
        }
        if (!one->answer.claim()) return;
        take(one->tag);
        lock.unlock();
        one->answer.send(nullptr, async_lock{shared_from_this(), one->tag});
    }

    void leave(waiter_type& gone)
    {
        {
            const std::lock_guard lock{mutex_};
            waiting_.erase(gone);
        }
        pass_on();  // a writer that gave up may have held readers back
    }

    async_lock try_lock(lock_mode mode)
    {
        const std::lock_guard lock{mutex_};
        if (!waiting_.empty() || !free_for(mode)) return async_lock{};
        take(mode);
        return async_lock{shared_from_this(), mode};
    }

    void release(lock_mode mode) noexcept
    {
        {
            const std::lock_guard lock{mutex_};
            if (mode == lock_mode::exclusive)
                written_ = false;
            else
                --n_readers_;
        }
        pass_on();
    }

private:
    bool free_for(lock_mode mode) const noexcept
    {
        return !written_ && (mode == lock_mode::shared || n_readers_ == 0);
    }

    void take(lock_mode mode) noexcept
    {
        if (mode == lock_mode::exclusive)
            written_ = true;
        else
            ++n_readers_;
    }

    void pass_on()
    {
        std::unique_lock lock{mutex_};
        while (!waiting_.empty() && free_for(waiting_.front().tag)) {
            const std::shared_ptr<waiter_type> next = waiting_.pop();
            if (!next->answer.claim()) continue;
            take(next->tag);
            lock.unlock();
            next->answer.send(nullptr, async_lock{shared_from_this(), next->tag});
            lock.lock();
        }
    }

    std::mutex mutex_;
    wait_list<waiter_type> waiting_;
    std::size_t n_readers_{0};
    bool written_{false};
};

}  // namespace detail

inline void async_lock::unlock() noexcept
{
    const detail::lock_mode mode = std::exchange(mode_, detail::lock_mode::none);
    if (mode != detail::lock_mode::none) core_->release(mode);
    core_.reset();
}

/// A readers-writer lock for coroutines: holding it across a suspension blocks no thread. For state
/// that a few lines change without suspending, std::mutex is the better tool. Fair, thread-safe.
/// Destroying it while coroutines wait is safe: they still get their turns.
class shared_mutex {
public:
    shared_mutex()
        : core_{std::make_shared<detail::shared_mutex_core>()}
    {}
    shared_mutex(const shared_mutex&) = delete;
    shared_mutex& operator=(const shared_mutex&) = delete;
    shared_mutex(shared_mutex&&) = delete;
    shared_mutex& operator=(shared_mutex&&) = delete;
    ~shared_mutex() = default;

    /// Waits until nobody else holds the lock.
    /// Runs: completes on the caller's executor. Errors: none of its own.
    /// Cancellation: terminal, partial and total at any time.
    awaitable<async_lock> lock() { return wait(core_, detail::lock_mode::exclusive); }
    /// Waits until no writer holds the lock, or waits before this caller. Otherwise as `lock`.
    awaitable<async_lock> lock_shared() { return wait(core_, detail::lock_mode::shared); }

    /// A lock that owns nothing where it would have to wait.
    async_lock try_lock() { return core_->try_lock(detail::lock_mode::exclusive); }
    async_lock try_lock_shared() { return core_->try_lock(detail::lock_mode::shared); }

private:
    using core = detail::shared_mutex_core;

    static awaitable<async_lock> wait(std::shared_ptr<core> state, detail::lock_mode mode);

    std::shared_ptr<core> core_;
};

}  // namespace modelpool

#if defined(MODELPOOL_HEADER_ONLY)
#include <modelpool/async/impl/shared_mutex.hpp>
#endif

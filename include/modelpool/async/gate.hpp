#pragma once

#include <modelpool/async/awaitable.hpp>
#include <modelpool/async/detail/wait_list.hpp>
#include <modelpool/config.hpp>
#include <modelpool/error.hpp>

#include <cstddef>
#include <memory>
#include <mutex>
#include <utility>
#include <variant>

namespace modelpool {
namespace detail {

class gate_core {
public:
    using waiter_type = waiter<gate_core, std::monostate, std::monostate>;

    bool try_enter()
    {
        const std::lock_guard lock{mutex_};
        if (closed_) return false;
        ++n_inside_;
        return true;
    }

    void exit() noexcept
    {
        wait_list<waiter_type> done;
        {
            const std::lock_guard lock{mutex_};
            --n_inside_;
            if (!closed_ || n_inside_ != 0) return;
            std::swap(done, waiting_);
        }
        release(done);
    }

    void enter(std::shared_ptr<waiter_type> one)
    {
        {
            const std::lock_guard lock{mutex_};
            if (n_inside_ != 0) {
                waiting_.push(std::move(one));
                return;
            }
        }
        one->answer.answer(nullptr, {});
    }

    void leave(waiter_type& gone)
    {
        const std::lock_guard lock{mutex_};
        waiting_.erase(gone);
    }

    void close()
    {
        const std::lock_guard lock{mutex_};
        closed_ = true;
    }

    bool closed() const
    {
        const std::lock_guard lock{mutex_};
        return closed_;
    }

    std::size_t n_inside() const
    {
        const std::lock_guard lock{mutex_};
        return n_inside_;
    }

private:
    static void release(wait_list<waiter_type>& done)
    {
        while (const std::shared_ptr<waiter_type> one = done.claim_front())
            one->answer.send(nullptr, {});
    }

    mutable std::mutex mutex_;
    wait_list<waiter_type> waiting_;
    std::size_t n_inside_{0};
    bool closed_{false};
};

}  // namespace detail

/// Counts what is going on inside an object, so that the object can refuse newcomers and wait for
/// the rest. Thread-safe. Passes may outlive the gate.
class gate {
public:
    /// Being inside; leaves when destroyed, on any thread.
    class pass {
    public:
        pass() = default;
        pass(pass&& other) noexcept
            : core_{std::move(other.core_)}
        {}
        pass& operator=(pass&& other) noexcept
        {
            release();
            core_ = std::move(other.core_);
            return *this;
        }
        pass(const pass&) = delete;
        pass& operator=(const pass&) = delete;
        ~pass() { release(); }

        explicit operator bool() const noexcept { return core_ != nullptr; }
        void release() noexcept
        {
            if (const std::shared_ptr<detail::gate_core> core = std::move(core_)) core->exit();
        }

    private:
        friend class gate;
        explicit pass(std::shared_ptr<detail::gate_core> core)
            : core_{std::move(core)}
        {}
        std::shared_ptr<detail::gate_core> core_;
    };

    gate()
        : core_{std::make_shared<detail::gate_core>()}
    {}
    gate(const gate&) = delete;
    gate& operator=(const gate&) = delete;
    gate(gate&&) = delete;
    gate& operator=(gate&&) = delete;
    ~gate() = default;

    /// An empty pass where the gate is closed.
    pass try_enter() { return core_->try_enter() ? pass{core_} : pass{}; }
    /// Errors: errc::closed.
    pass enter()
    {
        if (!core_->try_enter()) throw error{errc::closed};
        return pass{core_};
    }

    /// Lets nobody in any more. Idempotent.
    void close() { core_->close(); }
    bool closed() const { return core_->closed(); }
    std::size_t n_inside() const { return core_->n_inside(); }

    /// Closes, and waits until the last one inside has left.
    /// Runs: completes on the caller's executor. Errors: none of its own.
    /// Cancellation: terminal, partial and total at any time; the gate stays closed.
    awaitable<void> close_and_wait() { return close_and_wait(core_); }

private:
    static awaitable<void> close_and_wait(std::shared_ptr<detail::gate_core> core);

    std::shared_ptr<detail::gate_core> core_;
};

}  // namespace modelpool

#if defined(MODELPOOL_HEADER_ONLY)
#include <modelpool/async/impl/gate.hpp>
#endif

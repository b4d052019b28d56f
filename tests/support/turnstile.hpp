#pragma once

#include <modelpool/capability/model.hpp>

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <limits>
#include <mutex>

namespace modelpool::testing {

/// Lets as many threads pass as it has tickets; open from the start.
class turnstile {
public:
    /// Nobody passes any more.
    void shut() { set(0); }
    void open() { set(std::numeric_limits<std::size_t>::max()); }
    /// Lets `n` more pass.
    void admit(std::size_t n)
    {
        {
            const std::lock_guard lock{mutex_};
            n_tickets_ += n;
        }
        changed_.notify_all();
    }
    /// Threads that stand before it now.
    std::size_t n_waiting() const
    {
        const std::lock_guard lock{mutex_};
        return n_waiting_;
    }
    /// Passes, or waits for a ticket; gives up once `stop` asks to.
    void blocking_pass(const stop_flag& stop)
    {
        std::unique_lock lock{mutex_};
        ++n_waiting_;
        while (n_tickets_ == 0 && !stop.stop_requested())
            changed_.wait_for(lock, std::chrono::milliseconds{1});
        --n_waiting_;
        if (n_tickets_ > 0 && n_tickets_ != std::numeric_limits<std::size_t>::max()) --n_tickets_;
    }

private:
    void set(std::size_t n)
    {
        {
            const std::lock_guard lock{mutex_};
            n_tickets_ = n;
        }
        changed_.notify_all();
    }

    mutable std::mutex mutex_;
    std::condition_variable changed_;
    std::size_t n_waiting_{0};
    std::size_t n_tickets_{std::numeric_limits<std::size_t>::max()};
};

}  // namespace modelpool::testing

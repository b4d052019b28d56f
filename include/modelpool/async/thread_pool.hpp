#pragma once

#include <modelpool/error.hpp>

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace modelpool {

/// A piece of blocking work that somebody waits for.
class blocking_task {
public:
    blocking_task() = default;
    blocking_task(const blocking_task&) = delete;
    blocking_task& operator=(const blocking_task&) = delete;
    blocking_task(blocking_task&&) = delete;
    blocking_task& operator=(blocking_task&&) = delete;
    virtual ~blocking_task() = default;

    /// Does the work, on the sink's thread.
    virtual void run() noexcept = 0;
    /// Says that the work will never be done.
    virtual void abandon(std::exception_ptr why) noexcept = 0;
};

/// Something that runs blocking work on threads of its own: a `thread_pool`, or a worker while it
/// loads.
class task_sink {
public:
    task_sink() = default;
    task_sink(const task_sink&) = delete;
    task_sink& operator=(const task_sink&) = delete;
    task_sink(task_sink&&) = delete;
    task_sink& operator=(task_sink&&) = delete;
    virtual ~task_sink() = default;

    /// Queues `task`, or abandons it at once: pool_errc::queue_full, pool_errc::shut_down.
    virtual void submit(std::shared_ptr<blocking_task> task) = 0;
    /// Takes a task that has not begun out of the queue.
    virtual void withdraw(const blocking_task& task) noexcept = 0;
};

/// A few threads for blocking work: hashing, directory scans, large JSON. Threads start when first
/// needed, and sleep without waking while there is nothing to do. A resource: destroying it
/// abandons what has not begun (pool_errc::shut_down) and joins. Thread-safe.
class thread_pool final : public task_sink {
public:
    static constexpr std::size_t default_queue_limit = 4096;

    explicit thread_pool(std::size_t n_threads, std::size_t queue_limit = default_queue_limit)
        : n_threads_{n_threads == 0 ? 1 : n_threads}
        , queue_limit_{queue_limit}
    {}
    thread_pool(const thread_pool&) = delete;
    thread_pool& operator=(const thread_pool&) = delete;
    thread_pool(thread_pool&&) = delete;
    thread_pool& operator=(thread_pool&&) = delete;

    ~thread_pool() override
    {
        std::deque<std::shared_ptr<blocking_task>> left;
        {
            const std::lock_guard lock{mutex_};
            closed_ = true;
            left.swap(queue_);
        }
        wake_.notify_all();
        for (const auto& task : left)
            task->abandon(std::make_exception_ptr(error{pool_errc::shut_down}));
        for (std::thread& thread : threads_)
            thread.join();
    }

    void submit(std::shared_ptr<blocking_task> task) override
    {
        std::exception_ptr refusal;
        {
            const std::lock_guard lock{mutex_};
            if (closed_)
                refusal = std::make_exception_ptr(error{pool_errc::shut_down});
            else if (queue_.size() >= queue_limit_)
                refusal = std::make_exception_ptr(error{
                    pool_errc::queue_full,
                    std::to_string(queue_limit_) + " pieces of blocking work wait already"});
            else {
                queue_.push_back(task);
                if (n_idle_ < queue_.size() && threads_.size() < n_threads_)
                    refusal = start_thread();
                if (refusal) queue_.pop_back();
            }
        }
        if (refusal)
            task->abandon(std::move(refusal));
        else
            wake_.notify_one();
    }

    void withdraw(const blocking_task& task) noexcept override
    {
        std::shared_ptr<blocking_task> taken;  // destroyed outside the lock
        const std::lock_guard lock{mutex_};
        for (auto place = queue_.begin(); place != queue_.end(); ++place) {
            if (place->get() != &task) continue;
            taken = std::move(*place);
            queue_.erase(place);
            return;
        }
    }

private:
    /// Why no thread could be started, where there is none at all that could do the work.
    std::exception_ptr start_thread()
    {
        try {
            threads_.emplace_back([this] { work(); });
        } catch (const std::system_error&) {
            if (threads_.empty()) return std::current_exception();
        }
        return nullptr;
    }

    void work()
    {
        std::unique_lock lock{mutex_};
        for (;;) {
            ++n_idle_;
            wake_.wait(lock, [this] { return closed_ || !queue_.empty(); });
            --n_idle_;
            if (closed_) return;
            std::shared_ptr<blocking_task> task = std::move(queue_.front());
            queue_.pop_front();
            lock.unlock();
            task->run();
            task.reset();
            lock.lock();
        }
    }

    const std::size_t n_threads_;
    const std::size_t queue_limit_;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<std::shared_ptr<blocking_task>> queue_;
    std::vector<std::thread> threads_;
    std::size_t n_idle_{0};
    bool closed_{false};
};

}  // namespace modelpool

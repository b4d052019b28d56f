#pragma once

#include <modelpool/async/detail/launch.hpp>
#include <modelpool/async/thread_pool.hpp>
#include <modelpool/capability/model.hpp>
#include <modelpool/config.hpp>
#include <modelpool/pool/detail/engine.hpp>

#include <boost/asio/error.hpp>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

namespace modelpool::detail {

/// The meeting place of a loader, which is a coroutine on the user's executor, and the worker's
/// thread, which runs the loader's blocking jobs and waits for the model.
class load_session final : public task_sink {
public:
    /// A loader that was told to stop gets this long in all to end, whatever jobs it still hands
    /// over, before the worker's thread leaves it alone.
    static constexpr std::chrono::seconds stop_patience{2};

    void submit(std::shared_ptr<blocking_task> task) override
    {
        {
            const std::lock_guard lock{mutex_};
            if (!left_) {
                tasks_.push_back(std::move(task));
                wake_.notify_all();
                return;
            }
        }
        task->abandon(aborted());
    }

    void withdraw(const blocking_task& task) noexcept override
    {
        std::shared_ptr<blocking_task> taken;
        const std::lock_guard lock{mutex_};
        for (auto place = tasks_.begin(); place != tasks_.end(); ++place) {
            if (place->get() != &task) continue;
            taken = std::move(*place);
            tasks_.erase(place);
            return;
        }
    }

    stop_flag stop() const { return stop_.flag(); }

    /// Any thread: asks the loader to end. `at_once`: the worker's thread does not wait for it.
    void request_stop(bool at_once)
    {
        stop_.request_stop();
        std::shared_ptr<launched> loader;
        {
            const std::lock_guard lock{mutex_};
            at_once_ = at_once_ || at_once;
            if (!cancelled_) loader = loader_;
            cancelled_ = cancelled_ || loader;
        }
        wake_.notify_all();
        if (loader) launched::cancel(loader);
    }

    /// The worker's thread: starts the loader, serves its jobs, and gives its engine, or throws
    /// what it threw.
    std::unique_ptr<engine> blocking_run(
        const std::shared_ptr<load_session>& self,
        const executor& ex,
        awaitable<std::unique_ptr<engine>> loader);

private:
    std::unique_ptr<engine> wait()
    {
        std::unique_lock lock{mutex_};
        const auto awake = [this] { return done_ || !tasks_.empty() || stop_.stop_requested(); };
        std::optional<std::chrono::steady_clock::time_point> patient_until;
        while (!done_) {
            bool in_time = true;
            if (stop_.stop_requested()) {
                const auto now = std::chrono::steady_clock::now();
                if (!patient_until) patient_until = now + stop_patience;
                in_time = wake_.wait_until(lock, *patient_until, [this] {
                    return done_ || !tasks_.empty() || at_once_;
                }) && now < *patient_until;
            } else {
                wake_.wait(lock, awake);
            }
            if (done_ || !in_time || at_once_) break;
            if (tasks_.empty()) continue;
            const std::shared_ptr<blocking_task> task = std::move(tasks_.front());
            tasks_.pop_front();
            lock.unlock();
            task->run();
            lock.lock();
        }
        left_ = true;
        std::deque<std::shared_ptr<blocking_task>> unserved = std::exchange(tasks_, {});
        const bool stopped = stop_.stop_requested();
        lock.unlock();
        for (const std::shared_ptr<blocking_task>& task : unserved)
            task->abandon(aborted());
        lock.lock();
        loader_.reset();
        if (failure_) std::rethrow_exception(failure_);
        std::unique_ptr<engine> made = std::move(made_);
        lock.unlock();
        if (stopped || !made) {
            made.reset();  // loaded too late: destroyed here, on its own thread
            std::rethrow_exception(aborted());
        }
        return made;
    }

    void finish(std::exception_ptr failure, std::unique_ptr<engine> made)
    {
        const std::lock_guard lock{mutex_};
        if (left_) return;  // the worker's thread is gone: what came this late dies here
        done_ = true;
        failure_ = std::move(failure);
        made_ = std::move(made);
        wake_.notify_all();
    }

    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<std::shared_ptr<blocking_task>> tasks_;
    std::shared_ptr<launched> loader_;
    stop_source stop_;
    std::exception_ptr failure_;
    std::unique_ptr<engine> made_;
    bool done_{false};
    bool left_{false};
    bool at_once_{false};
    bool cancelled_{false};
};

}  // namespace modelpool::detail

#if defined(MODELPOOL_HEADER_ONLY)
#include <modelpool/pool/detail/impl/load_session.hpp>
#endif

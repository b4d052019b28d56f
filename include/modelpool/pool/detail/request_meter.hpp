#pragma once

#include <modelpool/error.hpp>
#include <modelpool/pool/detail/job.hpp>
#include <modelpool/pool/histogram.hpp>
#include <modelpool/pool/stats.hpp>
#include <modelpool/runtime/clock.hpp>

#include <atomic>
#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <string>

namespace modelpool::detail {

/// The stable name of what an exception is about; "other" where it is not the library's.
inline std::string label_of(const std::exception_ptr& why)
{
    try {
        if (why) std::rethrow_exception(why);
    } catch (const boost::system::system_error& problem) {
        return std::string{code_name(problem.code())};
    } catch (const std::bad_alloc&) {
        return std::string{code_name(model_errc::out_of_memory)};
    } catch (...) {
        return "other";
    }
    return "other";
}

/// Counts how requests of one model end, and how long they take. Written from any thread; a request
/// that succeeds costs a few relaxed increments. A model that nobody uses costs a pointer.
class request_meter {
public:
    request_meter() = default;
    request_meter(const request_meter&) = delete;
    request_meter& operator=(const request_meter&) = delete;
    request_meter(request_meter&&) = delete;
    request_meter& operator=(request_meter&&) = delete;
    ~request_meter() { delete figures_.load(std::memory_order_acquire); }

    void accepted() { add(figures_now().n_accepted); }

    void rejected(const error& why)
    {
        figures& all = figures_now();
        add(all.n_rejected);
        if (why.code() == pool_errc::circuit_open) add(all.n_circuit_rejections);
        all.add_error(std::string{code_name(why.code())});
    }

    /// Precondition: the job was accepted.
    void ended(
        const job& one, job_end how, const std::exception_ptr& why, clock::time_point now) noexcept
    {
        figures& all = *figures_.load(std::memory_order_acquire);
        all.of(how).fetch_add(1, std::memory_order_release);  // its acceptance is seen before it
        all.total.add(now - one.accepted_at());
        if (one.begun()) {
            all.queue.add(one.begun_at() - one.accepted_at());
            all.run.add(now - one.begun_at());
        }
        if (how != job_end::failed) return;
        try {
            const std::string label = label_of(why);
            if (label == code_name(pool_errc::deadline_missed)) add(all.n_timeouts);
            all.add_error(label);
        } catch (const std::bad_alloc&) {
            // A figure is lost rather than a request.
        }
    }

    /// Those that ended are read before those that began: while requests come and go, a snapshot
    /// may lack some ends, and never has one without its beginning.
    void write(model_stats& seen) const
    {
        const figures* all = figures_.load(std::memory_order_acquire);
        if (all == nullptr) return;
        seen.n_succeeded = all->n_succeeded.load(std::memory_order_acquire);
        seen.n_failed = all->n_failed.load(std::memory_order_acquire);
        seen.n_cancelled = all->n_cancelled.load(std::memory_order_acquire);
        seen.n_requests = all->n_accepted.load(std::memory_order_relaxed);
        seen.n_rejected = all->n_rejected.load(std::memory_order_relaxed);
        seen.n_circuit_rejections = all->n_circuit_rejections.load(std::memory_order_relaxed);
        seen.n_timeouts = all->n_timeouts.load(std::memory_order_relaxed);
        seen.queue_time = all->queue.snapshot();
        seen.run_time = all->run.snapshot();
        seen.total_time = all->total.snapshot();
        const std::lock_guard lock{all->mutex};
        seen.errors = all->errors;
    }

private:
    using counter = std::atomic<std::uint64_t>;

    struct figures {
        counter& of(job_end how) noexcept
        {
            if (how == job_end::succeeded) return n_succeeded;
            return how == job_end::failed ? n_failed : n_cancelled;
        }
        void add_error(const std::string& label)
        {
            const std::lock_guard lock{mutex};
            ++errors[label];
        }

        counter n_accepted{0};
        counter n_succeeded{0};
        counter n_failed{0};
        counter n_cancelled{0};
        counter n_rejected{0};
        counter n_circuit_rejections{0};
        counter n_timeouts{0};
        atomic_histogram queue;
        atomic_histogram run;
        atomic_histogram total;
        mutable std::mutex mutex;
        std::map<std::string, std::uint64_t> errors;  // as many labels as there are codes
    };

    static void add(counter& one) noexcept { one.fetch_add(1, std::memory_order_relaxed); }

    /// Made when the first request comes.
    figures& figures_now()
    {
        figures* there = figures_.load(std::memory_order_acquire);
        if (there) return *there;
        auto made = std::make_unique<figures>();
        if (figures_.compare_exchange_strong(there, made.get(), std::memory_order_acq_rel))
            return *made.release();
        return *there;
    }

    std::atomic<figures*> figures_{nullptr};
};

}  // namespace modelpool::detail

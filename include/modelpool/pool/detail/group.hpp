#pragma once

#include <modelpool/async/awaitable.hpp>
#include <modelpool/async/detail/wait_list.hpp>
#include <modelpool/config.hpp>
#include <modelpool/pool/detail/breaker.hpp>
#include <modelpool/pool/detail/engine.hpp>
#include <modelpool/pool/detail/failures.hpp>
#include <modelpool/pool/detail/job.hpp>
#include <modelpool/pool/detail/load_session.hpp>
#include <modelpool/pool/detail/request_meter.hpp>
#include <modelpool/pool/detail/request_queue.hpp>
#include <modelpool/pool/detail/scaling_policy.hpp>
#include <modelpool/pool/load_context.hpp>
#include <modelpool/pool/options.hpp>
#include <modelpool/pool/stats.hpp>
#include <modelpool/runtime.hpp>

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <variant>
#include <vector>

namespace modelpool::detail {

/// A loader whose model is already wrapped into an engine.
using engine_loader = std::function<awaitable<std::unique_ptr<engine>>(load_context)>;

/// All that a worker is expected to take; the largest number where that has no end.
inline std::uint64_t bytes_of(const memory_estimate& expected) noexcept
{
    const std::uint64_t sum = expected.resident_bytes + expected.replica_bytes;
    return sum < expected.resident_bytes ? ~std::uint64_t{0} : sum;
}

/// What a group is built from.
struct group_setup {
    std::string key;
    std::string_view capability;  ///< of static lifetime
    std::shared_ptr<const pool_options> pool;
    std::shared_ptr<const engine_options> engine;
    scaling_options scaling;
    worker_options worker;  ///< of workers that requests start
    std::shared_ptr<const model_source> source;
    engine_loader load;  ///< empty: only spawn_worker starts workers
};

/// One worker: a thread with a model. Guarded by its group's lock, but for what its own thread
/// alone uses.
struct worker {
    std::uint64_t id{0};
    worker_options options;
    engine_loader load;
    worker_life life;
    std::condition_variable wake;
    bool woken{false};       // there is something for it to do
    bool stop{false};        // take no more work; go
    bool parked{false};      // holds requests, none of which can go on
    bool nudged{false};      // while parked: one of them may go on now
    bool takes_more{false};  // while processing: it takes further requests beside those it has
    bool in_step{false};
    bool in_load{false};   // its memory is there, and its model is on the way
    bool stalled{false};   // no progress for too long: no new work, and it goes once it comes back;
                           // while it loads, a mark that its next progress takes away
    bool has_room{false};  // its memory is reserved
    bool on_demand{false};       // started by requests, not by spawn_worker
    bool promised{false};        // a spawn_worker waits for it, or is about to
    std::size_t n_lent{0};       // others are copying its model now
    std::exception_ptr failure;  // why it went
    clock::time_point last_used;
    clock::time_point progress_at;  // of a step: when it began, or was last seen to advance
    std::uint64_t n_steps_seen{0};
    std::optional<load_progress> progress;  // of its load, while that lasts
    std::uint64_t n_batches{0};
    std::uint64_t n_items{0};
    std::uint64_t n_tokens{0};
    std::size_t n_failures_in_row{0};  // batches that the model itself failed
    bool failed_for_good{false};
    bool load_failed{false};
    std::uint64_t n_chances_seen{0};  // of its memory, before it asked for some
    reservation own;
    reservation guests;  // what small requests take in the midst of its steps
    std::shared_ptr<reservation> shared;
    std::shared_ptr<load_session> session;
    stop_source stopping;
    std::atomic<std::uint64_t> n_steps{0};
    std::unique_ptr<engine> model;  // made, used and destroyed on the worker's thread
    std::thread thread;
};

/// Everything of one model in a pool: its queue and its workers. Non-template: capabilities differ
/// only in their jobs and engines. One mutex guards it, held for a few lines and never over a
/// suspension, a forward or user code.
class group : public std::enable_shared_from_this<group> {
public:
    /// What waits on a group: for one worker to be ready, (null) for all work to be done, or (one
    /// that never was any of its workers, of id 0) for all workers to be gone.
    using waiter_type = waiter<group, std::monostate, std::shared_ptr<worker>>;

    group(runtime& rt, group_setup setup);
    group(const group&) = delete;
    group& operator=(const group&) = delete;
    group(group&&) = delete;
    group& operator=(group&&) = delete;
    /// Precondition: `blocking_join` has returned.
    ~group();

    const std::string& key() const noexcept { return setup_.key; }
    const pool_options& options() const noexcept { return *setup_.pool; }
    const std::shared_ptr<const engine_options>& engine_settings() const noexcept
    {
        return setup_.engine;
    }
    /// Outlives the group.
    runtime& rt() const noexcept { return runtime_; }

    /// Queues a job and wakes or starts workers; fails it where that is refused.
    void submit(const std::shared_ptr<job>& one);
    /// A job was cancelled: takes it out of the queue, and stops loads that nobody waits for any
    /// more.
    void withdraw(job& gone) noexcept;
    /// A job has ended, and is counted. Any thread; with or without the group's lock.
    void finished(const job& one, job_end how, const std::exception_ptr& why) noexcept;
    /// A request that a worker holds may go on, or has ended: its engine is asked again. Any
    /// thread.
    void nudge();
    /// A load came further. Any thread.
    void progressed(std::uint64_t worker_id, load_progress progress);
    /// Workers on that device go, and their requests fail. Any thread.
    void device_lost(const device& where);

    /// Starts a worker, and completes once it is ready. Cancelling it stops the load.
    awaitable<void> spawn(worker_options options, engine_loader load);

    void list_idle(std::vector<eviction_candidate>& candidates);
    /// Closes it where it has no worker, no request and nobody who waits; false otherwise.
    bool close_if_unused();
    model_stats stats() const;

    /// Refuses new requests and workers from now on.
    void close();
    /// Completes once the queue is empty and nothing runs.
    awaitable<void> drained();
    /// Closes, fails what waits or runs (pool_errc::shut_down), and tells the workers to go.
    /// `at_once`: do not wait for loaders to end, since the thread that would run them is the one
    /// that waits.
    void stop(bool at_once);
    /// Completes once all workers are gone, and nothing that the clock called for goes on.
    /// Precondition: stopped.
    awaitable<void> gone();
    /// Whether `gone` would complete at once.
    bool ended() const;
    /// Blocks until that is so, and all threads are joined. Precondition: stopped.
    void blocking_join();

    // For `waiter`.
    void enter(std::shared_ptr<waiter_type> one);
    void leave(waiter_type& gone);

private:
    // Under the lock.
    group_view scaling_view() const;
    bool is_drained() const;
    std::optional<error> refusal_of(const job& one) const;
    bool lacks_memory() const;
    std::optional<error> breaker_refusal(clock::time_point now, bool& trial);
    bool has_room_for_more() const;
    /// Whether it may be evicted to make room; one whose model another worker copies, a moment
    /// later.
    static bool may_evict(const worker& one)
    {
        return one.life.resting() && !one.woken && !one.options.pinned();
    }
    /// Names what a worker shares, as `eviction_candidate` wants it; 0 for nothing. Unique as long
    /// as that lives.
    static std::uint64_t shared_id_of(const worker& one)
    {
        return reinterpret_cast<std::uintptr_t>(one.shared.get());
    }
    void dispatch();
    void start_on_demand();
    std::shared_ptr<worker>
    start_worker(worker_options options, engine_loader load, bool on_demand);
    void enter(worker& one, worker_state next);
    void keep_load(const engine_loader& load, const worker_options& options);
    void abandon(worker& one, bool at_once);
    void announce_release(worker& one);
    void note_refusal(const worker& failed, const std::exception_ptr& why);
    void abandon_unwanted_loads();
    void set_alarm(clock::time_point when);
    void watch_idle(const worker& one);
    clock::time_point idle_until(const worker& one) const;
    clock::time_point stalls_at(const worker& one) const;
    void drop_ended_jobs();
    std::vector<std::shared_ptr<job>> take_queue();
    std::vector<std::shared_ptr<job>> take_late(clock::time_point now);
    std::vector<std::shared_ptr<worker>> take_stalled(clock::time_point now);
    void evict_idle(clock::time_point now);
    void rearm(clock::time_point now);
    void begin_eviction(worker& one, std::string why);
    std::vector<std::shared_ptr<job>> take_work(worker& self);
    void rest(worker& self);
    void wait_for_work(worker& self, std::unique_lock<std::mutex>& lock);
    bool account(worker& self, const step_report& report);
    void replace(worker& gone);
    void wake_coming();
    std::shared_ptr<worker> find_source(worker& self, std::unique_lock<std::mutex>& lock) const;
    void watch_load(worker& self);
    bool may_serve_later(const worker& failed, const std::exception_ptr& why) const;
    /// Takes the waiters of a worker (or, null, of the drain) out, claimed, to be answered without
    /// the lock.
    std::vector<std::shared_ptr<waiter_type>> take_waiters(const worker* tag);
    bool is_gone() const { return workers_.empty() && n_looking_ == 0; }
    void announce_gone();

    bool evict(const std::shared_ptr<worker>& one);
    /// The clock's call: late requests fail, idle workers go, stalled ones are reported.
    void look_around(std::uint64_t alarm);
    static awaitable<void>
    spawn_and_wait(std::shared_ptr<group> self, worker_options options, engine_loader load);
    static awaitable<void> wait(std::shared_ptr<group> self, std::shared_ptr<worker> one);

    // On the worker's thread, without the lock.
    void work(const std::shared_ptr<worker>& self) noexcept;
    void prepare(worker& self);
    bool copy_another(worker& self);
    std::shared_ptr<worker> borrow_source(worker& self);
    void return_source(worker& source);
    void load(worker& self);
    reservation reserve(worker& self, std::uint64_t bytes, bool may_evict, std::uint64_t kept = 0);
    void start_engine(worker& self);
    void resize(worker& self, std::uint64_t bytes);
    void correct_bytes(worker& self);
    void say_stage(const worker& self, std::string stage);
    void check_device(const worker& self) const;
    void warm_up(worker& self);
    void announce_ready(worker& self);
    void load_failed(worker& self, const std::exception_ptr& why) noexcept;
    void serve(worker& self);
    step_report step(worker& self);
    void host_guests(worker& self, run_context& context) noexcept;
    bool take_guests(worker& self);
    bool make_guest_room(worker& self);
    class host;
    void drop_late(const std::vector<std::shared_ptr<job>>& dropped);
    void retire(const std::shared_ptr<worker>& self) noexcept;

    // With or without the lock.
    event event_of(event_kind kind, std::uint64_t worker_id) const;
    void announce_failure(const worker& one) const;
    void announce_breaker() noexcept;
    void interrupt_memory(const device& where) const noexcept;

    error shut_down() const;
    std::exception_ptr too_late() const;
    std::exception_ptr with_key(const std::exception_ptr& why) const;
    std::string holder(const worker& one) const;
    std::string stall_text(const worker& one) const;

    runtime& runtime_;
    group_setup setup_;
    const scaling_policy policy_;
    request_meter meter_;
    breaker breaker_;

    mutable std::mutex mutex_;
    std::condition_variable gone_;
    request_queue<job> queue_;
    std::vector<std::shared_ptr<waiter_type>> waiting_;
    std::vector<std::shared_ptr<worker>> workers_;
    /// Why the last worker found no memory, and how many chances of some there had been.
    struct memory_refusal {
        memory_refusal(error problem, std::uint64_t chances)
            : why{std::move(problem)}
            , n_chances{chances}
        {}
        error why;
        std::uint64_t n_chances{0};
    };
    std::unique_ptr<memory_refusal> no_memory_;  // not in place: most models never need one
    std::thread leaver_;     // the thread of the worker that left last, not joined yet
    std::mutex join_mutex_;  // held while blocking_join joins; taken before mutex_
    clock::time_point alarm_{clock::time_point::max()};  // when it rings
    clock::alarm_id alarm_id_{0};
    std::uint64_t n_alarms_{0};  // tells an alarm from those that were set before it
    std::size_t n_looking_{0};   // alarms that ring now
    std::uint64_t next_worker_id_{1};
    std::uint64_t n_spawned_{0};
    std::uint64_t n_loads_{0};
    std::uint64_t n_load_failures_{0};
    std::uint64_t n_replicated_{0};
    std::uint64_t n_evicted_{0};
    std::uint64_t n_stalled_{0};
    std::uint64_t n_retired_{0};
    std::chrono::nanoseconds load_time_{0};
    bool load_works_;    // setup_.load came with the model, or made one
    bool shares_{true};  // false once its model turned out not to replicate
    bool closed_{false};
};

}  // namespace modelpool::detail

#if defined(MODELPOOL_HEADER_ONLY)
#include <modelpool/pool/detail/impl/group.hpp>
#endif

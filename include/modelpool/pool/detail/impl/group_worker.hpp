#pragma once

// What a worker's own thread does, from its first moment to its last.

#include <modelpool/pool/detail/group.hpp>

#include <algorithm>
#include <chrono>
#include <typeinfo>
#include <utility>

namespace modelpool::detail {

/// A worker whose model fails this many batches in a row is retired.
constexpr std::size_t max_failures_in_row = 3;

MODELPOOL_DECL void group::work(const std::shared_ptr<worker>& self) noexcept
{
    {
        // Whoever started this thread still holds the lock until `self->thread` is set.
        const std::lock_guard lock{mutex_};
    }
    try {
        prepare(*self);
        serve(*self);
    } catch (...) {
        load_failed(*self, std::current_exception());
    }
    retire(self);
}

// --- getting a model ---------------------------------------------------------------------------------------

MODELPOOL_DECL void group::prepare(worker& self)
{
    check_device(self);
    if (!copy_another(self)) load(self);
    start_engine(self);
    if (self.options.warm_up()) warm_up(self);
    announce_ready(self);
}

/// A worker to copy the model of; null where there is none. Waits for an earlier one that still
/// loads.
MODELPOOL_DECL std::shared_ptr<worker>
group::find_source(worker& self, std::unique_lock<std::mutex>& lock) const
{
    const auto alike = [&](const worker& other) {
        return other.options.device() == self.options.device() &&
               other.options.dtype() == self.options.dtype();
    };
    while (!self.stop && shares_) {
        bool one_is_coming = false;
        for (const std::shared_ptr<worker>& other : workers_) {
            if (!alike(*other)) continue;
            if (other->life.serving() && !other->stop) return other;
            one_is_coming = one_is_coming || (other->life.coming() && other->id < self.id);
        }
        if (!one_is_coming) break;
        self.wake.wait(lock);
    }
    return nullptr;
}

/// Copies another worker's model, where there is one that can share; false otherwise.
MODELPOOL_DECL bool group::copy_another(worker& self)
{
    std::uint64_t bytes = 0;
    std::uint64_t kept = 0;
    {
        std::unique_lock lock{mutex_};
        const std::shared_ptr<worker> source = find_source(self, lock);
        if (!source) return false;
        bytes = source->own.bytes();
        kept = shared_id_of(*source);
    }
    // Room is made before the source is lent: a lent worker cannot be evicted, and others wait for
    // it. It is not made of those that share what is to be copied: that would help nobody.
    reservation own = reserve(self, bytes, !self.on_demand, kept);
    const std::shared_ptr<worker> source = borrow_source(self);
    std::unique_ptr<engine> copy;
    try {
        if (source) copy = source->model->replicate();
    } catch (...) {
        return_source(*source);
        throw;
    }
    const bool copied = copy != nullptr;
    {
        const std::lock_guard lock{mutex_};
        if (copied) {
            self.model = std::move(copy);
            self.own = std::move(own);
            self.shared = source->shared;
            self.has_room = true;
            ++n_replicated_;
        } else if (self.options.reserved()) {
            *self.options.reserved() = std::move(own);  // the load that follows takes it
        }
        if (source && !copied) {
            shares_ = false;
            wake_coming();
        }
    }
    if (source) return_source(*source);
    return copied;
}

/// Lends a worker's model to be copied: it stays until it is returned. Null where there is none any
/// more.
MODELPOOL_DECL std::shared_ptr<worker> group::borrow_source(worker& self)
{
    std::unique_lock lock{mutex_};
    std::shared_ptr<worker> source = find_source(self, lock);
    if (source) {
        ++source->n_lent;
        enter(self, worker_state::loading);
        watch_load(self);
    }
    return source;
}

MODELPOOL_DECL void group::return_source(worker& source)
{
    {
        const std::lock_guard lock{mutex_};
        --source.n_lent;
        source.wake.notify_all();
        watch_idle(source);
    }
    interrupt_memory(source.options.device());  // it may be evicted again
}

/// Bytes for a worker: its caller's own, or from the budget, where other models' idle workers make
/// room for a first worker, but not for one more of a model that has some.
MODELPOOL_DECL reservation
group::reserve(worker& self, std::uint64_t bytes, bool may_evict, std::uint64_t kept)
{
    if (self.options.reserved()) {
        // Workers started with the same options share the reservation: the first takes it.
        const std::lock_guard lock{mutex_};
        if (*self.options.reserved()) return std::move(*self.options.reserved());
        self.options.reserved({});
    }
    const device& where = self.options.device();
    if (!may_evict) return runtime_.memory(where).reserve(bytes, holder(self));
    const auto unwanted = [this, &self] {
        const std::lock_guard lock{mutex_};
        return self.stop;
    };
    return runtime_.blocking_reserve(where, bytes, holder(self), unwanted, kept);
}

/// Calls the loader where it is to run: on the executor, not on the worker's thread.
MODELPOOL_DECL awaitable<std::unique_ptr<engine>>
run_loader(engine_loader load, load_context context)
{
    auto loading = load(std::move(context));
    co_return co_await std::move(loading);
}

MODELPOOL_DECL void group::load(worker& self)
{
    bool none_serves = true;
    bool first = true;  // of several that a cold start loads at once, the one that began it
    auto session = std::make_shared<load_session>();
    {
        std::unique_lock lock{mutex_};
        for (const std::shared_ptr<worker>& other : workers_) {
            none_serves = none_serves && !other->life.serving();
            first = first && !(other->life.coming() && other->id < self.id);
        }
        // The later ones take what those before them leave, so that these need not evict for them.
        const auto all_have_room = [&] {
            return std::none_of(workers_.begin(), workers_.end(), [&](const auto& other) {
                return other->life.coming() && other->id < self.id && !other->has_room &&
                       other->options.device() == self.options.device();
            });
        };
        self.wake.wait(lock, [&] { return self.stop || all_have_room(); });
        first = first && none_serves;
        // The worker it was to help was evicted meanwhile, and nobody waits for another one.
        if (none_serves && self.on_demand && queue_.empty()) abandon(self, false);
        if (self.stop) std::rethrow_exception(aborted());
    }
    const memory_estimate& expected = self.options.memory();
    self.n_chances_seen = runtime_.memory(self.options.device()).n_chances();
    reservation own = reserve(self, bytes_of(expected), first || !self.on_demand);
    {
        const std::lock_guard lock{mutex_};
        if (self.stop) std::rethrow_exception(aborted());
        self.own = std::move(own);
        self.has_room = true;
        wake_coming();
        self.session = session;
        if (self.life.now() == worker_state::spawning) enter(self, worker_state::loading);
        watch_load(self);
    }
    const clock::time_point begun = runtime_.time().now();
    say_stage(self, "load");
    auto report = [weak = weak_from_this(), id = self.id](load_progress progress) {
        if (const std::shared_ptr<group> home = weak.lock())
            home->progressed(id, std::move(progress));
    };
    load_context context{runtime_, key(), session, self.options, setup_.source, std::move(report)};
    auto loading = run_loader(self.load, std::move(context));
    self.model = session->blocking_run(session, runtime_.get_executor(), std::move(loading));
    correct_bytes(self);
    const std::lock_guard lock{mutex_};
    ++n_loads_;
    load_time_ += runtime_.time().now() - begun;
}

/// Replaces the estimate by what the model says it takes.
MODELPOOL_DECL void group::correct_bytes(worker& self)
{
    const footprint measured = self.model->bytes();
    std::uint64_t shared_bytes = measured.shared_bytes;
    const std::uint64_t all_bytes =
        bytes_of(memory_estimate{measured.shared_bytes, measured.replica_bytes, 0});
    if (all_bytes == 0)
        shared_bytes = std::min(self.options.memory().resident_bytes, self.own.bytes());
    else
        resize(self, all_bytes);
    const std::lock_guard lock{mutex_};
    self.shared = std::make_shared<reservation>(self.own.split(shared_bytes));
}

/// Makes a worker's own reservation that large, with room made where it grows.
MODELPOOL_DECL void group::resize(worker& self, std::uint64_t bytes)
{
    if (bytes > self.own.bytes()) {
        const auto unwanted = [this, &self] {
            const std::lock_guard lock{mutex_};
            return self.stop;
        };
        reservation more = runtime_.blocking_reserve(
            self.options.device(), bytes - self.own.bytes(), holder(self), unwanted);
        const std::lock_guard lock{mutex_};
        self.own.absorb(std::move(more));
    } else {
        const std::lock_guard lock{mutex_};
        self.own.try_resize(bytes);
    }
}

/// Lets the engine make its caches in what memory there is. Their bytes are taken before they are
/// filled, and no more than they need, so that models that start at once neither count on the same
/// ones nor keep each other out.
MODELPOOL_DECL void group::start_engine(worker& self)
{
    const std::uint64_t before = self.model->bytes().replica_bytes;
    const memory_governor& memory = runtime_.memory(self.options.device());
    std::uint64_t granted = 0;
    for (bool taken = false; !taken;) {
        const std::uint64_t own = self.own.bytes();
        const std::uint64_t spare = own > before ? own - before : 0;
        granted = self.model->cache_bytes(spare + memory.available_bytes());
        if (granted <= spare) break;
        const std::lock_guard lock{mutex_};
        taken = self.own.try_resize(before + granted);  // unless another one took them meanwhile
    }
    self.model->start(granted);
    const std::uint64_t after = self.model->bytes().replica_bytes;
    if (after != before) resize(self, after);
}

MODELPOOL_DECL void group::warm_up(worker& self)
{
    say_stage(self, "warm up");
    core_governor::lease cores{runtime_.cores(), runtime_.cores().n_cores(), self.n_steps};
    run_context context{cores, self.stopping.flag()};
    self.model->warm_up(context);
}

MODELPOOL_DECL void group::announce_ready(worker& self)
{
    std::vector<std::shared_ptr<waiter_type>> waiters;
    {
        const std::lock_guard lock{mutex_};
        self.session.reset();
        self.progress.reset();
        self.in_load = false;
        self.stalled = false;
        if (self.stop) std::rethrow_exception(aborted());
        enter(self, worker_state::ready);
        if (!std::exchange(load_works_, true)) keep_load(self.load, self.options);
        self.woken = !queue_.empty();  // what it came for keeps it from being evicted
        self.last_used = runtime_.time().now();
        watch_idle(self);
        wake_coming();
        waiters = take_waiters(&self);
    }
    for (const auto& one : waiters)
        one->answer.send(nullptr, {});
}

/// Workers that wait for another one's model look again.
MODELPOOL_DECL void group::wake_coming()
{
    for (const std::shared_ptr<worker>& one : workers_)
        if (one->life.coming()) one->wake.notify_all();
}

/// Whether requests that wait are still served although the load of `failed` went wrong. Under the
/// lock.
MODELPOOL_DECL bool
group::may_serve_later(const worker& failed, const std::exception_ptr& why) const
{
    // Another loader may do better, and so may the same one that got the memory this one found
    // taken.
    bool may_differ = !failed.on_demand;
    try {
        std::rethrow_exception(why);
    } catch (const error& problem) {
        may_differ = may_differ || problem.code() == pool_errc::memory_exhausted;
    } catch (...) {
        // the same for all
    }
    const auto helps = [&](const std::shared_ptr<worker>& other) {
        return other->life.serving() || (other->life.coming() && (may_differ || !other->on_demand));
    };
    return std::any_of(workers_.begin(), workers_.end(), helps);
}

/// Remembers that no room could be made for a worker, so that requests are told so until that may
/// have changed. Under the lock.
MODELPOOL_DECL void group::note_refusal(const worker& failed, const std::exception_ptr& why)
{
    if (!failed.on_demand || failed.has_room) return;
    try {
        try {
            std::rethrow_exception(why);
        } catch (const error& problem) {
            if (problem.code() == pool_errc::memory_exhausted)
                no_memory_ = std::make_unique<memory_refusal>(problem, failed.n_chances_seen);
        }
    } catch (...) {
        // no news of the memory, or none left to keep it in: the next worker will ask again
    }
}

/// The end of a worker that never became ready. Where no other worker serves, the failure reaches
/// everybody who waits, at once; the next request tries again.
MODELPOOL_DECL void group::load_failed(worker& self, const std::exception_ptr& why) noexcept
{
    const std::exception_ptr failure = with_key(why);
    std::vector<std::shared_ptr<job>> unserved;
    std::vector<std::shared_ptr<waiter_type>> waiters;
    std::vector<std::shared_ptr<waiter_type>> drained;
    bool unwanted = false;
    {
        const std::lock_guard lock{mutex_};
        unwanted = self.stop;
        self.session.reset();
        self.progress.reset();
        self.in_load = false;
        self.stalled = false;
        if (closed_)
            self.failure = std::make_exception_ptr(shut_down());
        else if (!self.failure)
            self.failure = unwanted ? aborted() : failure;
        if (!unwanted) {
            enter(self, worker_state::failed);
            announce_release(self);
            self.load_failed = true;
            ++n_load_failures_;
            if (blames_model(why)) breaker_.failed(runtime_.time().now());
            note_refusal(self, failure);
            if (!may_serve_later(self, why)) {
                unserved = take_queue();
                // Siblings of the same cold start would only fail the same way.
                for (const std::shared_ptr<worker>& other : workers_)
                    if (other->life.coming()) abandon(*other, false);
            }
        }
        wake_coming();
        waiters = take_waiters(&self);
        if (is_drained()) drained = take_waiters(nullptr);
    }
    for (const std::shared_ptr<job>& one : unserved)
        one->fail(failure);
    for (const auto& one : waiters)
        one->answer.send(self.failure, {});
    for (const auto& one : drained)
        one->answer.send(nullptr, {});
    if (unwanted) return;
    announce_breaker();
    if (runtime_.publisher().wants(event_kind::load_failed)) {
        event happened = event_of(event_kind::load_failed, self.id);
        happened.failure = failure;
        runtime_.publisher().publish(happened);
    }
    if (!unserved.empty() || !waiters.empty()) return;
    runtime_.log(log_level::warning, "a worker could not be started: " + text_of(failure));
}

// --- serving -------------------------------------------------------------------------------------------------

MODELPOOL_DECL void group::serve(worker& self)
{
    std::unique_lock lock{mutex_};
    while (!self.stop) {
        const std::vector<std::shared_ptr<job>> dropped = take_work(self);
        if (!dropped.empty()) {
            lock.unlock();
            drop_late(dropped);
            lock.lock();
            continue;
        }
        if (!self.model->busy()) {
            wait_for_work(self, lock);
            continue;
        }
        if (self.life.now() != worker_state::processing) enter(self, worker_state::processing);
        if (!queue_.empty()) {
            dispatch();
            start_on_demand();
        }
        self.progress_at = runtime_.time().now();
        self.n_steps_seen = self.n_steps.load(std::memory_order_relaxed);
        self.in_step = true;
        set_alarm(stalls_at(self));
        lock.unlock();
        step_report report = step(self);
        lock.lock();
        self.in_step = false;
        // It came back: its results count, but it is not trusted with more.
        self.stop = self.stop || self.stalled;
        const bool lost_device = account(self, report);
        if (!self.stop && queue_.empty() && !self.model->holds()) rest(self);
        lock.unlock();
        if (report.failure || report.blame) announce_breaker();
        if (lost_device) runtime_.report_device_lost(self.options.device());
        for (const step_report::failed_job& one : report.failed)
            one.request->fail(one.why);
        for (const std::shared_ptr<job>& one : report.done)
            one->deliver();
        report = {};  // jobs die, with what their callers gave them, under no lock
        lock.lock();
    }
}

/// Sleeps until there is something to do. Under the lock.
MODELPOOL_DECL void group::wait_for_work(worker& self, std::unique_lock<std::mutex>& lock)
{
    self.parked = self.model->holds();
    if (!self.parked) rest(self);
    self.wake.wait(lock, [&] { return self.stop || self.woken || self.nudged; });
    self.parked = false;
    self.nudged = false;
}

/// Notes that the worker has nothing to do. Under the lock.
MODELPOOL_DECL void group::rest(worker& self)
{
    if (self.life.now() == worker_state::processing) {
        enter(self, worker_state::idle);
        self.last_used = runtime_.time().now();
    }
    if (memory_governor* const memory = runtime_.devices().find_memory(self.options.device()))
        memory->note_chance();
    watch_idle(self);  // also of one that was woken for nothing: its time may have come meanwhile
    if (!is_drained()) return;
    for (const auto& one : take_waiters(nullptr))
        one->answer.send(nullptr, {});
}

/// Hands the engine what it takes; gives the requests that need it no more, to be dropped without
/// the lock. Under the lock.
MODELPOOL_DECL std::vector<std::shared_ptr<job>> group::take_work(worker& self)
{
    std::vector<std::shared_ptr<job>> dropped;
    const clock::time_point now = runtime_.time().now();
    self.woken = false;  // what it was woken for is looked at now
    while (const std::shared_ptr<job> next = queue_.front(now)) {
        if (next->ended()) {
            dropped.push_back(queue_.pop(now));
            continue;
        }
        const std::optional<clock::time_point>& deadline = next->request().deadline();
        if (deadline && *deadline <= now && !next->begun()) {
            dropped.push_back(queue_.pop(now));
            continue;
        }
        const intake taken = self.model->take(next);
        if (taken == intake::full) break;
        next->set_begun(now);
        if (taken == intake::all)
            queue_.pop(now);
        else
            queue_.rotate(now);
    }
    self.takes_more = self.model->open();
    return dropped;
}

MODELPOOL_DECL void group::drop_late(const std::vector<std::shared_ptr<job>>& dropped)
{
    for (const std::shared_ptr<job>& one : dropped)
        if (!one->ended()) one->fail(too_late());
}

/// Counts what a step did; a model that fails for good stops its worker. True where its device is
/// lost. Under the lock.
MODELPOOL_DECL bool group::account(worker& self, const step_report& report)
{
    ++self.n_batches;
    self.n_items += report.n_items;
    self.n_tokens += report.n_tokens;
    if (!report.failure) {
        if (report.n_succeeded > 0) {
            self.n_failures_in_row = 0;
            breaker_.succeeded();
        } else if (report.blame) {
            breaker_.failed(runtime_.time().now());
        }
        return false;
    }
    breaker_.failed(runtime_.time().now());
    const bool device_lost = is_code(report.failure, model_errc::device_lost);
    if (!device_lost && ++self.n_failures_in_row < max_failures_in_row) return false;
    if (self.life.alive()) enter(self, worker_state::failed);
    self.failed_for_good = true;
    self.failure = with_key(report.failure);
    self.stop = true;
    ++n_retired_;
    return device_lost;
}

MODELPOOL_DECL void group::retire(const std::shared_ptr<worker>& self) noexcept
{
    std::exception_ptr why;
    {
        std::unique_lock lock{mutex_};
        if (self->life.alive()) enter(*self, worker_state::evicting);
        self->wake.wait(lock, [&] { return self->n_lent == 0; });
        why = std::make_exception_ptr(
            closed_ ? shut_down() : error{pool_errc::worker_lost, holder(*self) + " was retired"});
        if (self->failure && is_code(self->failure, model_errc::device_lost)) why = self->failure;
        if (self->failed_for_good) announce_failure(*self);
    }
    if (self->failed_for_good)
        runtime_.log(
            log_level::warning,
            holder(*self) + " failed for good and is retired: " + text_of(self->failure));
    if (self->model) self->model->drop(why);
    self->model.reset();
    std::thread before;
    std::vector<std::shared_ptr<job>> unserved;
    std::vector<std::shared_ptr<waiter_type>> answered;
    {
        const std::lock_guard lock{mutex_};
        self->own.release();
        self->guests.release();
        self->shared.reset();
        enter(*self, worker_state::dead);
        if (!self->failure) self->failure = why;
        answered = take_waiters(self.get());
        for (const auto& one : answered)
            one->answer.send(self->failure, {});
        std::erase(workers_, self);
        before = std::exchange(leaver_, std::move(self->thread));
        drop_ended_jobs();
        replace(*self);
        // Where others serve, a failed load is tried again when the next request asks for it, not
        // at once and for ever.
        if (!self->load_failed || workers_.empty()) start_on_demand();
        if (workers_.empty()) unserved = take_queue();  // a closed pool starts no other
        if (is_drained()) {
            answered = take_waiters(nullptr);
            for (const auto& one : answered)
                one->answer.send(nullptr, {});
        }
        announce_gone();
    }
    for (const std::shared_ptr<job>& one : unserved)
        one->fail(why);
    if (before.joinable()) before.join();
}

/// A worker that its user asked for by name is not left out because its model failed. Under the
/// lock.
MODELPOOL_DECL void group::replace(worker& gone)
{
    const bool lost = runtime_.devices().lost(gone.options.device());
    if (!gone.failed_for_good || gone.on_demand || closed_ || lost) return;
    try {
        gone.options.reserved({});
        start_worker(gone.options, gone.load, false);
    } catch (const error&) {
        ++n_load_failures_;  // no thread is to be had: the next request tries again
    }
}

}  // namespace modelpool::detail

#pragma once

// What a group tells the world of itself, and what it does when the clock calls.

#include <modelpool/pool/detail/group.hpp>

#include <algorithm>
#include <chrono>
#include <utility>

namespace modelpool::detail {

// --- events -----------------------------------------------------------------------------------------------

MODELPOOL_DECL event group::event_of(event_kind kind, std::uint64_t worker_id) const
{
    event made;
    made.kind = kind;
    made.when = runtime_.time().now();
    made.pool = setup_.capability;
    made.model = key();
    made.worker = worker_id;
    return made;
}

MODELPOOL_DECL void group::enter(worker& one, worker_state next)
{
    const worker_state before = one.life.now();
    one.life.enter(next);
    if (!runtime_.publisher().wants(event_kind::worker_state)) return;
    event happened = event_of(event_kind::worker_state, one.id);
    happened.from = before;
    happened.to = next;
    runtime_.publisher().publish(happened);
}

MODELPOOL_DECL void group::announce_failure(const worker& one) const
{
    if (!runtime_.publisher().wants(event_kind::worker_failed)) return;
    event happened = event_of(event_kind::worker_failed, one.id);
    happened.failure = one.failure;
    runtime_.publisher().publish(happened);
}

MODELPOOL_DECL void group::announce_breaker() noexcept
{
    const std::optional<breaker_state> now = breaker_.take_change();
    if (!now || !runtime_.publisher().wants(event_kind::breaker)) return;
    try {
        event happened = event_of(event_kind::breaker, 0);
        happened.text = to_string(*now);
        runtime_.publisher().publish(happened);
    } catch (const std::bad_alloc&) {
        // An event is lost rather than a request.
    }
}

MODELPOOL_DECL void group::progressed(std::uint64_t worker_id, load_progress progress)
{
    progress.model = key();
    progress.worker = worker_id;
    const std::lock_guard lock{mutex_};
    for (const std::shared_ptr<worker>& one : workers_) {
        if (one->id != worker_id || !one->life.coming()) continue;
        one->progress = progress;
        if (one->in_load) watch_load(*one);
    }
    queue_.for_each([&](const std::shared_ptr<job>& one) { one->report(progress); });
    if (!runtime_.publisher().wants(event_kind::load_progress)) return;
    event happened = event_of(event_kind::load_progress, worker_id);
    happened.progress = std::move(progress);
    runtime_.publisher().publish(happened);
}

MODELPOOL_DECL void group::say_stage(const worker& self, std::string stage)
{
    load_progress progress;
    progress.stage = std::move(stage);
    progressed(self.id, std::move(progress));
}

// --- devices ----------------------------------------------------------------------------------------------

MODELPOOL_DECL void group::interrupt_memory(const device& where) const noexcept
{
    // Where it was never asked for, nobody can wait for its memory.
    if (memory_governor* const memory = runtime_.devices().find_memory(where)) memory->interrupt();
}

MODELPOOL_DECL void group::check_device(const worker& self) const
{
    const device& where = self.options.device();
    if (runtime_.devices().lost(where))
        throw error{
            model_errc::device_lost,
            where.str() + " stopped working, and nothing is started on it until it is revived"};
}

MODELPOOL_DECL void group::device_lost(const device& where)
{
    const auto why = std::make_exception_ptr(error{
        model_errc::device_lost, "model '" + key() + "': " + where.str() + " stopped working"});
    std::vector<std::shared_ptr<job>> unserved;
    std::vector<std::shared_ptr<waiter_type>> drained;
    {
        const std::lock_guard lock{mutex_};
        bool any_left = false;
        bool any_gone = false;
        for (const std::shared_ptr<worker>& one : workers_) {
            if (!(one->options.device() == where)) {
                any_left = any_left || one->life.alive();
                continue;
            }
            any_gone = true;
            if (!one->failure) one->failure = why;
            abandon(*one, false);
        }
        if (any_gone && !any_left) unserved = take_queue();
        if (is_drained()) drained = take_waiters(nullptr);
    }
    for (const std::shared_ptr<job>& one : unserved)
        one->fail(why);
    for (const auto& one : drained)
        one->answer.send(nullptr, {});
}

// --- the clock ----------------------------------------------------------------------------------------------

/// Arms the clock for the earliest thing that comes due. Under the lock.
MODELPOOL_DECL void group::set_alarm(clock::time_point when)
{
    if (when >= alarm_) return;
    runtime_.time().forget(alarm_id_);
    alarm_ = when;
    ++n_alarms_;
    alarm_id_ = runtime_.time().call_at(when, [weak = weak_from_this(), number = n_alarms_] {
        if (const std::shared_ptr<group> self = weak.lock()) self->look_around(number);
    });
}

MODELPOOL_DECL clock::time_point group::idle_until(const worker& one) const
{
    if (!may_evict(one) || one.n_lent > 0 || one.stop) return clock::time_point::max();
    return later(one.last_used, setup_.scaling.idle_limit());
}

MODELPOOL_DECL clock::time_point group::stalls_at(const worker& one) const
{
    if (!(one.in_step || one.in_load) || one.stalled) return clock::time_point::max();
    return later(one.progress_at, options().stall_limit());
}

MODELPOOL_DECL void group::watch_idle(const worker& one)
{
    set_alarm(idle_until(one));
}

/// A load began, or came further. Under the lock.
MODELPOOL_DECL void group::watch_load(worker& self)
{
    self.in_load = true;
    self.stalled = false;
    self.progress_at = runtime_.time().now();
    set_alarm(stalls_at(self));
}

MODELPOOL_DECL std::vector<std::shared_ptr<job>> group::take_late(clock::time_point now)
{
    std::vector<std::shared_ptr<job>> late;
    queue_.for_each([&](const std::shared_ptr<job>& one) {
        const std::optional<clock::time_point>& deadline = one->request().deadline();
        if (deadline && *deadline <= now && !one->begun()) late.push_back(one);
    });
    for (const std::shared_ptr<job>& one : late)
        queue_.erase(*one);
    return late;
}

MODELPOOL_DECL void group::evict_idle(clock::time_point now)
{
    for (const std::shared_ptr<worker>& one : workers_)
        if (idle_until(*one) <= now) begin_eviction(*one, "idle");
}

MODELPOOL_DECL std::vector<std::shared_ptr<worker>> group::take_stalled(clock::time_point now)
{
    std::vector<std::shared_ptr<worker>> found;
    for (const std::shared_ptr<worker>& one : workers_) {
        const std::uint64_t n_steps = one->n_steps.load(std::memory_order_relaxed);
        if (n_steps != one->n_steps_seen) {
            one->n_steps_seen = n_steps;
            one->progress_at = now;
        }
        if (stalls_at(*one) > now) continue;
        one->stalled = true;
        // Who hangs every time must not be given ever more threads; a load that hangs is given
        // none beside it, since it counts among those that are coming.
        if (!one->in_load) breaker_.failed(now);
        ++n_stalled_;
        found.push_back(one);
        runtime_.publisher().publish(event_of(event_kind::stalled, one->id));
    }
    return found;
}

MODELPOOL_DECL void group::rearm(clock::time_point now)
{
    clock::time_point next = clock::time_point::max();
    queue_.for_each([&](const std::shared_ptr<job>& one) {
        const std::optional<clock::time_point>& deadline = one->request().deadline();
        if (deadline && !one->begun()) next = std::min(next, *deadline);
    });
    for (const std::shared_ptr<worker>& one : workers_)
        next = std::min({next, idle_until(*one), stalls_at(*one)});
    alarm_ = clock::time_point::max();
    if (next != clock::time_point::max()) set_alarm(std::max(next, now));
}

MODELPOOL_DECL std::string group::stall_text(const worker& one) const
{
    const auto limit = std::chrono::duration_cast<std::chrono::seconds>(options().stall_limit());
    return holder(one) + " made no progress for " + std::to_string(limit.count()) +
           " s: it gets no new work until it comes back, and its memory stays reserved";
}

MODELPOOL_DECL void group::look_around(std::uint64_t alarm)
{
    std::vector<std::shared_ptr<job>> late;
    std::vector<std::shared_ptr<worker>> stalled;
    std::vector<std::shared_ptr<waiter_type>> drained;
    {
        const std::lock_guard lock{mutex_};
        if (alarm != n_alarms_) return;  // it rang before it could be forgotten
        const clock::time_point now = runtime_.time().now();
        late = take_late(now);
        evict_idle(now);
        stalled = take_stalled(now);
        if (!late.empty()) abandon_unwanted_loads();
        if (!stalled.empty()) start_on_demand();
        if (is_drained()) drained = take_waiters(nullptr);
        rearm(now);
        if (late.empty() && stalled.empty() && drained.empty()) return;
        ++n_looking_;
    }
    for (const std::shared_ptr<job>& one : late)
        one->fail(too_late());
    if (!stalled.empty()) announce_breaker();
    for (const std::shared_ptr<worker>& one : stalled)
        runtime_.log(log_level::warning, stall_text(*one));
    for (const auto& one : drained)
        one->answer.send(nullptr, {});
    const std::lock_guard lock{mutex_};
    --n_looking_;
    announce_gone();
}

}  // namespace modelpool::detail

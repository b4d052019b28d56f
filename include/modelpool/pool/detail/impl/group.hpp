#pragma once

#include <modelpool/pool/detail/group.hpp>

#include <algorithm>
#include <chrono>
#include <system_error>
#include <typeinfo>
#include <utility>

namespace modelpool::detail {

// --- requests -----------------------------------------------------------------------------------------

MODELPOOL_DECL void job::submit(std::shared_ptr<job> self, const executor& ex)
{
    if (self->request_.on_progress())
        self->progress_ = std::make_shared<latest<load_progress>>(ex, self->request_.on_progress());
    if (const std::shared_ptr<group> home = self->home_.lock())
        home->submit(self);
    else
        self->fail(std::make_exception_ptr(error{pool_errc::shut_down}));
}

MODELPOOL_DECL void job::withdraw() noexcept
{
    if (const std::shared_ptr<group> home = home_.lock()) home->withdraw(*this);
}

MODELPOOL_DECL void job::finish(job_end how, const std::exception_ptr& why) noexcept
{
    if (progress_) progress_->close();
    if (!accepted_) return;
    if (const std::shared_ptr<group> home = home_.lock()) home->finished(*this, how, why);
}

MODELPOOL_DECL group::group(runtime& rt, group_setup setup)
    : runtime_{rt}
    , setup_{std::move(setup)}
    , policy_{setup_.scaling}
    , breaker_{setup_.pool->breaker()}
    , queue_{setup_.pool->queue_limit()}
    , load_works_{static_cast<bool>(setup_.load)}
{}

MODELPOOL_DECL group::~group()
{
    MODELPOOL_ASSERT(workers_.empty() && !leaver_.joinable());
}

/// Why a job may not enter the queue; empty where it may. Under the lock.
MODELPOOL_DECL std::optional<error> group::refusal_of(const job& one) const
{
    if (closed_) return shut_down();
    if (queue_.full() && !one.request().wait_for_place())
        return error{
            pool_errc::queue_full,
            "model '" + key() + "': " + std::to_string(queue_.limit()) + " requests wait already"};
    if (workers_.empty() && !setup_.load)
        return error{
            pool_errc::unknown_model,
            "model '" + key() + "' has no worker, and no loader to start one with"};
    if (lacks_memory()) return no_memory_->why;
    return std::nullopt;
}

/// Whether a first worker would find no memory, since nothing has changed since one was refused:
/// its thread would cost the caller's thread much, to no end. Under the lock.
MODELPOOL_DECL bool group::lacks_memory() const
{
    if (!no_memory_ || !queue_.empty()) return false;
    const auto alive = [](const std::shared_ptr<worker>& one) { return one->life.alive(); };
    if (std::any_of(workers_.begin(), workers_.end(), alive)) return false;
    const memory_governor* const memory = runtime_.devices().find_memory(setup_.worker.device());
    return memory != nullptr && memory->n_chances() == no_memory_->n_chances;
}

MODELPOOL_DECL std::optional<error> group::breaker_refusal(clock::time_point now, bool& trial)
{
    const breaker::admission admitted = breaker_.admit(now);
    trial = admitted == breaker::admission::trial;
    if (admitted != breaker::admission::refused) return std::nullopt;
    const auto left = std::chrono::ceil<std::chrono::seconds>(breaker_.open_left(now));
    return error{
        pool_errc::circuit_open,
        "model '" + key() + "' failed " + std::to_string(options().breaker().n_failures()) +
            " times in a row" +
            (left.count() > 0 ? "; it is tried again in " + std::to_string(left.count()) + " s"
                              : "; others are trying it again now")};
}

MODELPOOL_DECL void group::submit(const std::shared_ptr<job>& one)
{
    std::optional<error> refusal;
    std::exception_ptr trouble;
    {
        const std::lock_guard lock{mutex_};
        const request_options& request = one->request();
        const clock::time_point now = runtime_.time().now();
        bool trial = false;
        refusal = refusal_of(*one);
        if (!refusal) refusal = breaker_refusal(now, trial);
        if (!refusal) {
            try {
                meter_.accepted();
                if (queue_.full())
                    queue_.push_outside(one, request.rank(), now);
                else
                    queue_.push(one, request.rank(), now);
            } catch (const std::bad_alloc&) {
                if (trial) breaker_.end_trial(breaker::trial_end::neither, now);
                throw;
            }
            one->set_accepted(now, trial);
            try {
                if (request.deadline()) set_alarm(*request.deadline());
                dispatch();
                start_on_demand();
                if (request.on_progress())
                    for (const std::shared_ptr<worker>& other : workers_)
                        if (other->progress) one->report(*other->progress);
            } catch (...) {
                // No memory, or no thread: nobody else would tell its caller.
                queue_.erase(*one);
                trouble = std::current_exception();
            }
        }
    }
    announce_breaker();
    if (trouble) one->fail(std::move(trouble));
    if (!refusal) return;
    meter_.rejected(*refusal);
    one->fail(std::make_exception_ptr(*refusal));
}

MODELPOOL_DECL void
group::finished(const job& one, job_end how, const std::exception_ptr& why) noexcept
{
    const clock::time_point now = runtime_.time().now();
    meter_.ended(one, how, why, now);
    if (!one.trial()) return;
    auto ended = breaker::trial_end::neither;
    if (how == job_end::succeeded) ended = breaker::trial_end::succeeded;
    if (how == job_end::failed && blames_model(why)) ended = breaker::trial_end::failed;
    if (one.is_question()) ended = breaker::trial_end::neither;  // the model computed nothing
    breaker_.end_trial(ended, now);
    announce_breaker();
}

MODELPOOL_DECL void group::withdraw(job& gone) noexcept
{
    std::vector<std::shared_ptr<waiter_type>> drained;
    {
        const std::lock_guard lock{mutex_};
        if (!queue_.erase(gone)) return;
        abandon_unwanted_loads();
        if (is_drained()) drained = take_waiters(nullptr);
    }
    for (const auto& one : drained)
        one->answer.send(nullptr, {});
}

MODELPOOL_DECL void group::abandon_unwanted_loads()
{
    if (!queue_.empty()) return;
    const auto serving = [](const auto& one) { return one->life.serving(); };
    if (std::any_of(workers_.begin(), workers_.end(), serving))
        return;  // the load adds a worker to a model in use: it may well be wanted again
    for (const std::shared_ptr<worker>& one : workers_)
        if (one->life.coming() && !one->promised) abandon(*one, false);
}

/// Forgets jobs that were answered while more of them waited to be taken. Under the lock.
MODELPOOL_DECL void group::drop_ended_jobs()
{
    std::vector<std::shared_ptr<job>> ended;
    queue_.for_each([&](const std::shared_ptr<job>& one) {
        if (one->ended()) ended.push_back(one);
    });
    for (const std::shared_ptr<job>& one : ended)
        queue_.erase(*one);
}

MODELPOOL_DECL bool group::is_drained() const
{
    const auto works = [](const auto& one) { return one->life.now() == worker_state::processing; };
    return queue_.empty() && std::none_of(workers_.begin(), workers_.end(), works);
}

MODELPOOL_DECL group_view group::scaling_view() const
{
    group_view seen;
    seen.n_waiting = queue_.size();
    for (const std::shared_ptr<worker>& one : workers_) {
        if (one->stalled && !one->in_load) continue;
        const bool works = one->life.now() == worker_state::processing;
        seen.n_coming += one->life.coming() ? 1 : 0;
        seen.n_resting += one->life.resting() || (works && one->takes_more) ? 1 : 0;
        seen.n_taken += works && !one->takes_more ? 1 : 0;
    }
    return seen;
}

/// Wakes workers that wait, the most recently used first, one for each request that waits.
MODELPOOL_DECL void group::dispatch()
{
    for (std::size_t n_left = queue_.size(); n_left > 0; --n_left) {
        worker* best = nullptr;
        for (const std::shared_ptr<worker>& one : workers_)
            if ((one->life.resting() || (one->parked && one->takes_more)) && !one->woken &&
                !one->stop && (best == nullptr || one->last_used > best->last_used))
                best = one.get();
        if (best == nullptr) return;
        best->woken = true;
        best->wake.notify_one();
    }
}

MODELPOOL_DECL void group::nudge()
{
    const std::lock_guard lock{mutex_};
    for (const std::shared_ptr<worker>& one : workers_) {
        if (!one->parked) continue;
        one->nudged = true;
        one->wake.notify_one();
    }
}

// --- starting and stopping workers -----------------------------------------------------------------------

MODELPOOL_DECL bool group::has_room_for_more() const
{
    std::uint64_t bytes =
        shares_ ? setup_.worker.memory().replica_bytes : bytes_of(setup_.worker.memory());
    for (const std::shared_ptr<worker>& one : workers_)
        if (one->life.serving())
            bytes = std::max(
                bytes, one->own.bytes() + (shares_ || !one->shared ? 0 : one->shared->bytes()));
    const memory_governor* const memory = runtime_.devices().find_memory(setup_.worker.device());
    return memory == nullptr || bytes <= memory->available_bytes();  // else the load says so
}

MODELPOOL_DECL void group::start_on_demand()
{
    if (closed_ || !setup_.load) return;
    const group_view seen = scaling_view();
    const std::size_t n_wanted = policy_.n_to_start(seen);
    const bool first = seen.n_coming + seen.n_resting + seen.n_taken == 0;
    if (n_wanted == 0 || (!first && !has_room_for_more())) return;
    try {
        for (std::size_t n = n_wanted; n > 0; --n)
            start_worker(setup_.worker, setup_.load, true);
    } catch (const error&) {
        ++n_load_failures_;
        if (!workers_.empty()) return;  // those that there are serve the queue
        const std::exception_ptr failure = std::current_exception();
        for (const std::shared_ptr<job>& one : take_queue())
            one->fail(failure);
    }
}

MODELPOOL_DECL std::shared_ptr<worker>
group::start_worker(worker_options options, engine_loader load, bool on_demand)
{
    auto one = std::make_shared<worker>();
    one->id = next_worker_id_++;
    one->options = std::move(options);
    one->load = std::move(load);
    one->on_demand = on_demand;
    one->last_used = runtime_.time().now();
    workers_.push_back(one);
    try {
        one->thread = std::thread{[this, one] { work(one); }};
    } catch (const std::system_error& problem) {
        workers_.pop_back();
        throw error{pool_errc::load_failed, holder(*one) + " got no thread: " + problem.what()};
    } catch (...) {
        workers_.pop_back();
        throw;
    }
    ++n_spawned_;
    return one;
}

MODELPOOL_DECL void group::abandon(worker& one, bool at_once)
{
    if (one.life.alive()) enter(one, worker_state::evicting);
    one.stop = true;
    one.stopping.request_stop();
    if (one.session) one.session->request_stop(at_once);
    announce_release(one);
    one.wake.notify_all();
    interrupt_memory(one.options.device());
}

/// Says what a worker gives back soon: who asks for room meanwhile waits for it rather than fail
/// for want of it. Under the lock. Precondition: the worker is not alive.
MODELPOOL_DECL void group::announce_release(worker& one)
{
    one.own.announce_release();
    const auto still_shares = [&](const std::shared_ptr<worker>& other) {
        return other->shared == one.shared && other->life.alive();
    };
    if (one.shared && std::none_of(workers_.begin(), workers_.end(), still_shares))
        one.shared->announce_release();
}

MODELPOOL_DECL bool group::evict(const std::shared_ptr<worker>& one)
{
    const std::lock_guard lock{mutex_};
    if (!may_evict(*one) || one->n_lent > 0) return false;
    begin_eviction(*one, "to make room");
    return true;
}

MODELPOOL_DECL void group::begin_eviction(worker& one, std::string why)
{
    enter(one, worker_state::evicting);
    one.stop = true;
    announce_release(one);
    ++n_evicted_;
    one.wake.notify_all();
    if (!runtime_.publisher().wants(event_kind::evicted)) return;
    event happened = event_of(event_kind::evicted, one.id);
    happened.text = std::move(why);
    runtime_.publisher().publish(happened);
}

MODELPOOL_DECL void group::list_idle(std::vector<eviction_candidate>& candidates)
{
    const std::lock_guard lock{mutex_};
    for (const std::shared_ptr<worker>& one : workers_) {
        if (!may_evict(*one)) continue;
        eviction_candidate candidate;
        candidate.where = one->options.device();
        candidate.last_used = one->last_used;
        candidate.own_bytes = one->own.bytes();
        candidate.lent = one->n_lent > 0;
        if (one->shared) {
            candidate.shared_bytes = one->shared->bytes();
            candidate.shared_id = shared_id_of(*one);
            for (const std::shared_ptr<worker>& other : workers_)
                candidate.n_sharers += other->shared == one->shared && other->life.alive() ? 1 : 0;
        }
        candidate.evict = [self = shared_from_this(), one] { return self->evict(one); };
        candidates.push_back(std::move(candidate));
    }
}

MODELPOOL_DECL bool group::close_if_unused()
{
    const std::lock_guard lock{mutex_};
    if (!workers_.empty() || !queue_.empty() || !waiting_.empty()) return false;
    closed_ = true;  // a handle may still reach it, and would start a worker that nobody joins
    return true;
}

/// Under the lock.
MODELPOOL_DECL void group::keep_load(const engine_loader& load, const worker_options& options)
{
    setup_.load = load;
    setup_.worker = options;
    setup_.worker.reserved({});  // that is for one worker
    no_memory_.reset();
}

MODELPOOL_DECL awaitable<void> group::spawn(worker_options options, engine_loader load)
{
    return spawn_and_wait(shared_from_this(), std::move(options), std::move(load));
}

MODELPOOL_DECL awaitable<void>
group::spawn_and_wait(std::shared_ptr<group> self, worker_options options, engine_loader load)
{
    std::shared_ptr<worker> one;
    {
        const std::lock_guard lock{self->mutex_};
        if (self->closed_) throw self->shut_down();
        const reservation* const given = options.reserved().get();
        const memory_governor* const memory =
            self->runtime_.devices().find_memory(options.device());
        if (given && *given && !(memory && memory->owns(*given)))
            throw error{
                errc::invalid_argument,
                "model '" + self->key() + "': the reservation given is not of the memory of " +
                    options.device().str() + " in the pool's runtime"};
        // Requests start further ones with it, until it fails and another one is given.
        if (!self->load_works_) self->keep_load(load, options);
        one = self->start_worker(std::move(options), std::move(load), false);
        one->promised = true;
    }
    auto ready = wait(self, std::move(one));
    co_await std::move(ready);
}

// --- waiting ---------------------------------------------------------------------------------------------

MODELPOOL_DECL awaitable<void> group::wait(std::shared_ptr<group> self, std::shared_ptr<worker> one)
{
    auto operation = std::make_shared<waiter_type>(std::move(self), std::move(one));
    auto answer = await_reply<std::monostate>(std::move(operation));
    co_await std::move(answer);
}

MODELPOOL_DECL awaitable<void> group::drained()
{
    return wait(shared_from_this(), nullptr);
}

MODELPOOL_DECL awaitable<void> group::gone()
{
    return wait(shared_from_this(), std::make_shared<worker>());
}

MODELPOOL_DECL bool group::ended() const
{
    const std::lock_guard lock{mutex_};
    return is_gone();
}

/// Tells those who wait for the last worker to be gone, once it is. Under the lock.
MODELPOOL_DECL void group::announce_gone()
{
    if (!is_gone()) return;
    gone_.notify_all();
    const auto tell = [](const std::shared_ptr<waiter_type>& one) {
        if (!one->tag || one->tag->id != 0) return false;
        if (one->answer.claim()) one->answer.send(nullptr, {});
        return true;
    };
    std::erase_if(waiting_, tell);
}

MODELPOOL_DECL void group::enter(std::shared_ptr<waiter_type> one)
{
    std::exception_ptr failure;
    {
        const std::lock_guard lock{mutex_};
        const std::shared_ptr<worker>& wanted = one->tag;
        const bool all_workers = wanted && wanted->id == 0;
        const bool pending = all_workers ? !is_gone()
                             : wanted    ? wanted->life.coming()
                                         : !is_drained();
        if (pending) {
            waiting_.push_back(std::move(one));
            return;
        }
        if (wanted && !all_workers && !wanted->life.serving())
            failure = wanted->failure ? wanted->failure : std::make_exception_ptr(shut_down());
    }
    one->answer.answer(failure, {});
}

MODELPOOL_DECL void group::leave(waiter_type& gone)
{
    const std::lock_guard lock{mutex_};
    std::erase_if(waiting_, [&](const auto& one) { return one.get() == &gone; });
    if (!gone.tag || gone.tag->id == 0) return;
    gone.tag->promised = false;
    if (gone.tag->life.coming() && queue_.empty()) abandon(*gone.tag, false);
}

MODELPOOL_DECL std::vector<std::shared_ptr<group::waiter_type>>
group::take_waiters(const worker* tag)
{
    std::vector<std::shared_ptr<waiter_type>> taken;
    const auto take = [&](const std::shared_ptr<waiter_type>& one) {
        if (one->tag.get() != tag) return false;
        if (one->answer.claim()) taken.push_back(one);
        return true;
    };
    std::erase_if(waiting_, take);
    return taken;
}

MODELPOOL_DECL std::vector<std::shared_ptr<job>> group::take_queue()
{
    std::vector<std::shared_ptr<job>> taken;
    while (!queue_.empty())
        taken.push_back(queue_.pop(runtime_.time().now()));
    return taken;
}

MODELPOOL_DECL void group::close()
{
    const std::lock_guard lock{mutex_};
    closed_ = true;
}

MODELPOOL_DECL void group::stop(bool at_once)
{
    std::vector<std::shared_ptr<job>> left;
    std::vector<std::shared_ptr<waiter_type>> drained;
    {
        const std::lock_guard lock{mutex_};
        closed_ = true;
        left = take_queue();
        for (const std::shared_ptr<worker>& one : workers_) {
            if (one->life.now() == worker_state::processing) {
                one->stop = true;
                one->stopping.request_stop();
                one->wake.notify_all();
            } else {
                abandon(*one, at_once);
            }
        }
        if (is_drained()) drained = take_waiters(nullptr);
    }
    const auto why = std::make_exception_ptr(shut_down());
    for (const std::shared_ptr<job>& one : left)
        one->fail(why);
    for (const auto& one : drained)
        one->answer.send(nullptr, {});
}

MODELPOOL_DECL void group::blocking_join()
{
    const std::lock_guard joining{join_mutex_};  // who comes second returns when the first is done
    std::thread last;
    {
        std::unique_lock lock{mutex_};
        gone_.wait(lock, [this] { return is_gone(); });
        last = std::move(leaver_);
        ++n_alarms_;  // one that is about to ring finds that it is not meant
        alarm_ = clock::time_point::max();
        runtime_.time().forget(std::exchange(alarm_id_, 0));
    }
    if (last.joinable()) last.join();
}

MODELPOOL_DECL model_stats group::stats() const
{
    model_stats seen;
    seen.pool = setup_.capability;
    seen.key = key();
    meter_.write(seen);
    seen.breaker = breaker_.state(runtime_.time().now());
    const std::lock_guard lock{mutex_};
    seen.n_waiting = queue_.size();
    seen.n_spawned = n_spawned_;
    seen.n_loads = n_loads_;
    seen.n_load_failures = n_load_failures_;
    seen.n_replicated = n_replicated_;
    seen.n_evicted = n_evicted_;
    seen.n_stalled = n_stalled_;
    seen.n_retired = n_retired_;
    seen.load_time = load_time_;
    std::vector<const reservation*> counted;
    for (const std::shared_ptr<worker>& one : workers_) {
        seen.workers.push_back(worker_stats{
            one->id,
            one->life.now(),
            one->n_batches,
            one->n_items,
            one->n_tokens,
            one->own.bytes(),
            one->stalled});
        const reservation* shared = one->shared.get();
        if (shared == nullptr || std::find(counted.begin(), counted.end(), shared) != counted.end())
            continue;
        counted.push_back(shared);
        seen.shared_bytes += shared->bytes();
    }
    return seen;
}

// --- words -----------------------------------------------------------------------------------------------------

MODELPOOL_DECL std::string group::holder(const worker& one) const
{
    return "model '" + key() + "' worker " + std::to_string(one.id);
}

MODELPOOL_DECL error group::shut_down() const
{
    return error{pool_errc::shut_down, "model '" + key() + "' is shut down"};
}

MODELPOOL_DECL std::exception_ptr group::too_late() const
{
    return std::make_exception_ptr(error{
        pool_errc::deadline_missed,
        "model '" + key() + "': no worker was free before the request's deadline"});
}

/// The model's key put before the text of the library's own errors; a user's exceptions stay as
/// they are.
MODELPOOL_DECL std::exception_ptr group::with_key(const std::exception_ptr& why) const
{
    try {
        std::rethrow_exception(why);
    } catch (const error& problem) {
        if (typeid(problem) != typeid(error)) return why;
        return std::make_exception_ptr(problem.in("model '" + key() + "'"));
    } catch (...) {
        return why;
    }
}

}  // namespace modelpool::detail

#include <modelpool/pool/detail/impl/group_guests.hpp>
#include <modelpool/pool/detail/impl/group_watch.hpp>
#include <modelpool/pool/detail/impl/group_worker.hpp>

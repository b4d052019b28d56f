#pragma once

#include <modelpool/pool/detail/group.hpp>

#include <algorithm>
#include <chrono>
#include <system_error>
#include <typeinfo>
#include <utility>

namespace modelpool::detail {

// --- requests -----------------------------------------------------------------------------------------

inline void job::submit(std::shared_ptr<job> self, const executor& ex)
{
    if (self->request_.on_progress())
        self->progress_ = std::make_shared<latest<load_progress>>(ex, self->request_.on_progress());
    if (const std::shared_ptr<group> home = self->home_.lock())
        home->submit(self);
    else
        self->fail(std::make_exception_ptr(error{pool_errc::shut_down}));
}

inline void job::withdraw() noexcept
{
    if (const std::shared_ptr<group> home = home_.lock()) home->withdraw(*this);
}

inline void job::finish(job_end how, const std::exception_ptr& why) noexcept
{
    if (progress_) progress_->close();
    if (!accepted_) return;
    if (const std::shared_ptr<group> home = home_.lock()) home->finished(*this, how, why);
}

inline group::group(runtime& rt, group_setup setup)
    : runtime_{rt}
    , setup_{std::move(setup)}
    , policy_{setup_.scaling}
    , breaker_{setup_.pool->breaker()}
    , queue_{setup_.pool->queue_limit()}
{}

inline group::~group()
{
    MODELPOOL_ASSERT(workers_.empty() && !leaver_.joinable());
}

/// Why a job may not enter the queue; empty where it may. Under the lock.
inline std::optional<error> group::refusal_of(const job& one) const
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
    return std::nullopt;
}

inline std::optional<error> group::breaker_refusal(clock::time_point now, bool& trial)
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

inline void group::submit(const std::shared_ptr<job>& one)
{
    std::optional<error> refusal;
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
            if (request.deadline()) set_alarm(*request.deadline());
            dispatch();
            start_on_demand();
            if (request.on_progress())
                for (const std::shared_ptr<worker>& other : workers_)
                    if (other->progress) one->report(*other->progress);
        }
    }
    announce_breaker();
    if (!refusal) return;
    meter_.rejected(*refusal);
    one->fail(std::make_exception_ptr(*refusal));
}

inline void group::finished(const job& one, job_end how, const std::exception_ptr& why) noexcept
{
    const clock::time_point now = runtime_.time().now();
    meter_.ended(one, how, why, now);
    if (!one.trial()) return;
    auto ended = breaker::trial_end::neither;
    if (how == job_end::succeeded) ended = breaker::trial_end::succeeded;
    if (how == job_end::failed && blames_model(why)) ended = breaker::trial_end::failed;
    breaker_.end_trial(ended, now);
    announce_breaker();
}

inline void group::withdraw(job& gone) noexcept
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

inline void group::abandon_unwanted_loads()
{
    if (!queue_.empty()) return;
    const auto serving = [](const auto& one) { return one->life.serving(); };
    if (std::any_of(workers_.begin(), workers_.end(), serving))
        return;  // the load adds a worker to a model in use: it may well be wanted again
    for (const std::shared_ptr<worker>& one : workers_)
        if (one->life.coming() && !one->promised) abandon(*one, false);
}

/// Forgets jobs that were answered while more of them waited to be taken. Under the lock.
inline void group::drop_ended_jobs()
{
    std::vector<std::shared_ptr<job>> ended;
    queue_.for_each([&](const std::shared_ptr<job>& one) {
        if (one->ended()) ended.push_back(one);
    });
    for (const std::shared_ptr<job>& one : ended)
        queue_.erase(*one);
}

inline bool group::is_drained() const
{
    const auto works = [](const auto& one) { return one->life.now() == worker_state::processing; };
    return queue_.empty() && std::none_of(workers_.begin(), workers_.end(), works);
}

inline group_view group::scaling_view() const
{
    group_view seen;
    seen.n_waiting = queue_.size();
    for (const std::shared_ptr<worker>& one : workers_) {
        if (one->stalled) continue;
        const bool works = one->life.now() == worker_state::processing;
        seen.n_coming += one->life.coming() ? 1 : 0;
        seen.n_resting += one->life.resting() || (works && one->takes_more) ? 1 : 0;
        seen.n_taken += works && !one->takes_more ? 1 : 0;
    }
    return seen;
}

/// Wakes workers that wait, the most recently used first, one for each request that waits.
inline void group::dispatch()
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

inline void group::nudge()
{
    const std::lock_guard lock{mutex_};
    for (const std::shared_ptr<worker>& one : workers_) {
        if (!one->parked) continue;
        one->nudged = true;
        one->wake.notify_one();
    }
}

// --- starting and stopping workers -----------------------------------------------------------------------

inline bool group::has_room_for_more() const
{
    std::uint64_t bytes =
        shares_ ? setup_.worker.memory().replica_bytes
                : setup_.worker.memory().resident_bytes + setup_.worker.memory().replica_bytes;
    for (const std::shared_ptr<worker>& one : workers_)
        if (one->life.serving())
            bytes = std::max(
                bytes, one->own.bytes() + (shares_ || !one->shared ? 0 : one->shared->bytes()));
    try {
        return bytes <= runtime_.memory(setup_.worker.device()).available_bytes();
    } catch (const error&) {
        return true;  // there is no such device: the load says so
    }
}

inline void group::start_on_demand()
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

inline std::shared_ptr<worker>
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
    }
    ++n_spawned_;
    return one;
}

inline void group::abandon(worker& one, bool at_once)
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
inline void group::announce_release(worker& one)
{
    one.own.announce_release();
    const auto still_shares = [&](const std::shared_ptr<worker>& other) {
        return other->shared == one.shared && other->life.alive();
    };
    if (one.shared && std::none_of(workers_.begin(), workers_.end(), still_shares))
        one.shared->announce_release();
}

inline bool group::evict(const std::shared_ptr<worker>& one)
{
    const std::lock_guard lock{mutex_};
    if (!may_evict(*one) || one->n_lent > 0) return false;
    begin_eviction(*one, "to make room");
    return true;
}

inline void group::begin_eviction(worker& one, std::string why)
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

inline void group::list_idle(std::vector<eviction_candidate>& candidates)
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
            // Unique while it lives, which is as long as this list is looked at.
            candidate.shared_id = reinterpret_cast<std::uintptr_t>(one->shared.get());
            for (const std::shared_ptr<worker>& other : workers_)
                candidate.n_sharers += other->shared == one->shared && other->life.alive() ? 1 : 0;
        }
        candidate.evict = [self = shared_from_this(), one] { return self->evict(one); };
        candidates.push_back(std::move(candidate));
    }
}

inline bool group::close_if_unused()
{
    const std::lock_guard lock{mutex_};
    if (!workers_.empty() || !queue_.empty() || !waiting_.empty()) return false;
    closed_ = true;  // a handle may still reach it, and would start a worker that nobody joins
    return true;
}

inline awaitable<void> group::spawn(worker_options options, engine_loader load)
{
    return spawn_and_wait(shared_from_this(), std::move(options), std::move(load));
}

inline awaitable<void>
group::spawn_and_wait(std::shared_ptr<group> self, worker_options options, engine_loader load)
{
    std::shared_ptr<worker> one;
    {
        const std::lock_guard lock{self->mutex_};
        if (self->closed_) throw self->shut_down();
        if (!self->setup_.load) {
            self->setup_.load = load;
            self->setup_.worker = options;
            // A reservation is for one worker: later ones make their own.
            self->setup_.worker.reserved({});
        }
        one = self->start_worker(std::move(options), std::move(load), false);
        one->promised = true;
    }
    auto ready = wait(self, std::move(one));
    co_await std::move(ready);
}

// --- waiting ---------------------------------------------------------------------------------------------

inline awaitable<void> group::wait(std::shared_ptr<group> self, std::shared_ptr<worker> one)
{
    auto operation = std::make_shared<waiter_type>(std::move(self), std::move(one));
    auto answer = await_reply<std::monostate>(std::move(operation));
    co_await std::move(answer);
}

inline awaitable<void> group::drained()
{
    return wait(shared_from_this(), nullptr);
}

inline void group::enter(std::shared_ptr<waiter_type> one)
{
    std::exception_ptr failure;
    {
        const std::lock_guard lock{mutex_};
        const std::shared_ptr<worker>& wanted = one->tag;
        const bool pending = wanted ? wanted->life.coming() : !is_drained();
        if (pending) {
            waiting_.push_back(std::move(one));
            return;
        }
        if (wanted && !wanted->life.serving())
            failure = wanted->failure ? wanted->failure : std::make_exception_ptr(shut_down());
    }
    one->answer.answer(failure, {});
}

inline void group::leave(waiter_type& gone)
{
    const std::lock_guard lock{mutex_};
    std::erase_if(waiting_, [&](const auto& one) { return one.get() == &gone; });
    if (!gone.tag) return;
    gone.tag->promised = false;
    if (gone.tag->life.coming() && queue_.empty()) abandon(*gone.tag, false);
}

inline std::vector<std::shared_ptr<group::waiter_type>> group::take_waiters(const worker* tag)
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

inline std::vector<std::shared_ptr<job>> group::take_queue()
{
    std::vector<std::shared_ptr<job>> taken;
    while (!queue_.empty())
        taken.push_back(queue_.pop(runtime_.time().now()));
    return taken;
}

inline void group::close()
{
    const std::lock_guard lock{mutex_};
    closed_ = true;
}

inline void group::stop(bool at_once)
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

inline void group::blocking_join()
{
    const std::lock_guard joining{join_mutex_};  // who comes second returns when the first is done
    std::thread last;
    {
        std::unique_lock lock{mutex_};
        gone_.wait(lock, [this] { return workers_.empty(); });
        last = std::move(leaver_);
    }
    if (last.joinable()) last.join();
}

inline model_stats group::stats() const
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

inline std::string group::holder(const worker& one) const
{
    return "model '" + key() + "' worker " + std::to_string(one.id);
}

inline error group::shut_down() const
{
    return error{pool_errc::shut_down, "model '" + key() + "' is shut down"};
}

inline std::exception_ptr group::too_late() const
{
    return std::make_exception_ptr(error{
        pool_errc::deadline_missed,
        "model '" + key() + "': no worker was free before the request's deadline"});
}

/// The model's key put before the text of the library's own errors; a user's exceptions stay as
/// they are.
inline std::exception_ptr group::with_key(const std::exception_ptr& why) const
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

#include <modelpool/pool/detail/impl/group_watch.hpp>
#include <modelpool/pool/detail/impl/group_worker.hpp>

#pragma once

// How a worker serves small requests in the midst of a long step: a model says where one operation
// has ended and the next has not begun, and that is where they have their turn.

#include <modelpool/pool/detail/group.hpp>

#include <chrono>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>

namespace modelpool::detail {

/// What a step reports to: the cores it has, and the group where guests may wait.
class group::host final : public run_monitor {
public:
    /// All outlive it.
    host(group& home, worker& self, core_governor::lease& cores)
        : home_{home}
        , self_{self}
        , cores_{cores}
    {}

    int n_threads() const noexcept override { return cores_.n_threads(); }
    void step_done() noexcept override
    {
        cores_.step_done();
        if (hosting_ || !self_.model->hosts()) return;
        // However many guests there are, the step has a third of the time for itself.
        const auto begun = stopwatch::now();
        if (3 * guests_took_ > 2 * (begun - began_at_)) return;
        hosting_ = true;
        guest_monitor alone{*this};
        run_context context{alone, self_.stopping.flag()};
        if (!context.stop_requested()) home_.host_guests(self_, context);
        guests_took_ += stopwatch::now() - begun;
        hosting_ = false;
    }

private:
    using stopwatch = std::chrono::steady_clock;

    /// Guests have the one thread that they interrupt: the others go on with the step.
    class guest_monitor final : public run_monitor {
    public:
        explicit guest_monitor(host& outer)
            : outer_{outer}
        {}
        int n_threads() const noexcept override { return 1; }
        void step_done() noexcept override { outer_.step_done(); }

    private:
        host& outer_;
    };

    group& home_;
    worker& self_;
    core_governor::lease& cores_;
    const stopwatch::time_point began_at_{stopwatch::now()};
    stopwatch::duration guests_took_{0};
    bool hosting_{false};
};

MODELPOOL_DECL step_report group::step(worker& self)
{
    const int wanted =
        self.options.n_threads() > 0 ? self.options.n_threads() : runtime_.cores().n_cores();
    core_governor::lease cores{runtime_.cores(), wanted, self.n_steps};
    host monitor{*this, self, cores};
    run_context context{monitor, self.stopping.flag()};
    return self.model->step(context);
}

/// Serves the small requests that wait now, once.
MODELPOOL_DECL void group::host_guests(worker& self, run_context& context) noexcept
{
    bool any = false;
    try {
        const std::lock_guard lock{mutex_};
        any = take_guests(self);
    } catch (...) {
        return;  // no memory for a note: what was not noted waits for the end of the step
    }
    if (!any) return;
    const step_report report = self.model->serve_guests(context);
    bool lost_device = false;
    {
        const std::lock_guard lock{mutex_};
        // A model that hosts no more, in the midst of the same step, had no copy to give.
        if (!self.model->hosts()) self.guests.release();
        lost_device = account(self, report);
    }
    if (report.failure || report.blame) announce_breaker();
    if (lost_device) runtime_.report_device_lost(self.options.device());
    for (const step_report::failed_job& one : report.failed)
        one.request->fail(one.why);
    for (const std::shared_ptr<job>& one : report.done)
        one->deliver();
}

/// Under the lock.
MODELPOOL_DECL bool group::take_guests(worker& self)
{
    // Behind so many large requests a small one waits for the end of the step after all: looking
    // for it is done under the lock, and often.
    constexpr std::size_t n_looked_at = 64;
    if (self.stop || self.stalled || queue_.empty()) return false;
    bool any = false;
    bool refused = false;
    const clock::time_point now = runtime_.time().now();
    queue_.take_if(n_looked_at, [&](const std::shared_ptr<job>& one) {
        const std::optional<clock::time_point>& deadline = one->request().deadline();
        if (one->begun() || one->ended() || (deadline && *deadline <= now)) return false;
        if (refused || !self.model->suits_guest(*one)) return false;
        refused = !make_guest_room(self) || !self.model->take_guest(one);
        if (refused) return false;
        one->set_begun(now);
        any = true;
        return true;
    });
    return any;
}

/// Reserves what guests take; false where there is no room. Under the lock.
MODELPOOL_DECL bool group::make_guest_room(worker& self)
{
    const std::uint64_t bytes = self.model->guest_bytes();
    if (bytes == 0 || self.guests.bytes() != 0) return true;
    if (!self.own.try_resize(self.own.bytes() + bytes)) return false;
    self.guests = self.own.split(bytes);
    return true;
}

}  // namespace modelpool::detail

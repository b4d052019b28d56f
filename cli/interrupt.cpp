#include "interrupt.hpp"

#include <cstdlib>
#include <system_error>
#include <utility>

#include "failure.hpp"

#include <pthread.h>

namespace modelpool::cli {

interrupt::interrupt(std::function<void()> report)
    : report_{std::move(report)}
{
    sigemptyset(&watched_);
    sigaddset(&watched_, SIGINT);
    sigaddset(&watched_, SIGTERM);
    const int problem = pthread_sigmask(SIG_BLOCK, &watched_, nullptr);
    if (problem != 0) throw std::system_error{problem, std::generic_category(), "pthread_sigmask"};
    watcher_ = std::thread{[this] { watch(); }};
}

interrupt::~interrupt()
{
    {
        const std::lock_guard lock{mutex_};
        ending_ = true;
    }
    pthread_kill(watcher_.native_handle(), SIGTERM);
    watcher_.join();
}

bool interrupt::requested() const
{
    const std::lock_guard lock{mutex_};
    return requested_;
}

void interrupt::forget()
{
    const std::lock_guard lock{mutex_};
    requested_ = false;
}

void interrupt::watch()
{
    for (;;) {
        int signal = 0;
        if (sigwait(&watched_, &signal) != 0) continue;
        const std::lock_guard lock{mutex_};
        if (ending_) return;
        if (!std::exchange(requested_, true)) {
            if (action_) {
                action_();
                continue;
            }
            report_();
        }
        // Not exit(): another thread is in the middle of something.
        std::_Exit(static_cast<int>(status::interrupted));
    }
}

interrupt::scope::scope(interrupt& signals, std::function<void()> action)
    : signals_{signals}
{
    const std::lock_guard lock{signals_.mutex_};
    previous_ = std::exchange(signals_.action_, std::move(action));
}

interrupt::scope::~scope()
{
    const std::lock_guard lock{signals_.mutex_};
    signals_.action_ = std::move(previous_);
}

}  // namespace modelpool::cli

#pragma once

#include <csignal>
#include <functional>
#include <mutex>
#include <thread>

namespace modelpool::cli {

/// SIGINT and SIGTERM, received on a thread of its own. The first one runs the action in force, or,
/// where there is none, reports and ends the process with status 130 at once; the second one ends
/// it without a word. Made before any other thread, since it blocks both signals for the threads
/// that follow.
class interrupt {
public:
    /// `report` runs on the signal thread just before the process ends.
    explicit interrupt(std::function<void()> report);
    ~interrupt();
    interrupt(const interrupt&) = delete;
    interrupt& operator=(const interrupt&) = delete;
    interrupt(interrupt&&) = delete;
    interrupt& operator=(interrupt&&) = delete;

    /// Whether a signal came.
    bool requested() const;
    /// The signal was obeyed: the next one counts as a first one again.
    void forget();

    /// Puts `action` in force for its own life; it runs on the signal thread and must not block.
    class scope {
    public:
        scope(interrupt& signals, std::function<void()> action);
        ~scope();
        scope(const scope&) = delete;
        scope& operator=(const scope&) = delete;
        scope(scope&&) = delete;
        scope& operator=(scope&&) = delete;

    private:
        interrupt& signals_;
        std::function<void()> previous_;
    };

private:
    void watch();

    std::function<void()> report_;
    std::function<void()> action_;
    mutable std::mutex mutex_;
    bool requested_{false};
    bool ending_{false};
    sigset_t watched_{};
    std::thread watcher_;
};

}  // namespace modelpool::cli

#pragma once

#include <atomic>
#include <cstddef>
#include <exception>
#include <memory>
#include <utility>
#include <variant>

namespace modelpool {

/// Tells blocking code that nobody wants its result any more. Cheap to copy; readable from any
/// thread. A default-constructed flag never asks to stop.
class stop_flag {
public:
    stop_flag() = default;

    bool stop_requested() const noexcept
    {
        return state_ && state_->load(std::memory_order_relaxed);
    }

private:
    friend class stop_source;
    explicit stop_flag(std::shared_ptr<const std::atomic<bool>> state)
        : state_{std::move(state)}
    {}

    std::shared_ptr<const std::atomic<bool>> state_;
};

/// The end of a `stop_flag` that asks. Thread-safe; asking twice is asking once.
class stop_source {
public:
    stop_source()
        : state_{std::make_shared<std::atomic<bool>>(false)}
    {}

    void request_stop() noexcept { state_->store(true, std::memory_order_relaxed); }
    bool stop_requested() const noexcept { return state_->load(std::memory_order_relaxed); }
    stop_flag flag() const { return stop_flag{state_}; }

private:
    std::shared_ptr<std::atomic<bool>> state_;
};

/// Who runs a model: says how many threads it may use, and hears that it advances.
class run_monitor {
public:
    run_monitor() = default;
    run_monitor(const run_monitor&) = delete;
    run_monitor& operator=(const run_monitor&) = delete;
    run_monitor(run_monitor&&) = delete;
    run_monitor& operator=(run_monitor&&) = delete;

    virtual int n_threads() const noexcept = 0;
    virtual void step_done() noexcept = 0;

protected:
    ~run_monitor() = default;
};

/// What every blocking call of a model receives: how many compute threads it may use now, whether
/// anybody still waits for the result, and where to report progress.
class run_context {
public:
    /// One thread, nobody stops it: what a test or a tool without a pool uses.
    run_context() = default;
    /// `monitor` outlives the context.
    run_context(run_monitor& monitor, stop_flag stop)
        : monitor_{&monitor}
        , stop_{std::move(stop)}
    {}

    /// Compute threads this call may keep busy, the calling one included; at least 1. It may change
    /// at each `step_done()`, when another worker starts or ends: read it again then.
    int n_threads() const noexcept { return monitor_ ? monitor_->n_threads() : 1; }
    /// True once the result is unwanted: return at the next layer, block or step, with any value.
    bool stop_requested() const noexcept { return stop_.stop_requested(); }
    const stop_flag& stop() const noexcept { return stop_; }
    /// Reports that the call advances: call it at least once a layer, on the thread that was
    /// called. A worker that reports nothing for its stall limit is taken for hung. In the midst of
    /// a large batch of texts, small requests that came meanwhile are computed in this call, by a
    /// copy that `replicate` made.
    void step_done() noexcept
    {
        if (monitor_) monitor_->step_done();
    }

private:
    run_monitor* monitor_{nullptr};
    stop_flag stop_;
};

/// One item's result out of a batch: a value, or the failure of that item alone.
template <class T>
class item_result {
public:
    item_result(T value)  // NOLINT(google-explicit-constructor): a value is a result
        : state_{std::move(value)}
    {}
    item_result(std::exception_ptr failure)  // NOLINT(google-explicit-constructor): so is a failure
        : state_{std::move(failure)}
    {}

    bool ok() const noexcept { return state_.index() == 0; }
    T& value() { return std::get<0>(state_); }
    const T& value() const { return std::get<0>(state_); }
    const std::exception_ptr& failure() const { return std::get<1>(state_); }

private:
    std::variant<T, std::exception_ptr> state_;
};

/// Bytes that a loaded model holds.
struct footprint {
    std::size_t shared_bytes{0};   ///< weights in memory, once for all replicas
    std::size_t replica_bytes{0};  ///< scratch, caches and whatever else one replica owns
    std::size_t mapped_bytes{0};   ///< clean file pages that the system may drop; not reserved
};

/// What one worker owns: the mutable state of a model (a replica), over an immutable part that
/// replicas share. A model is made, used and destroyed on its worker's own thread, and never needs
/// a lock.
///
/// `replicate() const` of the capability interfaces is the exception: it runs on the *new* worker's
/// thread while this one may be computing, or on this one's own in the midst of a run, so it touches
/// only the shared, immutable part. A model that cannot share returns null, and the loader runs
/// again.
class model {
public:
    model() = default;
    model(const model&) = delete;
    model& operator=(const model&) = delete;
    model(model&&) = delete;
    model& operator=(model&&) = delete;
    virtual ~model() = default;

    /// The measured bytes, once loaded; the pool corrects its estimate by them. Zeroes: keep the
    /// estimate.
    virtual footprint bytes() const { return {}; }

    /// One small forward, so that the first request meets warm caches. Called once before the
    /// worker says that it is ready, if the card asks for it.
    virtual void warm_up(run_context&) {}
};

}  // namespace modelpool

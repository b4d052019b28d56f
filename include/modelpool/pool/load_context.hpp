#pragma once

#include <modelpool/async/awaitable.hpp>
#include <modelpool/async/offload.hpp>
#include <modelpool/device.hpp>
#include <modelpool/hub/snapshot.hpp>
#include <modelpool/pool/detail/load_session.hpp>
#include <modelpool/pool/options.hpp>
#include <modelpool/runtime.hpp>
#include <modelpool/runtime/events.hpp>

#include <algorithm>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

namespace modelpool {

/// Which files a model is made of, where its pool was told.
struct model_source {
    repository repo;
    file_selection files;
};

/// What a loader is given. A value; a copy in a job keeps nothing of the pool alive but the load
/// itself.
class load_context {
public:
    load_context(
        runtime& rt,
        std::string key,
        std::shared_ptr<detail::load_session> session,
        const worker_options& options,
        std::shared_ptr<const model_source> source,
        std::function<void(load_progress)> report)
        : runtime_{&rt}
        , key_{std::move(key)}
        , session_{std::move(session)}
        , device_{options.device()}
        , dtype_{options.dtype()}
        , n_threads_{options.n_threads()}
        , source_{std::move(source)}
        , report_{std::move(report)}
    {}

    /// Gets files. Errors: hub_errc::no_fetcher where the runtime was built without one.
    fetcher& hub() const { return runtime_->files(); }
    /// The repository and files of the model's card; an empty repository where it has none.
    const model_source& source() const noexcept { return *source_; }
    /// The model's key in its pool.
    const std::string& key() const noexcept { return key_; }
    const modelpool::device& device() const noexcept { return device_; }
    modelpool::dtype dtype() const noexcept { return dtype_; }
    /// Threads that the load may compute on: the worker's limit, or all cores of the runtime.
    int n_threads() const noexcept
    {
        const int n_cores = runtime_->cores().n_cores();
        return n_threads_ > 0 ? std::min(n_threads_, n_cores) : n_cores;
    }
    /// The budget of the device that the model is loaded to, with all that others hold of it.
    std::uint64_t memory_limit_bytes() const { return runtime_->memory(device_).limit_bytes(); }
    /// True once nobody wants the model any more. Blocking jobs poll it between tensors; the
    /// loader's own awaits are cancelled besides.
    stop_flag stop() const { return session_->stop(); }

    /// Says how far the load has come, to whoever waits for it and to subscribers of events. Any
    /// thread.
    void report(std::string stage, fetch_progress done = {}) const
    {
        load_progress progress;
        progress.stage = std::move(stage);
        progress.files = std::move(done);
        report_(std::move(progress));
    }
    /// What `fetcher::fetch` is given so that its progress is reported as stage "fetch".
    on_fetch_progress fetch_reporter() const
    {
        return [report = report_](const fetch_progress& done) {
            load_progress progress;
            progress.stage = "fetch";
            progress.files = done;
            report(std::move(progress));
        };
    }

    /// Runs `job()` on the worker's own thread: the only place where the model may be built.
    /// Result: what the job returns; default-constructible and movable.
    /// Runs: on the worker's thread; completes on the loader's executor.
    /// Errors: what the job throws; operation_aborted where the load was stopped meanwhile: what
    /// the job made then dies on the worker's thread. Cancellation: as `modelpool::offload`.
    template <class F>
    awaitable<std::invoke_result_t<F&>> offload(F job) const
    {
        using value = std::invoke_result_t<F&>;
        auto unless_stopped = [job = std::move(job), stop = stop()]() mutable -> value {
            if constexpr (std::is_void_v<value>) {
                job();
            } else {
                value made = job();
                if (stop.stop_requested()) std::rethrow_exception(detail::aborted());
                return made;
            }
        };
        return detail::offload_to(std::shared_ptr<task_sink>{session_}, std::move(unless_stopped));
    }

private:
    runtime* runtime_;
    std::string key_;
    std::shared_ptr<detail::load_session> session_;
    modelpool::device device_;
    modelpool::dtype dtype_;
    int n_threads_;
    std::shared_ptr<const model_source> source_;
    std::function<void(load_progress)> report_;
};

/// Makes a model of capability `C`: any callable that takes a load_context and returns
/// `awaitable<std::unique_ptr<C::model>>`. It is called again for each worker whose model cannot
/// share. It runs on a strand over the runtime's executor; its parameter is a value, so that
/// nothing dangles.
template <class C>
using loader = std::function<awaitable<std::unique_ptr<typename C::model>>(load_context)>;

}  // namespace modelpool

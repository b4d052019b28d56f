#pragma once

#include <modelpool/async/awaitable.hpp>
#include <modelpool/pool/detail/engine_of.hpp>
#include <modelpool/pool/detail/pool_core.hpp>
#include <modelpool/pool/handle.hpp>
#include <modelpool/pool/load_context.hpp>
#include <modelpool/pool/options.hpp>
#include <modelpool/pool/stats.hpp>
#include <modelpool/runtime.hpp>

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace modelpool {
namespace detail {

class registry_core;

}  // namespace detail

class registry;

/// How a model is added to a pool without starting a worker yet.
class model_options {
public:
    /// How its workers are started when requests need them.
    model_options& worker(worker_options value)
    {
        worker_ = std::move(value);
        return *this;
    }
    const worker_options& worker() const noexcept { return worker_; }

    /// Its own numbers of workers, instead of the pool's.
    model_options& scaling(scaling_options value)
    {
        scaling_ = value;
        return *this;
    }
    const std::optional<scaling_options>& scaling() const noexcept { return scaling_; }

    /// What `load_context::source` tells the loader.
    model_options& source(model_source value)
    {
        source_ = std::move(value);
        return *this;
    }
    const model_source& source() const noexcept { return source_; }

    /// Prompts by name, before those of the checkpoint.
    model_options& prompts(std::map<std::string, std::string> value)
    {
        tuned_ = tuned_ || !value.empty();
        prompts_ = std::move(value);
        return *this;
    }
    const std::map<std::string, std::string>& prompts() const noexcept { return prompts_; }

    model_options& default_prompt(std::optional<std::string> value)
    {
        tuned_ = tuned_ || value.has_value();
        default_prompt_ = std::move(value);
        return *this;
    }
    const std::optional<std::string>& default_prompt() const noexcept { return default_prompt_; }

    /// Whether rows may be cut to shorter ones, where the checkpoint does not say.
    model_options& cuttable(std::optional<bool> value)
    {
        tuned_ = tuned_ || value.has_value();
        cuttable_ = value;
        return *this;
    }
    const std::optional<bool>& cuttable() const noexcept { return cuttable_; }

    /// How a generator samples where a request does not say.
    model_options& sampling(sampling_params value)
    {
        tuned_ = true;
        sampling_ = std::move(value);
        return *this;
    }
    const sampling_params& sampling() const noexcept { return sampling_; }

    /// Whether anything was said that engines must know.
    bool tuned() const noexcept { return tuned_; }

private:
    worker_options worker_;
    model_source source_;
    std::optional<scaling_options> scaling_;
    std::map<std::string, std::string> prompts_;
    std::optional<std::string> default_prompt_;
    std::optional<bool> cuttable_;
    sampling_params sampling_;
    bool tuned_{false};
};

/// Workers that run models of one capability, each model with a queue of its own. Each worker is
/// one thread that loads, runs and destroys its model. A resource: neither copied nor moved; its
/// runtime outlives it. May be used from any thread.
template <class C>
class pool {
public:
    explicit pool(runtime& rt, const pool_options& options = {})
        : core_{std::make_shared<detail::pool_core>(
              rt, C::name, options, engine_settings(options, model_options{}))}
    {}
    pool(const pool&) = delete;
    pool& operator=(const pool&) = delete;
    pool(pool&&) = delete;
    pool& operator=(pool&&) = delete;
    /// Without a `shutdown` before: drops all requests (pool_errc::shut_down), and blocks until the
    /// threads are joined. Loaders that have not ended are cancelled and left to their executor: a
    /// model that one of them holds at that moment dies there.
    ~pool() { core_->blocking_close(); }

    /// Starts a worker for `key` and waits until it is ready: its model loaded, warmed up if asked
    /// for. A second worker of the same key and device shares the first one's weights where the
    /// model can; otherwise it runs its own loader. Workers started so do not count against the
    /// scaling limits.
    /// Runs: `load` on a strand over the runtime's executor, its blocking jobs on the worker's
    /// thread; completes on the caller's executor.
    /// Errors: what `load` throws (a modelpool::error with the key put before its text);
    /// pool_errc::load_failed where it gave no model; pool_errc::memory_exhausted;
    /// pool_errc::shut_down.
    /// Cancellation: terminal, partial and total at any time; the load is then stopped, at the
    /// loader's next await or blocking job that polls, unless requests wait for it.
    /// Lifetime: owns its arguments.
    awaitable<void> spawn_worker(std::string key, loader<C> load, worker_options options = {})
    {
        return spawn(core_, std::move(key), std::move(load), std::move(options));
    }

    /// Makes a model known, to be loaded when its first request comes.
    /// Result: its handle. Errors: pool_errc::duplicate_model, pool_errc::shut_down.
    handle<C> add(std::string key, loader<C> load, const model_options& options = {})
    {
        return handle<C>{core_->add(setup(*core_, std::move(key), std::move(load), options))};
    }

    /// The handle of a model. Errors: pool_errc::unknown_model.
    handle<C> find(const std::string& key) const
    {
        const std::shared_ptr<detail::group> model = core_->find(key);
        if (!model) throw error{pool_errc::unknown_model, "the pool has no model '" + key + "'"};
        return handle<C>{model};
    }
    bool has(const std::string& key) const { return core_->find(key) != nullptr; }

    /// Forgets one model and ends it, as `shutdown` ends all.
    /// Result: false where the pool has none of that key.
    /// Runs, errors: as `shutdown`.
    /// Cancellation: terminal, partial and total; what waits or runs is then failed at once, and
    /// the pool's own end joins the threads.
    awaitable<bool> remove(std::string key, std::chrono::nanoseconds grace)
    {
        return detail::pool_core::remove(core_, std::move(key), grace);
    }

    /// A snapshot of all models. Does not block on anything that runs.
    std::vector<model_stats> stats() const { return core_->stats(); }

    /// Ends the pool: refuses new requests, lets what waits and runs end for at most `grace`, fails
    /// the rest (pool_errc::shut_down), destroys each model on its own thread, and joins the
    /// threads. May be repeated.
    /// Runs: joins on the runtime's file threads; completes on the caller's executor.
    /// Errors: none of its own.
    /// Cancellation: terminal, partial and total; the pool stays closed, and may be shut down
    /// again.
    awaitable<void> shutdown(std::chrono::nanoseconds grace)
    {
        return detail::pool_core::shutdown(core_, grace);
    }

private:
    static detail::engine_options
    engine_settings(const pool_options& shared, const model_options& options)
    {
        detail::engine_options engine;
        engine.batch_tokens = shared.batch_tokens();
        engine.batch_images = shared.batch_images();
        engine.generation = shared.generation();
        engine.sampling = options.sampling();
        engine.prompts = options.prompts();
        engine.default_prompt = options.default_prompt();
        engine.cuttable = options.cuttable();
        return engine;
    }

    static detail::group_setup setup(
        const detail::pool_core& core,
        std::string key,
        loader<C> load,
        const model_options& options)
    {
        detail::group_setup made;
        made.key = std::move(key);
        made.capability = core.capability();
        made.pool = core.options();
        // A thousand models that bring nothing of their own share what the pool has.
        made.engine = options.tuned() ? std::make_shared<const detail::engine_options>(
                                            engine_settings(*core.options(), options))
                                      : core.engine();
        made.scaling = options.scaling().value_or(core.options()->scaling());
        made.worker = options.worker();
        made.source = options.source().repo.id().empty()
                          ? core.no_source()
                          : std::make_shared<const model_source>(options.source());
        if (load) made.load = wrap(std::move(load), made.engine);
        return made;
    }

    using shared_settings = std::shared_ptr<const detail::engine_options>;

    static detail::engine_loader wrap(loader<C> load, shared_settings options)
    {
        return [load = std::move(load), options = std::move(options)](load_context context) {
            return run(load, options, std::move(context));
        };
    }

    static awaitable<std::unique_ptr<detail::engine>>
    run(loader<C> load, shared_settings options, load_context context)
    {
        auto loading = load(std::move(context));
        std::unique_ptr<typename C::model> model = co_await std::move(loading);
        if (!model) throw error{pool_errc::load_failed, "the loader gave no model"};
        co_return detail::engine_of<C>::make(std::move(model), *options);
    }

    static awaitable<void> spawn(
        std::shared_ptr<detail::pool_core> core,
        std::string key,
        loader<C> load,
        worker_options options)
    {
        if (!load) throw error{errc::invalid_argument, "spawn_worker needs a loader"};
        const model_options plain;
        const std::shared_ptr<detail::group> model =
            core->ensure(setup(*core, key, loader<C>{}, plain));
        // A model that a card described keeps the card's prompts and defaults.
        detail::engine_loader wrapped = wrap(std::move(load), model->engine_settings());
        auto ready = model->spawn(std::move(options), std::move(wrapped));
        co_await std::move(ready);
    }

    friend class registry;
    friend class detail::registry_core;

    std::shared_ptr<detail::pool_core> core_;
};

}  // namespace modelpool

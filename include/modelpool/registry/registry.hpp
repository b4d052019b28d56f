#pragma once

#include <modelpool/async/awaitable.hpp>
#include <modelpool/config.hpp>
#include <modelpool/pool/pool.hpp>
#include <modelpool/registry/card.hpp>
#include <modelpool/runtime.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace modelpool {

/// What a registry knows of a model.
struct listing {
    std::string key;
    capability kind{capability::text_embedding};
    bool has_group{false};  ///< its pool has it: a handle was given out, or it was added by hand
    std::optional<card> about;  ///< empty for a model added by hand
};

namespace detail {

/// State and decisions of a registry: plain calls, each under the lock as a whole.
class registry_core {
public:
    /// Revisions named by `find("key@revision")` that are kept besides the cards; unused ones make
    /// room for new ones, so that names which come from outside cannot fill the memory.
    static constexpr std::size_t n_most_revisions = 64;

    explicit registry_core(runtime& rt)
        : runtime_{rt}
    {}

    template <class C>
    void use(const std::shared_ptr<pool_core>& pool)
    {
        const std::lock_guard lock{mutex_};
        pools_.at(place_of(capability_of<C>())) = pool;
    }

    void add(std::vector<card> cards);
    void add(std::string key, capability kind, const std::shared_ptr<pool_core>& pool);
    template <class C>
    handle<C> find(const std::string& name);
    listing find_any(const std::string& name);
    std::vector<listing> list() const;
    /// Forgets a model; gives its key, and its pool where that has it.
    std::pair<std::string, std::shared_ptr<pool_core>> take(const std::string& name);
    void clear();

private:
    struct entry {
        capability kind{capability::text_embedding};
        std::optional<card> about;
        std::weak_ptr<pool_core> pool;  // set once the pool has the model
    };
    using entry_map = std::map<std::string, std::shared_ptr<entry>>;

    static std::size_t place_of(capability kind) noexcept
    {
        return static_cast<std::size_t>(kind) - 1;
    }
    static listing describe(const entry_map::value_type& one)
    {
        const std::shared_ptr<pool_core> pool = one.second->pool.lock();
        const bool has_group = pool && pool->find(one.first) != nullptr;
        return listing{one.first, one.second->kind, has_group, one.second->about};
    }

    template <class C>
    std::shared_ptr<group> group_of(const std::string& key, entry& found);
    void check_free(const std::string& name) const;
    std::string resolve(const std::string& name);
    void make_room_for_revision();
    void erase(const std::string& key);
    void announce(event_kind kind, const std::string& key, capability what) const;
    std::string canonical(const std::string& name) const;
    std::optional<std::string> known_key(const std::string& name) const;
    [[noreturn]] void fail_unknown(const std::string& name) const;

    runtime& runtime_;
    mutable std::mutex mutex_;
    std::array<std::weak_ptr<pool_core>, 5> pools_;
    entry_map entries_;
    std::map<std::string, std::string> aliases_;
    std::deque<std::string> revisions_;  // keys that `find` made, the oldest first
};

template <class C>
handle<C> registry_core::find(const std::string& name)
{
    const std::lock_guard lock{mutex_};
    const std::string key = resolve(name);
    entry& found = *entries_.at(key);
    if (found.kind != capability_of<C>())
        throw error{
            registry_errc::wrong_capability,
            "model '" + key + "' is of capability " + std::string{to_string(found.kind)} +
                ", not " + C::name};
    return handle<C>{group_of<C>(key, found)};
}

template <class C>
std::shared_ptr<group> registry_core::group_of(const std::string& key, entry& found)
{
    std::shared_ptr<pool_core> pool = found.pool.lock();
    if (!pool && found.about) {
        pool = pools_.at(place_of(found.kind)).lock();
        if (!pool)
            throw error{
                registry_errc::no_pool,
                std::string{"the registry has no "} + C::name + " pool to run '" + key +
                    "' in: call use() first"};
    }
    if (!pool) throw error{pool_errc::shut_down, "the pool of model '" + key + "' is gone"};
    if (std::shared_ptr<group> there = pool->find(key)) {
        found.pool = pool;
        return there;
    }
    if (!found.about)
        throw error{pool_errc::unknown_model, "the pool has no model '" + key + "' any more"};
    const card& about = *found.about;
    worker_options worker;
    worker.memory(about.memory)
        .warm_up(about.warm_up)
        .device(about.device)
        .dtype(about.precision)
        .n_threads(about.n_threads)
        .pinned(about.pinned);
    model_options options;
    options.worker(std::move(worker))
        .source(model_source{about.repo, about.files})
        .prompts(about.prompts)
        .default_prompt(about.default_prompt)
        .cuttable(about.cuttable)
        .sampling(about.sampling);
    if (about.scaling) options.scaling(*about.scaling);
    std::shared_ptr<group> made =
        pool->ensure(modelpool::pool<C>::setup(*pool, key, about.load.template get<C>(), options));
    found.pool = pool;
    return made;
}

}  // namespace detail

/// Names of models, over the pools that run them. Looking a model up never loads it; its first
/// operation does. Changes can be followed with `runtime::events` (model_added, model_removed). A
/// resource: neither copied nor moved; its runtime and the pools it uses outlive it. May be used
/// from any thread: every operation sees entries whole or not at all. Only `remove` suspends; the
/// others need no cancellation.
class registry {
public:
    explicit registry(runtime& rt)
        : core_{std::make_shared<detail::registry_core>(rt)}
    {}
    registry(const registry&) = delete;
    registry& operator=(const registry&) = delete;
    registry(registry&&) = delete;
    registry& operator=(registry&&) = delete;
    ~registry() = default;

    /// Runs the models of capability `C` in `models`, in place of a pool given before.
    template <class C>
    void use(pool<C>& models)
    {
        core_->use<C>(models.core_);
    }

    /// Registers models that may be loaded: all of them, or none.
    /// Errors: registry_errc::duplicate_key, naming the key or alias, in whatever capability it is
    /// taken.
    awaitable<void> add(std::vector<card> cards) { return run_add(core_, std::move(cards)); }
    awaitable<void> add(card one)
    {
        std::vector<card> only;
        only.push_back(std::move(one));
        return run_add(core_, std::move(only));
    }

    /// Registers a model that `spawn_worker` or `pool::add` made by hand in `models`.
    /// Errors: registry_errc::duplicate_key; pool_errc::unknown_model where the pool has no such
    /// model.
    template <class C>
    awaitable<void> add(std::string key, pool<C>& models)
    {
        return run_add_group(core_, std::move(key), capability_of<C>(), models.core_);
    }

    /// The handle of a model, by its key, an alias, or `key@revision` for another revision of a
    /// card's repository, which becomes a model of its own. Of these the last 64 are kept: an older
    /// one that has no worker and no request is forgotten, and its handles fail with
    /// pool_errc::shut_down.
    /// Errors: registry_errc::unknown_key, wrong_capability, no_pool, too_many;
    /// pool_errc::shut_down.
    template <class C>
    awaitable<handle<C>> find(std::string key)
    {
        return run_find<C>(core_, std::move(key));
    }

    /// What is known of a model, whatever its capability. Errors: registry_errc::unknown_key.
    awaitable<listing> find(std::string key) { return run_find_any(core_, std::move(key)); }

    /// All models, by key.
    awaitable<std::vector<listing>> list() { return run_list(core_); }

    /// Forgets a model, and ends it in its pool as `pool::remove` does.
    /// Errors: registry_errc::unknown_key.
    /// Cancellation: terminal, partial and total while it waits; the model is forgotten all the
    /// same.
    awaitable<void>
    remove(std::string key, std::chrono::nanoseconds grace = std::chrono::seconds{5})
    {
        return run_remove(core_, std::move(key), grace);
    }

    /// Forgets all models. What their pools run goes on until the pools are shut down.
    awaitable<void> clear() { return run_clear(core_); }

private:
    using core = detail::registry_core;
    using shared_core = std::shared_ptr<core>;

    static awaitable<void> run_add(shared_core state, std::vector<card> cards);
    static awaitable<void> run_add_group(
        shared_core state,
        std::string key,
        capability kind,
        std::shared_ptr<detail::pool_core> pool);
    template <class C>
    static awaitable<handle<C>> run_find(shared_core state, std::string key)
    {
        co_return state->find<C>(key);
    }
    static awaitable<listing> run_find_any(shared_core state, std::string key);
    static awaitable<std::vector<listing>> run_list(shared_core state);
    static awaitable<void>
    run_remove(shared_core state, std::string key, std::chrono::nanoseconds grace);
    static awaitable<void> run_clear(shared_core state);

    shared_core core_;
};

}  // namespace modelpool

#if defined(MODELPOOL_HEADER_ONLY)
#include <modelpool/registry/impl/registry.hpp>
#endif

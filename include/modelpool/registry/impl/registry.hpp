#pragma once

#include <modelpool/registry/registry.hpp>

#include <set>

namespace modelpool::detail {

inline void registry_core::check_free(const std::string& name) const
{
    const std::optional<std::string> taken = known_key(name);
    if (!taken) return;
    const entry& holder = *entries_.at(*taken);
    throw error{
        registry_errc::duplicate_key,
        "the name '" + name + "' is taken by the " + std::string{to_string(holder.kind)} +
            " model '" + *taken + "'"};
}

inline void registry_core::add(std::vector<card> cards)
{
    const std::lock_guard lock{mutex_};
    std::set<std::string> fresh;
    const auto check = [&](const std::string& name, const std::string& key) {
        check_free(name);
        if (!fresh.insert(name).second)
            throw error{
                registry_errc::duplicate_key,
                "the name '" + name + "' of model '" + key + "' is given twice"};
    };
    for (const card& one : cards) {
        check(one.key, one.key);
        for (const std::string& alias : one.aliases)
            check(alias, one.key);
    }
    for (card& one : cards) {
        for (const std::string& alias : one.aliases)
            aliases_.emplace(alias, one.key);
        auto made = std::make_shared<entry>();
        made->kind = one.kind();
        std::string key = one.key;
        made->about = std::move(one);
        const auto place = entries_.emplace(std::move(key), std::move(made)).first;
        announce(event_kind::model_added, place->first, place->second->kind);
    }
}

inline void registry_core::announce(event_kind kind, const std::string& key, capability what) const
{
    if (!runtime_.publisher().wants(kind)) return;
    event happened;
    happened.kind = kind;
    happened.when = runtime_.time().now();
    happened.pool = to_string(what);
    happened.model = key;
    runtime_.publisher().publish(happened);
}

inline std::optional<std::string> registry_core::known_key(const std::string& name) const
{
    if (entries_.contains(name)) return name;
    const auto alias = aliases_.find(name);
    if (alias != aliases_.end()) return alias->second;
    return std::nullopt;
}

/// The key that `name` stands for, if there is such an entry.
inline std::string registry_core::canonical(const std::string& name) const
{
    if (std::optional<std::string> key = known_key(name)) return std::move(*key);
    const std::size_t at = name.find('@');
    const std::optional<std::string> base = known_key(name.substr(0, at));
    return base && at != std::string::npos ? *base + name.substr(at) : name;
}

/// The key that `name` stands for. A revision of a known card becomes an entry of its own.
inline std::string registry_core::resolve(const std::string& name)
{
    if (const std::optional<std::string> key = known_key(name)) return *key;
    const std::size_t at = name.find('@');
    if (at == std::string::npos || at + 1 == name.size()) fail_unknown(name);
    const std::optional<std::string> base = known_key(name.substr(0, at));
    if (!base || !entries_.at(*base)->about) fail_unknown(name);
    std::string key = *base + name.substr(at);
    if (entries_.contains(key)) return key;
    make_room_for_revision();
    auto made = std::make_shared<entry>();
    made->kind = entries_.at(*base)->kind;
    made->about = entries_.at(*base)->about;
    made->about->key = key;
    made->about->aliases.clear();
    made->about->repo = repository{made->about->repo.id() + name.substr(at)};
    revisions_.push_back(key);
    announce(event_kind::model_added, key, made->kind);
    entries_.emplace(key, std::move(made));
    return key;
}

inline void registry_core::make_room_for_revision()
{
    if (revisions_.size() < n_most_revisions) return;
    for (const std::string& key : revisions_) {
        const std::shared_ptr<pool_core> pool = entries_.at(key)->pool.lock();
        if (pool && !pool->forget(key)) continue;
        erase(std::string{key});
        return;
    }
    throw error{
        registry_errc::too_many,
        std::to_string(n_most_revisions) +
            " revisions of models are in use: remove some before naming others"};
}

inline void registry_core::erase(const std::string& key)
{
    const auto place = entries_.find(key);
    announce(event_kind::model_removed, key, place->second->kind);
    std::erase_if(aliases_, [&](const auto& alias) { return alias.second == key; });
    std::erase(revisions_, key);
    entries_.erase(place);
}

inline void registry_core::fail_unknown(const std::string& name) const
{
    constexpr std::size_t n_named = 20;
    std::string known;
    std::size_t n_left = n_named;
    for (const auto& [key, one] : entries_) {
        if (n_left-- == 0) {
            known += ", …";
            break;
        }
        known += (known.empty() ? "" : ", ") + key;
    }
    throw error{
        registry_errc::unknown_key,
        "no model is named '" + name + "'; known: " + (known.empty() ? "none" : known)};
}

inline void
registry_core::add(std::string key, capability kind, const std::shared_ptr<pool_core>& pool)
{
    if (!pool->find(key))
        throw error{pool_errc::unknown_model, "the pool has no model '" + key + "'"};
    auto made = std::make_shared<entry>();
    made->kind = kind;
    made->pool = pool;
    const std::lock_guard lock{mutex_};
    check_free(key);
    announce(event_kind::model_added, key, kind);
    entries_.emplace(std::move(key), std::move(made));
}

inline listing registry_core::find_any(const std::string& name)
{
    const std::lock_guard lock{mutex_};
    return describe(*entries_.find(resolve(name)));
}

inline std::vector<listing> registry_core::list() const
{
    const std::lock_guard lock{mutex_};
    std::vector<listing> all;
    for (const auto& one : entries_)
        all.push_back(describe(one));
    return all;
}

inline std::pair<std::string, std::shared_ptr<pool_core>>
registry_core::take(const std::string& name)
{
    const std::lock_guard lock{mutex_};
    const auto place = entries_.find(canonical(name));
    if (place == entries_.end()) fail_unknown(name);
    std::pair taken{place->first, place->second->pool.lock()};
    erase(std::string{place->first});
    return taken;
}

inline void registry_core::clear()
{
    const std::lock_guard lock{mutex_};
    while (!entries_.empty())
        erase(std::string{entries_.begin()->first});
}

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

}  // namespace modelpool::detail

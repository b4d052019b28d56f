#pragma once

#include <modelpool/registry/registry.hpp>

#include <set>

namespace modelpool::detail {

MODELPOOL_DECL void registry_core::check_free(const std::string& name) const
{
    const std::optional<std::string> taken = known_key(name);
    if (!taken) return;
    const entry& holder = *entries_.at(*taken);
    throw error{
        registry_errc::duplicate_key,
        "the name '" + name + "' is taken by the " + std::string{to_string(holder.kind)} +
            " model '" + *taken + "'"};
}

MODELPOOL_DECL void registry_core::add(std::vector<card> cards)
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

MODELPOOL_DECL void
registry_core::announce(event_kind kind, const std::string& key, capability what) const
{
    if (!runtime_.publisher().wants(kind)) return;
    event happened;
    happened.kind = kind;
    happened.when = runtime_.time().now();
    happened.pool = to_string(what);
    happened.model = key;
    runtime_.publisher().publish(happened);
}

MODELPOOL_DECL std::optional<std::string> registry_core::known_key(const std::string& name) const
{
    if (entries_.contains(name)) return name;
    const auto alias = aliases_.find(name);
    if (alias != aliases_.end()) return alias->second;
    return std::nullopt;
}

/// The key that `name` stands for, if there is such an entry.
MODELPOOL_DECL std::string registry_core::canonical(const std::string& name) const
{
    if (std::optional<std::string> key = known_key(name)) return std::move(*key);
    const std::size_t at = name.find('@');
    const std::optional<std::string> base = known_key(name.substr(0, at));
    return base && at != std::string::npos ? *base + name.substr(at) : name;
}

/// The key that `name` stands for. A revision of a known card becomes an entry of its own.
MODELPOOL_DECL std::string registry_core::resolve(const std::string& name)
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

MODELPOOL_DECL void registry_core::make_room_for_revision()
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

MODELPOOL_DECL void registry_core::erase(const std::string& key)
{
    const auto place = entries_.find(key);
    announce(event_kind::model_removed, key, place->second->kind);
    std::erase_if(aliases_, [&](const auto& alias) { return alias.second == key; });
    std::erase(revisions_, key);
    entries_.erase(place);
}

MODELPOOL_DECL void registry_core::fail_unknown(const std::string& name) const
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

MODELPOOL_DECL void
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

MODELPOOL_DECL listing registry_core::find_any(const std::string& name)
{
    const std::lock_guard lock{mutex_};
    return describe(*entries_.find(resolve(name)));
}

MODELPOOL_DECL std::vector<listing> registry_core::list() const
{
    const std::lock_guard lock{mutex_};
    std::vector<listing> all;
    for (const auto& one : entries_)
        all.push_back(describe(one));
    return all;
}

MODELPOOL_DECL std::pair<std::string, std::shared_ptr<pool_core>>
registry_core::take(const std::string& name)
{
    const std::lock_guard lock{mutex_};
    const auto place = entries_.find(canonical(name));
    if (place == entries_.end()) fail_unknown(name);
    std::pair taken{place->first, place->second->pool.lock()};
    erase(std::string{place->first});
    return taken;
}

MODELPOOL_DECL void registry_core::clear()
{
    const std::lock_guard lock{mutex_};
    while (!entries_.empty())
        erase(std::string{entries_.begin()->first});
}

}  // namespace modelpool::detail

namespace modelpool {

MODELPOOL_DECL awaitable<void> registry::run_add(shared_core state, std::vector<card> cards)
{
    state->add(std::move(cards));
    co_return;
}

MODELPOOL_DECL awaitable<void> registry::run_add_group(
    shared_core state, std::string key, capability kind, std::shared_ptr<detail::pool_core> pool)
{
    state->add(std::move(key), kind, pool);
    co_return;
}

MODELPOOL_DECL awaitable<listing> registry::run_find_any(shared_core state, std::string key)
{
    co_return state->find_any(key);
}

MODELPOOL_DECL awaitable<std::vector<listing>> registry::run_list(shared_core state)
{
    co_return state->list();
}

MODELPOOL_DECL awaitable<void>
registry::run_remove(shared_core state, std::string key, std::chrono::nanoseconds grace)
{
    auto taken = state->take(key);
    if (!taken.second) co_return;
    auto ending = detail::pool_core::remove(std::move(taken.second), std::move(taken.first), grace);
    co_await std::move(ending);
}

MODELPOOL_DECL awaitable<void> registry::run_clear(shared_core state)
{
    state->clear();
    co_return;
}

}  // namespace modelpool

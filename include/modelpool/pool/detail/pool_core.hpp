#pragma once

#include <modelpool/async/offload.hpp>
#include <modelpool/async/with_timeout.hpp>
#include <modelpool/config.hpp>
#include <modelpool/pool/detail/group.hpp>
#include <modelpool/pool/options.hpp>
#include <modelpool/runtime.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace modelpool::detail {

/// What a `pool<C>` is made of, the same for every capability.
class pool_core final : public evictable, public std::enable_shared_from_this<pool_core> {
public:
    /// `capability`: of static lifetime. `engine`: of models that bring nothing of their own.
    pool_core(
        runtime& rt,
        std::string_view capability,
        const pool_options& options,
        engine_options engine)
        : runtime_{rt}
        , capability_{capability}
        , options_{std::make_shared<const pool_options>(options)}
        , engine_{std::make_shared<const engine_options>(std::move(engine))}
        , no_source_{std::make_shared<const model_source>()}
    {
        runtime_.enlist(*this);
    }
    ~pool_core() override = default;
    pool_core(const pool_core&) = delete;
    pool_core& operator=(const pool_core&) = delete;
    pool_core(pool_core&&) = delete;
    pool_core& operator=(pool_core&&) = delete;

    runtime& rt() noexcept { return runtime_; }
    const std::shared_ptr<const pool_options>& options() const noexcept { return options_; }
    std::string_view capability() const noexcept { return capability_; }
    const std::shared_ptr<const engine_options>& engine() const noexcept { return engine_; }
    const std::shared_ptr<const model_source>& no_source() const noexcept { return no_source_; }

    /// The group of that key; null where there is none.
    std::shared_ptr<group> find(const std::string& key) const
    {
        const std::lock_guard lock{mutex_};
        const auto place = groups_.find(key);
        return place == groups_.end() ? nullptr : place->second;
    }

    /// The group of that key, made of `setup` where there is none. Errors: pool_errc::shut_down.
    std::shared_ptr<group> ensure(group_setup setup)
    {
        reap();
        const std::lock_guard lock{mutex_};
        if (closed_) throw closed_error();
        const auto place = groups_.find(setup.key);
        return place != groups_.end() ? place->second : insert(std::move(setup));
    }

    /// A new group. Errors: pool_errc::duplicate_model, pool_errc::shut_down.
    std::shared_ptr<group> add(group_setup setup)
    {
        reap();
        const std::lock_guard lock{mutex_};
        if (closed_) throw closed_error();
        if (groups_.contains(setup.key))
            throw error{
                pool_errc::duplicate_model, "the pool has a model '" + setup.key + "' already"};
        return insert(std::move(setup));
    }

    /// Forgets a model that has no worker and no request. False where it has, or is in use at this
    /// moment.
    bool forget(const std::string& key)
    {
        std::shared_ptr<group> gone;
        {
            const std::lock_guard lock{mutex_};
            const auto place = groups_.find(key);
            if (place == groups_.end()) return true;
            if (!place->second->close_if_unused()) return false;
            gone = place->second;
            groups_.erase(place);
        }
        gone->blocking_join();  // of a thread that is past its last lock
        return true;
    }

    std::vector<model_stats> stats() const
    {
        std::vector<model_stats> all;
        for (const std::shared_ptr<group>& one : groups())
            all.push_back(one->stats());
        return all;
    }

    void list_idle(std::vector<eviction_candidate>& candidates) override
    {
        for (const std::shared_ptr<group>& one : groups_and_leaving())
            one->list_idle(candidates);
    }

    void device_lost(const device& where) override
    {
        for (const std::shared_ptr<group>& one : groups_and_leaving())
            one->device_lost(where);
    }

    /// Ends one model as `shutdown` ends all; false where there is none of that key.
    static awaitable<bool>
    remove(std::shared_ptr<pool_core> self, std::string key, std::chrono::nanoseconds grace);

    static awaitable<void>
    shutdown(std::shared_ptr<pool_core> self, std::chrono::nanoseconds grace);

    /// Ends at once what is left, on the calling thread. The runtime is not touched afterwards: a
    /// coroutine that is destroyed later may still hold this.
    void blocking_close()
    {
        const std::vector<std::shared_ptr<group>> all = close();
        bool was_running = false;
        for (const std::shared_ptr<group>& one : all) {
            was_running = was_running || !one->stats().workers.empty();
            one->stop(true);
        }
        if (was_running)
            runtime_.log(
                log_level::warning,
                "the " + std::string{capability_} +
                    " pool is destroyed without shutdown: requests are dropped");
        for (const std::shared_ptr<group>& one : all)
            one->blocking_join();
        runtime_.delist(*this);
    }

private:
    error closed_error() const
    {
        return error{
            pool_errc::shut_down, "the " + std::string{capability_} + " pool is shut down"};
    }

    /// Under the lock.
    std::shared_ptr<group> insert(group_setup setup)
    {
        auto made = std::make_shared<group>(runtime_, std::move(setup));
        groups_.emplace(made->key(), made);
        return made;
    }

    std::vector<std::shared_ptr<group>> groups() const
    {
        std::vector<std::shared_ptr<group>> all;
        const std::lock_guard lock{mutex_};
        all.reserve(groups_.size());
        for (const auto& [key, one] : groups_)
            all.push_back(one);
        return all;
    }

    /// Refuses newcomers; gives all groups, those being removed included.
    std::vector<std::shared_ptr<group>> close()
    {
        {
            const std::lock_guard lock{mutex_};
            closed_ = true;
        }
        return groups_and_leaving();
    }

    std::vector<std::shared_ptr<group>> groups_and_leaving() const
    {
        const std::lock_guard lock{mutex_};
        std::vector<std::shared_ptr<group>> all{leaving_};
        all.insert(all.end(), abandoned_.begin(), abandoned_.end());
        for (const auto& [key, one] : groups_)
            all.push_back(one);
        return all;
    }

    /// Lets go of models whose removal was cancelled, once their workers are gone.
    void reap()
    {
        std::vector<std::shared_ptr<group>> ended;
        {
            const std::lock_guard lock{mutex_};
            std::erase_if(abandoned_, [&](const std::shared_ptr<group>& one) {
                if (!one->ended()) return false;
                ended.push_back(one);
                return true;
            });
        }
        for (const std::shared_ptr<group>& one : ended)
            one->blocking_join();  // of threads that are past their last lock
    }

    static awaitable<void>
    end(std::shared_ptr<pool_core> self,
        std::vector<std::shared_ptr<group>> all,
        std::chrono::nanoseconds grace);

    runtime& runtime_;
    const std::string_view capability_;
    const std::shared_ptr<const pool_options> options_;
    const std::shared_ptr<const engine_options> engine_;
    const std::shared_ptr<const model_source> no_source_;
    mutable std::mutex mutex_;
    std::map<std::string_view, std::shared_ptr<group>> groups_;  // by the key that the group holds
    std::vector<std::shared_ptr<group>> leaving_;                // while `remove` waits for them
    std::vector<std::shared_ptr<group>> abandoned_;              // whose `remove` was cancelled
    bool closed_{false};
};

}  // namespace modelpool::detail

#if defined(MODELPOOL_HEADER_ONLY)
#include <modelpool/pool/detail/impl/pool_core.hpp>
#endif

#pragma once

#include <modelpool/async/offload.hpp>
#include <modelpool/async/with_timeout.hpp>
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
    ~pool_core() override { runtime_.delist(*this); }
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
        const std::lock_guard lock{mutex_};
        if (closed_) throw closed_error();
        const auto place = groups_.find(setup.key);
        return place != groups_.end() ? place->second : insert(std::move(setup));
    }

    /// A new group. Errors: pool_errc::duplicate_model, pool_errc::shut_down.
    std::shared_ptr<group> add(group_setup setup)
    {
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
        for (const std::shared_ptr<group>& one : groups())
            one->list_idle(candidates);
    }

    void device_lost(const device& where) override
    {
        for (const std::shared_ptr<group>& one : groups())
            one->device_lost(where);
    }

    /// Ends one model as `shutdown` ends all; false where there is none of that key.
    static awaitable<bool>
    remove(std::shared_ptr<pool_core> self, std::string key, std::chrono::nanoseconds grace)
    {
        std::shared_ptr<group> gone;
        {
            const std::lock_guard lock{self->mutex_};
            const auto place = self->groups_.find(key);
            if (place == self->groups_.end()) co_return false;
            gone = place->second;  // the key lives in it
            self->groups_.erase(place);
            self->leaving_.push_back(gone);
        }
        std::vector<std::shared_ptr<group>> only{gone};
        auto ending = end(self, std::move(only), grace);
        try {
            co_await std::move(ending);
        } catch (...) {
            gone->stop(
                false);  // nobody can name it any more: its workers go, and the pool joins them
            throw;
        }
        const std::lock_guard lock{self->mutex_};
        std::erase(self->leaving_, gone);
        co_return true;
    }

    static awaitable<void> shutdown(std::shared_ptr<pool_core> self, std::chrono::nanoseconds grace)
    {
        std::vector<std::shared_ptr<group>> all = self->close();
        auto ending = end(self, std::move(all), grace);
        co_await std::move(ending);
    }

    /// Ends at once what is left, on the calling thread.
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
        const std::lock_guard lock{mutex_};
        closed_ = true;
        std::vector<std::shared_ptr<group>> all{leaving_};
        for (const auto& [key, one] : groups_)
            all.push_back(one);
        return all;
    }

    static awaitable<void>
    end(std::shared_ptr<pool_core> self,
        std::vector<std::shared_ptr<group>> all,
        std::chrono::nanoseconds grace)
    {
        // A century is as good as for ever, and cannot overflow a time.
        constexpr std::chrono::nanoseconds longest = std::chrono::hours{24 * 36'500};
        const auto until = std::chrono::steady_clock::now() + std::min(grace, longest);
        for (const std::shared_ptr<group>& one : all)
            one->close();
        bool in_time = true;
        for (std::size_t i = 0; i < all.size() && in_time; ++i) {
            const auto left = until - std::chrono::steady_clock::now();
            auto drained = all[i]->drained();
            auto waiting = with_timeout(left, std::move(drained));
            try {
                co_await std::move(waiting);
            } catch (const error& problem) {
                if (problem.code() != errc::timed_out) throw;
                in_time = false;
            }
        }
        for (const std::shared_ptr<group>& one : all)
            one->stop(false);
        auto join = [all] {
            for (const std::shared_ptr<group>& one : all)
                one->blocking_join();
        };
        auto joining = offload(self->runtime_.file_threads(), std::move(join));
        co_await std::move(joining);
    }

    runtime& runtime_;
    const std::string_view capability_;
    const std::shared_ptr<const pool_options> options_;
    const std::shared_ptr<const engine_options> engine_;
    const std::shared_ptr<const model_source> no_source_;
    mutable std::mutex mutex_;
    std::map<std::string_view, std::shared_ptr<group>> groups_;  // by the key that the group holds
    std::vector<std::shared_ptr<group>> leaving_;
    bool closed_{false};
};

}  // namespace modelpool::detail

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
#include <utility>
#include <vector>

namespace modelpool::detail {

/// What a `pool<C>` is made of, the same for every capability.
class pool_core final : public evictable, public std::enable_shared_from_this<pool_core> {
public:
    pool_core(runtime& rt, std::string capability, const pool_options& options)
        : runtime_{rt}
        , capability_{std::move(capability)}
        , options_{options}
    {
        runtime_.enlist(*this);
    }
    ~pool_core() override { runtime_.delist(*this); }
    pool_core(const pool_core&) = delete;
    pool_core& operator=(const pool_core&) = delete;
    pool_core(pool_core&&) = delete;
    pool_core& operator=(pool_core&&) = delete;

    runtime& rt() noexcept { return runtime_; }
    const pool_options& options() const noexcept { return options_; }

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
        if (closed_) throw error{pool_errc::shut_down, "the " + capability_ + " pool is shut down"};
        std::shared_ptr<group>& place = groups_[setup.key];
        if (!place) place = std::make_shared<group>(runtime_, std::move(setup));
        return place;
    }

    /// A new group. Errors: pool_errc::duplicate_model, pool_errc::shut_down.
    std::shared_ptr<group> add(group_setup setup)
    {
        const std::lock_guard lock{mutex_};
        if (closed_) throw error{pool_errc::shut_down, "the " + capability_ + " pool is shut down"};
        std::shared_ptr<group>& place = groups_[setup.key];
        if (place)
            throw error{
                pool_errc::duplicate_model, "the pool has a model '" + setup.key + "' already"};
        place = std::make_shared<group>(runtime_, std::move(setup));
        return place;
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

    /// Ends one model as `shutdown` ends all; false where there is none of that key.
    static awaitable<bool>
    remove(std::shared_ptr<pool_core> self, std::string key, std::chrono::nanoseconds grace)
    {
        std::shared_ptr<group> gone;
        {
            const std::lock_guard lock{self->mutex_};
            const auto place = self->groups_.find(key);
            if (place == self->groups_.end()) co_return false;
            gone = std::move(place->second);
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
                "the " + capability_ + " pool is destroyed without shutdown: requests are dropped");
        for (const std::shared_ptr<group>& one : all)
            one->blocking_join();
    }

private:
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
    const std::string capability_;
    const pool_options options_;
    mutable std::mutex mutex_;
    std::map<std::string, std::shared_ptr<group>> groups_;
    std::vector<std::shared_ptr<group>> leaving_;
    bool closed_{false};
};

}  // namespace modelpool::detail

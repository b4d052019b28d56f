#pragma once

#include <modelpool/pool/detail/pool_core.hpp>

namespace modelpool::detail {

MODELPOOL_DECL awaitable<bool>
pool_core::remove(std::shared_ptr<pool_core> self, std::string key, std::chrono::nanoseconds grace)
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
        gone->stop(false);  // nobody can name it any more: its workers go, and the pool joins them
        const std::lock_guard lock{self->mutex_};
        if (std::erase(self->leaving_, gone) != 0) self->abandoned_.push_back(std::move(gone));
        throw;
    }
    {
        const std::lock_guard lock{self->mutex_};
        std::erase(self->leaving_, gone);
    }
    self->reap();
    co_return true;
}

MODELPOOL_DECL awaitable<void>
pool_core::shutdown(std::shared_ptr<pool_core> self, std::chrono::nanoseconds grace)
{
    std::vector<std::shared_ptr<group>> all = self->close();
    auto ending = end(self, std::move(all), grace);
    co_await std::move(ending);
}

MODELPOOL_DECL awaitable<void> pool_core::end(
    std::shared_ptr<pool_core> self,
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
    for (const std::shared_ptr<group>& one : all) {
        auto going = one->gone();
        co_await std::move(going);
    }
    // Of threads that are past their last lock: a model that cannot end keeps no file thread busy.
    auto join = [all] {
        for (const std::shared_ptr<group>& one : all)
            one->blocking_join();
    };
    bool no_place = false;
    try {
        auto joining = offload(self->runtime_.file_threads(), join);
        co_await std::move(joining);
    } catch (const error& problem) {
        if (problem.code() != pool_errc::queue_full) throw;
        no_place = true;
    }
    if (no_place) join();
}

}  // namespace modelpool::detail

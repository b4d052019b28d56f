#pragma once

#include <modelpool/pool/detail/load_session.hpp>

namespace modelpool::detail {

MODELPOOL_DECL std::unique_ptr<engine> load_session::blocking_run(
    const std::shared_ptr<load_session>& self,
    const executor& ex,
    awaitable<std::unique_ptr<engine>> loader)
{
    auto on_done = [self](std::exception_ptr failure, std::unique_ptr<engine> made) {
        self->finish(std::move(failure), std::move(made));
    };
    std::shared_ptr<launched> running =
        launched::start<std::unique_ptr<engine>>(ex, std::move(loader), std::move(on_done));
    {
        const std::lock_guard lock{mutex_};
        loader_ = running;
        cancelled_ = cancelled_ || stop_.stop_requested();
    }
    if (stop_.stop_requested()) launched::cancel(running);
    return wait();
}

}  // namespace modelpool::detail

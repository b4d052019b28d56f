#pragma once

#include <modelpool/async/shared_mutex.hpp>

namespace modelpool {

MODELPOOL_DECL awaitable<async_lock>
shared_mutex::wait(std::shared_ptr<core> state, detail::lock_mode mode)
{
    auto operation = std::make_shared<core::waiter_type>(std::move(state), mode);
    return detail::await_reply<async_lock>(std::move(operation));
}

}  // namespace modelpool

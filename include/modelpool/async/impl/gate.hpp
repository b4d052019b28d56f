#pragma once

#include <modelpool/async/gate.hpp>

namespace modelpool {

MODELPOOL_DECL awaitable<void> gate::close_and_wait(std::shared_ptr<detail::gate_core> core)
{
    core->close();
    auto operation =
        std::make_shared<detail::gate_core::waiter_type>(std::move(core), std::monostate{});
    auto answer = detail::await_reply<std::monostate>(std::move(operation));
    co_await std::move(answer);
}

}  // namespace modelpool

#pragma once

#include <modelpool/runtime/events.hpp>

namespace modelpool::detail {

MODELPOOL_DECL awaitable<event> event_buffer::next(std::shared_ptr<event_buffer> self)
{
    auto coming = self->values_.pop();
    std::optional<event> one = co_await std::move(coming);
    co_return std::move(*one);
}

}  // namespace modelpool::detail

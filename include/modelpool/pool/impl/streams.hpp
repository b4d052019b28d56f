#pragma once

#include <modelpool/pool/image_stream.hpp>
#include <modelpool/pool/token_stream.hpp>

namespace modelpool {

MODELPOOL_DECL awaitable<generation_result> token_stream::collect(
    std::shared_ptr<detail::token_state> state, std::shared_ptr<generation_result> so_far)
{
    for (;;) {
        auto coming = detail::token_state::next(state);
        std::optional<generation_event> event = co_await std::move(coming);
        if (!event) break;
        so_far->add(std::move(*event));
    }
    co_return std::exchange(*so_far, generation_result{});
}

MODELPOOL_DECL bool generation_event::absorb(generation_event& next)
{
    if (kind != next.kind || kind == generation_event_kind::end) return false;
    if (tool_call && tool_call->index != next.tool_call->index) return false;
    text += next.text;
    reasoning += next.reasoning;
    if (tool_call) tool_call->arguments += next.tool_call->arguments;
    detail::append(tokens, next.tokens);
    detail::append(prompt_tokens, next.prompt_tokens);
    return true;
}

MODELPOOL_DECL std::vector<std::int32_t> generation_result::ids() const
{
    std::vector<std::int32_t> all;
    all.reserve(tokens.size());
    for (const generated_token& one : tokens)
        all.push_back(one.id);
    return all;
}

MODELPOOL_DECL void generation_result::add(generation_event event)
{
    text += event.text;
    reasoning += event.reasoning;
    if (event.tool_call) {
        const tool_call_delta& delta = *event.tool_call;
        if (tool_calls.size() <= delta.index) tool_calls.resize(delta.index + 1);
        tool_call& call = tool_calls[delta.index];
        call.id += delta.id;
        call.name += delta.name;
        call.arguments += delta.arguments;
    }
    detail::append(tokens, event.tokens);
    detail::append(prompt_tokens, event.prompt_tokens);
    if (event.end) end = *event.end;
}

MODELPOOL_DECL awaitable<generated_image>
image_stream::collect(std::shared_ptr<detail::image_state> state)
{
    for (;;) {
        auto coming = detail::image_state::next(state);
        std::optional<image_event> event = co_await std::move(coming);
        if (!event) throw error{errc::closed, "the stream's image was taken already"};
        if (event->image) co_return std::move(*event->image);
    }
}

MODELPOOL_DECL awaitable<std::optional<generation_event>> token_stream::next()
{
    return detail::token_state::next(state_ ? state_ : ended());
}

MODELPOOL_DECL awaitable<std::optional<image_event>> image_stream::next()
{
    return detail::image_state::next(state_ ? state_ : ended());
}

}  // namespace modelpool

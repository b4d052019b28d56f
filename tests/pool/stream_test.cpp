// What lies between a worker and the reader of a stream, without a worker.

#include <modelpool/async/with_timeout.hpp>
#include <modelpool/pool/image_stream.hpp>
#include <modelpool/pool/token_stream.hpp>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/async_test.hpp"
#include "support/failure.hpp"

namespace modelpool {
namespace {

using namespace std::chrono_literals;
using namespace testing;
using boost::asio::cancellation_type;
using boost::asio::error::operation_aborted;
using detail::image_state;
using detail::token_state;

class counting_bell final : public detail::stream_bell {
public:
    void ring() noexcept override { ++n_rung; }
    std::atomic<int> n_rung{0};
};

generation_event text_event(std::string text)
{
    generation_event one;
    one.text = std::move(text);
    for (const char c : one.text)
        one.tokens.push_back(generated_token{static_cast<unsigned char>(c), 0.0F, {}, {}});
    return one;
}

generation_event end_event(finish_reason reason)
{
    generation_event one;
    one.kind = generation_event_kind::end;
    one.end.emplace();
    one.end->reason = reason;
    return one;
}

bool push(token_state& state, const std::string& text)
{
    return state.push(text_event(text), text.size());
}

image_event step_event(std::size_t step)
{
    image_event one;
    one.step = step;
    return one;
}

MODELPOOL_ASYNC_TEST("stream: events come in order, then the last one, then the end", "[stream]")
{
    auto state = std::make_shared<token_state>(100);
    token_stream stream{state};
    generation_event thought;
    thought.kind = generation_event_kind::reasoning;
    thought.reasoning = "hm";
    state->push(std::move(thought), 1);
    push(*state, "yes");
    state->close(end_event(finish_reason::stop), nullptr);
    auto first = co_await stream.next();
    REQUIRE(first.has_value());
    CHECK(first->kind == generation_event_kind::reasoning);
    CHECK(first->reasoning == "hm");
    CHECK(first->text.empty());
    auto second = co_await stream.next();
    REQUIRE(second.has_value());
    CHECK(second->text == "yes");
    auto third = co_await stream.next();
    REQUIRE(third.has_value());
    REQUIRE(third->end.has_value());
    CHECK(third->end->reason == finish_reason::stop);
    for (int i = 0; i < 2; ++i) {
        auto after = co_await stream.next();
        CHECK_FALSE(after.has_value());
    }
}

MODELPOOL_ASYNC_TEST("stream: a reader that waits gets each event on its own", "[stream]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    auto state = std::make_shared<token_state>(100);
    token_stream stream{state};
    for (const char* text : {"a", "b"}) {
        const started<std::optional<generation_event>> waiting{ex, stream.next()};
        auto turn = boost::asio::post(ex, boost::asio::use_awaitable);
        co_await std::move(turn);
        CHECK_FALSE(waiting.done());
        CHECK(push(*state, text));
        auto coming = waiting.get();
        const auto event = co_await std::move(coming);
        REQUIRE(event.has_value());
        CHECK(event->text == text);
    }
    const started<std::optional<generation_event>> waiting{ex, stream.next()};
    auto turn = boost::asio::post(ex, boost::asio::use_awaitable);
    co_await std::move(turn);
    state->close(end_event(finish_reason::length), nullptr);
    auto coming = waiting.get();
    const auto last = co_await std::move(coming);
    REQUIRE(last.has_value());
    CHECK(last->end.has_value());
    auto after = co_await stream.next();
    CHECK_FALSE(after.has_value());
}

MODELPOOL_ASYNC_TEST(
    "stream: pieces of one kind join while the reader is behind, and no token is lost", "[stream]")
{
    auto state = std::make_shared<token_state>(100);
    token_stream stream{state};
    push(*state, "ab");
    push(*state, "cd");
    generation_event call;
    call.kind = generation_event_kind::tool_call;
    call.tool_call.emplace();
    call.tool_call->name = "f";
    call.tool_call->arguments = "{";
    generation_event more = call;
    more.tool_call->name.clear();
    more.tool_call->arguments = "}";
    generation_event other = call;
    other.tool_call->index = 1;
    state->push(std::move(call), 1);
    state->push(std::move(more), 1);
    state->push(std::move(other), 1);
    push(*state, "e");
    state->close(end_event(finish_reason::stop), nullptr);
    auto text = co_await stream.next();
    REQUIRE(text.has_value());
    CHECK(text->text == "abcd");
    REQUIRE(text->tokens.size() == 4);
    CHECK(text->tokens[3].id == 'd');
    auto first = co_await stream.next();
    REQUIRE(first.has_value());
    REQUIRE(first->tool_call.has_value());
    CHECK(first->tool_call->name == "f");
    CHECK(first->tool_call->arguments == "{}");
    const generation_result rest = co_await stream.collect();
    CHECK(rest.text == "e");
    REQUIRE(rest.tool_calls.size() == 2);
    CHECK(rest.tool_calls[1].name == "f");
    CHECK(rest.tool_calls[1].arguments == "{");
    CHECK(rest.ids() == std::vector<std::int32_t>{'e'});
}

MODELPOOL_ASYNC_TEST(
    "stream: a full buffer is said once, and the bell rings when half of it was read", "[stream]")
{
    auto bell = std::make_shared<counting_bell>();
    auto tokens = std::make_shared<token_state>(4);
    tokens->connect(bell);
    token_stream stream{tokens};
    CHECK(push(*tokens, "ab"));
    generation_event thought;
    thought.kind = generation_event_kind::reasoning;
    CHECK(tokens->push(std::move(thought), 1));
    CHECK_FALSE(push(*tokens, "cd"));
    CHECK_FALSE(tokens->has_room());
    auto first = co_await stream.next();  // three are left
    CHECK(first->text == "ab");
    CHECK(bell->n_rung == 0);
    CHECK_FALSE(tokens->has_room());
    auto second = co_await stream.next();  // two
    CHECK(second->kind == generation_event_kind::reasoning);
    CHECK(bell->n_rung == 1);
    CHECK(tokens->has_room());
    auto third = co_await stream.next();
    CHECK(third->text == "cd");
    CHECK(bell->n_rung == 1);
    tokens->close(std::nullopt, nullptr);
}

MODELPOOL_ASYNC_TEST(
    "stream: a failure is thrown after everything before it, as often as asked", "[stream]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    auto state = std::make_shared<token_state>(100);
    token_stream stream{state};
    push(*state, "ab");
    state->close(std::nullopt, std::make_exception_ptr(error{pool_errc::shut_down}));
    auto text = co_await stream.next();
    REQUIRE(text.has_value());
    CHECK(text->text == "ab");
    for (int i = 0; i < 2; ++i) {
        auto failing = outcome_of(stream.next());
        const outcome seen = co_await std::move(failing);
        CHECK(seen.code == pool_errc::shut_down);
    }
    // A reader that waits at that moment hears of it, too.
    auto other = std::make_shared<token_state>(100);
    token_stream waited{other};
    const started<generation_result> waiting{ex, waited.collect()};
    auto turn = boost::asio::post(ex, boost::asio::use_awaitable);
    co_await std::move(turn);
    other->close(std::nullopt, std::make_exception_ptr(error{model_errc::failed}));
    auto ending = waiting.end();
    const outcome seen = co_await std::move(ending);
    CHECK(seen.code == model_errc::failed);
}

MODELPOOL_ASYNC_TEST(
    "stream: terminal and partial cancellation stop it, total ends the wait alone", "[stream]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    for (const auto type :
         {cancellation_type::terminal, cancellation_type::partial, cancellation_type::total}) {
        auto state = std::make_shared<token_state>(100);
        auto bell = std::make_shared<counting_bell>();
        state->connect(bell);
        token_stream stream{state};
        const started<std::optional<generation_event>> waiting{ex, stream.next()};
        auto turn = boost::asio::post(ex, boost::asio::use_awaitable);
        co_await std::move(turn);
        waiting.cancel(type);
        auto ending = waiting.end();
        const outcome seen = co_await std::move(ending);
        CHECK(seen.code == operation_aborted);
        const bool stops = type != cancellation_type::total;
        CHECK(state->stopped() == stops);
        CHECK(bell->n_rung == (stops ? 1 : 0));
        // What was written meanwhile, and the end, are still there.
        push(*state, "ab");
        state->close(end_event(finish_reason::cancelled), nullptr);
        const generation_result rest = co_await stream.collect();
        CHECK(rest.text == "ab");
        CHECK(rest.end.reason == finish_reason::cancelled);
    }
}

MODELPOOL_ASYNC_TEST("stream: a collect that was cancelled loses nothing", "[stream]")
{
    auto state = std::make_shared<token_state>(100);
    token_stream stream{state};
    push(*state, "ab");
    auto hasty = outcome_of(with_timeout(1ms, stream.collect()));
    const outcome seen = co_await std::move(hasty);
    CHECK(seen.code == errc::timed_out);
    CHECK(state->stopped());
    push(*state, "cd");
    state->close(end_event(finish_reason::cancelled), nullptr);
    const generation_result whole = co_await stream.collect();
    CHECK(whole.text == "abcd");
    CHECK(whole.tokens.size() == 4);
    const generation_result nothing = co_await stream.collect();
    CHECK(nothing.text.empty());
}

MODELPOOL_ASYNC_TEST("stream: a second reader is refused while one waits", "[stream]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    auto state = std::make_shared<token_state>(100);
    token_stream stream{state};
    const started<std::optional<generation_event>> waiting{ex, stream.next()};
    auto turn = boost::asio::post(ex, boost::asio::use_awaitable);
    co_await std::move(turn);
    auto intruding = outcome_of(stream.next());
    const outcome seen = co_await std::move(intruding);
    CHECK(seen.code == errc::invalid_argument);
    CHECK_FALSE(waiting.done());
    push(*state, "x");
    auto coming = waiting.get();
    const auto event = co_await std::move(coming);
    REQUIRE(event.has_value());
    CHECK(event->text == "x");
}

MODELPOOL_ASYNC_TEST(
    "stream: destroying or replacing it stops it, but not once it has ended", "[stream]")
{
    auto state = std::make_shared<token_state>(100);
    auto bell = std::make_shared<counting_bell>();
    state->connect(bell);
    {
        token_stream stream{state};
        token_stream moved{std::move(stream)};
        CHECK_FALSE(state->stopped());
    }
    CHECK(state->stopped());
    CHECK(bell->n_rung == 1);
    auto other = std::make_shared<token_state>(100);
    other->connect(bell);
    token_stream replaced{other};
    replaced = token_stream{};
    CHECK(other->stopped());
    auto nothing = co_await replaced.next();
    CHECK_FALSE(nothing.has_value());
    const generation_result empty = co_await replaced.collect();
    CHECK(empty.text.empty());
    auto ended = std::make_shared<token_state>(100);
    ended->connect(bell);
    {
        const token_stream stream{ended};
        ended->close(end_event(finish_reason::stop), nullptr);
    }
    CHECK(bell->n_rung == 2);
    CHECK_FALSE(ended->stopped());
}

MODELPOOL_ASYNC_TEST(
    "stream: of images the oldest steps go, never the newest, and never the image", "[stream]")
{
    auto state = std::make_shared<image_state>(3);
    image_stream stream{state};
    for (std::size_t i = 1; i <= 5; ++i)
        state->push_newest(step_event(i));
    image_event last;
    last.image.emplace();
    last.image->seed = 7;
    state->close(std::move(last), nullptr);
    for (std::size_t i = 3; i <= 5; ++i) {
        auto event = co_await stream.next();
        REQUIRE(event.has_value());
        CHECK(event->step == i);
        CHECK_FALSE(event->image.has_value());
    }
    const generated_image made = co_await stream.collect();
    CHECK(made.seed == 7);
    auto again = outcome_of(stream.collect());
    const outcome seen = co_await std::move(again);
    CHECK(seen.code == errc::closed);
}

MODELPOOL_ASYNC_TEST("stream: all arrives from another thread, however the two meet", "[stream]")
{
    auto state = std::make_shared<token_state>(16);
    auto bell = std::make_shared<counting_bell>();
    state->connect(bell);
    token_stream stream{state};
    constexpr int n_events = 20'000;
    std::thread writer{[state, bell] {
        int n_heard = 0;
        for (int i = 0; i < n_events; ++i) {
            if (push(*state, std::string{static_cast<char>('a' + i % 26)})) continue;
            while (bell->n_rung == n_heard)
                std::this_thread::yield();
            ++n_heard;
        }
        state->close(end_event(finish_reason::stop), nullptr);
    }};
    const generation_result whole = co_await stream.collect();
    writer.join();
    REQUIRE(whole.text.size() == n_events);
    bool in_order = true;
    for (std::size_t i = 0; i < whole.text.size(); ++i)
        in_order = in_order && whole.text[i] == static_cast<char>('a' + i % 26);
    CHECK(in_order);
    CHECK(whole.tokens.size() == n_events);
}

}  // namespace
}  // namespace modelpool

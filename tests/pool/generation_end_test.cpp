// Texts out of a pool: readers that are slow or leave, failures, deadlines and shutdown.

#include <modelpool/async/as_result.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "pool/generation_fixture.hpp"

namespace modelpool {
namespace {

using namespace std::chrono_literals;
using namespace testing;
using boost::asio::cancellation_type;
using boost::asio::error::operation_aborted;

MODELPOOL_ASYNC_TEST(
    "generation: a slow reader holds its own generation only, and misses nothing", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    text_pool models{rt};
    auto plan = new_text_plan();
    const text_handle model = models.add("m", fake_text_loader(plan), workers(1, 1));
    token_stream unread = co_await model.complete("count 600");
    const generation_result other = co_await ask(model, "count 150");
    CHECK(other.text == fake_answer("count 150"));
    auto held = until_held(models);
    co_await std::move(held);
    const int n_steps = plan->n_steps;
    CHECK(n_steps < 1000);  // it has more than two thousand tokens to go
    const generation_result late = co_await ask(model, "say late");
    CHECK(late.text == "late");
    CHECK(plan->n_steps - n_steps == 5);  // all of them of the late one
    const auto first = co_await unread.next();
    REQUIRE(first.has_value());
    CHECK(first->tokens.size() == detail::token_buffer_limit);
    const generation_result rest = co_await unread.collect();
    CHECK(first->text + rest.text == fake_answer("count 600"));
    CHECK(rest.end.reason == finish_reason::stop);
    CHECK(plan->n_faults == 0);
    auto ending = models.shutdown(5s);
    co_await std::move(ending);
    CHECK(stats_in(models).n_succeeded == 3);
}

MODELPOOL_ASYNC_TEST("generation: those whose readers are behind take nobody's place", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    text_pool models{rt, most_sequences(1)};
    auto plan = new_text_plan();
    const text_handle model = models.add("m", fake_text_loader(plan), workers(1, 1));
    token_stream unread = co_await model.complete("count 600");
    for (const char* prompt : {"say one", "say two"}) {
        const generation_result seen = co_await ask(model, prompt);
        CHECK(seen.text == fake_answer(prompt));
    }
    CHECK(plan->n_most_sequences == 1);
    const generation_result rest = co_await unread.collect();
    CHECK(rest.text == fake_answer("count 600"));
    auto ending = models.shutdown(5s);
    co_await std::move(ending);
}

MODELPOOL_ASYNC_TEST(
    "generation: destroying a stream frees its blocks, and the worker serves the next", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    // The cache holds one of the two, but not both.
    const auto limits = sched::generation_options{}.kv_budget_bytes(480);
    text_pool models{rt, pool_options{}.generation(limits)};
    auto plan = new_text_plan();
    const text_handle model = models.add("m", fake_text_loader(plan), workers(1, 1));
    const std::string large = std::string(300, 'x') + "count 60";
    plan->step_gate.shut();
    auto first = std::make_unique<token_stream>(co_await model.complete(large));
    plan->step_gate.admit(5);
    const started<generation_result> second{ex, ask(model, std::string(310, 'y') + "say next")};
    auto stepped = until([plan] { return plan->n_steps == 5; });
    co_await std::move(stepped);
    first.reset();
    plan->step_gate.open();
    auto ending = second.get();
    const generation_result seen = co_await std::move(ending);
    CHECK(seen.text == "next");
    CHECK(seen.end.usage.n_cached_tokens == 0);
    CHECK(plan->n_steps < 30);  // far from what the first one had to go
    CHECK(plan->n_faults == 0);
    auto shutting = models.shutdown(5s);
    co_await std::move(shutting);
    const model_stats all = stats_in(models);
    CHECK(all.n_cancelled == 1);
    CHECK(all.n_succeeded == 1);
}

MODELPOOL_ASYNC_TEST(
    "generation: a cancelled reader leaves at once, and can still read what was written", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    for (const auto type :
         {cancellation_type::terminal, cancellation_type::partial, cancellation_type::total}) {
        runtime rt{ex};
        text_pool models{rt};
        auto plan = new_text_plan();
        const text_handle model = models.add("m", fake_text_loader(plan), workers(1, 1));
        plan->step_gate.shut();
        token_stream reply = co_await model.complete("count 9");
        plan->step_gate.admit(3);
        auto stepped = until([plan] { return plan->step_gate.n_waiting() == 1; });
        co_await std::move(stepped);
        auto halted = until([plan] { return plan->n_steps == 3; });
        co_await std::move(halted);
        std::string text;
        while (text.size() < 3) {
            const auto piece = co_await reply.next();
            text += piece->text;
        }
        const started<std::optional<generation_event>> waiting{ex, reply.next()};
        auto turn = boost::asio::post(ex, boost::asio::use_awaitable);
        co_await std::move(turn);
        waiting.cancel(type);
        auto ending = waiting.end();
        const outcome seen = co_await std::move(ending);  // although the step is under way
        CHECK(seen.code == operation_aborted);
        plan->step_gate.open();
        const generation_result rest = co_await reply.collect();
        text += rest.text;
        if (type == cancellation_type::total) {
            CHECK(text == fake_answer("count 9"));
            CHECK(rest.end.reason == finish_reason::stop);
        } else {
            CHECK(text == "1 2 ");  // the step that was under way counts
            CHECK(rest.end.reason == finish_reason::cancelled);
            CHECK(rest.end.usage.n_generated_tokens == 4);
        }
        auto shutting = models.shutdown(5s);
        co_await std::move(shutting);
        const model_stats all = stats_in(models);
        CHECK(all.n_cancelled == (type == cancellation_type::total ? 0 : 1));
        CHECK(adds_up(all));
    }
}

MODELPOOL_ASYNC_TEST("generation: stop ends one with what it has, and the others go on", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    text_pool models{rt};
    auto plan = new_text_plan();
    const text_handle model = models.add("m", fake_text_loader(plan), workers(1, 1));
    token_stream stopped = co_await model.complete("count 600");
    const started<generation_result> other{ex, ask(model, "count 30")};
    const auto first = co_await stopped.next();
    REQUIRE(first.has_value());
    stopped.stop();
    stopped.stop();
    const generation_result rest = co_await stopped.collect();
    CHECK(rest.end.reason == finish_reason::cancelled);
    CHECK(begins_with(fake_answer("count 600"), first->text + rest.text));
    CHECK(rest.end.usage.n_generated_tokens == first->tokens.size() + rest.tokens.size());
    auto ending = other.get();
    const generation_result seen = co_await std::move(ending);
    CHECK(seen.text == fake_answer("count 30"));
    auto shutting = models.shutdown(5s);
    co_await std::move(shutting);
}

MODELPOOL_ASYNC_TEST("generation: a deadline ends one with what it has", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    test_clock time;
    runtime rt{ex, runtime_options{}.time(time)};
    text_pool models{rt};
    auto plan = new_text_plan();
    const text_handle model = models.add("m", fake_text_loader(plan), workers(1, 1));
    generation_params within;
    within.deadline = time.now() + 10s;
    plan->step_gate.shut();
    token_stream running = co_await model.complete("count 600", within);
    plan->step_gate.admit(5);
    auto stepped = until([plan] { return plan->n_steps == 5; });
    co_await std::move(stepped);
    time.advance(11s);
    plan->step_gate.open();
    const generation_result cut = co_await running.collect();
    CHECK(cut.end.reason == finish_reason::cancelled);
    CHECK(cut.end.usage.n_generated_tokens == cut.tokens.size());
    CHECK(cut.tokens.size() >= 5);
    CHECK(cut.tokens.size() <= 6);
    CHECK(cut.end.timings.decode > 10s);
    // One whose reader is behind ends as well, although it makes no steps.
    within.deadline = time.now() + 10s;
    const std::uint64_t n_before = steps_in(models);
    token_stream unread = co_await model.complete("count 600", within);
    auto held = until_held(models, n_before);
    co_await std::move(held);
    time.advance(11s);
    auto ended = until([&] { return stats_in(models).n_cancelled == 2; });
    co_await std::move(ended);
    const generation_result behind = co_await unread.collect();
    CHECK(behind.tokens.size() == detail::token_buffer_limit);
    CHECK(behind.end.reason == finish_reason::cancelled);
    // Those that end before leave no alarms behind.
    const std::size_t n_alarms = time.n_alarms();
    within.deadline = time.now() + 1000h;
    for (int i = 0; i < 5; ++i) {
        const generation_result early = co_await ask(model, "say x", within);
        CHECK(early.end.reason == finish_reason::stop);
    }
    CHECK(time.n_alarms() <= n_alarms + 1);  // the queue's own
    auto shutting = models.shutdown(5s);
    co_await std::move(shutting);
    CHECK(adds_up(stats_in(models)));
}

MODELPOOL_ASYNC_TEST("generation: a deadline that passes before admission is missed", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    test_clock time;
    runtime rt{ex, runtime_options{}.time(time)};
    text_pool models{rt};
    auto plan = new_text_plan();
    const text_handle model = models.add("m", fake_text_loader(plan), workers(1, 1));
    plan->build_door.shut();
    generation_params within;
    within.deadline = time.now() + 1s;
    // The nearer of the two holds.
    const started<token_stream> queued{
        ex, model.complete("x", within, request_options{}.deadline(time.now() + 1h))};
    const started<generation_result> patient{ex, ask(model, "say x")};
    time.advance(2s);
    auto ending = queued.end();
    const outcome missed = co_await std::move(ending);
    CHECK(missed.code == pool_errc::deadline_missed);
    plan->build_door.open();
    auto reading = patient.get();
    const generation_result seen = co_await std::move(reading);
    CHECK(seen.text == "x");
    plan->on_prepare = [&time] { time.advance(2s); };
    within.deadline = time.now() + 1s;
    auto slow = outcome_of(model.complete("y", within));
    const outcome late = co_await std::move(slow);
    CHECK(late.code == pool_errc::deadline_missed);
    plan->on_prepare = nullptr;
    auto shutting = models.shutdown(5s);
    co_await std::move(shutting);
    const model_stats all = stats_in(models);
    CHECK(all.n_failed == 2);
    CHECK(all.n_timeouts == 2);
}

/// A step fails that the prompts take part in together; gives how both ended.
awaitable<void> fail_a_step(const char* trouble, boost::system::error_code code)
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    text_pool models{rt};
    auto plan = new_text_plan();
    const text_handle model = models.add("m", fake_text_loader(plan), workers(1, 1));
    token_stream unread = co_await model.complete("count 200");  // held when the others come
    auto held = until_held(models);
    co_await std::move(held);
    plan->step_gate.shut();
    token_stream neighbour = co_await model.complete("count 300");
    const started<token_stream> starting{ex, model.complete(trouble)};
    plan->step_gate.admit(1);
    auto admitted = starting.get();
    token_stream troubled = co_await std::move(admitted);
    plan->step_gate.open();
    for (token_stream* stream : {&troubled, &neighbour}) {
        std::string text;
        outcome seen;
        while (seen.ok()) {
            auto reading = as_result(stream->next());
            const auto piece = co_await std::move(reading);
            if (piece.has_error())
                seen.code = piece.error();
            else
                text += (*piece)->text;
        }
        CHECK(seen.code == code);
        CHECK(text.size() >= 3);  // what came before it is there
    }
    const generation_result rest = co_await unread.collect();  // it took no part
    CHECK(rest.text == fake_answer("count 200"));
    const generation_result after = co_await ask(model, "say after");
    CHECK(after.text == "after");
    CHECK(plan->n_builds == 1);
    auto ending = models.shutdown(5s);
    co_await std::move(ending);
    const model_stats all = stats_in(models);
    CHECK(all.n_failed == 2);  // although they had been admitted
    CHECK(all.n_succeeded == 2);
    CHECK(all.n_spawned == 1);
}

MODELPOOL_ASYNC_TEST(
    "generation: a step that fails ends those in it, and the worker goes on", "[pool]")
{
    auto failing = fail_a_step("count 9 fail after 3", model_errc::failed);
    co_await std::move(failing);
}

MODELPOOL_ASYNC_TEST(
    "generation: no memory in a step is model_errc out_of_memory, and the worker goes on", "[pool]")
{
    auto failing = fail_a_step("count 9 no memory after 3", model_errc::out_of_memory);
    co_await std::move(failing);
}

MODELPOOL_ASYNC_TEST(
    "generation: no memory for what a step gave ends all, and the cache is made anew", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    text_pool models{rt};
    auto plan = new_text_plan();
    const text_handle model = models.add("m", fake_text_loader(plan), workers(1, 1));
    token_stream unread = co_await model.complete("count 200");
    auto held = until_held(models);
    co_await std::move(held);
    plan->step_gate.shut();
    token_stream troubled = co_await model.complete("say ab\x01");
    const started<std::vector<continuation_score>> scoring{
        ex, model.score("count 9", strings("1 2", "1 3"))};
    plan->step_gate.open();
    auto reading = outcome_of(troubled.collect());
    const outcome seen = co_await std::move(reading);
    CHECK(seen.code == model_errc::out_of_memory);
    auto collecting = outcome_of(unread.collect());
    const outcome neighbour = co_await std::move(collecting);
    CHECK(neighbour.code == model_errc::out_of_memory);
    auto scored = scoring.end();
    const outcome scores = co_await std::move(scored);
    CHECK((scores.ok() || scores.code == model_errc::out_of_memory));
    const generation_result after = co_await ask(model, "say after");
    CHECK(after.text == "after");
    CHECK(after.end.usage.n_cached_tokens == 0);
    CHECK(plan->n_builds == 1);
    CHECK(plan->n_faults == 0);
    auto ending = models.shutdown(5s);
    co_await std::move(ending);
    CHECK(adds_up(stats_in(models)));
}

MODELPOOL_ASYNC_TEST("generation: a caller may leave while its prompt is prepared", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    text_pool models{rt};
    auto plan = new_text_plan();
    door preparing;
    preparing.shut();
    plan->on_prepare = [&preparing] { preparing.blocking_pass(stop_flag{}); };
    const text_handle model = models.add("m", fake_text_loader(plan), workers(1, 1));
    const started<token_stream> call{ex, model.complete("count 600")};
    auto begun = until([&preparing] { return preparing.n_waiting() == 1; });
    co_await std::move(begun);
    call.cancel(cancellation_type::total);  // too late for this kind
    CHECK_FALSE(call.done());
    call.cancel(cancellation_type::partial);
    auto ending = call.end();
    const outcome seen = co_await std::move(ending);
    CHECK(seen.code == operation_aborted);
    preparing.open();
    const generation_result after = co_await ask(model, "say after");
    CHECK(after.text == "after");
    CHECK(plan->n_steps < 10);
    auto shutting = models.shutdown(5s);
    co_await std::move(shutting);
    const model_stats all = stats_in(models);
    CHECK(all.n_cancelled == 1);
    CHECK(all.n_succeeded == 1);
}

MODELPOOL_ASYNC_TEST("generation: logits that are no numbers fail their own answer", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    text_pool models{rt};
    auto plan = new_text_plan();
    const text_handle model = models.add("m", fake_text_loader(plan), workers(1, 1));
    const started<generation_result> good{ex, ask(model, "count 50")};
    token_stream odd = co_await model.complete("count 9 no number after 4");
    auto reading = outcome_of(odd.collect());
    const outcome seen = co_await std::move(reading);
    CHECK(seen.code == model_errc::failed);
    auto ending = good.get();
    const generation_result answer = co_await std::move(ending);
    CHECK(answer.text == fake_answer("count 50"));
    auto shutting = models.shutdown(5s);
    co_await std::move(shutting);
    CHECK(stats_in(models).n_failed == 1);
}

MODELPOOL_ASYNC_TEST("generation: shutdown lets streams end while there is time", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    text_pool models{rt};
    auto plan = new_text_plan();
    const text_handle model = models.add("m", fake_text_loader(plan), workers(1, 1));
    token_stream unread = co_await model.complete("count 300");
    auto held = until_held(models);
    co_await std::move(held);
    const started<void> shutting{ex, models.shutdown(30s)};
    auto refused = outcome_of(model.complete("x"));
    const outcome late = co_await std::move(refused);
    CHECK(late.code == pool_errc::shut_down);
    const generation_result whole = co_await unread.collect();  // the pool waits for its reader
    CHECK(whole.text == fake_answer("count 300"));
    auto ending = shutting.get();
    co_await std::move(ending);
    CHECK(plan->n_alive == 0);
}

MODELPOOL_ASYNC_TEST(
    "generation: shutdown out of time fails the streams, after what was written", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    text_pool models{rt};
    auto plan = new_text_plan();
    const text_handle model = models.add("m", fake_text_loader(plan), workers(1, 1));
    token_stream behind = co_await model.complete("count 300");
    auto held = until_held(models);
    co_await std::move(held);
    plan->step_gate.shut();
    token_stream streaming = co_await model.complete("count 301");
    plan->step_gate.admit(4);
    auto stepped = until([plan] { return plan->step_gate.n_waiting() == 1; });
    co_await std::move(stepped);
    const started<generation_result> waiting{ex, streaming.collect()};
    auto shutting = models.shutdown(20ms);
    co_await std::move(shutting);
    CHECK(plan->n_alive == 0);
    auto ending = waiting.end();
    const outcome cut = co_await std::move(ending);
    CHECK(cut.code == pool_errc::shut_down);
    const auto written = co_await behind.next();
    REQUIRE(written.has_value());
    CHECK(written->tokens.size() == detail::token_buffer_limit);
    auto reading = outcome_of(behind.next());
    const outcome seen = co_await std::move(reading);
    CHECK(seen.code == pool_errc::shut_down);
    CHECK(adds_up(stats_in(models)));
}

MODELPOOL_ASYNC_TEST("generation: a stream outlives its pool and its runtime", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    token_stream reply;
    {
        runtime rt{ex};
        text_pool models{rt};
        auto plan = new_text_plan();
        const text_handle model = models.add("m", fake_text_loader(plan), workers(1, 1));
        reply = co_await model.complete("count 300");
    }
    std::string text;
    boost::system::error_code code;
    while (!code) {
        auto reading = as_result(reply.next());
        const auto piece = co_await std::move(reading);
        if (piece.has_error())
            code = piece.error();
        else
            text += (*piece)->text;
    }
    CHECK(code == pool_errc::shut_down);
    CHECK(begins_with(fake_answer("count 300"), text));
    reply.stop();
}

MODELPOOL_ASYNC_TEST("generation: eviction never takes a worker with a held stream", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex, runtime_options{}.memory_limit_bytes(1000)};
    text_pool models{
        rt, pool_options{}.generation(sched::generation_options{}.kv_budget_bytes(320))};
    embed_pool others{rt};
    auto plan = new_text_plan();
    plan->bytes.shared_bytes = 400;
    const text_handle model = models.add("m", fake_text_loader(plan), workers(1, 1));
    auto other_plan = new_plan();
    other_plan->bytes.shared_bytes = 500;
    const embed_handle other = others.add("o", fake_loader(other_plan), workers(1, 1));
    token_stream unread = co_await model.complete("count 100");
    auto held = until_held(models);
    co_await std::move(held);
    REQUIRE(stats_in(models).workers.size() == 1);
    CHECK(stats_in(models).workers[0].reserved_bytes == 320);  // the KV cache
    auto refused = outcome_of(other.embed("x"));
    const outcome seen = co_await std::move(refused);
    CHECK(seen.code == pool_errc::memory_exhausted);
    const generation_result whole = co_await unread.collect();
    CHECK(whole.text == fake_answer("count 100"));
    auto idle = until([&] { return stats_in(models).n_workers(worker_state::idle) == 1; });
    co_await std::move(idle);
    auto embedding = other.embed("x");
    const embeddings rows = co_await std::move(embedding);
    CHECK(rows.size() == 1);
    CHECK(stats_in(models).n_evicted == 1);
    auto ending = models.shutdown(5s);
    co_await std::move(ending);
    auto other_ending = others.shutdown(5s);
    co_await std::move(other_ending);
}

MODELPOOL_ASYNC_TEST(
    "breaker: a stream that fails after its handle was given counts, and one that ends well resets",
    "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    text_pool models{rt, pool_options{}.breaker(breaker_options{}.n_failures(2))};
    auto plan = new_text_plan();
    const text_handle model = models.add("m", fake_text_loader(plan), workers(1, 1));
    for (const bool ends_well : {true, false, false}) {
        token_stream stream = co_await model.complete(ends_well ? "say x" : "fail after 2");
        auto reading = outcome_of(stream.collect());
        const outcome seen = co_await std::move(reading);
        CHECK(seen.ok() == ends_well);
        if (!ends_well) CHECK(seen.code == model_errc::failed);
        auto counted = until([&] { return adds_up(stats_in(models)); });
        co_await std::move(counted);
    }
    CHECK(stats_in(models).breaker == breaker_state::open);
    auto refused = outcome_of(model.complete("say x"));
    const outcome seen = co_await std::move(refused);
    CHECK(seen.code == pool_errc::circuit_open);
    auto ending = models.shutdown(5s);
    co_await std::move(ending);
}

}  // namespace
}  // namespace modelpool

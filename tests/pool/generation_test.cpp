// Texts out of a pool: what is asked, and what comes.

#include <modelpool/async/as_result.hpp>
#include <modelpool/async/with_timeout.hpp>
#include <modelpool/sched/utf8_holder.hpp>

#include <cmath>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "pool/generation_fixture.hpp"

namespace modelpool {
namespace {

using namespace std::chrono_literals;
using namespace testing;

bool is_whole_utf8(const std::string& text)
{
    sched::utf8_holder reader;
    std::string seen;
    reader.push(text, seen);
    return seen == text && reader.empty();
}

MODELPOOL_ASYNC_TEST(
    "generation: a prompt is answered piece by piece, then comes the end", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    text_pool models{rt};
    auto plan = new_text_plan();
    const text_handle model = models.add("m", fake_text_loader(plan), workers(1, 1));
    token_stream reply = co_await model.complete("count 12");
    std::string text;
    std::optional<generation_end> end;
    std::size_t n_tokens = 0;
    for (;;) {
        const auto piece = co_await reply.next();
        if (!piece) break;
        CHECK_FALSE(end.has_value());
        text += piece->text;
        n_tokens += piece->tokens.size();
        if (piece->end) end = *piece->end;
    }
    CHECK(text == fake_answer("count 12"));
    CHECK(n_tokens == text.size() + 1);
    REQUIRE(end.has_value());
    CHECK(end->reason == finish_reason::stop);
    CHECK(end->usage.n_prompt_tokens == 9);
    CHECK(end->usage.n_generated_tokens == n_tokens);
    CHECK_FALSE(end->stop_string.has_value());
    CHECK(end->timings.queue > 0ns);  // it waited for the load
    CHECK(end->timings.prefill > 0ns);
    CHECK(end->timings.decode > 0ns);
    const auto after = co_await reply.next();
    CHECK_FALSE(after.has_value());
    auto ending = models.shutdown(5s);
    co_await std::move(ending);
    const model_stats seen = stats_in(models);
    CHECK(seen.n_succeeded == 1);
    CHECK(adds_up(seen));
}

MODELPOOL_ASYNC_TEST(
    "generation: with_timeout ends a request, and the worker is none the worse", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    text_pool models{rt};
    auto plan = new_text_plan();
    const text_handle model = models.add("m", fake_text_loader(plan), workers(1, 1));
    plan->build_door.shut();
    auto slow = model.complete("Write a novel.");
    auto done = co_await as_result(with_timeout(5ms, std::move(slow)));
    REQUIRE(done.has_error());
    CHECK(done.error() == errc::timed_out);
    plan->build_door.open();
    token_stream reply = co_await model.chat(chat{}.user("say three lakes"));
    std::string text;
    while (auto piece = co_await reply.next())
        text += piece->text;
    CHECK(text == "three lakes");
    auto ending = models.shutdown(5s);
    co_await std::move(ending);
}

MODELPOOL_ASYNC_TEST("generation: conversations, texts and tokens are all prompts", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    text_pool models{rt};
    auto plan = new_text_plan();
    const text_handle model = models.add("m", fake_text_loader(plan), workers(1, 1));
    chat conversation;
    conversation.system("Be brief.").user("hello");
    token_stream chatted = co_await model.chat(conversation);
    const generation_result answer = co_await chatted.collect();
    CHECK(answer.text == "you said: system: Be brief.user: hello");
    std::vector<std::int32_t> ids{'s', 'a', 'y', ' ', 'x', fake_answer_token};
    token_stream raw = co_await model.complete(std::move(ids));
    const generation_result from_ids = co_await raw.collect();
    CHECK(from_ids.text == "x");
    CHECK(from_ids.ids() == std::vector<std::int32_t>{'x', fake_end_token});
    const generator_info info = co_await model.info();
    CHECK(info.context_length == plan->context_length);
    CHECK(info.has_chat_template);
    auto ending = models.shutdown(5s);
    co_await std::move(ending);
}

MODELPOOL_ASYNC_TEST(
    "generation: interleaved prompts on one worker are answered as if each were alone", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    text_pool models{rt};
    auto plan = new_text_plan();
    const text_handle model = models.add("m", fake_text_loader(plan), workers(1, 1));
    std::vector<std::string> prompts;
    for (int i = 0; i < 12; ++i) {
        prompts.push_back("count " + std::to_string(20 + i));
        // Half of them begin alike, and share what is computed of it.
        prompts.push_back(std::string(40, 'z') + std::to_string(i));
    }
    plan->step_gate.shut();
    std::vector<started<generation_result>> calls;
    for (const std::string& prompt : prompts)
        calls.emplace_back(ex, ask(model, prompt));
    auto begun = until([plan] { return plan->step_gate.n_waiting() == 1; });
    co_await std::move(begun);
    plan->step_gate.open();
    for (std::size_t i = 0; i < prompts.size(); ++i) {
        auto ending = calls[i].get();
        const generation_result seen = co_await std::move(ending);
        CHECK(seen.text == fake_answer(prompts[i]));
    }
    CHECK(plan->n_most_sequences > 1);
    CHECK(plan->n_faults == 0);
    CHECK(plan->n_builds == 1);
    auto ending = models.shutdown(5s);
    co_await std::move(ending);
    CHECK(stats_in(models).n_succeeded == prompts.size());
}

MODELPOOL_ASYNC_TEST("generation: no thread of the io_context runs model code", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    const auto here = std::this_thread::get_id();
    auto plan = new_text_plan();
    {
        runtime rt{ex};
        text_pool models{rt};
        const text_handle model = models.add("m", fake_text_loader(plan), workers(2, 2));
        const generation_result seen = co_await ask(model, "say x");
        CHECK(seen.text == "x");
        auto ending = models.shutdown(5s);
        co_await std::move(ending);
    }
    CHECK(plan->n_alive == 0);
    for (const auto* journal : {&plan->built, &plan->prepared, &plan->stepped, &plan->destroyed}) {
        CHECK(journal->n_entries() > 0);
        CHECK_FALSE(journal->threads().contains(here));
    }
    CHECK(plan->built.threads() == plan->destroyed.threads());
}

MODELPOOL_ASYNC_TEST("generation: a bad request fails alone, before there is a stream", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    text_pool models{rt};
    auto plan = new_text_plan();
    plan->context_length = 200;
    const text_handle model = models.add("m", fake_text_loader(plan), workers(1, 1));
    plan->step_gate.shut();
    const started<generation_result> good{ex, ask(model, "count 9")};
    auto begun = until([plan] { return plan->step_gate.n_waiting() == 1; });
    co_await std::move(begun);
    const started<token_stream> unreadable{ex, model.complete("bad prompt")};
    const started<token_stream> too_long{ex, model.complete(std::string(300, 'x'))};
    generation_params hot;
    hot.sampling.temperature = -1.0F;
    const started<token_stream> wrong{ex, model.complete("x", hot)};
    generation_params schema;
    schema.json_schema = "{}";
    const started<token_stream> constrained{ex, model.complete("x", schema)};
    chat pictured;
    message looking;
    looking.role = "user";
    looking.content.emplace_back(image_source{image{}});
    pictured.add(std::move(looking));
    const started<token_stream> sighted{ex, model.chat(pictured)};
    plan->step_gate.open();
    const auto ends_with = [](const started<token_stream>& call,
                              boost::system::error_code code) -> awaitable<void> {
        auto ending = call.end();
        const outcome seen = co_await std::move(ending);
        INFO(seen.text);
        CHECK(seen.code == code);
    };
    co_await ends_with(unreadable, text_errc::not_utf8);
    co_await ends_with(too_long, model_errc::context_overflow);
    co_await ends_with(wrong, errc::invalid_argument);
    co_await ends_with(constrained, errc::unsupported);
    co_await ends_with(sighted, errc::unsupported);
    auto ending = good.get();
    const generation_result seen = co_await std::move(ending);
    CHECK(seen.text == fake_answer("count 9"));
    auto shutting = models.shutdown(5s);
    co_await std::move(shutting);
    const model_stats all = stats_in(models);
    CHECK(all.n_failed == 5);
    CHECK(all.n_succeeded == 1);
    CHECK(all.n_spawned == 1);
}

MODELPOOL_ASYNC_TEST("generation: pieces are whole UTF-8, however many tokens they take", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    text_pool models{rt};
    auto plan = new_text_plan();
    const text_handle model = models.add("m", fake_text_loader(plan), workers(1, 1));
    const std::string words = "h\xC3\xA9llo \xE2\x82\xAC \xF0\x9F\x99\x82!";
    token_stream reply = co_await model.complete("say " + words);
    std::string text;
    std::size_t n_tokens = 0;
    for (;;) {
        const auto piece = co_await reply.next();
        if (!piece) break;
        CHECK(is_whole_utf8(piece->text));
        text += piece->text;
        n_tokens += piece->tokens.size();
    }
    CHECK(text == words);
    CHECK(n_tokens == words.size() + 1);  // one a byte
    auto ending = models.shutdown(5s);
    co_await std::move(ending);
}

MODELPOOL_ASYNC_TEST(
    "generation: the KV cache takes what memory is left, and a model that gets none fails to load",
    "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex, runtime_options{}.memory_limit_bytes(1000)};
    text_pool models{rt};
    auto plan = new_text_plan();
    plan->bytes.shared_bytes = 900;
    const text_handle model = models.add("m", fake_text_loader(plan), workers(1, 1));
    const generation_result seen = co_await ask(model, "count 500");
    CHECK(seen.end.reason == finish_reason::length);
    CHECK(seen.end.usage.n_prompt_tokens + seen.end.usage.n_generated_tokens == 96);
    auto ending = models.shutdown(5s);
    co_await std::move(ending);
    text_pool narrow{rt};
    auto large = new_text_plan();
    large->bytes.shared_bytes = 990;
    const text_handle starved = narrow.add("m", fake_text_loader(large), workers(1, 1));
    auto asking = outcome_of(starved.complete("x"));
    const outcome refused = co_await std::move(asking);
    CHECK(refused.code == pool_errc::memory_exhausted);
    auto narrow_ending = narrow.shutdown(5s);
    co_await std::move(narrow_ending);
}

MODELPOOL_ASYNC_TEST("generation: a worker that is full has another one started", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    text_pool models{rt, most_sequences(2)};
    auto plan = new_text_plan();
    const text_handle model = models.add("m", fake_text_loader(plan), workers(1, 2));
    plan->step_gate.shut();
    std::vector<started<generation_result>> calls;
    calls.emplace_back(ex, ask(model, "count 20"));
    auto first = until([plan] { return plan->step_gate.n_waiting() == 1; });
    co_await std::move(first);
    CHECK(stats_in(models).n_spawned == 1);
    calls.emplace_back(ex, ask(model, "count 21"));
    plan->step_gate.admit(1);
    auto second = until([plan] { return plan->n_steps == 1; });
    co_await std::move(second);
    CHECK(stats_in(models).n_spawned == 1);  // it takes two at once
    calls.emplace_back(ex, ask(model, "count 22"));
    plan->step_gate.admit(1);
    auto third = until([plan] { return plan->step_gate.n_waiting() == 2; });
    co_await std::move(third);
    CHECK(stats_in(models).n_spawned == 2);
    CHECK(plan->n_replicas == 1);
    plan->step_gate.open();
    for (std::size_t i = 0; i < calls.size(); ++i) {
        auto ending = calls[i].get();
        const generation_result seen = co_await std::move(ending);
        CHECK(seen.text == fake_answer("count " + std::to_string(20 + i)));
    }
    auto ending = models.shutdown(5s);
    co_await std::move(ending);
}

MODELPOOL_ASYNC_TEST("generation: log-probabilities and stop strings reach the reader", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    text_pool models{rt};
    auto plan = new_text_plan();
    const text_handle model = models.add("m", fake_text_loader(plan), workers(1, 1));
    generation_params params;
    params.n_logprobs = 2;
    params.prompt_logprobs = true;
    params.stop = {"x", "3 4"};
    const generation_result seen = co_await ask(model, "count 9", params);
    CHECK(seen.text == "1 2 ");
    CHECK(seen.end.reason == finish_reason::stop);
    REQUIRE(seen.end.stop_string.has_value());
    CHECK(*seen.end.stop_string == 1);
    CHECK(seen.tokens.size() == 7);
    const double norm = std::log(std::exp(10.0) + std::exp(5.0) + 258.0);
    for (const generated_token& one : seen.tokens) {
        CHECK(static_cast<double>(one.logprob) == Approx(10.0 - norm));
        REQUIRE(one.top.size() == 2);
        CHECK(one.top[0].id == one.id);
        CHECK(one.top[1].id == '#');
    }
    CHECK(seen.prompt_tokens.size() == seen.end.usage.n_prompt_tokens - 1);
    auto ending = models.shutdown(5s);
    co_await std::move(ending);
}

MODELPOOL_ASYNC_TEST("generation: reasoning and tool calls come apart from the text", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    text_pool models{rt};
    auto plan = new_text_plan();
    plan->parses = true;
    const text_handle model = models.add("m", fake_text_loader(plan), workers(1, 1));
    const std::string written = "<think>hm</think>Hi<call>f {\"a\":1}</call><call>g {}";
    token_stream reply = co_await model.chat(chat{}.user("say " + written));
    std::vector<generation_event_kind> kinds;
    generation_result whole;
    for (;;) {
        auto piece = co_await reply.next();
        if (!piece) break;
        const bool empty = piece->text.empty() && piece->kind == generation_event_kind::text;
        if (!empty && (kinds.empty() || kinds.back() != piece->kind)) kinds.push_back(piece->kind);
        whole.add(std::move(*piece));
    }
    using enum generation_event_kind;
    const std::vector<generation_event_kind> expected{
        reasoning, generation_event_kind::text, tool_call, end};
    CHECK(kinds == expected);
    CHECK(whole.reasoning == "hm");
    CHECK(whole.text == "Hi");
    REQUIRE(whole.tool_calls.size() == 2);
    CHECK(whole.tool_calls[0].name == "f");
    CHECK(whole.tool_calls[0].arguments == "{\"a\":1}");
    CHECK(whole.tool_calls[1].name == "g");
    CHECK(whole.end.reason == finish_reason::tool_calls);
    CHECK(whole.tokens.size() == written.size() + 1);  // none is lost in the marks
    token_stream odd = co_await model.chat(chat{}.user("say a</broken>b"));
    auto reading = outcome_of(odd.collect());
    const outcome seen = co_await std::move(reading);
    CHECK(seen.code == model_errc::failed);
    const generation_result raw = co_await ask(model, "say <think>");  // no conversation
    CHECK(raw.text == "<think>");
    auto ending = models.shutdown(5s);
    co_await std::move(ending);
    CHECK(adds_up(stats_in(models)));
}

MODELPOOL_ASYNC_TEST("generation: the card's sampling holds where a request says nothing", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    text_pool models{rt};
    auto plan = new_text_plan();
    sampling_params card;
    card.logit_bias['1'] = -std::numeric_limits<float>::infinity();
    const text_handle model = models.add("m", fake_text_loader(plan), workers(1, 1).sampling(card));
    const generation_result plain = co_await ask(model, "count 3");
    CHECK(plain.text == "# 2 3 ");
    generation_params params;
    params.sampling.logit_bias['2'] = -std::numeric_limits<float>::infinity();
    const generation_result both = co_await ask(model, "count 3", params);
    CHECK(both.text == "# # 3 ");
    params.sampling.logit_bias['1'] = 0.0F;
    const generation_result own = co_await ask(model, "count 3", params);
    CHECK(own.text == "1 # 3 ");
    auto ending = models.shutdown(5s);
    co_await std::move(ending);
}

TEST_CASE("generation: a request's sampling goes before its card's, field by field", "[pool]")
{
    sampling_params card;
    card.temperature = 0.7F;
    card.top_k = 20;
    card.seed = 1;
    sampling_request wanted;
    wanted.top_k = 0;
    wanted.repetition_penalty = 1.1F;
    const sampling_params all = wanted.over(card);
    CHECK(all.temperature == 0.7F);
    CHECK(all.top_k == 0);
    CHECK(all.repetition_penalty == 1.1F);
    CHECK(all.top_p == 1.0F);
    CHECK(all.seed == 1U);
}

}  // namespace
}  // namespace modelpool

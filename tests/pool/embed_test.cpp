// What a request for embeddings meets in a pool.

#include <modelpool/async/as_result.hpp>
#include <modelpool/async/with_timeout.hpp>

#include <atomic>
#include <cmath>
#include <set>
#include <thread>

#include "pool/steps.hpp"

namespace modelpool {
namespace {

using namespace std::chrono_literals;
using namespace testing;
using boost::asio::error::operation_aborted;

MODELPOOL_ASYNC_TEST(
    "pool: rows come in the order of the texts, of unit length unless told otherwise", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    embed_pool models{rt};
    auto plan = new_plan();
    const embed_handle model = models.add("m", fake_loader(plan));
    auto raw = model.embed(strings("alpha", "beta"), raw_rows());
    const embeddings rows = co_await std::move(raw);
    REQUIRE(rows.size() == 2);
    CHECK(rows.to_f32(0) == fake_row("alpha", 4));
    CHECK(rows.to_f32(1) == fake_row("beta", 4));
    CHECK_FALSE(rows.normalized());
    CHECK(rows.usage().n_tokens == 9);
    CHECK(rows.usage().n_truncated == 0);
    auto unit = model.embed("alpha");
    const embeddings one = co_await std::move(unit);
    CHECK(one.normalized());
    CHECK(cosine(one[0], one[0]) == Approx(1));
    CHECK(cosine(one[0], rows[0]) == Approx(1));
    double length = 0;
    for (const float value : one[0])
        length += static_cast<double>(value) * static_cast<double>(value);
    CHECK(length == Approx(1));
    co_await shut(models);
    CHECK(adds_up(stats_of(models, "m")));
}

MODELPOOL_ASYNC_TEST("pool: options reach the model, prompt and limit and encoding", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    embed_pool models{rt};
    auto plan = new_plan();
    plan->cuttable = true;
    const embed_handle model =
        models.add("m", fake_loader(plan), model_options{}.prompts({{"own", "o: "}}));
    auto query = model.embed("x", raw_rows().prompt_name("query"));
    const embeddings asked = co_await std::move(query);
    CHECK(asked.to_f32(0) == fake_row("find: x", 4));
    auto own = model.embed("x", raw_rows().prompt_name("own"));
    const embeddings carded = co_await std::move(own);
    CHECK(carded.to_f32(0) == fake_row("o: x", 4));
    auto cut = model.embed("abcdef", raw_rows().max_tokens(3));
    const embeddings truncated = co_await std::move(cut);
    CHECK(truncated.to_f32(0) == fake_row("abc", 4));
    CHECK(truncated.usage().n_truncated == 1);
    auto narrow = model.embed("abc", raw_rows().dimension(2));
    const embeddings two = co_await std::move(narrow);
    CHECK(two.dim() == 2);
    auto bits = model.embed("abc", raw_rows().encoding(embedding_dtype::binary));
    const embeddings binary = co_await std::move(bits);
    CHECK(binary.bytes(0).size() == 1);
    auto about = model.info();
    const embedder_info info = co_await std::move(about);
    CHECK(info.dim == 4);
    CHECK(info.prompts.at("query") == "find: ");
    co_await shut(models);
}

MODELPOOL_ASYNC_TEST(
    "pool: a request that does not suit the model fails with the choices", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    embed_pool models{rt};
    auto plan = new_plan();
    const embed_handle model = models.add("m", fake_loader(plan));
    auto nothing = outcome_of(model.embed(std::vector<std::string>{}));
    const outcome empty = co_await std::move(nothing);
    CHECK(empty.code == errc::invalid_argument);
    CHECK(plan->n_builds == 0);  // no model was loaded for it
    auto poem = outcome_of(model.embed("x", embed_options{}.prompt_name("poem")));
    const outcome prompt = co_await std::move(poem);
    CHECK(prompt.code == errc::invalid_argument);
    CHECK(prompt.text.find("document, query") != std::string::npos);
    auto wide = outcome_of(model.embed("x", embed_options{}.dimension(7)));
    const outcome dim = co_await std::move(wide);
    CHECK(dim.code == errc::invalid_argument);
    co_await shut(models);
    CHECK(adds_up(stats_of(models, "m")));
}

/// Has the first batch of a large request wait until a small one has been answered.
struct small_beside_large {
    std::atomic<bool> small_waits{false};
    std::atomic<bool> small_answered{false};
    std::atomic<int> n_rows{0};
    std::atomic<bool> too_late{false};

    void at_row()
    {
        const int row = n_rows++;
        if (row == 0) pass(small_waits);  // its turn comes after this row, and computes the next
        if (row == 2) pass(small_answered);
    }
    void pass(const std::atomic<bool>& flag)
    {
        const auto until = std::chrono::steady_clock::now() + patience;
        while (!flag && !too_late) {
            std::this_thread::sleep_for(1ms);
            if (std::chrono::steady_clock::now() > until) too_late = true;
        }
    }
};

MODELPOOL_ASYNC_TEST(
    "pool: a small request is answered in the midst of a large one's batch", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    const bool shares = GENERATE(true, false);
    runtime rt{ex};
    embed_pool models{rt};
    auto plan = new_plan();
    auto meeting = std::make_shared<small_beside_large>();
    plan->shares = shares;
    if (shares) plan->on_row = [meeting] { meeting->at_row(); };
    if (!shares) plan->run_door.shut();
    const embed_handle model = models.add("m", fake_loader(plan), workers(1, 1));
    const std::vector<std::string> many(9, std::string(900, 'x'));
    const started<embeddings> large{ex, model.embed(many, raw_rows())};
    auto begun =
        until([=] { return shares ? meeting->n_rows == 1 : plan->run_door.n_waiting() == 1; });
    co_await std::move(begun);
    const started<embeddings> small{ex, model.embed("small", raw_rows())};
    auto waits = until([&] { return stats_of(models, "m").n_requests == 2; });
    co_await std::move(waits);
    meeting->small_waits = true;
    plan->run_door.open();
    auto small_end = small.get();
    const embeddings row = co_await std::move(small_end);
    CHECK(row.to_f32(0) == fake_row("small", 4));
    CHECK((!shares || meeting->n_rows <= 3));
    meeting->small_answered = true;
    auto large_end = large.get();
    const embeddings rows = co_await std::move(large_end);
    REQUIRE(rows.size() == 9);
    CHECK(rows.to_f32(8) == fake_row(many.back(), 4));
    CHECK_FALSE(meeting->too_late);
    CHECK(plan->n_replicas == (shares ? 1 : 0));
    co_await shut(models);
    const model_stats seen = stats_of(models, "m");
    CHECK(seen.n_succeeded == 2);
    CHECK(adds_up(seen));
}

MODELPOOL_ASYNC_TEST("pool: no thread of the io_context runs model code", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    const auto here = std::this_thread::get_id();
    auto plan = new_plan();
    {
        runtime rt{ex};
        embed_pool models{rt};
        const embed_handle model = models.add("m", fake_loader(plan), workers(2, 2));
        std::vector<started<embeddings>> calls;
        for (int i = 0; i < 20; ++i)
            calls.emplace_back(ex, model.embed("text " + std::to_string(i)));
        for (const auto& one : calls) {
            auto ending = one.get();
            co_await std::move(ending);
            CHECK(std::this_thread::get_id() == here);
        }
        auto ending = models.shutdown(5s);
        co_await std::move(ending);
    }
    CHECK(plan->n_alive == 0);
    for (const auto* journal : {&plan->built, &plan->prepared, &plan->ran, &plan->destroyed}) {
        CHECK(journal->n_entries() > 0);
        CHECK_FALSE(journal->threads().contains(here));
    }
    CHECK(plan->built.threads() == plan->destroyed.threads());  // each dies where it was made
}

MODELPOOL_ASYNC_TEST("pool: 64 concurrent calls each get their own rows", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    embed_pool models{rt};
    auto plan = new_plan();
    const embed_handle model = models.add("m", fake_loader(plan));
    std::vector<started<embeddings>> calls;
    for (int i = 0; i < 64; ++i)
        calls.emplace_back(
            ex,
            model.embed(
                strings("caller " + std::to_string(i), "second of " + std::to_string(i)),
                raw_rows()));
    for (int i = 0; i < 64; ++i) {
        auto ending = calls[static_cast<std::size_t>(i)].get();
        const embeddings rows = co_await std::move(ending);
        REQUIRE(rows.size() == 2);
        CHECK(rows.to_f32(0) == fake_row("caller " + std::to_string(i), 4));
        CHECK(rows.to_f32(1) == fake_row("second of " + std::to_string(i), 4));
    }
    co_await shut(models);
    const model_stats seen = stats_of(models, "m");
    CHECK(seen.n_requests == 64);
    CHECK(seen.n_succeeded == 64);
}

MODELPOOL_ASYNC_TEST("pool: one bad text fails its own request only, and is named", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    embed_pool models{rt};
    auto plan = new_plan();
    const embed_handle model = models.add("m", fake_loader(plan), workers(1, 1));
    plan->run_door.shut();
    const started<embeddings> first{ex, model.embed("first")};
    auto busy = until([plan] { return plan->run_door.n_waiting() == 1; });
    co_await std::move(busy);
    // These three share the next batch.
    const started<embeddings> bad{ex, model.embed(strings("fine", "bad text"))};
    const started<embeddings> row{ex, model.embed(strings("bad row", "fine"))};
    const started<embeddings> good{ex, model.embed("good", raw_rows())};
    plan->run_door.open();
    auto bad_end = bad.end();
    const outcome bad_seen = co_await std::move(bad_end);
    CHECK(bad_seen.code == text_errc::not_utf8);
    CHECK(bad_seen.text == "text 1: byte 3 is no UTF-8");
    auto row_end = row.end();
    const outcome row_seen = co_await std::move(row_end);
    CHECK(row_seen.code == model_errc::failed);
    CHECK(row_seen.text == "text 0: the row failed");
    auto good_end = good.get();
    const embeddings rows = co_await std::move(good_end);
    CHECK(rows.to_f32(0) == fake_row("good", 4));
    auto long_text = outcome_of(
        model.embed("too long", embed_options{}.max_tokens(3).too_long(on_too_long::error)));
    const outcome too_long = co_await std::move(long_text);
    CHECK(too_long.code == text_errc::too_long);
    for (const char* text : {"not a number", "short row"}) {
        auto odd = outcome_of(model.embed(text));
        const outcome odd_seen = co_await std::move(odd);
        CHECK(odd_seen.code == model_errc::failed);
    }
    auto first_end = first.get();
    co_await std::move(first_end);
    co_await shut(models);
    const model_stats seen = stats_of(models, "m");
    CHECK(seen.n_failed == 5);
    CHECK(adds_up(seen));
    CHECK(seen.n_spawned == 1);  // none of it harmed the worker
}

MODELPOOL_ASYNC_TEST(
    "pool: no memory in a batch is model_errc out_of_memory, and the worker lives", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    embed_pool models{rt};
    auto plan = new_plan();
    const embed_handle model = models.add("m", fake_loader(plan), workers(1, 1));
    auto large = outcome_of(model.embed("no memory"));
    const outcome seen = co_await std::move(large);
    CHECK(seen.code == model_errc::out_of_memory);
    auto small = model.embed("small");
    co_await std::move(small);
    CHECK(plan->n_builds == 1);
    co_await shut(models);
}

MODELPOOL_ASYNC_TEST(
    "pool: a worker whose model fails again and again is retired and replaced", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    log_lines log;
    runtime rt{ex, runtime_options{}.log(log.sink())};
    embed_pool models{rt};
    auto plan = new_plan();
    const embed_handle model = models.add("m", fake_loader(plan), workers(1, 1));
    for (int i = 0; i < 3; ++i) {
        auto failing = outcome_of(model.embed("bad batch"));
        const outcome seen = co_await std::move(failing);
        CHECK(seen.code == model_errc::failed);
        CHECK(seen.text.find("the batch failed") != std::string::npos);
    }
    auto fresh = model.embed("good", raw_rows());
    const embeddings rows = co_await std::move(fresh);
    CHECK(rows.to_f32(0) == fake_row("good", 4));
    CHECK(plan->n_builds == 2);
    co_await shut(models);
    CHECK(log.n_with("failed for good") == 1);
    CHECK(adds_up(stats_of(models, "m")));
}

MODELPOOL_ASYNC_TEST("pool: a good batch between bad ones keeps the worker", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    embed_pool models{rt};
    auto plan = new_plan();
    const embed_handle model = models.add("m", fake_loader(plan), workers(1, 1));
    for (const char* text : {"bad batch", "bad batch", "good", "bad batch", "bad batch", "good"}) {
        auto one = outcome_of(model.embed(text));
        const outcome seen = co_await std::move(one);
        CHECK(seen.ok() == (std::string_view{text} == "good"));
    }
    CHECK(plan->n_builds == 1);
    co_await shut(models);
}

MODELPOOL_ASYNC_TEST("pool: ten thousand texts of one caller do not starve another", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    embed_pool models{rt, pool_options{}.batch_tokens(256)};
    auto plan = new_plan();
    const embed_handle model = models.add("m", fake_loader(plan), workers(1, 1));
    plan->run_door.shut();
    // Other threads get their turn between the batches, until the small one is served.
    std::atomic<bool> served{false};
    plan->on_run = [&served] {
        if (!served) std::this_thread::sleep_for(10ms);
    };
    std::vector<std::string> many;
    for (int i = 0; i < 10'000; ++i)
        many.push_back("text " + std::to_string(i));
    const started<embeddings> large{ex, model.embed(many, raw_rows())};
    auto busy = until([plan] { return plan->run_door.n_waiting() == 1; });
    co_await std::move(busy);
    const started<embeddings> small{ex, model.embed("small", raw_rows())};
    plan->run_door.open();
    auto small_end = small.get();
    const embeddings row = co_await std::move(small_end);
    CHECK(row.to_f32(0) == fake_row("small", 4));
    CHECK_FALSE(large.done());
    served = true;
    auto large_end = large.get();
    const embeddings rows = co_await std::move(large_end);
    REQUIRE(rows.size() == many.size());
    bool all_right = true;
    for (std::size_t i = 0; i < many.size(); ++i)
        all_right = all_right && rows.to_f32(i) == fake_row(many[i], 4);
    CHECK(all_right);
    CHECK(plan->n_largest_batch <= 256);
    co_await shut(models);
}

MODELPOOL_ASYNC_TEST("pool: a text above the batch size goes alone", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    embed_pool models{rt, pool_options{}.batch_tokens(8)};
    auto plan = new_plan();
    const embed_handle model = models.add("m", fake_loader(plan), workers(1, 1));
    const std::string large(100, 'x');
    auto both = model.embed(strings(large, "small"), raw_rows());
    const embeddings rows = co_await std::move(both);
    CHECK(rows.to_f32(0) == fake_row(large, 4));
    CHECK(rows.to_f32(1) == fake_row("small", 4));
    CHECK(plan->n_runs == 2);
    co_await shut(models);
}

MODELPOOL_ASYNC_TEST(
    "pool: a full queue refuses at once, or makes the caller wait for a place", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    embed_pool models{rt, pool_options{}.queue_limit(2)};
    auto plan = new_plan();
    const embed_handle model = models.add("m", fake_loader(plan), workers(1, 1));
    plan->build_door.shut();
    std::vector<started<embeddings>> queued;
    for (int i = 0; i < 2; ++i)
        queued.emplace_back(ex, model.embed("queued"));
    auto refused = outcome_of(model.embed("refused"));
    const outcome seen = co_await std::move(refused);
    CHECK(seen.code == pool_errc::queue_full);
    CHECK(seen.text.find("'m'") != std::string::npos);
    CHECK(seen.text.find("2 requests") != std::string::npos);
    queued.emplace_back(ex, model.embed("patient", {}, request_options{}.wait_for_place(true)));
    const started<embeddings> gone{
        ex, model.embed("gone", {}, request_options{}.wait_for_place(true))};
    CHECK(stats_of(models, "m").n_waiting == 2);
    gone.cancel();
    plan->build_door.open();
    for (const auto& one : queued) {
        auto ending = one.end();
        const outcome end = co_await std::move(ending);
        CHECK(end.ok());
    }
    co_await shut(models);
    const model_stats all = stats_of(models, "m");
    CHECK(all.n_rejected == 1);
    CHECK(all.n_requests == 4);
    CHECK(all.n_failed == 0);
    CHECK(all.n_cancelled == 1);
    CHECK(adds_up(all));
}

MODELPOOL_ASYNC_TEST("pool: a deadline drops a request that no worker has begun", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    test_clock time;
    runtime rt{ex, runtime_options{}.time(time)};
    embed_pool models{rt};
    auto plan = new_plan();
    const embed_handle model = models.add("m", fake_loader(plan), workers(1, 1));
    plan->run_door.shut();
    const auto within = [&](std::chrono::seconds limit) {
        return request_options{}.deadline(time.now() + limit);
    };
    const started<embeddings> running{ex, model.embed("running", {}, within(1s))};
    auto busy = until([plan] { return plan->run_door.n_waiting() == 1; });
    co_await std::move(busy);
    const started<embeddings> early{ex, model.embed("early", {}, within(2s))};
    const started<embeddings> late{ex, model.embed("late", {}, within(10s))};
    time.advance(3s);
    auto missed = early.end();
    const outcome seen = co_await std::move(missed);  // although the worker is still busy
    CHECK(seen.code == pool_errc::deadline_missed);
    CHECK(seen.text.find("'m'") != std::string::npos);
    auto past = outcome_of(model.embed("past", {}, within(-1s)));
    const started<outcome> past_call{ex, std::move(past)};
    time.advance(1ms);
    auto past_end = past_call.get();
    const outcome past_seen = co_await std::move(past_end);
    CHECK(past_seen.code == pool_errc::deadline_missed);
    plan->run_door.open();
    for (const auto& one : {running, late}) {
        auto ending = one.end();
        const outcome end = co_await std::move(ending);
        CHECK(end.ok());
    }
    co_await shut(models);
    CHECK(adds_up(stats_of(models, "m")));
}

MODELPOOL_ASYNC_TEST(
    "pool: a deadline during the load stops a load that nobody else wants", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    test_clock time;
    runtime rt{ex, runtime_options{}.time(time)};
    embed_pool models{rt};
    auto plan = new_plan();
    const embed_handle model = models.add("m", fake_loader(plan), workers(1, 1));
    plan->build_door.shut();
    const started<embeddings> call{
        ex, model.embed("x", {}, request_options{}.deadline(time.now() + 1s))};
    auto loading = until([plan] { return plan->build_door.n_waiting() == 1; });
    co_await std::move(loading);
    time.advance(2s);
    auto missed = call.end();
    const outcome seen = co_await std::move(missed);
    CHECK(seen.code == pool_errc::deadline_missed);
    auto stopped = until([&] { return stats_of(models, "m").workers.empty(); });
    co_await std::move(stopped);
    CHECK(plan->n_alive == 0);
}

MODELPOOL_ASYNC_TEST("pool: requests of higher priority go first", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    test_clock time;  // nobody ages
    runtime rt{ex, runtime_options{}.time(time)};
    embed_pool models{rt, pool_options{}.batch_tokens(4)};
    auto plan = new_plan();
    const embed_handle model = models.add("m", fake_loader(plan), workers(1, 1));
    plan->run_door.shut();
    const started<embeddings> running{ex, model.embed("running")};
    auto busy = until([plan] { return plan->run_door.n_waiting() == 1; });
    co_await std::move(busy);
    auto order = std::make_shared<std::string>();
    auto note = [](embed_handle from,
                   std::string text,
                   priority rank,
                   std::shared_ptr<std::string> log) -> awaitable<void> {
        auto call = from.embed(text, {}, request_options{}.rank(rank));
        co_await std::move(call);
        log->push_back(text[0]);
    };
    std::vector<started<void>> calls;
    calls.emplace_back(ex, note(model, "low text", priority::low, order));
    calls.emplace_back(ex, note(model, "normal text", priority::normal, order));
    calls.emplace_back(ex, note(model, "high text", priority::high, order));
    plan->run_door.open();
    for (const auto& one : calls) {
        auto ending = one.get();
        co_await std::move(ending);
    }
    CHECK(*order == "hnl");
    auto first = running.get();
    co_await std::move(first);
    co_await shut(models);
}

MODELPOOL_ASYNC_TEST(
    "pool: a cancelled caller leaves at once, and the worker stays healthy", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    embed_pool models{rt};
    auto plan = new_plan();
    const embed_handle model = models.add("m", fake_loader(plan), workers(1, 1));
    plan->run_door.shut();
    const started<embeddings> running{ex, model.embed("running")};
    auto busy = until([plan] { return plan->run_door.n_waiting() == 1; });
    co_await std::move(busy);
    const started<embeddings> queued{ex, model.embed("queued")};
    const started<embeddings> stubborn{ex, model.embed("stubborn")};
    running.cancel(boost::asio::cancellation_type::total);  // too late for this kind
    CHECK_FALSE(running.done());
    queued.cancel(boost::asio::cancellation_type::total);
    running.cancel(boost::asio::cancellation_type::partial);
    for (const auto& one : {running, queued}) {
        auto ending = one.end();
        const outcome seen = co_await std::move(ending);
        CHECK(seen.code == operation_aborted);
    }
    CHECK(plan->run_door.n_waiting() == 1);  // the batch itself goes on
    plan->run_door.open();
    auto last = stubborn.end();
    const outcome seen = co_await std::move(last);
    CHECK(seen.ok());
    co_await shut(models);
    const model_stats all = stats_of(models, "m");
    CHECK(all.n_cancelled == 2);
    CHECK(all.n_spawned == 1);
    CHECK(adds_up(all));
}

MODELPOOL_ASYNC_TEST("pool: with_timeout ends a call and leaves the worker healthy", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    embed_pool models{rt};
    auto plan = new_plan();
    const embed_handle model = models.add("m", fake_loader(plan), workers(1, 1));
    plan->run_door.shut();
    auto slow = as_result(with_timeout(5ms, model.embed("slow")));
    const result<embeddings> timed = co_await std::move(slow);
    REQUIRE(timed.has_error());
    CHECK(timed.error() == errc::timed_out);
    plan->run_door.open();
    auto good = with_timeout(1h, model.embed("good"));
    const embeddings rows = co_await std::move(good);
    CHECK(rows.size() == 1);
    co_await shut(models);
}

awaitable<void> warm_scenario(sweep_step step)
{
    runtime rt{co_await boost::asio::this_coro::executor};
    embed_pool models{rt};
    auto plan = new_plan();
    const embed_handle model = models.add("m", fake_loader(plan), workers(1, 2));
    auto first = model.embed("first");
    co_await std::move(first);
    auto running = step.cancellable(model.embed(strings("swept", "text")));
    co_await std::move(running);
    auto after = model.embed("after", raw_rows());
    const embeddings rows = co_await std::move(after);
    CHECK(rows.to_f32(0) == fake_row("after", 4));
    co_await shut(models);
    CHECK(adds_up(stats_of(models, "m")));
    CHECK(plan->n_alive == 0);
}

awaitable<void> cold_scenario(sweep_step step)
{
    runtime rt{co_await boost::asio::this_coro::executor};
    embed_pool models{rt};
    auto plan = new_plan();
    const embed_handle model = models.add("m", fake_loader(plan));
    auto running = step.cancellable(model.embed("swept"));
    co_await std::move(running);
    auto after = model.embed("after", raw_rows());
    const embeddings rows = co_await std::move(after);
    CHECK(rows.to_f32(0) == fake_row("after", 4));
    co_await shut(models);
    CHECK(adds_up(stats_of(models, "m")));
}

TEST_CASE("pool: an embed call cancelled at every point, warm and cold", "[pool]")
{
    sweep_cancellation(&warm_scenario);
    sweep_cancellation(&cold_scenario);
}

}  // namespace
}  // namespace modelpool

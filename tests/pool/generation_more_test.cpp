// Scores, images in prompts, and cancellation at every point.

#include <modelpool/hub/fetcher.hpp>

#include <atomic>
#include <cmath>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "pool/generation_fixture.hpp"

namespace modelpool {
namespace {

using namespace std::chrono_literals;
using namespace testing;
using boost::asio::error::operation_aborted;

using vision_pool = pool<vision>;
using vision_handle = handle<vision>;

/// Has one picture, of one byte.
class picture_fetcher final : public fetcher {
public:
    awaitable<snapshot> fetch(repository, file_selection, on_fetch_progress) override
    {
        throw error{hub_errc::not_found};
    }

    awaitable<std::vector<std::byte>> get(std::string url, url_limits limits) override
    {
        ++n_gets;
        last_limits = limits;
        return load(std::move(url));
    }

    int n_gets{0};
    url_limits last_limits;

private:
    static awaitable<std::vector<std::byte>> load(std::string url)
    {
        if (url != "https://example.com/a.png") throw error{hub_errc::not_found, url};
        co_return std::vector<std::byte>{std::byte{42}};
    }
};

image_source picture(std::size_t number)
{
    image made;
    made.width = number;
    return image_source{std::move(made)};
}

image_source address(std::string url)
{
    image_url made;
    made.url = std::move(url);
    return image_source{std::move(made)};
}

/// What a worker gets for an image.
awaitable<std::string>
described(vision_handle model, image_source source, generation_params params = {})
{
    auto starting = model.describe(std::move(source), "?", std::move(params));
    token_stream stream = co_await std::move(starting);
    auto reading = stream.collect();
    generation_result answer = co_await std::move(reading);
    co_return std::move(answer.text);
}

MODELPOOL_ASYNC_TEST(
    "generation: a KV cache is paid for before it is made, and keeps nobody else out", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex, runtime_options{}.memory_limit_bytes(1000)};
    text_pool models{
        rt, pool_options{}.generation(sched::generation_options{}.kv_budget_bytes(320))};
    auto slow = new_text_plan();
    slow->bytes.shared_bytes = 100;
    door allocating;
    allocating.shut();
    std::atomic<std::uint64_t> n_paid{0};
    slow->on_allocate = [&rt, &allocating, &n_paid] {
        n_paid = rt.memory().reserved_bytes();
        allocating.blocking_pass({});
    };
    const text_handle first = models.add("slow", fake_text_loader(slow), workers(1, 1));
    const started<generation_result> waiting{ex, ask(first, "say x")};
    auto standing = until([&allocating] { return allocating.n_waiting() == 1; });
    co_await std::move(standing);
    CHECK(n_paid == 420);
    auto quick = new_text_plan();
    quick->bytes.shared_bytes = 100;
    const text_handle second = models.add("quick", fake_text_loader(quick), workers(1, 1));
    const generation_result seen = co_await ask(second, "say y");
    CHECK(seen.text == "y");
    CHECK(rt.memory().reserved_bytes() == 840);
    allocating.open();
    auto answering = waiting.get();
    const generation_result late = co_await std::move(answering);
    CHECK(late.text == "x");
    CHECK(rt.memory().reserved_bytes() == 840);
    auto ending = models.shutdown(5s);
    co_await std::move(ending);
}

MODELPOOL_ASYNC_TEST("score: continuations are as likely as the model finds them", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    text_pool models{rt};
    auto plan = new_text_plan();
    const text_handle model = models.add("m", fake_text_loader(plan), workers(1, 1));
    std::vector<std::string> continuations{"hello", "help", "#", ""};
    auto scoring = model.score("say hello", continuations);
    const std::vector<continuation_score> scores = co_await std::move(scoring);
    REQUIRE(scores.size() == 4);
    const double norm = std::log(std::exp(10.0) + std::exp(5.0) + 258.0);
    CHECK(scores[0].greedy);
    REQUIRE(scores[0].n_tokens() == 5);
    CHECK(scores[0].sum == Approx(5 * (10.0 - norm)));
    CHECK_FALSE(scores[1].greedy);
    REQUIRE(scores[1].n_tokens() == 4);
    CHECK(static_cast<double>(scores[1].logprobs[2]) == Approx(10.0 - norm));
    CHECK(static_cast<double>(scores[1].logprobs[3]) == Approx(-norm));
    CHECK(scores[1].sum == Approx(3 * (10.0 - norm) - norm));
    CHECK_FALSE(scores[2].greedy);
    CHECK(scores[2].sum == Approx(5.0 - norm));
    CHECK(scores[3].n_tokens() == 0);
    CHECK(scores[3].sum == 0.0);
    CHECK(scores[3].greedy);
    auto ending = models.shutdown(5s);
    co_await std::move(ending);
    CHECK(stats_in(models).n_succeeded == 1);
}

MODELPOOL_ASYNC_TEST("score: many continuations compute their prompt once", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    text_pool models{rt, most_sequences(4)};
    auto plan = new_text_plan();
    const text_handle model = models.add("m", fake_text_loader(plan), workers(1, 1));
    const std::string prompt = std::string(640, 'x') + "say b";
    std::vector<std::string> continuations;
    for (int i = 0; i < 100; ++i)
        continuations.push_back(std::string(1, static_cast<char>('a' + i % 26)) + "zz");
    const started<generation_result> beside{ex, ask(model, "count 40")};
    auto scoring = model.score(prompt, continuations);
    const std::vector<continuation_score> scores = co_await std::move(scoring);
    REQUIRE(scores.size() == 100);
    for (std::size_t i = 0; i < scores.size(); ++i) {
        REQUIRE(scores[i].n_tokens() == 3);
        CHECK((scores[i].logprobs[0] > -1.0F) == (i % 26 == 1));
    }
    auto ending = beside.get();
    const generation_result seen = co_await std::move(ending);
    CHECK(seen.text == fake_answer("count 40"));
    // 646 rows of prompt once, then what does not fill a block, for each.
    CHECK(plan->n_rows < 2 * 646 + 100 * 20 + 200);
    CHECK(plan->n_most_sequences <= 4);
    CHECK(plan->n_faults == 0);
    auto shutting = models.shutdown(5s);
    co_await std::move(shutting);
}

MODELPOOL_ASYNC_TEST("score: a bad continuation fails the request and is named", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    text_pool models{rt};
    auto plan = new_text_plan();
    const text_handle model = models.add("m", fake_text_loader(plan), workers(1, 1));
    std::vector<std::string> none;
    auto nothing = outcome_of(model.score("x", none));
    const outcome empty = co_await std::move(nothing);
    CHECK(empty.code == errc::invalid_argument);
    CHECK(plan->n_loader_calls == 0);
    auto unreadable = outcome_of(model.score("x", strings("fine", "bad text")));
    const outcome bad = co_await std::move(unreadable);
    CHECK(bad.code == text_errc::not_utf8);
    CHECK(bad.text.find("continuation 1") != std::string::npos);
    auto endless = outcome_of(model.score("x", strings("fine", std::string(5000, 'x'))));
    const outcome too_long = co_await std::move(endless);
    CHECK(too_long.code == model_errc::context_overflow);
    CHECK(too_long.text.find("continuation 1") != std::string::npos);
    auto failing = outcome_of(model.score("count 9 fail after 2", strings("1 2", "1 3")));
    const outcome failed = co_await std::move(failing);
    CHECK(failed.code == model_errc::failed);
    auto odd = outcome_of(model.score("count 9 no number after 2", strings("1 2", "1 3")));
    const outcome number = co_await std::move(odd);
    CHECK(number.code == model_errc::failed);
    auto good = model.score("x", strings("a", "b"));
    const std::vector<continuation_score> scores = co_await std::move(good);
    CHECK(scores.size() == 2);
    auto ending = models.shutdown(5s);
    co_await std::move(ending);
    const model_stats all = stats_in(models);
    CHECK(all.n_failed == 4);
    CHECK(all.n_succeeded == 1);
    CHECK(all.n_spawned == 1);
}

MODELPOOL_ASYNC_TEST("vision: images stand where the prompt has them, or before it", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    vision_pool models{rt};
    auto plan = new_text_plan();
    plan->takes_images = true;
    const vision_handle model = models.add("m", fake_text_loader(plan), workers(1, 1));
    token_stream one = co_await model.describe(picture(7), "What is it?");
    const generation_result first = co_await one.collect();
    CHECK(first.text == "you said: user: [7][7][7]What is it?");
    std::vector<image_source> images{picture(1), picture(2)};
    token_stream marked = co_await model.describe(images, "a <image> b <image>");
    const generation_result second = co_await marked.collect();
    CHECK(second.text == "you said: user: a [1][1][1] b [2][2][2]");
    token_stream before = co_await model.describe(images, "which?");
    const generation_result third = co_await before.collect();
    CHECK(third.text == "you said: user: [1][1][1][2][2][2]which?");
    token_stream same = co_await model.describe(images, "which?");
    const generation_result cached = co_await same.collect();
    CHECK(cached.text == third.text);
    CHECK(cached.end.usage.n_cached_tokens == 16);  // equal images share their prefix
    auto wrong = outcome_of(model.describe(images, "only <image>"));
    const outcome refused = co_await std::move(wrong);
    CHECK(refused.code == errc::invalid_argument);
    CHECK(refused.text.find("1 <image>") != std::string::npos);
    token_stream plain = co_await model.complete("say x");
    const generation_result text = co_await plain.collect();
    CHECK(text.text == "x");
    CHECK(plan->n_faults == 0);
    auto ending = models.shutdown(5s);
    co_await std::move(ending);
}

MODELPOOL_ASYNC_TEST("vision: what lies outside is got before the request queues", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    picture_fetcher files;
    runtime rt{ex, files};
    vision_pool models{rt, pool_options{}.images(url_limits{}.max_bytes(1'000'000))};
    auto plan = new_text_plan();
    plan->takes_images = true;
    const vision_handle model = models.add("m", fake_text_loader(plan), workers(1, 1));
    auto missing = outcome_of(described(model, address("https://example.com/b.png")));
    const outcome not_found = co_await std::move(missing);
    CHECK(not_found.code == hub_errc::not_found);
    CHECK(plan->n_loader_calls == 0);
    auto getting = described(model, address("https://example.com/a.png"));
    const std::string got = co_await std::move(getting);
    CHECK(got == "you said: user: [42][42][42]?");
    CHECK(files.last_limits.max_bytes() == 1'000'000);
    auto decoding = described(model, address("data:image/png;base64,CQ=="));
    const std::string decoded = co_await std::move(decoding);
    CHECK(decoded == "you said: user: [9][9][9]?");
    const std::string large = "DATA:;base64,CQ" + std::string(400'002, 'A');
    auto unpacking = described(model, address(large));  // on a file thread
    const std::string unpacked = co_await std::move(unpacking);
    CHECK(unpacked == decoded);
    CHECK(files.n_gets == 2);
    for (const char* bad :
         {"data:image/png,rawbytes",
          "data:image/png;base64",
          "data:image/png;base64,C",
          "data:image/png;base64,CQ=",
          "data:image/png;base64,C!==",
          "data:image/png;base64,CR=="}) {
        INFO(bad);
        auto refused = outcome_of(described(model, address(bad)));
        const outcome seen = co_await std::move(refused);
        CHECK(seen.code == errc::invalid_argument);
    }
    auto enormous = outcome_of(described(model, address(large + std::string(1'000'000, 'A'))));
    const outcome too_large = co_await std::move(enormous);
    CHECK(too_large.code == errc::invalid_argument);
    auto ending = models.shutdown(5s);
    co_await std::move(ending);
}

MODELPOOL_ASYNC_TEST("vision: a deadline counts while an image is got, too", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    test_clock time;
    picture_fetcher files;
    runtime rt{ex, files, runtime_options{}.time(time)};
    vision_pool models{rt};
    auto plan = new_text_plan();
    plan->takes_images = true;
    const vision_handle model = models.add("m", fake_text_loader(plan), workers(1, 1));
    generation_params within;
    within.deadline = time.now() + 2s;
    auto getting = described(model, address("https://example.com/a.png"), within);
    co_await std::move(getting);
    CHECK(files.last_limits.timeout() == 2s);
    time.advance(3s);
    auto late = outcome_of(described(model, address("https://example.com/a.png"), within));
    const outcome missed = co_await std::move(late);
    CHECK(missed.code == pool_errc::deadline_missed);
    CHECK(files.n_gets == 1);
    auto ending = models.shutdown(5s);
    co_await std::move(ending);
}

// --- cancellation at every point -----------------------------------------------------------------

/// The worker is as good as before, and nothing is left.
awaitable<void>
check_after(text_pool* models, text_handle model, std::shared_ptr<fake_text_plan> plan)
{
    auto asking = ask(model, "say after");
    const generation_result seen = co_await std::move(asking);
    CHECK(seen.text == "after");
    auto ending = models->shutdown(5s);
    co_await std::move(ending);
    const model_stats all = stats_in(*models);
    CHECK(adds_up(all));
    CHECK(all.n_spawned == 1);
    CHECK(all.n_failed == 0);
    CHECK(plan->n_alive == 0);
    CHECK(plan->n_faults == 0);
}

awaitable<void> chat_scenario(sweep_step step)
{
    runtime rt{co_await boost::asio::this_coro::executor};
    text_pool models{rt};
    auto plan = new_text_plan();
    const text_handle model = models.add("m", fake_text_loader(plan), workers(1, 1));
    auto first = ask(model, "say first");
    co_await std::move(first);
    auto starting = step.cancellable(model.chat(chat{}.user("count 20")));
    co_await std::move(starting);
    auto checking = check_after(&models, model, plan);
    co_await std::move(checking);
}

awaitable<void> next_scenario(sweep_step step)
{
    runtime rt{co_await boost::asio::this_coro::executor};
    text_pool models{rt};
    auto plan = new_text_plan();
    const text_handle model = models.add("m", fake_text_loader(plan), workers(1, 1));
    {
        token_stream reply = co_await model.complete("count 20");
        auto drain = [](token_stream* stream) -> awaitable<void> {
            for (int i = 0; i < 30; ++i)
                if (const auto piece = co_await stream->next(); !piece) break;
        };
        auto reading = step.cancellable(drain(&reply));
        const bool whole = co_await std::move(reading);
        auto collecting = reply.collect();
        const generation_result rest = co_await std::move(collecting);
        const std::string all = fake_answer("count 20");
        if (rest.end.reason == finish_reason::stop)
            CHECK(all.substr(all.size() - rest.text.size()) == rest.text);
        else
            CHECK((rest.end.reason == finish_reason::cancelled && !whole));
    }
    auto checking = check_after(&models, model, plan);
    co_await std::move(checking);
}

awaitable<void> collect_scenario(sweep_step step)
{
    runtime rt{co_await boost::asio::this_coro::executor};
    text_pool models{rt};
    auto plan = new_text_plan();
    const text_handle model = models.add("m", fake_text_loader(plan), workers(1, 1));
    token_stream reply = co_await model.complete("count 20");
    auto reading = step.cancellable(reply.collect());
    const bool whole = co_await std::move(reading);
    if (!whole) {
        auto collecting = reply.collect();
        const generation_result rest = co_await std::move(collecting);
        const bool stopped = rest.end.reason == finish_reason::stop;
        CHECK((stopped || rest.end.reason == finish_reason::cancelled));
        CHECK(begins_with(fake_answer("count 20"), rest.text));
        CHECK((!stopped || rest.text == fake_answer("count 20")));
        CHECK(rest.end.usage.n_generated_tokens == rest.tokens.size());
    }
    auto checking = check_after(&models, model, plan);
    co_await std::move(checking);
}

awaitable<void> score_scenario(sweep_step step)
{
    runtime rt{co_await boost::asio::this_coro::executor};
    text_pool models{rt, most_sequences(2)};
    auto plan = new_text_plan();
    const text_handle model = models.add("m", fake_text_loader(plan), workers(1, 1));
    auto first = ask(model, "say first");
    co_await std::move(first);
    std::vector<std::string> continuations(20, "1 2 3");
    auto scoring = step.cancellable(model.score("count 9", continuations));
    co_await std::move(scoring);
    auto checking = check_after(&models, model, plan);
    co_await std::move(checking);
}

awaitable<void> info_scenario(sweep_step step)
{
    runtime rt{co_await boost::asio::this_coro::executor};
    text_pool models{rt};
    auto plan = new_text_plan();
    const text_handle model = models.add("m", fake_text_loader(plan), workers(1, 1));
    auto first = ask(model, "say first");
    co_await std::move(first);
    auto asking = step.cancellable(model.info());
    co_await std::move(asking);
    auto checking = check_after(&models, model, plan);
    co_await std::move(checking);
}

awaitable<void> describe_scenario(sweep_step step)
{
    picture_fetcher files;
    runtime rt{co_await boost::asio::this_coro::executor, files};
    vision_pool models{rt};
    auto plan = new_text_plan();
    plan->takes_images = true;
    const vision_handle model = models.add("m", fake_text_loader(plan), workers(1, 1));
    const std::string large = "data:;base64,CQ" + std::string(400'002, 'A');
    auto running = step.cancellable(described(model, address(large)));
    co_await std::move(running);
    auto after = described(model, address("https://example.com/a.png"));
    const std::string seen = co_await std::move(after);
    CHECK(seen == "you said: user: [42][42][42]?");
    auto ending = models.shutdown(5s);
    co_await std::move(ending);
    CHECK(adds_up(stats_in(models)));
}

TEST_CASE("generation: chat, next, collect, score and info cancelled at every point", "[pool]")
{
    sweep_cancellation(&chat_scenario);
    sweep_cancellation(&next_scenario);
    sweep_cancellation(&collect_scenario);
    sweep_cancellation(&score_scenario);
    sweep_cancellation(&info_scenario);
}

TEST_CASE("vision: a request with an image cancelled at every point, from cold", "[pool]")
{
    sweep_cancellation(&describe_scenario);
}

}  // namespace
}  // namespace modelpool

// Images out of a pool.

#include <modelpool/pool/text_to_image_handle.hpp>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "pool/steps.hpp"
#include "support/fake_image_generator.hpp"

namespace modelpool {
namespace {

using namespace std::chrono_literals;
using namespace testing;
using boost::asio::error::operation_aborted;

using image_pool = pool<text_to_image>;
using image_handle = handle<text_to_image>;

std::shared_ptr<fake_image_plan> new_image_plan()
{
    return std::make_shared<fake_image_plan>();
}

image_params wanted(std::string prompt, std::size_t n_steps)
{
    image_params made;
    made.prompt = std::move(prompt);
    made.n_steps = n_steps;
    return made;
}

awaitable<generated_image> make(image_handle model, std::string prompt)
{
    auto starting = model.imagine(std::move(prompt));
    image_stream stream = co_await std::move(starting);
    auto reading = stream.collect();
    co_return co_await std::move(reading);
}

MODELPOOL_ASYNC_TEST(
    "imagine: a step is told of after it was computed, then comes the image", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    image_pool models{rt};
    auto plan = new_image_plan();
    const image_handle model = models.add("m", fake_image_loader(plan), workers(1, 1));
    plan->step_gate.shut();
    plan->finish_gate.shut();
    image_params params = wanted("x", 3);
    params.wants_previews = true;
    params.seed = 5;
    image_stream stream = co_await model.imagine(params);
    for (std::size_t i = 1; i <= 3; ++i) {
        const started<std::optional<image_event>> waiting{ex, stream.next()};
        auto standing = until([plan] { return plan->step_gate.n_waiting() == 1; });
        co_await std::move(standing);
        CHECK_FALSE(waiting.done());
        CHECK(plan->n_steps_done == static_cast<int>(i) - 1);
        plan->step_gate.admit(1);
        auto coming = waiting.get();
        const auto event = co_await std::move(coming);
        REQUIRE(event.has_value());
        CHECK(event->step == i);
        CHECK(event->n_steps == 3);
        CHECK_FALSE(event->image.has_value());
        REQUIRE(event->preview.has_value());
        CHECK(event->preview->width == i);
        CHECK(plan->n_steps_done == static_cast<int>(i));
    }
    const started<std::optional<image_event>> waiting{ex, stream.next()};
    auto decoding = until([plan] { return plan->finish_gate.n_waiting() == 1; });
    co_await std::move(decoding);
    CHECK_FALSE(waiting.done());
    plan->finish_gate.open();
    auto coming = waiting.get();
    const auto last = co_await std::move(coming);
    REQUIRE(last.has_value());
    CHECK(last->step == 3);
    REQUIRE(last->image.has_value());
    CHECK(last->image->pixels.width == 3);
    CHECK(last->image->pixels.rgb == std::vector<std::uint8_t>(9, 'x'));
    CHECK(last->image->seed == 5);
    const auto after = co_await stream.next();
    CHECK_FALSE(after.has_value());
    auto ending = models.shutdown(5s);
    co_await std::move(ending);
    CHECK(stats_in(models).n_succeeded == 1);
    CHECK(plan->n_open == 0);
}

MODELPOOL_ASYNC_TEST("imagine: many requests get their own images", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    const auto here = std::this_thread::get_id();
    runtime rt{ex};
    image_pool models{rt};
    auto plan = new_image_plan();
    const image_handle model = models.add("m", fake_image_loader(plan), workers(1, 2));
    std::vector<started<generated_image>> calls;
    for (int i = 0; i < 10; ++i)
        calls.emplace_back(ex, make(model, std::string(1, static_cast<char>('a' + i))));
    for (std::size_t i = 0; i < calls.size(); ++i) {
        auto ending = calls[i].get();
        const generated_image seen = co_await std::move(ending);
        CHECK(seen.pixels.width == plan->n_steps);
        CHECK(seen.pixels.rgb.at(0) == 'a' + i);
    }
    const image_generator_info info = co_await model.info();
    CHECK(info.default_steps == plan->n_steps);
    CHECK_FALSE(plan->worked.threads().contains(here));
    auto ending = models.shutdown(5s);
    co_await std::move(ending);
    CHECK(stats_in(models).n_succeeded == 11);
    CHECK(plan->n_steps_done == 40);
}

MODELPOOL_ASYNC_TEST(
    "imagine: several images of one request come one after the other, with seeds of their own",
    "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    image_pool models{rt};
    auto plan = new_image_plan();
    const image_handle model = models.add("m", fake_image_loader(plan), workers(1, 1));
    image_params params = wanted("x", 2);
    params.n_images = 3;
    params.seed = 5;
    image_stream stream = co_await model.imagine(params);
    for (std::size_t i = 0; i < 9; ++i) {
        const auto event = co_await stream.next();
        REQUIRE(event.has_value());
        CHECK(event->index == i / 3);
        CHECK(event->step == std::min<std::size_t>(i % 3 + 1, 2));
        CHECK(event->image.has_value() == (i % 3 == 2));
        if (event->image) CHECK(event->image->seed == 5 + i / 3);
    }
    const auto after = co_await stream.next();
    CHECK_FALSE(after.has_value());
    // An image waits for a reader that is behind, whatever comes after it.
    params.n_images = 20;
    image_stream unread = co_await model.imagine(params);
    const generated_image other = co_await make(model, "other");
    CHECK(other.pixels.rgb.at(0) == 'o');
    for (std::size_t i = 0; i < 20; ++i) {
        const generated_image made = co_await unread.collect();
        CHECK(made.seed == 5 + i);
    }
    auto again = outcome_of(unread.collect());
    const outcome seen = co_await std::move(again);
    CHECK(seen.code == errc::closed);
    auto ending = models.shutdown(5s);
    co_await std::move(ending);
    CHECK(stats_in(models).n_succeeded == 3);
    CHECK(plan->n_finished == 24);
    CHECK(plan->n_open == 0);
}

MODELPOOL_ASYNC_TEST(
    "imagine: a request that is stopped between its images leaves nothing open", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    image_pool models{rt};
    auto plan = new_image_plan();
    const image_handle model = models.add("m", fake_image_loader(plan), workers(1, 1));
    image_params params = wanted("x", 1);
    params.n_images = 3;
    plan->step_gate.shut();
    image_stream stream = co_await model.imagine(params);
    plan->begin_gate.shut();
    plan->step_gate.open();
    const generated_image first = co_await stream.collect();
    CHECK(first.pixels.width == 1);
    auto standing = until([plan] { return plan->begin_gate.n_waiting() == 1; });
    co_await std::move(standing);
    stream.stop();
    plan->begin_gate.open();
    auto reading = outcome_of(stream.collect());
    const outcome seen = co_await std::move(reading);
    CHECK(seen.code == operation_aborted);
    CHECK(plan->n_open == 0);
    for (const std::size_t n : {std::size_t{0}, max_images_per_request + 1}) {
        params.n_images = n;
        auto refused = outcome_of(model.imagine(params));
        const outcome count = co_await std::move(refused);
        CHECK(count.code == errc::invalid_argument);
    }
    params.n_images = 2;
    params.latents.assign(16, 0.0F);
    auto refused = outcome_of(model.imagine(params));
    const outcome same = co_await std::move(refused);
    CHECK(same.code == errc::invalid_argument);
    auto ending = models.shutdown(5s);
    co_await std::move(ending);
    CHECK(stats_in(models).n_cancelled == 1);
}

MODELPOOL_ASYNC_TEST("imagine: a bad request fails alone, before there is a stream", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    image_pool models{rt};
    auto plan = new_image_plan();
    const image_handle model = models.add("m", fake_image_loader(plan), workers(1, 1));
    image_params odd = wanted("x", 2);
    odd.width = 100;
    auto sized = outcome_of(model.imagine(odd));
    const outcome size = co_await std::move(sized);
    CHECK(size.code == errc::invalid_argument);
    auto unreadable = outcome_of(model.imagine("bad prompt"));
    const outcome prompt = co_await std::move(unreadable);
    CHECK(prompt.code == text_errc::not_utf8);
    auto large = outcome_of(model.imagine("no memory to begin"));
    const outcome memory = co_await std::move(large);
    CHECK(memory.code == model_errc::out_of_memory);
    const generated_image good = co_await make(model, "good");
    CHECK(good.pixels.rgb.at(0) == 'g');
    auto ending = models.shutdown(5s);
    co_await std::move(ending);
    const model_stats all = stats_in(models);
    CHECK(all.n_failed == 3);
    CHECK(all.n_succeeded == 1);
    CHECK(all.n_spawned == 1);
    CHECK(plan->n_open == 0);
}

MODELPOOL_ASYNC_TEST(
    "imagine: a step that fails ends its image, after the steps before it", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    image_pool models{rt};
    auto plan = new_image_plan();
    const image_handle model = models.add("m", fake_image_loader(plan), workers(1, 1));
    image_stream failing = co_await model.imagine("fail at 3");
    for (std::size_t i = 1; i <= 2; ++i) {
        const auto event = co_await failing.next();
        REQUIRE(event.has_value());
        CHECK(event->step == i);
    }
    auto reading = outcome_of(failing.next());
    const outcome seen = co_await std::move(reading);
    CHECK(seen.code == model_errc::failed);
    image_stream large = co_await model.imagine("no memory at 1");
    auto collecting = outcome_of(large.collect());
    const outcome memory = co_await std::move(collecting);
    CHECK(memory.code == model_errc::out_of_memory);
    const generated_image between = co_await make(model, "good");
    CHECK(between.pixels.rgb.at(0) == 'g');
    auto undecoded = outcome_of(make(model, "fail to finish"));
    const outcome decoder = co_await std::move(undecoded);
    CHECK(decoder.code == model_errc::failed);
    CHECK(plan->n_builds == 1);
    auto ending = models.shutdown(5s);
    co_await std::move(ending);
    const model_stats all = stats_in(models);
    CHECK(all.n_failed == 3);  // although they had begun
    CHECK(all.n_succeeded == 1);
    CHECK(plan->n_open == 0);
}

MODELPOOL_ASYNC_TEST(
    "imagine: a cancelled reader leaves at once, and the image stops at the next step", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    image_pool models{rt};
    auto plan = new_image_plan();
    const image_handle model = models.add("m", fake_image_loader(plan), workers(1, 1));
    plan->step_gate.shut();
    image_stream stream = co_await model.imagine(wanted("x", 1000));
    auto standing = until([plan] { return plan->step_gate.n_waiting() == 1; });
    co_await std::move(standing);
    for (const auto type :
         {boost::asio::cancellation_type::total, boost::asio::cancellation_type::partial}) {
        const started<generated_image> waiting{ex, stream.collect()};
        auto turn = boost::asio::post(ex, boost::asio::use_awaitable);
        co_await std::move(turn);
        waiting.cancel(type);
        auto ending = waiting.end();
        const outcome seen = co_await std::move(ending);  // although the step is under way
        CHECK(seen.code == operation_aborted);
    }
    plan->step_gate.open();
    // The step that was under way ends, and nothing follows.
    const auto event = co_await stream.next();
    REQUIRE(event.has_value());
    CHECK(event->step == 1);
    auto reading = outcome_of(stream.next());
    const outcome seen = co_await std::move(reading);
    CHECK(seen.code == operation_aborted);
    CHECK(plan->n_steps_done == 1);
    CHECK(plan->n_open == 0);
    const generated_image next = co_await make(model, "next");
    CHECK(next.pixels.rgb.at(0) == 'n');
    {
        const image_stream dropped = co_await model.imagine(wanted("y", 100'000'000));
    }
    const generated_image after = co_await make(model, "after");
    CHECK(after.pixels.rgb.at(0) == 'a');
    auto ending = models.shutdown(5s);
    co_await std::move(ending);
    const model_stats all = stats_in(models);
    CHECK(all.n_cancelled == 2);
    CHECK(all.n_succeeded == 2);
    CHECK(plan->n_open == 0);
}

MODELPOOL_ASYNC_TEST(
    "imagine: a slow reader misses steps, but not the image, and holds nobody up", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    image_pool models{rt};
    auto plan = new_image_plan();
    const image_handle model = models.add("m", fake_image_loader(plan), workers(1, 1));
    image_stream unread = co_await model.imagine(wanted("x", 20));
    const generated_image other = co_await make(model, "other");  // the same worker
    CHECK(other.pixels.rgb.at(0) == 'o');
    for (std::size_t i = 0; i < detail::image_buffer_limit; ++i) {
        const auto event = co_await unread.next();
        REQUIRE(event.has_value());
        CHECK(event->step == 20 - detail::image_buffer_limit + 1 + i);
    }
    const generated_image made = co_await unread.collect();
    CHECK(made.pixels.width == 20);
    auto ending = models.shutdown(5s);
    co_await std::move(ending);
}

MODELPOOL_ASYNC_TEST("imagine: shutdown lets an image end while there is time", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    image_pool models{rt};
    auto plan = new_image_plan();
    const image_handle model = models.add("m", fake_image_loader(plan), workers(1, 1));
    plan->step_gate.shut();
    image_stream unread = co_await model.imagine("x");
    const started<void> shutting{ex, models.shutdown(30s)};
    plan->step_gate.open();
    auto ending = shutting.get();
    co_await std::move(ending);  // nobody read a thing
    const generated_image made = co_await unread.collect();
    CHECK(made.pixels.rgb.at(0) == 'x');
    CHECK(plan->n_alive == 0);
}

MODELPOOL_ASYNC_TEST(
    "imagine: shutdown out of time fails the stream, after the steps before it", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    image_stream stream;
    auto plan = new_image_plan();
    {
        runtime rt{ex};
        image_pool models{rt};
        const image_handle model = models.add("m", fake_image_loader(plan), workers(1, 1));
        plan->step_gate.shut();
        stream = co_await model.imagine(wanted("x", 9));
        plan->step_gate.admit(2);
        auto stepped =
            until([plan] { return plan->n_steps_done == 2 && plan->step_gate.n_waiting() == 1; });
        co_await std::move(stepped);
        plan->begin_gate.shut();
        const started<image_stream> queued{ex, model.imagine("y")};
        auto shutting = models.shutdown(10ms);
        co_await std::move(shutting);
        auto refused = queued.end();
        const outcome unbegun = co_await std::move(refused);
        CHECK(unbegun.code == pool_errc::shut_down);
        CHECK(adds_up(stats_in(models)));
    }
    CHECK(plan->n_alive == 0);
    CHECK(plan->n_open == 0);
    for (std::size_t i = 1; i <= 2; ++i) {
        const auto event = co_await stream.next();
        REQUIRE(event.has_value());
        CHECK(event->step == i);
    }
    auto reading = outcome_of(stream.next());
    const outcome seen = co_await std::move(reading);
    CHECK(seen.code == pool_errc::shut_down);
}

MODELPOOL_ASYNC_TEST("imagine: shutdown while a request begins answers it", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    image_pool models{rt};
    auto plan = new_image_plan();
    const image_handle model = models.add("m", fake_image_loader(plan), workers(1, 1));
    plan->begin_gate.shut();
    const started<image_stream> beginning{ex, model.imagine("x")};
    auto standing = until([plan] { return plan->begin_gate.n_waiting() == 1; });
    co_await std::move(standing);
    auto shutting = models.shutdown(10ms);
    co_await std::move(shutting);
    auto ending = beginning.end();
    const outcome seen = co_await std::move(ending);
    CHECK(seen.code == pool_errc::shut_down);
    CHECK(plan->n_open == 0);
    CHECK(adds_up(stats_in(models)));
}

MODELPOOL_ASYNC_TEST("imagine: the image to start from is got before the request queues", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};  // without a fetcher
    image_pool models{rt};
    auto plan = new_image_plan();
    const image_handle model = models.add("m", fake_image_loader(plan), workers(1, 1));
    image_params params = wanted("x", 1);
    image_url where;
    where.url = "https://example.com/a.png";
    params.init_image = where;
    auto unfetched = outcome_of(model.imagine(params));
    const outcome refused = co_await std::move(unfetched);
    CHECK(refused.code == hub_errc::no_fetcher);
    CHECK(plan->n_loader_calls == 0);
    where.url = "data:image/png;base64,CQ==";
    params.init_image = where;
    image_stream stream = co_await model.imagine(params);
    const generated_image made = co_await stream.collect();
    CHECK(made.pixels.rgb.at(0) == 9);
    auto ending = models.shutdown(5s);
    co_await std::move(ending);
}

awaitable<void> imagine_scenario(sweep_step step)
{
    runtime rt{co_await boost::asio::this_coro::executor};
    image_pool models{rt};
    auto plan = new_image_plan();
    const image_handle model = models.add("m", fake_image_loader(plan), workers(1, 1));
    auto first = make(model, "first");
    co_await std::move(first);
    auto running = step.cancellable(model.imagine("swept"));
    co_await std::move(running);
    auto after = make(model, "after");
    const generated_image seen = co_await std::move(after);
    CHECK(seen.pixels.rgb.at(0) == 'a');
    auto ending = models.shutdown(5s);
    co_await std::move(ending);
    CHECK(adds_up(stats_in(models)));
    CHECK(stats_in(models).n_failed == 0);
    CHECK(plan->n_open == 0);
    CHECK(plan->n_alive == 0);
}

awaitable<void> read_scenario(sweep_step step)
{
    runtime rt{co_await boost::asio::this_coro::executor};
    image_pool models{rt};
    auto plan = new_image_plan();
    const image_handle model = models.add("m", fake_image_loader(plan), workers(1, 1));
    {
        image_stream stream = co_await model.imagine("swept");
        auto reading = step.cancellable(stream.collect());
        const bool made = co_await std::move(reading);
        auto again = outcome_of(stream.collect());
        const outcome seen = co_await std::move(again);
        const bool stopped = seen.ok() || seen.code == operation_aborted;
        CHECK((made ? seen.code == errc::closed : stopped));
    }
    auto after = make(model, "after");
    const generated_image seen = co_await std::move(after);
    CHECK(seen.pixels.rgb.at(0) == 'a');
    auto ending = models.shutdown(5s);
    co_await std::move(ending);
    CHECK(adds_up(stats_in(models)));
    CHECK(stats_in(models).n_failed == 0);
    CHECK(plan->n_open == 0);
}

/// The first wait for a step is swept; the image comes all the same where it ended otherwise.
awaitable<void> next_scenario(sweep_step step)
{
    runtime rt{co_await boost::asio::this_coro::executor};
    image_pool models{rt};
    auto plan = new_image_plan();
    const image_handle model = models.add("m", fake_image_loader(plan), workers(1, 1));
    {
        image_stream stream = co_await model.imagine("swept");
        auto waiting = step.cancellable(stream.next());
        const bool came = co_await std::move(waiting);
        auto rest = outcome_of(stream.collect());
        const outcome seen = co_await std::move(rest);
        CHECK((seen.ok() || (!came && seen.code == operation_aborted)));
    }
    auto after = make(model, "after");
    const generated_image seen = co_await std::move(after);
    CHECK(seen.pixels.rgb.at(0) == 'a');
    co_await shut(models);
    CHECK(adds_up(stats_in(models)));
    CHECK(plan->n_open == 0);
}

awaitable<void> info_scenario(sweep_step step)
{
    runtime rt{co_await boost::asio::this_coro::executor};
    image_pool models{rt};
    auto plan = new_image_plan();
    const image_handle model = models.add("m", fake_image_loader(plan), workers(1, 1));
    auto asking = step.cancellable(model.info());
    co_await std::move(asking);
    auto after = make(model, "after");
    const generated_image seen = co_await std::move(after);
    CHECK(seen.pixels.rgb.at(0) == 'a');
    auto ending = models.shutdown(5s);
    co_await std::move(ending);
    CHECK(adds_up(stats_in(models)));
    CHECK(plan->n_alive == 0);
}

TEST_CASE("imagine: imagine and its stream cancelled at every point", "[pool]")
{
    sweep_cancellation(&imagine_scenario);
    sweep_cancellation(&next_scenario);
    sweep_cancellation(&read_scenario);
    sweep_cancellation(&info_scenario);
}

}  // namespace
}  // namespace modelpool

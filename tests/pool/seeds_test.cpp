// What a caller may rely on whatever a model does: failures arrive, and the event loop goes on.

#include <modelpool/hub/fetcher.hpp>
#include <modelpool/pool/pool.hpp>

#include <boost/asio/post.hpp>

#include <catch2/catch.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "pool/steps.hpp"

namespace modelpool {
namespace {

using namespace std::chrono_literals;
using namespace testing;

/// The first load fails once it is told to; the second stands behind a door and hears nothing.
struct failing_pair {
    std::shared_ptr<fake_plan> plan = new_plan();
    std::atomic<bool> broken{false};
    std::atomic<int> n_calls{0};
    door first;
    door second;
};

awaitable<std::unique_ptr<embedder>> load_pair(std::shared_ptr<failing_pair> pair, load_context at)
{
    if (!pair->broken) {
        auto loading = load_fake(pair->plan, std::move(at));
        co_return co_await std::move(loading);
    }
    const bool is_first = pair->n_calls++ == 0;
    auto build = [pair, is_first] {
        (is_first ? pair->first : pair->second).blocking_pass(stop_flag{});
        throw error{
            model_errc::bad_file, is_first ? "the first file is bad" : "the second file is bad"};
        return std::unique_ptr<embedder>{};
    };
    auto built = at.offload(std::move(build));
    co_return co_await std::move(built);
}

MODELPOOL_ASYNC_TEST(
    "a failing loader reaches the caller and every waiter with its own message, at once", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    test_clock time;
    runtime rt{ex, runtime_options{}.time(time)};
    embed_pool models{rt};
    auto pair = std::make_shared<failing_pair>();
    pair->plan->shares = false;
    const auto load = [pair](load_context at) { return load_pair(pair, std::move(at)); };
    const embed_handle model = models.add("m", load);
    // Once the pool knows that the model cannot share, a cold start runs both loaders side by side.
    auto warm = model.embed("x");
    co_await std::move(warm);
    auto both = until([&] {
        const model_stats seen = stats_of(models, "m");
        return seen.n_workers(worker_state::ready) + seen.n_workers(worker_state::idle) == 2;
    });
    co_await std::move(both);
    time.advance(10min);
    auto gone = until([&] {
        time.advance(0s);  // one that was just looking for work sets its alarm a moment later
        return stats_of(models, "m").workers.empty();
    });
    co_await std::move(gone);

    pair->broken = true;
    pair->first.shut();
    pair->second.shut();
    std::vector<started<embeddings>> calls;
    for (int i = 0; i < 5; ++i)
        calls.emplace_back(ex, model.embed("x"));
    const started<embedder_info> question{ex, model.info()};
    auto loading =
        until([pair] { return pair->first.n_waiting() == 1 && pair->second.n_waiting() == 1; });
    co_await std::move(loading);
    calls.emplace_back(ex, model.embed("a late one"));
    pair->first.open();
    std::vector<outcome> ends;
    for (const auto& one : calls) {
        auto ending = one.end();
        ends.push_back(co_await std::move(ending));
    }
    auto answer = question.end();
    ends.push_back(co_await std::move(answer));
    CHECK(pair->second.n_waiting() == 1);  // nobody waited for the other load
    for (const outcome& seen : ends) {
        CHECK(seen.code == model_errc::bad_file);
        CHECK(seen.text == "model 'm': the first file is bad");
    }
    pair->second.open();
    co_await shut(models);
    CHECK(adds_up(stats_of(models, "m")));
}

/// A fetcher whose network is down for so many fetches.
class flaky_fetcher final : public fetcher {
public:
    explicit flaky_fetcher(int n_failures)
        : n_failures_{n_failures}
    {}

    using fetcher::fetch;
    awaitable<snapshot> fetch(repository, file_selection, on_fetch_progress) override
    {
        const executor ex = co_await boost::asio::this_coro::executor;
        co_await boost::asio::post(ex, boost::asio::use_awaitable);
        if (n_failures_-- > 0)
            throw error{hub_errc::unavailable, "files.example closed the connection"};
        co_return snapshot{};
    }
    awaitable<std::vector<std::byte>> get(std::string, url_limits) override
    {
        throw error{errc::unsupported};
        co_return std::vector<std::byte>{};
    }

private:
    std::atomic<int> n_failures_;
};

awaitable<std::unique_ptr<embedder>>
fetch_and_load(std::shared_ptr<fake_plan> plan, load_context at)
{
    auto fetching = at.hub().fetch(at.source().repo);
    co_await std::move(fetching);
    auto loading = load_fake(plan, std::move(at));
    co_return co_await std::move(loading);
}

MODELPOOL_ASYNC_TEST(
    "a network failure during a load is the loader's error and the next request may try again",
    "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    flaky_fetcher files{2};
    runtime rt{ex, files};
    embed_pool models{rt};
    auto plan = new_plan();
    const auto load = [plan](load_context at) { return fetch_and_load(plan, std::move(at)); };
    const auto options =
        workers(1, 1).source(model_source{repository{"org/name"}, file_selection{}});
    const embed_handle model = models.add("m", load, options);
    for (int i = 0; i < 2; ++i) {
        auto call = outcome_of(model.embed("x"));
        const outcome seen = co_await std::move(call);
        CHECK(seen.code == hub_errc::unavailable);
        CHECK(seen.code == condition::retryable);
        CHECK(seen.text == "model 'm': files.example closed the connection");
    }
    CHECK(plan->n_loader_calls == 0);
    auto again = model.embed("x");
    co_await std::move(again);
    CHECK(plan->n_loader_calls == 1);
    CHECK(stats_of(models, "m").n_load_failures == 2);
    co_await shut(models);
}

/// An embedder that may be held up in each part of its life, and listens to nobody.
struct held_plan {
    door load_door;
    door run_door;
    door end_door;
};

class held_embedder final : public embedder, public counted {
public:
    explicit held_embedder(std::shared_ptr<held_plan> plan)
        : plan_{std::move(plan)}
    {
        plan_->load_door.blocking_pass(stop_flag{});
        info_.dim = 1;
        info_.dimensions = {1};
        info_.max_tokens = 10;
    }
    ~held_embedder() override { plan_->end_door.blocking_pass(stop_flag{}); }

    const embedder_info& info() const noexcept override { return info_; }
    prepared_text prepare(const embed_input& input) const override
    {
        prepared_text made;
        made.tokens.push_back(1);
        made.dimension = input.dimension;
        return made;
    }
    std::vector<item_result<std::vector<float>>>
    run(std::span<const prepared_text> batch, run_context&) override
    {
        plan_->run_door.blocking_pass(stop_flag{});
        std::vector<item_result<std::vector<float>>> rows;
        for (std::size_t i = 0; i < batch.size(); ++i)
            rows.emplace_back(std::vector<float>{1.0F});
        return rows;
    }

private:
    std::shared_ptr<held_plan> plan_;
    embedder_info info_;
};

awaitable<std::unique_ptr<embedder>> load_held(std::shared_ptr<held_plan> plan, load_context at)
{
    auto build = [plan] {
        return std::unique_ptr<embedder>{std::make_unique<held_embedder>(plan)};
    };
    auto built = at.offload(std::move(build));
    co_return co_await std::move(built);
}

/// Goes round and round on the loop, counting.
struct heartbeat {
    std::size_t n_beats{0};
    bool stop{false};
};

awaitable<void> beat(std::shared_ptr<heartbeat> heart)
{
    const executor ex = co_await boost::asio::this_coro::executor;
    while (!heart->stop) {
        ++heart->n_beats;
        co_await boost::asio::post(ex, boost::asio::use_awaitable);
    }
}

/// Lets a thread come to a door and the loop go on; then lets the thread pass.
awaitable<void> beat_before(std::shared_ptr<heartbeat> heart, door& held)
{
    auto there = until([&held] { return held.n_waiting() == 1; });
    co_await std::move(there);
    const std::size_t n_more = heart->n_beats + 1000;
    auto beating = until([heart, n_more] { return heart->n_beats >= n_more; });
    co_await std::move(beating);
    CHECK(held.n_waiting() == 1);
    held.open();
}

MODELPOOL_ASYNC_TEST(
    "the event loop is never blocked by a load, a run, an eviction or a shutdown", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex, runtime_options{}.memory_limit_bytes(100).n_cores(1)};
    embed_pool models{rt};
    auto plan = std::make_shared<held_plan>();
    for (door* one : {&plan->load_door, &plan->run_door, &plan->end_door})
        one->shut();
    auto options = workers(1, 1);
    options.worker(worker_options{}.memory({80, 0, 0}));
    const auto load = [plan](load_context at) { return load_held(plan, std::move(at)); };
    const embed_handle model = models.add("m", load, options);
    auto heart = std::make_shared<heartbeat>();
    const started<void> beating{ex, beat(heart)};

    const started<embeddings> call{ex, model.embed("x")};
    co_await beat_before(heart, plan->load_door);
    co_await beat_before(heart, plan->run_door);
    auto served = call.get();
    co_await std::move(served);

    auto resting = until([&] { return stats_of(models, "m").n_workers(worker_state::idle) == 1; });
    co_await std::move(resting);
    auto other = new_plan();
    other->obeys_stop = false;
    other->run_door.shut();
    const started<void> newcomer{
        ex, models.spawn_worker("other", fake_loader(other), worker_options{}.memory({80, 0, 0}))};
    co_await beat_before(heart, plan->end_door);
    auto spawned = newcomer.get();
    co_await std::move(spawned);
    CHECK(stats_of(models, "m").n_evicted == 1);

    const started<embeddings> running{ex, models.find("other").embed("x")};
    auto busy = until([other] { return other->run_door.n_waiting() == 1; });
    co_await std::move(busy);
    const started<void> ending{ex, models.shutdown(0s)};
    co_await beat_before(heart, other->run_door);
    auto ended = ending.get();
    co_await std::move(ended);
    heart->stop = true;
    auto beaten = beating.get();
    co_await std::move(beaten);
    auto run_end = running.end();
    co_await std::move(run_end);
    CHECK(rt.memory().reserved_bytes() == 0);
}

}  // namespace
}  // namespace modelpool

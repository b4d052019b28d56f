// Who may go before whom, and what dies where.

#include <modelpool/pool/pool.hpp>
#include <modelpool/runtime.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>

#include <catch2/catch.hpp>

#include <chrono>
#include <cstdint>
#include <exception>
#include <limits>
#include <memory>
#include <utility>

#include "pool/fixture.hpp"
#include "pool/steps.hpp"

namespace modelpool {
namespace {

using namespace std::chrono_literals;
using namespace testing;

TEST_CASE("pool: suspended operations may be destroyed after the pool and its runtime", "[pool]")
{
    auto io = std::make_unique<boost::asio::io_context>();
    auto plan = new_plan();
    plan->build_door.shut();
    {
        runtime rt{io->get_executor()};
        embed_pool models{rt};
        const auto ignore = [](auto&&...) {};
        boost::asio::co_spawn(*io, models.spawn_worker("m", fake_loader(plan)), ignore);
        while (plan->build_door.n_waiting() == 0)
            io->run_for(1ms);
        boost::asio::co_spawn(*io, models.find("m").embed("x"), ignore);
        boost::asio::co_spawn(*io, models.remove("m", 1h), ignore);
        boost::asio::co_spawn(*io, models.shutdown(1h), ignore);
        io->run_for(1ms);
    }
    io.reset();
    CHECK(plan->n_alive == 0);
}

/// Looks at a pool when it is destroyed, as a user's own objects may.
struct farewell {
    explicit farewell(const embed_pool& of)
        : models{of}
    {}
    farewell(const farewell&) = delete;
    farewell& operator=(const farewell&) = delete;
    ~farewell() { n_seen = models.stats().size(); }

    const embed_pool& models;
    std::size_t n_seen{0};
};

MODELPOOL_ASYNC_TEST(
    "pool: what a caller gave with its request is destroyed under no lock of the library", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex};
    embed_pool models{rt};
    auto plan = new_plan();
    const embed_handle model = models.add("m", fake_loader(plan), workers(1, 1));
    for (const char* text : {"x", "bad text", "bad batch"}) {
        auto guest = std::make_shared<farewell>(models);
        const std::weak_ptr<farewell> alive = guest;
        auto options =
            request_options{}.on_progress([guest = std::move(guest)](const load_progress&) {});
        auto call = outcome_of(model.embed(text, {}, std::move(options)));
        co_await std::move(call);
        auto gone = until([alive] { return alive.expired(); });
        co_await std::move(gone);
    }
    CHECK(stats_of(models, "m").n_requests == 3);
    co_await shut(models);
}

awaitable<std::unique_ptr<embedder>> load_nothing(load_context)
{
    throw error{model_errc::bad_file, "the wrong folder"};
    co_return nullptr;
}

MODELPOOL_ASYNC_TEST("pool: a loader that failed is not kept for later workers", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    test_clock time;
    runtime rt{ex, runtime_options{}.time(time)};
    embed_pool models{rt};
    auto wrong = outcome_of(models.spawn_worker("m", load_nothing));
    const outcome failed = co_await std::move(wrong);
    CHECK(failed.code == model_errc::bad_file);
    auto plan = new_plan();
    auto right = models.spawn_worker("m", fake_loader(plan));
    co_await std::move(right);
    co_await until_resting(models, "m", 1);
    time.advance(60s);
    co_await until_gone(models, "m", &time);
    co_await serve(models.find("m"), "x");
    CHECK(plan->n_builds == 2);
    co_await shut(models);
}

MODELPOOL_ASYNC_TEST("pool: a reservation of another budget is refused", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex, runtime_options{}.memory_limit_bytes(1000)};
    runtime other{ex, runtime_options{}.memory_limit_bytes(1000)};
    embed_pool models{rt};
    auto plan = new_plan();
    auto foreign = worker_options{}.reserved(other.memory().reserve(100, "a guest"));
    auto spawning = outcome_of(models.spawn_worker("m", fake_loader(plan), std::move(foreign)));
    const outcome seen = co_await std::move(spawning);
    CHECK(seen.code == errc::invalid_argument);
    CHECK(plan->n_builds == 0);
    CHECK(other.memory().reserved_bytes() == 0);
    co_await shut(models);
}

MODELPOOL_ASYNC_TEST("pool: an estimate without end is refused, and does not wrap around", "[pool]")
{
    const executor ex = co_await boost::asio::this_coro::executor;
    runtime rt{ex, runtime_options{}.memory_limit_bytes(1000)};
    embed_pool models{rt};
    auto plan = new_plan();
    constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
    auto spawning = outcome_of(models.spawn_worker("m", fake_loader(plan), needing(most - 10, 20)));
    const outcome seen = co_await std::move(spawning);
    CHECK(seen.code == pool_errc::memory_exhausted);
    CHECK(plan->n_builds == 0);
    co_await shut(models);
}

}  // namespace
}  // namespace modelpool

#include <modelpool/pool/health.hpp>

#include <catch2/catch.hpp>

#include <initializer_list>
#include <string>
#include <vector>

namespace modelpool {
namespace {

model_stats with_workers(std::initializer_list<worker_state> states)
{
    model_stats made;
    for (const worker_state state : states) {
        worker_stats one;
        one.state = state;
        made.workers.push_back(one);
    }
    return made;
}

TEST_CASE("health: a model is healthy before its first load, while it loads and when it rests")
{
    CHECK(health_of(model_stats{}) == health::healthy);
    CHECK(health_of(with_workers({worker_state::loading})) == health::healthy);
    CHECK(health_of(with_workers({worker_state::idle, worker_state::dead})) == health::healthy);
    CHECK(health_of(std::vector<model_stats>{}) == health::healthy);
}

TEST_CASE("health: requests that wait while every worker is busy are a model that is behind")
{
    model_stats busy = with_workers({worker_state::processing, worker_state::processing});
    CHECK(health_of(busy) == health::healthy);
    busy.n_waiting = 1;
    CHECK(health_of(busy) == health::degraded);
    busy.workers.push_back({});
    busy.workers.back().state = worker_state::ready;
    CHECK(health_of(busy) == health::healthy);
    // One that failed helps nobody.
    busy.workers.back().state = worker_state::failed;
    CHECK(health_of(busy) == health::degraded);
}

TEST_CASE("health: stuck workers degrade a model, and end its service when all are")
{
    model_stats stuck = with_workers({worker_state::processing, worker_state::idle});
    stuck.workers[0].stalled = true;
    CHECK(health_of(stuck) == health::degraded);
    stuck.workers[1].stalled = true;
    CHECK(health_of(stuck) == health::unhealthy);
}

TEST_CASE("health: the breaker decides, and the worst model is the pool's health")
{
    model_stats tried = with_workers({worker_state::idle});
    tried.breaker = breaker_state::half_open;
    CHECK(health_of(tried) == health::degraded);
    model_stats refused = tried;
    refused.breaker = breaker_state::open;
    CHECK(health_of(refused) == health::unhealthy);
    CHECK(health_of(std::vector{model_stats{}, tried}) == health::degraded);
    CHECK(health_of(std::vector{refused, tried, model_stats{}}) == health::unhealthy);
    CHECK(to_string(health::degraded) == std::string{"degraded"});
}

}  // namespace
}  // namespace modelpool

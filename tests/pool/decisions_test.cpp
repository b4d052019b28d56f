// The parts of a pool that decide without threads.

#include <modelpool/pool/detail/request_queue.hpp>
#include <modelpool/pool/detail/scaling_policy.hpp>
#include <modelpool/pool/worker_state.hpp>

#include <catch2/catch.hpp>

#include <array>
#include <chrono>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace modelpool {
namespace {

using namespace std::chrono_literals;

TEST_CASE("worker_state: only the transitions of a worker's life are allowed", "[pool]")
{
    using enum worker_state;
    const std::set<std::pair<worker_state, worker_state>> allowed{
        {spawning, loading},
        {spawning, evicting},
        {spawning, failed},
        {loading, ready},
        {loading, evicting},
        {loading, failed},
        {ready, processing},
        {ready, idle},
        {ready, evicting},
        {ready, failed},
        {processing, idle},
        {processing, evicting},
        {processing, failed},
        {idle, processing},
        {idle, evicting},
        {idle, failed},
        {evicting, dead},
        {failed, dead}};
    for (std::size_t from = 0; from < n_worker_states; ++from)
        for (std::size_t to = 0; to < n_worker_states; ++to) {
            const std::pair step{static_cast<worker_state>(from), static_cast<worker_state>(to)};
            INFO(to_string(step.first) << " to " << to_string(step.second));
            CHECK(may_follow(step.first, step.second) == allowed.contains(step));
        }
}

TEST_CASE("worker_state: what a worker counts as on its way", "[pool]")
{
    worker_life life;
    CHECK(life.coming());
    CHECK(life.alive());
    CHECK_FALSE(life.serving());
    life.enter(worker_state::loading);
    CHECK(life.coming());
    life.enter(worker_state::ready);
    CHECK(life.serving());
    CHECK(life.resting());
    life.enter(worker_state::processing);
    CHECK(life.serving());
    CHECK_FALSE(life.resting());
    life.enter(worker_state::idle);
    CHECK(life.resting());
    life.enter(worker_state::evicting);
    CHECK_FALSE(life.alive());
    CHECK_FALSE(life.serving());
    life.enter(worker_state::dead);
    CHECK(to_string(life.now()) == "dead");
}

struct fake_job {
    std::string name;
};
using fake_queue = detail::request_queue<fake_job>;

std::shared_ptr<fake_job> named(std::string name)
{
    return std::make_shared<fake_job>(fake_job{std::move(name)});
}

const clock::time_point start{1h};

std::string drain(fake_queue& queue, clock::time_point now)
{
    std::string order;
    while (!queue.empty()) {
        CHECK(queue.front(now) != nullptr);
        order += queue.pop(now)->name;
    }
    CHECK(queue.front(now) == nullptr);
    return order;
}

TEST_CASE("request_queue: first come first served within a priority", "[pool]")
{
    fake_queue queue{10};
    queue.push(named("a"), priority::normal, start);
    queue.push(named("l"), priority::low, start);
    queue.push(named("b"), priority::normal, start);
    queue.push(named("h"), priority::high, start);
    CHECK(queue.size() == 4);
    CHECK(drain(queue, start) == "habl");
}

TEST_CASE(
    "request_queue: who waits long enough outranks a newer one of the next priority", "[pool]")
{
    fake_queue queue{10};
    queue.push(named("l"), priority::low, start);
    queue.push(named("n"), priority::normal, start + fake_queue::ageing - 1ms);
    CHECK(queue.front(start + fake_queue::ageing)->name == "n");
    queue.push(named("m"), priority::normal, start + fake_queue::ageing + 2ms);
    const auto later = start + 2 * fake_queue::ageing;
    CHECK(drain(queue, later) == "nlm");
    queue.push(named("L"), priority::low, start);
    queue.push(named("H"), priority::high, start + 3 * fake_queue::ageing);
    CHECK(drain(queue, start + 3 * fake_queue::ageing) == "LH");
}

TEST_CASE("request_queue: is bounded, and those outside get places as they become free", "[pool]")
{
    fake_queue queue{2};
    queue.push(named("a"), priority::normal, start);
    CHECK_FALSE(queue.full());
    queue.push(named("b"), priority::normal, start);
    CHECK(queue.full());
    CHECK(queue.limit() == 2);
    queue.push_outside(named("c"), priority::high, start);
    queue.push_outside(named("d"), priority::normal, start);
    CHECK(queue.size() == 2);
    CHECK(queue.n_outside() == 2);
    CHECK(queue.pop(start)->name == "a");
    CHECK(queue.n_outside() == 1);
    CHECK(queue.pop(start)->name == "c");  // in by its turn, then first by its priority
    CHECK(drain(queue, start) == "bd");
    fake_queue least{0};
    CHECK(least.limit() == 1);
}

TEST_CASE("request_queue: a job is forgotten wherever it waits", "[pool]")
{
    fake_queue queue{2};
    const auto a = named("a");
    const auto b = named("b");
    const auto c = named("c");
    const auto d = named("d");
    queue.push(a, priority::normal, start);
    queue.push(b, priority::low, start);
    queue.push_outside(c, priority::normal, start);
    queue.push_outside(d, priority::normal, start);
    CHECK(queue.erase(*c));
    CHECK_FALSE(queue.erase(*c));
    CHECK(queue.n_outside() == 1);
    CHECK(queue.erase(*a));
    CHECK(queue.n_outside() == 0);  // d got the place
    std::string seen;
    queue.for_each([&](const std::shared_ptr<fake_job>& one) { seen += one->name; });
    CHECK(seen == "bd");
    CHECK(drain(queue, start) == "db");
}

TEST_CASE("request_queue: a large request lets others of its priority in", "[pool]")
{
    fake_queue queue{10};
    queue.push(named("big"), priority::normal, start);
    queue.push(named("a"), priority::normal, start);
    queue.rotate(start + 1s);
    CHECK(queue.front(start + 1s)->name == "a");
    CHECK(queue.size() == 2);
    CHECK(drain(queue, start + 1s) == "abig");
}

TEST_CASE("request_queue: some are taken out of their turn, within what is looked at", "[pool]")
{
    fake_queue queue{6};
    for (const char* name : {"A", "b", "C", "d", "e"})
        queue.push(named(name), priority::normal, start);
    queue.push(named("f"), priority::high, start);
    queue.push_outside(named("g"), priority::low, start);
    std::string taken;
    queue.take_if(4, [&](const std::shared_ptr<fake_job>& one) {
        const bool small = one->name[0] >= 'a';
        if (small) taken += one->name;
        return small;
    });
    CHECK(taken == "fbd");
    CHECK(queue.size() == 4);
    CHECK(queue.n_outside() == 0);
    CHECK(drain(queue, start) == "ACeg");
}

TEST_CASE("scaling_policy: how many workers to start", "[pool]")
{
    struct row {
        std::size_t n_coming, n_resting, n_taken, n_waiting, n_started;
    };
    const detail::scaling_policy policy{scaling_options{}};
    const std::vector<row> rows{
        {0, 0, 0, 0, 0},  // nobody wants it
        {0, 0, 0, 1, 2},  // cold
        {0, 0, 0, 9, 2},
        {1, 0, 0, 9, 0},  // a load is under way
        {2, 0, 0, 9, 0},
        {0, 1, 0, 1, 0},  // one is free
        {0, 0, 1, 1, 1},  // all are busy
        {0, 0, 3, 5, 1},
        {0, 1, 2, 5, 0},
        {1, 0, 2, 5, 0},
        {0, 0, 4, 9, 0},  // as many as allowed
        {4, 0, 0, 9, 0},
        {0, 0, 2, 0, 0}};
    for (const row& one : rows) {
        detail::group_view view;
        view.n_coming = one.n_coming;
        view.n_resting = one.n_resting;
        view.n_taken = one.n_taken;
        view.n_waiting = one.n_waiting;
        INFO(one.n_coming << " " << one.n_resting << " " << one.n_taken << " " << one.n_waiting);
        CHECK(policy.n_to_start(view) == one.n_started);
    }
}

TEST_CASE("scaling_policy: odd options come to at least one worker", "[pool]")
{
    detail::group_view cold;
    cold.n_waiting = 1;
    const auto started = [&](std::size_t n_cold, std::size_t n_most) {
        return detail::scaling_policy{
            scaling_options{}.cold_start_workers(n_cold).max_workers(n_most)}
            .n_to_start(cold);
    };
    CHECK(started(0, 4) == 1);
    CHECK(started(2, 0) == 1);
    CHECK(started(9, 3) == 3);
    CHECK(started(1, 4) == 1);
}

}  // namespace
}  // namespace modelpool

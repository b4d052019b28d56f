#include <modelpool/runtime/clock.hpp>
#include <modelpool/runtime/core_governor.hpp>
#include <modelpool/runtime/detail/eviction.hpp>

#include <catch2/catch.hpp>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "support/test_clock.hpp"

namespace modelpool {
namespace {

using namespace std::chrono_literals;

TEST_CASE("core_governor: a worker alone gets what it wants, up to the cores", "[runtime]")
{
    core_governor cores{8};
    std::atomic<std::uint64_t> n_steps{0};
    {
        const core_governor::lease one{cores, 3, n_steps};
        CHECK(one.n_threads() == 3);
        CHECK(cores.n_busy_threads() == 3);
    }
    CHECK(cores.n_busy_threads() == 0);
    const core_governor::lease all{cores, 100, n_steps};
    CHECK(all.n_threads() == 8);
    core_governor none{0};
    CHECK(none.n_cores() == 1);
    const core_governor::lease least{none, -5, n_steps};
    CHECK(least.n_threads() == 1);
}

TEST_CASE("core_governor: steps are counted where the watcher looks", "[runtime]")
{
    core_governor cores{2};
    std::atomic<std::uint64_t> n_steps{0};
    core_governor::lease one{cores, 2, n_steps};
    one.step_done();
    one.step_done();
    CHECK(n_steps == 2);
}

TEST_CASE(
    "core_governor: a newcomer takes threads at the other's next step, and gives them back",
    "[runtime]")
{
    core_governor cores{4};
    std::atomic<std::uint64_t> n_steps{0};
    core_governor::lease old{cores, 4, n_steps};
    CHECK(old.n_threads() == 4);
    std::atomic<bool> inside{false};
    std::atomic<bool> leave{false};
    std::atomic<int> largest{0};
    std::thread newcomer{[&] {
        std::atomic<std::uint64_t> mine{0};
        core_governor::lease fresh{cores, 4, mine};
        inside = true;
        while (!leave) {
            fresh.step_done();
            largest = std::max(largest.load(), fresh.n_threads());
            std::this_thread::yield();
        }
    }};
    while (!inside) {
        old.step_done();
        std::this_thread::yield();
    }
    while (largest < 2)
        old.step_done();
    CHECK(old.n_threads() == 2);
    CHECK(cores.n_busy_threads() == 4);
    leave = true;
    newcomer.join();
    old.step_done();
    CHECK(old.n_threads() == 4);
    CHECK(largest == 2);
}

TEST_CASE("core_governor: busy workers never use more threads than there are cores", "[runtime]")
{
    constexpr int n_cores = 3;
    core_governor cores{n_cores};
    std::atomic<bool> too_many{false};
    std::vector<std::thread> workers;
    for (int w = 0; w < n_cores; ++w)
        workers.emplace_back([&] {
            for (int round = 0; round < 30; ++round) {
                std::atomic<std::uint64_t> n_steps{0};
                core_governor::lease mine{cores, n_cores, n_steps};
                for (int step = 0; step < 20; ++step) {
                    if (cores.n_busy_threads() > n_cores) too_many = true;
                    mine.step_done();
                }
            }
        });
    for (std::thread& one : workers)
        one.join();
    CHECK_FALSE(too_many);
    CHECK(cores.n_busy_threads() == 0);
}

TEST_CASE("core_governor: more workers than cores get one thread each", "[runtime]")
{
    core_governor cores{2};
    std::atomic<std::uint64_t> n_steps{0};
    std::vector<std::unique_ptr<core_governor::lease>> all;
    all.push_back(std::make_unique<core_governor::lease>(cores, 1, n_steps));
    all.push_back(std::make_unique<core_governor::lease>(cores, 1, n_steps));
    all.push_back(std::make_unique<core_governor::lease>(cores, 2, n_steps));
    all.push_back(std::make_unique<core_governor::lease>(cores, 2, n_steps));
    for (const auto& one : all)
        CHECK(one->n_threads() == 1);
}

TEST_CASE("core_governor: who reports no step holds a newcomer up for `patience` only", "[runtime]")
{
    core_governor cores{2};
    std::atomic<std::uint64_t> n_steps{0};
    const core_governor::lease silent{cores, 2, n_steps};
    const core_governor::lease newcomer{cores, 2, n_steps};  // would block for ever otherwise
    CHECK(newcomer.n_threads() == 1);
    CHECK(silent.n_threads() == 2);
}

/// What a thread of the clock's did.
class bell {
public:
    std::function<void()> ring()
    {
        return [this] {
            {
                const std::lock_guard lock{mutex_};
                ++n_rings_;
            }
            changed_.notify_all();
        };
    }
    void wait_for(int n)
    {
        std::unique_lock lock{mutex_};
        changed_.wait(lock, [&] { return n_rings_ >= n; });
    }
    int n_rings()
    {
        const std::lock_guard lock{mutex_};
        return n_rings_;
    }

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    int n_rings_{0};
};

TEST_CASE("steady_clock: alarms ring, past ones at once", "[runtime]")
{
    bell heard;
    steady_clock time;
    const clock::time_point before = time.now();
    CHECK(before <= std::chrono::steady_clock::now());
    time.call_at(time.now() + 2ms, heard.ring());
    time.call_at(time.now() - 1h, heard.ring());
    time.call_at(clock::time_point{}, heard.ring());
    heard.wait_for(3);
    CHECK(time.now() > clock::time_point{});
}

TEST_CASE("steady_clock: a cancelled alarm does not ring", "[runtime]")
{
    bell heard;
    bell other;
    steady_clock time;
    const clock::alarm_id id = time.call_at(time.now() + 20ms, heard.ring());
    CHECK(id != 0);
    time.cancel(id);
    time.cancel(id);
    time.cancel(0);
    time.cancel(12345);
    time.call_at(time.now() + 40ms, other.ring());
    other.wait_for(1);
    CHECK(heard.n_rings() == 0);
}

TEST_CASE("steady_clock: cancelling an alarm that rings waits until it has rung", "[runtime]")
{
    bell begun;
    steady_clock time;
    std::atomic<bool> ended{false};
    const clock::alarm_id id = time.call_at(time.now(), [&] {
        begun.ring()();
        std::this_thread::sleep_for(20ms);
        ended = true;
    });
    begun.wait_for(1);
    time.cancel(id);
    CHECK(ended);
}

TEST_CASE("steady_clock: an alarm may cancel itself and set another", "[runtime]")
{
    bell heard;
    steady_clock time;
    std::atomic<clock::alarm_id> id{0};
    id = time.call_at(time.now() + 10ms, [&] {
        time.cancel(id);
        time.call_at(time.now(), heard.ring());
    });
    heard.wait_for(1);
}

TEST_CASE("steady_clock: goes with alarms outstanding", "[runtime]")
{
    bell heard;
    {
        steady_clock time;
        time.call_at(clock::time_point::max(), heard.ring());
        time.call_at(time.now() + 1h, heard.ring());
    }
    CHECK(heard.n_rings() == 0);
}

std::vector<std::size_t>
pick(const std::vector<detail::eviction_candidate>& all, std::uint64_t bytes)
{
    return detail::pick_evictions(all, bytes);
}

detail::eviction_candidate idle(int used_at, std::uint64_t own_bytes)
{
    detail::eviction_candidate one;
    one.last_used = clock::time_point{std::chrono::seconds{used_at}};
    one.own_bytes = own_bytes;
    return one;
}

detail::eviction_candidate sharing(
    detail::eviction_candidate one, std::uint64_t id, std::uint64_t bytes, std::size_t n_sharers)
{
    one.shared_id = id;
    one.shared_bytes = bytes;
    one.n_sharers = n_sharers;
    return one;
}

TEST_CASE("eviction: the least recently used go first, and no more than needed", "[runtime]")
{
    const std::vector<detail::eviction_candidate> all{idle(30, 5), idle(10, 5), idle(20, 5)};
    CHECK(pick(all, 1) == std::vector<std::size_t>{1});
    CHECK(pick(all, 5) == std::vector<std::size_t>{1});
    CHECK(pick(all, 6) == std::vector<std::size_t>{1, 2});
    CHECK(pick(all, 15) == std::vector<std::size_t>{1, 2, 0});
    CHECK(pick(all, 0).empty());
}

TEST_CASE("eviction: nothing is evicted in vain", "[runtime]")
{
    CHECK(pick({idle(1, 5), idle(2, 5)}, 11).empty());
    CHECK(pick({}, 1).empty());
}

TEST_CASE("eviction: shared bytes come free with the last of those that share them", "[runtime]")
{
    const auto a = sharing(idle(1, 1), 7, 100, 2);
    const auto b = sharing(idle(2, 1), 7, 100, 2);
    CHECK(pick({a, b}, 50) == std::vector<std::size_t>{0, 1});
    const auto with_busy = sharing(idle(1, 1), 8, 100, 2);  // the other one computes
    CHECK(pick({with_busy}, 50).empty());
    CHECK(pick({with_busy}, 1) == std::vector<std::size_t>{0});
}

TEST_CASE("eviction: who frees nothing by going stays", "[runtime]")
{
    const auto useless = sharing(idle(1, 0), 9, 100, 2);  // the other one computes
    CHECK(pick({useless, idle(2, 5)}, 5) == std::vector<std::size_t>{1});
    CHECK(pick({idle(1, 0), idle(2, 5)}, 5) == std::vector<std::size_t>{1});
    // Both of them free what they share.
    const auto last = sharing(idle(3, 0), 9, 100, 2);
    CHECK(pick({useless, last}, 5) == std::vector<std::size_t>{0, 1});
}

}  // namespace
}  // namespace modelpool

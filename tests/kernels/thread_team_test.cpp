#include <catch2/catch.hpp>

#include <atomic>
#include <stdexcept>
#include <thread>

#include "kernels/thread_team.hpp"

using modelpool::kernels::thread_team;

TEST_CASE("thread_team: calls each part once, and no two at a time with the same thread")
{
    for (const int n_threads : {1, 2, 5}) {
        thread_team team{n_threads};
        REQUIRE(team.n_threads() == n_threads);
        std::vector<std::atomic<int>> busy(static_cast<std::size_t>(n_threads));
        for (const int n_parts : {0, 1, 2, 3, 100}) {
            for (int round = 0; round != 50; ++round) {
                std::vector<int> calls(static_cast<std::size_t>(n_parts));
                std::atomic<bool> overlap{false};
                team.run(n_parts, [&](int part, int thread) {
                    auto& mine = busy[static_cast<std::size_t>(thread)];
                    if (mine.exchange(1) != 0) overlap = true;
                    ++calls[static_cast<std::size_t>(part)];
                    mine = 0;
                });
                CHECK(!overlap);
                CHECK(calls == std::vector<int>(static_cast<std::size_t>(n_parts), 1));
            }
        }
    }
}

TEST_CASE("thread_team: sleeps and wakes, and changes its number of threads between runs")
{
    thread_team team{3, std::chrono::microseconds{0}};
    int total = 0;
    for (const int n_threads : {3, 1, 2, 4, 4}) {
        team.resize(n_threads);
        CHECK(team.n_threads() == n_threads);
        for (int round = 0; round != 200; ++round) {
            std::atomic<int> sum{0};
            team.run(7, [&](int part, int) { sum += part; });
            total += sum;
        }
    }
    CHECK(total == 5 * 200 * 21);
}

TEST_CASE("thread_team: what one run wrote, the next one reads on any thread")
{
    thread_team team{4};
    std::vector<int> numbers(64);
    for (int round = 1; round != 200; ++round) {
        team.run(64, [&](int part, int) {
            auto& mine = numbers[static_cast<std::size_t>(part)];
            mine += numbers[static_cast<std::size_t>(part)] == round - 1 ? 1 : 1000;
        });
    }
    CHECK(numbers == std::vector<int>(64, 199));
}

TEST_CASE("thread_team: the caller may do other things while the others end")
{
    thread_team team{2};
    std::atomic<bool> let_go{false};
    std::atomic<bool> helped{false};
    int n_idle = 0;
    const auto main_thread = std::this_thread::get_id();
    team.run(
        8,
        [&](int, int thread) {
            if (thread == 1) {
                helped = true;
                while (!let_go)
                    std::this_thread::yield();
            } else {
                while (!helped)
                    std::this_thread::yield();
            }
        },
        [&] {
            CHECK(std::this_thread::get_id() == main_thread);
            ++n_idle;
            let_go = true;
        });
    CHECK(n_idle >= 1);
}

TEST_CASE("thread_team: refuses fewer than one thread, and more parts than it counts")
{
    CHECK_THROWS_AS(thread_team{0}, std::invalid_argument);
    thread_team team{1};
    CHECK_THROWS_AS(team.resize(-1), std::invalid_argument);
    const auto nothing = [](int, int) {};
    CHECK_THROWS_AS(team.run(-1, nothing), std::invalid_argument);
    CHECK_THROWS_AS(team.run(thread_team::max_parts + 1, nothing), std::invalid_argument);
}

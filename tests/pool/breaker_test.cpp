#include <modelpool/pool/detail/breaker.hpp>

#include <catch2/catch.hpp>

#include <atomic>
#include <chrono>
#include <optional>
#include <thread>
#include <vector>

namespace modelpool {
namespace {

using namespace std::chrono_literals;
using detail::breaker;
using admission = breaker::admission;
using trial_end = breaker::trial_end;
using time_point = clock::time_point;

const time_point start{1h};

breaker_options few()
{
    return breaker_options{}.n_failures(3).open_for(10s).n_successes(2);
}

/// One that opened at `start`.
void open(breaker& one)
{
    for (int i = 0; i < 3; ++i)
        one.failed(start);
    CHECK(one.take_change() == breaker_state::open);
}

TEST_CASE("breaker: opens at so many failures in a row", "[pool]")
{
    breaker one{few()};
    CHECK(one.state(start) == breaker_state::closed);
    one.failed(start);
    one.failed(start + 1s);
    CHECK(one.state(start + 1s) == breaker_state::closed);
    CHECK(one.admit(start + 1s) == admission::closed);
    CHECK_FALSE(one.take_change());
    one.failed(start + 2s);
    CHECK(one.state(start + 2s) == breaker_state::open);
    CHECK(one.admit(start + 2s) == admission::refused);
    CHECK(one.take_change() == breaker_state::open);
    CHECK_FALSE(one.take_change());
}

TEST_CASE("breaker: failures that successes come between do not open it", "[pool]")
{
    breaker one{few()};
    for (int i = 0; i < 20; ++i) {
        one.failed(start);
        one.failed(start);
        one.succeeded();
    }
    CHECK(one.state(start) == breaker_state::closed);
    CHECK(one.admit(start) == admission::closed);
    one.failed(start);
    one.failed(start);
    one.failed(start);
    CHECK(one.state(start) == breaker_state::open);
}

TEST_CASE("breaker: its defaults are 5 failures, 60 s and 3 successes", "[pool]")
{
    breaker one{breaker_options{}};
    for (int i = 0; i < 4; ++i)
        one.failed(start);
    CHECK(one.state(start) == breaker_state::closed);
    one.failed(start);
    CHECK(one.state(start) == breaker_state::open);
    CHECK(one.open_left(start) == 60s);
    for (int i = 0; i < 3; ++i)
        CHECK(one.admit(start + 60s) == admission::trial);
    CHECK(one.admit(start + 60s) == admission::refused);
}

TEST_CASE("breaker: rests until its time has come, then lets a few try", "[pool]")
{
    breaker one{few()};
    open(one);
    CHECK(one.open_left(start) == 10s);
    CHECK(one.open_left(start + 4s) == 6s);
    CHECK(one.admit(start + 10s - 1ns) == admission::refused);
    CHECK(one.state(start + 10s - 1ns) == breaker_state::open);
    CHECK_FALSE(one.take_change());
    CHECK(one.state(start + 10s) == breaker_state::half_open);
    CHECK(one.open_left(start + 10s) == 0s);
    CHECK(one.open_left(start + 99s) == 0s);
    CHECK(one.admit(start + 10s) == admission::trial);
    CHECK(one.take_change() == breaker_state::half_open);
}

TEST_CASE("breaker: half-open counts the requests in flight, not only the successes", "[pool]")
{
    breaker one{few()};
    open(one);
    const time_point now = start + 10s;
    CHECK(one.admit(now) == admission::trial);
    CHECK(one.admit(now) == admission::trial);
    for (int i = 0; i < 10; ++i)
        CHECK(one.admit(now) == admission::refused);
    one.end_trial(trial_end::succeeded, now);
    // One succeeded and one is on its way: a third is not needed.
    CHECK(one.admit(now) == admission::refused);
    CHECK(one.state(now) == breaker_state::half_open);
    one.end_trial(trial_end::succeeded, now);
    CHECK(one.state(now) == breaker_state::closed);
    CHECK(one.admit(now) == admission::closed);
    CHECK(one.take_change() == breaker_state::closed);
}

TEST_CASE("breaker: a trial that says nothing about the model gives its place back", "[pool]")
{
    breaker one{few()};
    open(one);
    const time_point now = start + 10s;
    for (int i = 0; i < 20; ++i) {
        CHECK(one.admit(now) == admission::trial);
        CHECK(one.admit(now) == admission::trial);
        CHECK(one.admit(now) == admission::refused);
        one.end_trial(trial_end::neither, now);
        one.end_trial(trial_end::neither, now);
        CHECK(one.state(now) == breaker_state::half_open);
    }
    CHECK(one.admit(now) == admission::trial);
    one.end_trial(trial_end::succeeded, now);
    CHECK(one.admit(now) == admission::trial);
    one.end_trial(trial_end::succeeded, now);
    CHECK(one.state(now) == breaker_state::closed);
}

TEST_CASE("breaker: a trial that fails starts another whole rest", "[pool]")
{
    breaker one{few()};
    open(one);
    CHECK(one.admit(start + 15s) == admission::trial);
    CHECK(one.admit(start + 15s) == admission::trial);
    one.end_trial(trial_end::succeeded, start + 15s);
    CHECK(one.take_change() == breaker_state::half_open);
    one.end_trial(trial_end::failed, start + 16s);
    CHECK(one.take_change() == breaker_state::open);
    CHECK(one.open_left(start + 16s) == 10s);
    CHECK(one.admit(start + 25s) == admission::refused);
    // The success before it counts no more.
    CHECK(one.admit(start + 26s) == admission::trial);
    CHECK(one.admit(start + 26s) == admission::trial);
    one.end_trial(trial_end::succeeded, start + 26s);
    CHECK(one.state(start + 26s) == breaker_state::half_open);
    one.end_trial(trial_end::succeeded, start + 26s);
    CHECK(one.state(start + 26s) == breaker_state::closed);
}

TEST_CASE("breaker: a load that fails while others try opens it again", "[pool]")
{
    breaker one{few()};
    open(one);
    CHECK(one.admit(start + 10s) == admission::trial);
    one.failed(start + 11s);
    CHECK(one.state(start + 11s) == breaker_state::open);
    CHECK(one.open_left(start + 11s) == 10s);
    one.end_trial(trial_end::failed, start + 12s);  // its request hears of the same failure
    CHECK(one.open_left(start + 12s) == 9s);
}

TEST_CASE("breaker: successes of requests let in before it opened do not close it", "[pool]")
{
    breaker one{few()};
    open(one);
    for (int i = 0; i < 10; ++i)
        one.succeeded();
    CHECK(one.state(start) == breaker_state::open);
    CHECK(one.admit(start + 10s) == admission::trial);
    for (int i = 0; i < 10; ++i)
        one.succeeded();
    CHECK(one.state(start + 10s) == breaker_state::half_open);
}

TEST_CASE("breaker: failures that come late while it is open do not prolong the rest", "[pool]")
{
    breaker one{few()};
    open(one);
    for (int i = 1; i < 10; ++i)
        one.failed(start + std::chrono::seconds{i});
    CHECK(one.open_left(start + 9s) == 1s);
    CHECK(one.admit(start + 10s) == admission::trial);
}

TEST_CASE("breaker: a failure after the rest, before anybody tried, starts another", "[pool]")
{
    breaker one{few()};
    open(one);
    one.failed(start + 30s);
    CHECK(one.state(start + 30s) == breaker_state::open);
    CHECK(one.open_left(start + 30s) == 10s);
    CHECK(one.take_change() == breaker_state::open);
}

TEST_CASE("breaker: a trial that outlives another rest still takes its place", "[pool]")
{
    breaker one{few()};
    open(one);
    CHECK(one.admit(start + 10s) == admission::trial);
    CHECK(one.admit(start + 10s) == admission::trial);
    one.end_trial(trial_end::failed, start + 11s);
    CHECK(one.admit(start + 21s) == admission::trial);
    CHECK(one.admit(start + 21s) == admission::refused);
    one.end_trial(trial_end::neither, start + 22s);
    CHECK(one.admit(start + 22s) == admission::trial);
}

TEST_CASE("breaker: a trial that ends while it is open changes nothing", "[pool]")
{
    breaker one{breaker_options{few()}.n_successes(1)};
    open(one);
    CHECK(one.admit(start + 10s) == admission::trial);
    one.failed(start + 11s);
    one.end_trial(trial_end::succeeded, start + 12s);
    CHECK(one.state(start + 12s) == breaker_state::open);
    CHECK(one.open_left(start + 12s) == 9s);
    CHECK(one.admit(start + 21s) == admission::trial);
    one.end_trial(trial_end::succeeded, start + 21s);
    CHECK(one.state(start + 21s) == breaker_state::closed);
}

TEST_CASE("breaker: once closed again it needs as many failures as before", "[pool]")
{
    breaker one{breaker_options{few()}.n_successes(1)};
    open(one);
    CHECK(one.admit(start + 10s) == admission::trial);
    one.end_trial(trial_end::succeeded, start + 10s);
    one.failed(start + 10s);
    one.failed(start + 10s);
    CHECK(one.state(start + 10s) == breaker_state::closed);
    one.failed(start + 10s);
    CHECK(one.state(start + 10s) == breaker_state::open);
}

TEST_CASE("breaker: no time and no rest makes its arithmetic wrap", "[pool]")
{
    const auto endless = breaker_options{}.n_failures(1).open_for(std::chrono::nanoseconds::max());
    breaker one{endless};
    one.failed(start);
    CHECK(one.admit(start) == admission::refused);
    CHECK(one.admit(start + std::chrono::hours{24 * 36500}) == admission::refused);
    CHECK(one.admit(time_point::max()) == admission::refused);
    CHECK(one.open_left(start) == time_point::max() - start);
    CHECK(one.open_left(time_point::min()) == std::chrono::nanoseconds::max());

    breaker late{breaker_options{}.n_failures(1).open_for(10s)};
    late.failed(time_point::max() - 1s);
    CHECK(late.admit(time_point::max() - 1ns) == admission::refused);

    // A clock read by another thread a little earlier than the failure's.
    breaker early{few()};
    open(early);
    CHECK(early.admit(start - 1s) == admission::refused);
    CHECK(early.open_left(start - 1s) == 11s);

    breaker at_once{breaker_options{}.n_failures(1).open_for(-5s)};
    at_once.failed(start);
    CHECK(at_once.admit(start) == admission::trial);
}

TEST_CASE("breaker: with no number of failures it never opens", "[pool]")
{
    breaker one{breaker_options{}.n_failures(0)};
    for (int i = 0; i < 100; ++i)
        one.failed(start);
    CHECK(one.state(start) == breaker_state::closed);
    CHECK(one.admit(start) == admission::closed);
    CHECK_FALSE(one.take_change());
}

TEST_CASE("breaker: without a number of successes one is enough", "[pool]")
{
    breaker one{breaker_options{few()}.n_successes(0)};
    open(one);
    CHECK(one.admit(start + 10s) == admission::trial);
    CHECK(one.admit(start + 10s) == admission::refused);
    one.end_trial(trial_end::succeeded, start + 10s);
    CHECK(one.state(start + 10s) == breaker_state::closed);
}

TEST_CASE("breaker: threads never get more places than there are, and lose none", "[pool]")
{
    breaker one{breaker_options{}.n_failures(1).open_for(0s).n_successes(3)};
    one.failed(start);
    std::atomic<int> n_inside{0};
    std::atomic<int> n_most{0};
    std::atomic<int> n_trials{0};
    const auto work = [&] {
        for (int i = 0; i < 2000; ++i) {
            if (one.admit(start) != admission::trial) continue;
            const int inside = n_inside.fetch_add(1) + 1;
            int most = n_most.load();
            while (inside > most && !n_most.compare_exchange_weak(most, inside)) {
            }
            n_trials.fetch_add(1);
            n_inside.fetch_sub(1);
            // Failing ones open it again at once, and the rest takes no time: it never closes.
            one.end_trial(i % 3 == 0 ? trial_end::failed : trial_end::neither, start);
            one.succeeded();
            static_cast<void>(one.take_change());
        }
    };
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
        threads.emplace_back(work);
    for (std::thread& thread : threads)
        thread.join();
    CHECK(n_trials.load() > 0);
    CHECK(n_most.load() <= 3);
    for (int i = 0; i < 3; ++i)
        CHECK(one.admit(start) == admission::trial);
    CHECK(one.admit(start) == admission::refused);
    for (int i = 0; i < 3; ++i)
        one.end_trial(trial_end::succeeded, start);
    CHECK(one.state(start) == breaker_state::closed);
}

}  // namespace
}  // namespace modelpool

#pragma once

// What the library does to an event loop beside it, and to a machine that has nothing to do.

#include <modelpool/async/as_result.hpp>
#include <modelpool/async/awaitable.hpp>
#include <modelpool/async/with_timeout.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <map>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "echo_model.hpp"
#include "support.hpp"

#include <sys/resource.h>
#include <time.h>

namespace modelpool::bench {

inline awaitable<void> pause(nanoseconds duration)
{
    const executor here = co_await boost::asio::this_coro::executor;
    boost::asio::steady_timer timer{here, duration};
    co_await timer.async_wait(boost::asio::use_awaitable_t<executor>{});
}

/// A timer that is due every millisecond, until the given time: how late each call came. A call
/// that comes a period late or more makes the next ones late too.
inline awaitable<samples> beat(stopwatch::time_point until)
{
    samples late;
    const executor here = co_await boost::asio::this_coro::executor;
    boost::asio::steady_timer timer{here};
    for (auto due = stopwatch::now(); due < until;) {
        due += std::chrono::milliseconds{1};
        timer.expires_at(due);
        co_await timer.async_wait(boost::asio::use_awaitable_t<executor>{});
        late.add(since(due));
    }
    co_return late;
}

/// Threads that compute without a pause.
class burners {
public:
    explicit burners(std::size_t n_threads)
    {
        for (std::size_t i = 0; i < n_threads; ++i)
            threads_.emplace_back([this] {
                while (!stop_.load(std::memory_order_relaxed))
                    blocking_compute(std::chrono::milliseconds{1});
            });
    }
    burners(const burners&) = delete;
    burners& operator=(const burners&) = delete;
    burners(burners&&) = delete;
    burners& operator=(burners&&) = delete;
    ~burners()
    {
        stop_.store(true, std::memory_order_relaxed);
        for (std::thread& one : threads_)
            one.join();
    }

private:
    std::atomic<bool> stop_{false};
    std::vector<std::thread> threads_;
};

/// What an event loop's thread did: how often it woke, and how long it computed.
struct loop_load {
    std::size_t n_wake_ups{0};
    nanoseconds cpu{0};
};

/// Of the calling thread, so far.
inline loop_load thread_load()
{
    timespec used{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    rusage counted{};
    ::getrusage(RUSAGE_THREAD, &counted);
    loop_load seen;
    seen.n_wake_ups = static_cast<std::size_t>(counted.ru_nvcsw);
    seen.cpu = std::chrono::seconds{used.tv_sec} + nanoseconds{used.tv_nsec};
    return seen;
}

/// Threads that compute without a pause, and now and then give a loop something to compute: as
/// often, and as much in all, as a pool's loop had to do.
class givers {
public:
    /// `load`: of a round that lasted `round`.
    givers(
        std::size_t n_threads,
        boost::asio::io_context& loop,
        const loop_load& load,
        nanoseconds round)
    {
        const std::size_t n = std::max<std::size_t>(1, load.n_wake_ups);
        const nanoseconds each = load.cpu / static_cast<nanoseconds::rep>(n);
        const nanoseconds gap =
            round * static_cast<nanoseconds::rep>(n_threads) / static_cast<nanoseconds::rep>(n);
        for (std::size_t i = 0; i < n_threads; ++i)
            threads_.emplace_back([this, &loop, each, gap] {
                while (!stop_.load(std::memory_order_relaxed)) {
                    blocking_compute(gap);
                    auto take = [each] { blocking_use_cpu(each); };
                    boost::asio::post(loop, std::move(take));
                }
            });
    }
    givers(const givers&) = delete;
    givers& operator=(const givers&) = delete;
    givers(givers&&) = delete;
    givers& operator=(givers&&) = delete;
    ~givers() { end(); }

    void end()
    {
        stop_.store(true, std::memory_order_relaxed);
        for (std::thread& one : threads_)
            if (one.joinable()) one.join();
    }

private:
    static void blocking_use_cpu(nanoseconds duration)
    {
        const nanoseconds until = thread_load().cpu + duration;
        while (thread_load().cpu < until) {
        }
    }

    std::atomic<bool> stop_{false};
    std::vector<std::thread> threads_;
};

/// How late the calls of a timer came, in rounds.
class heartbeats {
public:
    void add(samples late) { rounds_.push_back(std::move(late)); }

    /// That quantile of each round, and of these the median: a machine that stops for a moment
    /// spoils one round only.
    nanoseconds quantile(double q) const
    {
        samples found;
        for (const samples& one : rounds_)
            found.add(one.quantile(q));
        return found.quantile(0.5);
    }

private:
    std::vector<samples> rounds_;
};

/// A pool's loop; one that is given as much to do by as many threads that compute, without the
/// library; and one that has nothing to do beside such threads.
struct heartbeat_figures {
    heartbeats with_pool;
    heartbeats without;
    heartbeats idle;
    std::uint64_t n_requests{0};
    std::uint64_t n_spawned{0};
    std::uint64_t n_loads{0};
    std::uint64_t n_evictions{0};
    std::uint64_t n_cancelled{0};

    /// To the same load, on the loop's thread as on the others: a thread that has work is not
    /// favoured by the kernel as one that sleeps is, so that only this shows what the library adds.
    double ratio_at(double q) const
    {
        return ratio(to_ns(with_pool.quantile(q)), to_ns(without.quantile(q)));
    }
    double ratio_to_idle_at(double q) const
    {
        return ratio(to_ns(with_pool.quantile(q)), to_ns(idle.quantile(q)));
    }
};

/// A pool under all the load there can be: the memory has room for as many workers as there are
/// cores, twice as many models take turns in it, all workers compute, and callers leave before
/// their answers come.
class heartbeat_stand {
public:
    heartbeat_stand()
        : n_workers_{std::max<std::size_t>(1, std::thread::hardware_concurrency())}
        , stand_{single_workers(), machine()}
    {
        echo_plan plan;
        plan.load_time = std::chrono::milliseconds{2};
        plan.batch_time = std::chrono::milliseconds{1};
        plan.bytes.replica_bytes = model_bytes;
        memory_estimate memory;
        memory.replica_bytes = model_bytes;
        model_options options;
        options.worker(worker_options{}.memory(memory));
        for (std::size_t i = 0; i < 2 * n_workers_; ++i)
            models_.push_back(stand_.add("model-" + std::to_string(i), plan, options));
    }

    /// Measures all for so long, one after the other, in rounds.
    heartbeat_figures blocking_measure(nanoseconds round, std::size_t n_rounds)
    {
        heartbeat_figures all;
        for (std::size_t i = 0; i < n_rounds; ++i) {
            const loop_load load = blocking_beat_with_pool(all, round);
            blocking_beat_with_givers(all, round, load);
            const burners others{n_workers_};
            boost::asio::io_context loop{1};
            all.idle.add(blocking_run(loop, beat(stopwatch::now() + round)));
        }
        for (const model_stats& one : stand_.models().stats()) {
            all.n_requests += one.n_requests;
            all.n_spawned += one.n_spawned;
            all.n_loads += one.n_loads;
            all.n_evictions += one.n_evicted;
            all.n_cancelled += one.n_cancelled;
        }
        return all;
    }

    void blocking_close() { stand_.blocking_close(); }

private:
    static constexpr std::size_t model_bytes = 1U << 20U;
    static constexpr std::size_t n_callers_a_model = 8;

    runtime_options machine() const
    {
        runtime_options made;
        made.memory_limit_bytes(n_workers_ * model_bytes);
        return made;
    }

    /// Gives what the loop's thread did besides beating, which others do too.
    loop_load blocking_beat_with_pool(heartbeat_figures& all, nanoseconds round)
    {
        const loop_load before = thread_load();
        const auto until = stopwatch::now() + round;
        std::exception_ptr problem;
        auto keep_failure = [&problem](std::exception_ptr failure) {
            if (failure) problem = std::move(failure);
        };
        for (std::size_t i = 0; i < models_.size() * n_callers_a_model; ++i)
            boost::asio::co_spawn(
                stand_.loop(), call_often(models_[i % models_.size()], i, until), keep_failure);
        const samples late = stand_.blocking_run(beat(until));
        if (problem) std::rethrow_exception(problem);
        const loop_load after = thread_load();
        all.with_pool.add(late);
        loop_load load;
        load.n_wake_ups = after.n_wake_ups - before.n_wake_ups;
        load.n_wake_ups -= std::min(load.n_wake_ups, late.size());
        load.cpu = after.cpu - before.cpu;
        return load;
    }

    void blocking_beat_with_givers(heartbeat_figures& all, nanoseconds round, const loop_load& load)
    {
        boost::asio::io_context loop{1};
        givers others{n_workers_, loop, load, round};
        auto beating = beat_and_end(stopwatch::now() + round, others);
        all.without.add(blocking_run(loop, std::move(beating)));
    }

    static awaitable<samples> beat_and_end(stopwatch::time_point until, givers& others)
    {
        auto beating = beat(until);
        samples late = co_await std::move(beating);
        others.end();  // or the loop would always have one more thing to do
        co_return late;
    }

    /// Asks, and at times does not wait for the answer. Fails where something else goes wrong than
    /// the memory.
    static awaitable<void>
    call_often(handle<text_embedding> model, std::size_t index, stopwatch::time_point until)
    {
        for (std::size_t i = index; stopwatch::now() < until; ++i) {
            auto asking = model.embed(std::string{"a"});
            if (i % 4 == 0)
                asking = with_timeout(std::chrono::microseconds{500}, std::move(asking));
            auto looking = as_result(std::move(asking));
            const result<embeddings> rows = co_await std::move(looking);
            if (rows || rows.error() == errc::timed_out) continue;
            // All memory is with workers that have work: a later call finds one idle.
            if (rows.error() != pool_errc::memory_exhausted) throw error{rows.error()};
            auto waiting = pause(std::chrono::milliseconds{10});
            co_await std::move(waiting);
        }
    }

    std::size_t n_workers_;
    stand stand_;
    std::vector<handle<text_embedding>> models_;
};

/// How often threads woke, in a process that has loaded models and nothing to do.
struct wake_ups {
    std::size_t n_models{0};
    std::size_t n_threads{0};  ///< that were watched: all but the one that watches
    std::uint64_t n{0};
};

/// Watches all threads, that of the event loop included, for so long. No maintenance is due
/// meanwhile.
inline wake_ups blocking_count_wake_ups(std::size_t n_models, nanoseconds duration)
{
    stand here{single_workers()};
    for (std::size_t i = 0; i < n_models; ++i)
        here.blocking_run(ask(here.add("model-" + std::to_string(i), {})));
    wake_ups found;
    found.n_models = n_models;
    {
        here.loop().restart();
        const auto busy = boost::asio::make_work_guard(here.loop());
        std::jthread loop{[&] { here.loop().run(); }};
        std::this_thread::sleep_for(std::chrono::milliseconds{200});  // all have gone to sleep
        const std::map<std::string, std::uint64_t> before = count_sleeps();
        std::this_thread::sleep_for(duration);
        for (const auto& [thread, n] : count_sleeps()) {
            const auto known = before.find(thread);
            found.n += n - (known == before.end() ? 0 : known->second);
            ++found.n_threads;
        }
        here.loop().stop();
    }
    here.blocking_close();
    return found;
}

}  // namespace modelpool::bench

#pragma once

// What the library does to an event loop beside it, and to a machine that has nothing to do.

#include <modelpool/async/as_result.hpp>
#include <modelpool/async/awaitable.hpp>
#include <modelpool/async/with_timeout.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
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

/// A pool's loop, and one that has nothing to do beside as many threads that compute.
struct heartbeat_figures {
    heartbeats with_pool;
    heartbeats without;
    std::uint64_t n_requests{0};
    std::uint64_t n_spawned{0};
    std::uint64_t n_loads{0};
    std::uint64_t n_evictions{0};
    std::uint64_t n_cancelled{0};

    double ratio_at(double q) const
    {
        return ratio(to_ns(with_pool.quantile(q)), to_ns(without.quantile(q)));
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

    /// Measures both for so long, one after the other, in rounds.
    heartbeat_figures blocking_measure(nanoseconds round, std::size_t n_rounds)
    {
        heartbeat_figures all;
        for (std::size_t i = 0; i < n_rounds; ++i) {
            blocking_beat_with_pool(all, round);
            const burners others{n_workers_};
            boost::asio::io_context loop{1};
            all.without.add(blocking_run(loop, beat(stopwatch::now() + round)));
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

    void blocking_beat_with_pool(heartbeat_figures& all, nanoseconds round)
    {
        const auto until = stopwatch::now() + round;
        std::exception_ptr problem;
        auto keep_failure = [&problem](std::exception_ptr failure) {
            if (failure) problem = std::move(failure);
        };
        for (std::size_t i = 0; i < models_.size() * n_callers_a_model; ++i)
            boost::asio::co_spawn(
                stand_.loop(), call_often(models_[i % models_.size()], i, until), keep_failure);
        all.with_pool.add(stand_.blocking_run(beat(until)));
        if (problem) std::rethrow_exception(problem);
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

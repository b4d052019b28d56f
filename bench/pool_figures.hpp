#pragma once

// What a request costs beside its model's computing.

#include <modelpool/async/awaitable.hpp>
#include <modelpool/pool/detail/embed_engine.hpp>
#include <modelpool/pool/detail/request_meter.hpp>
#include <modelpool/runtime/clock.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <chrono>
#include <cstddef>
#include <exception>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "echo_model.hpp"
#include "support.hpp"

namespace modelpool::bench {

/// A coroutine goes to another thread and back, over and over.
inline awaitable<samples> time_hops(executor there, std::size_t n)
{
    samples took;
    took.reserve(n);
    for (std::size_t i = 0; i < n; ++i) {
        const auto begun = stopwatch::now();
        co_await boost::asio::post(there, boost::asio::use_awaitable_t<executor>{});
        took.add(since(begun));
    }
    co_return took;
}

/// A coroutine asks an idle model, over and over.
inline awaitable<samples> time_embeds(handle<text_embedding> model, std::size_t n)
{
    samples took;
    took.reserve(n);
    for (std::size_t i = 0; i < n; ++i) {
        const auto begun = stopwatch::now();
        auto asking = model.embed(std::string{"a"});
        const embeddings rows = co_await std::move(asking);
        took.add(since(begun));
    }
    co_return took;
}

/// An embed, and the bare trip to another thread that it cannot do without.
struct round_trips {
    samples hop;
    samples embed;

    void add(const round_trips& others)
    {
        hop.add(others.hop);
        embed.add(others.embed);
    }
    double ratio_at(double q) const
    {
        return ratio(to_ns(embed.quantile(q)), to_ns(hop.quantile(q)));
    }
};

/// Whether the other thread shares the core of the loop's, or has one of its own.
enum class placement { one_core, two_cores };

/// Measures both on one loop, in turns, so that whatever else the machine does meets both alike.
class round_trip_stand {
public:
    explicit round_trip_stand(placement where)
        : loop_thread_{where == placement::one_core ? std::size_t{0} : std::size_t{1}}
        , stand_{single_workers()}
        , other_thread_{1}
        , model_{stand_.add("echo", {})}
    {
        blocking_measure(100);  // loads, and warms up
        loop_thread_.move_to(0);
    }

    samples blocking_measure_hops(std::size_t n)
    {
        return stand_.blocking_run(time_hops(other_thread_.get_executor(), n));
    }

    round_trips blocking_measure(std::size_t n)
    {
        round_trips took;
        took.hop = blocking_measure_hops(n);
        took.embed = stand_.blocking_run(time_embeds(model_, n));
        return took;
    }

    void blocking_close()
    {
        stand_.blocking_close();
        other_thread_.join();
    }

private:
    bound_thread loop_thread_;  // first: the others' threads start where it is
    stand stand_;
    boost::asio::thread_pool other_thread_;
    handle<text_embedding> model_;
};

/// Per request.
struct request_cost {
    nanoseconds wall{0};
    nanoseconds cpu{0};  ///< of all threads

    request_cost operator/(std::size_t n) const
    {
        const auto by = static_cast<nanoseconds::rep>(n);
        return {wall / by, cpu / by};
    }
};

/// A model whose worker takes at most 32 requests at once, so that most of many callers wait in its
/// queue. All on one core: what requests cost, not how they overlap.
class queue_stand {
public:
    static constexpr std::size_t n_most_callers = 1000;

    queue_stand()
        : one_core_{0}
        , stand_{options()}
        , before_batch_{std::make_shared<door>()}
        , model_{stand_.add("echo", plan())}
    {
        blocking_measure(1, 100);
    }

    /// So many callers ask `n_each` times, each as soon as it has its last answer.
    request_cost blocking_measure(std::size_t n_callers, std::size_t n_each)
    {
        const auto begun = stopwatch::now();
        const nanoseconds cpu_before = process_cpu_time();
        for (std::size_t i = 0; i < n_callers; ++i)
            boost::asio::co_spawn(stand_.loop(), ask_often(model_, n_each), keep_failure());
        blocking_run_loop();
        const request_cost all{since(begun), process_cpu_time() - cpu_before};
        return all / (n_callers * n_each);
    }

    /// So many requests wait for a busy worker, and are cancelled, the last first. What one
    /// cancellation costs.
    request_cost blocking_measure_cancels(std::size_t n_waiting)
    {
        before_batch_->set_open(false);
        boost::asio::co_spawn(stand_.loop(), ask(model_), keep_failure());
        stand_.loop().restart();
        stand_.loop().poll();
        before_batch_->blocking_wait_for_batch();
        std::list<boost::asio::cancellation_signal> signals;
        for (std::size_t i = 0; i < n_waiting; ++i) {
            auto ignore = [](std::exception_ptr) {};  // each is cancelled
            boost::asio::co_spawn(
                stand_.loop(),
                ask(model_),
                boost::asio::bind_cancellation_slot(signals.emplace_back().slot(), ignore));
        }
        stand_.loop().poll();
        const auto begun = stopwatch::now();
        const nanoseconds cpu_before = process_cpu_time();
        for (auto signal = signals.rbegin(); signal != signals.rend(); ++signal)
            signal->emit(boost::asio::cancellation_type::terminal);
        stand_.loop().poll();
        const request_cost all{since(begun), process_cpu_time() - cpu_before};
        before_batch_->set_open(true);
        blocking_run_loop();
        return all / n_waiting;
    }

    void blocking_close() { stand_.blocking_close(); }

private:
    static pool_options options()
    {
        pool_options made = single_workers();
        made.queue_limit(n_most_callers).batch_tokens(64);
        return made;
    }
    echo_plan plan() const
    {
        echo_plan made;
        made.before_batch = before_batch_;
        return made;
    }

    static awaitable<void> ask_often(handle<text_embedding> model, std::size_t n)
    {
        for (std::size_t i = 0; i < n; ++i) {
            auto asking = ask(model);
            co_await std::move(asking);
        }
    }

    std::function<void(std::exception_ptr)> keep_failure()
    {
        return [this](std::exception_ptr failure) {
            if (failure) failure_ = std::move(failure);
        };
    }

    void blocking_run_loop()
    {
        stand_.loop().restart();
        stand_.loop().run();
        if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
    }

    bound_thread one_core_;
    stand stand_;
    std::shared_ptr<door> before_batch_;
    handle<text_embedding> model_;
    std::exception_ptr failure_;
};

/// What counting adds to a request: its stamps and the group's counters and histograms, from so
/// many threads at once.
inline nanoseconds blocking_time_counting(std::size_t n_threads, std::size_t n)
{
    detail::request_meter meter;
    const modelpool::steady_clock time;
    const auto count = [&] {
        std::vector<std::string> texts{"a"};
        detail::embed_job request{{}, std::move(texts), {}, {}};
        request.set_begun(time.now());
        for (std::size_t i = 0; i < n; ++i) {
            const clock::time_point accepted = time.now();
            meter.accepted();
            request.set_accepted(accepted, false);
            meter.ended(request, detail::job_end::succeeded, nullptr, time.now());
        }
    };
    count();
    return blocking_on_threads(n_threads, count) / static_cast<nanoseconds::rep>(n);
}

}  // namespace modelpool::bench

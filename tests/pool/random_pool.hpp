#pragma once

#include <modelpool/pool/pool.hpp>
#include <modelpool/runtime.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "pool/fixture.hpp"

namespace modelpool::testing {

/// The number that a random test starts from: MODELPOOL_TEST_SEED, or always the same.
inline std::uint64_t test_seed()
{
    const char* given = std::getenv("MODELPOOL_TEST_SEED");  // NOLINT(concurrency-mt-unsafe)
    return given == nullptr ? 20'251'121 : std::strtoull(given, nullptr, 10);
}

/// One caller's own random numbers.
class dice {
public:
    explicit dice(std::uint64_t seed)
        : numbers_{seed}
    {}
    /// One of 0 … `n` - 1.
    std::size_t below(std::size_t n)
    {
        return std::uniform_int_distribution<std::size_t>{0, n - 1}(numbers_);
    }
    bool percent(std::size_t share) { return below(100) < share; }
    boost::asio::cancellation_type cancellation()
    {
        using boost::asio::cancellation_type;
        constexpr std::array<cancellation_type, 3> all{
            cancellation_type::terminal, cancellation_type::partial, cancellation_type::total};
        return all.at(below(all.size()));
    }

private:
    std::mt19937_64 numbers_;
};

/// What went wrong on any thread: Catch wants to hear of it on its own.
class problems {
public:
    void note(std::string what)
    {
        const std::lock_guard lock{mutex_};
        ++n_;
        if (first_.empty()) first_ = std::move(what);
    }
    void expect(bool holds, const char* what)
    {
        if (!holds) note(what);
    }
    std::size_t n() const
    {
        const std::lock_guard lock{mutex_};
        return n_;
    }
    std::string first() const
    {
        const std::lock_guard lock{mutex_};
        return first_;
    }

private:
    mutable std::mutex mutex_;
    std::size_t n_{0};
    std::string first_;
};

/// The bytes that fakes hold, as they count them themselves.
class byte_count {
public:
    explicit byte_count(std::uint64_t limit)
        : limit_{limit}
    {}
    void take(std::uint64_t bytes, problems& wrong)
    {
        if (held_.fetch_add(bytes) + bytes > limit_) wrong.note("models hold more than the budget");
    }
    void give_back(std::uint64_t bytes) { held_.fetch_sub(bytes); }
    std::uint64_t held() const { return held_.load(); }

private:
    const std::uint64_t limit_;
    std::atomic<std::uint64_t> held_{0};
};

/// What the fakes of one model are like.
struct random_model {
    std::uint64_t shared_bytes{0};
    std::uint64_t replica_bytes{0};
    bool shares{true};
    std::size_t percent_bad_loads{0};
    bool dies_at_home{true};  ///< each of its models on the thread it was made on
};

/// What all fakes of a run have in common. Outlives them.
struct random_run {
    random_run(std::uint64_t first_seed, std::uint64_t limit)
        : seed{first_seed}
        , bytes{limit}
    {}
    std::uint64_t seed;
    problems wrong;
    byte_count bytes;
    std::atomic<std::uint64_t> n_loads{0};
};

/// An embedder that keeps watch: it is used on the thread it was made on, by one call at a time,
/// and what it and its weights hold fits the budget. A row is the length of its text.
class watching_embedder final : public embedder, public counted {
    /// Shared by all replicas.
    class weights {
    public:
        weights(random_run& run, std::uint64_t bytes)
            : run_{run}
            , bytes_{bytes}
        {
            run_.bytes.take(bytes_, run_.wrong);
        }
        weights(const weights&) = delete;
        weights& operator=(const weights&) = delete;
        ~weights() { run_.bytes.give_back(bytes_); }

    private:
        random_run& run_;
        const std::uint64_t bytes_;
    };

public:
    watching_embedder(random_run& run, random_model about)
        : watching_embedder{run, about, std::make_shared<weights>(run, about.shared_bytes)}
    {}
    ~watching_embedder() override
    {
        if (about_.dies_at_home) watch();
        weights_.reset();
        run_.bytes.give_back(about_.replica_bytes);
    }

    const embedder_info& info() const noexcept override { return info_; }
    footprint bytes() const override { return {about_.shared_bytes, about_.replica_bytes, 0}; }

    prepared_text prepare(const embed_input& input) const override
    {
        watch();
        if (input.text == "bad text") throw error{text_errc::not_utf8};
        prepared_text made;
        made.dimension = input.dimension;
        made.tokens.assign(input.text.begin(), input.text.end());
        return made;
    }

    std::vector<item_result<std::vector<float>>>
    run(std::span<const prepared_text> batch, run_context& context) override
    {
        watch();
        run_.wrong.expect(!running_, "two batches at once on one model");
        running_ = true;
        std::vector<item_result<std::vector<float>>> rows;
        bool fails = false;
        for (const prepared_text& one : batch) {
            if (context.stop_requested()) break;
            const std::string text{one.tokens.begin(), one.tokens.end()};
            fails = fails || text == "bad batch";
            if (text == "bad row")
                rows.emplace_back(std::make_exception_ptr(error{model_errc::failed}));
            else
                rows.emplace_back(std::vector<float>{static_cast<float>(one.n_tokens())});
            context.step_done();
        }
        running_ = false;
        if (fails) throw error{model_errc::failed, "the batch failed"};
        return rows;
    }

    std::unique_ptr<embedder> replicate() const override
    {
        if (!about_.shares) return nullptr;
        return std::unique_ptr<embedder>{new watching_embedder{run_, about_, weights_}};
    }

private:
    watching_embedder(random_run& run, random_model about, std::shared_ptr<weights> shared)
        : run_{run}
        , about_{about}
        , weights_{std::move(shared)}
    {
        run_.bytes.take(about_.replica_bytes, run_.wrong);
        info_.dim = 1;
        info_.dimensions = {1};
        info_.max_tokens = 100;
    }

    void watch() const
    {
        run_.wrong.expect(
            std::this_thread::get_id() == home_, "a model was used away from its own thread");
    }

    random_run& run_;
    const random_model about_;
    std::shared_ptr<weights> weights_;
    const std::thread::id home_{std::this_thread::get_id()};
    embedder_info info_;
    bool running_{false};
};

/// Comes back to its executor a few times, as one that fetches files would; may fail before or
/// while it builds.
inline awaitable<std::unique_ptr<embedder>>
load_randomly(random_run& run, random_model about, load_context at)
{
    dice chance{run.seed + 7919 * run.n_loads++};
    const executor ex = co_await boost::asio::this_coro::executor;
    for (std::size_t n_left = chance.below(4); n_left > 0; --n_left)
        co_await boost::asio::post(ex, boost::asio::use_awaitable);
    if (chance.percent(about.percent_bad_loads)) throw error{hub_errc::unavailable};
    const bool is_bad = chance.percent(about.percent_bad_loads);
    auto build = [&run, about, is_bad] {
        if (is_bad) throw error{model_errc::bad_file};
        return std::unique_ptr<embedder>{std::make_unique<watching_embedder>(run, about)};
    };
    auto built = at.offload(std::move(build));
    co_return co_await std::move(built);
}

inline loader<text_embedding> random_loader(random_run& run, random_model about)
{
    return [&run, about](load_context at) { return load_randomly(run, about, std::move(at)); };
}

/// Workers of that model, as the pool is told.
inline worker_options random_worker(const random_model& about)
{
    return worker_options{}.memory({about.shared_bytes, about.replica_bytes, 0});
}

/// How an operation ended that may have been cancelled.
struct random_end {
    outcome end;
    bool cancelled{false};  ///< a cancellation was sent; it may have come too late, or been ignored
};

/// Runs `operation`, and cancels it at some moment, in so many cases of a hundred.
template <class T>
awaitable<random_end> cancelled_at_times(dice& chance, std::size_t share, awaitable<T> operation)
{
    const executor ex = co_await boost::asio::this_coro::executor;
    const started<T> one{ex, std::move(operation)};
    random_end seen;
    if (chance.percent(share)) {
        const std::size_t n_turns = chance.below(chance.percent(50) ? 4 : 40);
        for (std::size_t n_left = n_turns; n_left > 0 && !one.done(); --n_left)
            co_await boost::asio::post(ex, boost::asio::use_awaitable);
        seen.cancelled = !one.done();
        if (seen.cancelled) one.cancel(chance.cancellation());
    }
    auto ending = one.end();
    seen.end = co_await std::move(ending);
    co_return seen;
}

/// Runs what was started on `io`, on several threads, until it is done. What does not end cannot be
/// taken down either: then the program ends, with `report()` for its last words.
template <class Report>
void run_on_threads(boost::asio::io_context& io, std::size_t n_threads, Report report)
{
    io.restart();
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < n_threads; ++i)
        threads.emplace_back([&io] { io.run_for(patience); });
    for (std::thread& one : threads)
        one.join();
    if (io.stopped()) return;
    std::fprintf(stderr, "operations do not end: %s\n", std::string{report()}.c_str());
    std::abort();
}

/// A pool that several callers use, and which now and then is another one.
template <class Pool>
class pool_place {
public:
    std::shared_ptr<Pool> get() const
    {
        const std::lock_guard lock{mutex_};
        return now_;
    }
    std::shared_ptr<Pool> replace(std::shared_ptr<Pool> next)
    {
        const std::lock_guard lock{mutex_};
        return std::exchange(now_, std::move(next));
    }

private:
    mutable std::mutex mutex_;
    std::shared_ptr<Pool> now_;
};

/// One line a model.
template <class C>
std::string describe(const pool<C>& models)
{
    std::string text;
    for (const model_stats& one : models.stats()) {
        text += "\n'" + one.key + "': " + std::to_string(one.n_waiting) + " wait, " +
                std::to_string(one.n_requests - one.n_succeeded - one.n_failed - one.n_cancelled) +
                " have not ended;";
        for (const worker_stats& worker : one.workers)
            text += " " + std::string{to_string(worker.state)};
    }
    return text;
}

}  // namespace modelpool::testing

#pragma once

// A model that costs nothing, or a given time, so that figures show what lies around a model.

#include <modelpool/async/awaitable.hpp>
#include <modelpool/capability/text_embedding.hpp>
#include <modelpool/pool/load_context.hpp>
#include <modelpool/pool/pool.hpp>
#include <modelpool/runtime.hpp>

#include <boost/asio/io_context.hpp>

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "support.hpp"

namespace modelpool::bench {

/// Batches stop before it while it is shut.
class door {
public:
    void set_open(bool open)
    {
        {
            const std::lock_guard lock{mutex_};
            open_ = open;
        }
        changed_.notify_all();
    }
    void blocking_pass()
    {
        std::unique_lock lock{mutex_};
        ++n_before_;
        changed_.notify_all();
        changed_.wait(lock, [this] { return open_; });
        --n_before_;
    }
    /// Returns once a batch stands before it.
    void blocking_wait_for_batch()
    {
        std::unique_lock lock{mutex_};
        changed_.wait(lock, [this] { return n_before_ > 0; });
    }

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::size_t n_before_{0};
    bool open_{true};
};

/// How echoes behave.
struct echo_plan {
    nanoseconds load_time{0};   ///< of computing, for each load
    nanoseconds batch_time{0};  ///< of computing, for each batch
    footprint bytes;
    std::shared_ptr<door> before_batch;  ///< where set
};

/// Answers every text with the same row.
class echo_embedder final : public embedder {
public:
    explicit echo_embedder(std::shared_ptr<const echo_plan> plan)
        : plan_{std::move(plan)}
    {
        info_.dim = dim;
        info_.dimensions = {dim};
        info_.max_tokens = 512;
    }

    const embedder_info& info() const noexcept override { return info_; }
    footprint bytes() const override { return plan_->bytes; }

    prepared_text prepare(const embed_input& input) const override
    {
        prepared_text made;
        made.dimension = input.dimension;
        made.tokens.assign(1, 1);
        return made;
    }

    std::vector<item_result<std::vector<float>>>
    run(std::span<const prepared_text> batch, run_context& context) override
    {
        if (plan_->before_batch) plan_->before_batch->blocking_pass();
        if (plan_->batch_time.count() > 0) blocking_compute(plan_->batch_time);
        std::vector<item_result<std::vector<float>>> rows;
        rows.reserve(batch.size());
        for (const prepared_text& one : batch)
            rows.emplace_back(std::vector<float>(one.dimension, 0.5F));
        context.step_done();
        return rows;
    }

    std::unique_ptr<embedder> replicate() const override
    {
        return std::make_unique<echo_embedder>(plan_);
    }

private:
    static constexpr std::size_t dim = 4;
    std::shared_ptr<const echo_plan> plan_;
    embedder_info info_;
};

inline awaitable<std::unique_ptr<embedder>>
load_echo(std::shared_ptr<const echo_plan> plan, load_context context)
{
    auto build = [plan]() -> std::unique_ptr<embedder> {
        if (plan->load_time.count() > 0) blocking_compute(plan->load_time);
        return std::make_unique<echo_embedder>(plan);
    };
    auto building = context.offload(std::move(build));
    co_return co_await std::move(building);
}

inline loader<text_embedding> echo_loader(std::shared_ptr<const echo_plan> plan)
{
    return [plan = std::move(plan)](load_context context) {
        return load_echo(plan, std::move(context));
    };
}

/// An event loop that the calling thread runs, with a runtime and a pool on it.
class stand {
public:
    explicit stand(const pool_options& options = {}, const runtime_options& machine = {})
        : loop_{1}
        , runtime_{loop_.get_executor(), machine}
        , pool_{runtime_, options}
    {}

    boost::asio::io_context& loop() noexcept { return loop_; }
    runtime& resources() noexcept { return runtime_; }
    pool<text_embedding>& models() noexcept { return pool_; }

    handle<text_embedding> add(std::string key, echo_plan plan, const model_options& options = {})
    {
        auto shared = std::make_shared<const echo_plan>(std::move(plan));
        return pool_.add(std::move(key), echo_loader(std::move(shared)), options);
    }

    template <class T>
    T blocking_run(awaitable<T> body)
    {
        return bench::blocking_run(loop_, std::move(body));
    }

    /// Ends the pool.
    void blocking_close() { blocking_run(pool_.shutdown(std::chrono::seconds{5})); }

private:
    boost::asio::io_context loop_;
    runtime runtime_;
    pool<text_embedding> pool_;
};

/// One worker a model.
inline pool_options single_workers()
{
    pool_options options;
    options.scaling(scaling_options{}.cold_start_workers(1).max_workers(1));
    return options;
}

/// Asks for one row, and drops it.
inline awaitable<void> ask(handle<text_embedding> model)
{
    auto asking = model.embed(std::string{"a"});
    const embeddings rows = co_await std::move(asking);
    static_cast<void>(rows);
}

}  // namespace modelpool::bench

#pragma once

#include <modelpool/async/awaitable.hpp>
#include <modelpool/capability/text_embedding.hpp>
#include <modelpool/error.hpp>
#include <modelpool/pool/load_context.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "leak_check.hpp"

namespace modelpool::testing {

/// Threads stop before it while it is shut.
class door {
public:
    void shut()
    {
        const std::lock_guard lock{mutex_};
        open_ = false;
    }
    void open()
    {
        {
            const std::lock_guard lock{mutex_};
            open_ = true;
        }
        changed_.notify_all();
    }
    /// Threads that stand before it now.
    std::size_t n_waiting() const
    {
        const std::lock_guard lock{mutex_};
        return n_waiting_;
    }
    /// Passes, or waits until it opens; gives up once `stop` asks to.
    void blocking_pass(const stop_flag& stop)
    {
        std::unique_lock lock{mutex_};
        ++n_waiting_;
        while (!open_ && !stop.stop_requested())
            changed_.wait_for(lock, std::chrono::milliseconds{1});
        --n_waiting_;
    }

private:
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    std::size_t n_waiting_{0};
    bool open_{true};
};

/// Threads that did something.
class thread_journal {
public:
    void note()
    {
        const std::lock_guard lock{mutex_};
        threads_.push_back(std::this_thread::get_id());
    }
    std::size_t n_entries() const
    {
        const std::lock_guard lock{mutex_};
        return threads_.size();
    }
    std::set<std::thread::id> threads() const
    {
        const std::lock_guard lock{mutex_};
        return {threads_.begin(), threads_.end()};
    }

private:
    mutable std::mutex mutex_;
    std::vector<std::thread::id> threads_;
};

/// How the fakes of one model behave, and what happened to them. Shared by the test and all of
/// them; set up before the first load, but for what is thread-safe itself.
struct fake_plan {
    std::size_t dim{4};
    std::size_t max_tokens{1000};
    std::vector<std::size_t> dimensions{4};
    bool cuttable{false};
    footprint bytes;
    std::atomic<bool> shares{true};
    std::atomic<bool> obeys_stop{true};  // at the doors
    std::function<void()> on_build;      // what the blocking part of a load does besides
    std::function<void()> on_run;
    std::function<void()> on_row;
    std::function<void()> on_warm_up;

    door build_door;  // before a model is built
    door run_door;    // before a batch is computed

    std::atomic<int> n_builds{0};
    std::atomic<int> n_loader_calls{0};
    std::atomic<int> n_replicas{0};
    std::atomic<int> n_runs{0};
    std::atomic<int> n_warm_ups{0};
    std::atomic<int> n_alive{0};
    std::atomic<std::size_t> n_largest_batch{0};  // tokens
    thread_journal built;
    thread_journal prepared;
    thread_journal ran;
    thread_journal destroyed;
};

/// Four numbers that only this text has; any further ones are its first byte.
inline std::vector<float> fake_row(std::string_view text, std::size_t dim)
{
    std::uint32_t hash = 2166136261U;
    for (const char c : text)
        hash = (hash ^ static_cast<unsigned char>(c)) * 16777619U;
    std::vector<float> row(dim, text.empty() ? 0.0F : static_cast<float>(text[0]));
    const std::vector<float> own{
        1.0F,
        static_cast<float>(hash & 0xFFFU),
        static_cast<float>(hash >> 12U & 0xFFFU),
        static_cast<float>(text.size())};
    std::copy_n(own.begin(), std::min(dim, own.size()), row.begin());
    return row;
}

/// An embedder that computes `fake_row` of prompt and text, one token a byte. A text may ask for
/// trouble: "bad text" cannot be prepared, "bad row" fails its row, "bad batch" its batch, "no
/// memory" cannot allocate, "not a number" gives one that is none, "short row" too few numbers.
class fake_embedder final : public embedder, public counted {
public:
    explicit fake_embedder(std::shared_ptr<fake_plan> plan)
        : plan_{std::move(plan)}
    {
        info_.dim = plan_->dim;
        info_.dimensions = plan_->dimensions;
        info_.cuttable = plan_->cuttable;
        info_.max_tokens = plan_->max_tokens;
        info_.prompts = {{"query", "find: "}, {"document", "doc: "}};
        ++plan_->n_alive;
        plan_->built.note();
    }
    ~fake_embedder() override
    {
        plan_->destroyed.note();
        --plan_->n_alive;
    }

    const embedder_info& info() const noexcept override { return info_; }
    footprint bytes() const override { return plan_->bytes; }

    prepared_text prepare(const embed_input& input) const override
    {
        plan_->prepared.note();
        if (input.text == "bad text") throw error{text_errc::not_utf8, "byte 3 is no UTF-8"};
        const std::string all = std::string{input.prompt} + std::string{input.text};
        if (all.size() > input.max_tokens && input.too_long == on_too_long::error)
            throw error{text_errc::too_long, std::to_string(all.size()) + " tokens"};
        prepared_text made;
        made.dimension = input.dimension;
        made.truncated = all.size() > input.max_tokens;
        for (const char c : all.substr(0, input.max_tokens))
            made.tokens.push_back(static_cast<unsigned char>(c));
        return made;
    }

    std::vector<item_result<std::vector<float>>>
    run(std::span<const prepared_text> batch, run_context& context) override
    {
        plan_->ran.note();
        ++plan_->n_runs;
        plan_->run_door.blocking_pass(plan_->obeys_stop ? context.stop() : stop_flag{});
        if (plan_->on_run) plan_->on_run();
        std::vector<item_result<std::vector<float>>> rows;
        std::size_t n_tokens = 0;
        for (const prepared_text& one : batch) {
            n_tokens += one.n_tokens();
            rows.push_back(compute(one));
            if (plan_->on_row) plan_->on_row();
            context.step_done();
        }
        if (n_tokens > plan_->n_largest_batch) plan_->n_largest_batch = n_tokens;
        return rows;
    }

    std::unique_ptr<embedder> replicate() const override
    {
        if (!plan_->shares) return nullptr;
        ++plan_->n_replicas;
        return std::make_unique<fake_embedder>(plan_);
    }

    void warm_up(run_context&) override
    {
        ++plan_->n_warm_ups;
        if (plan_->on_warm_up) plan_->on_warm_up();
    }

private:
    static item_result<std::vector<float>> compute(const prepared_text& one)
    {
        std::string text;
        for (const std::int32_t token : one.tokens)
            text.push_back(static_cast<char>(token));
        if (text == "no memory") throw std::bad_alloc{};
        if (text == "bad batch") throw error{model_errc::failed, "the batch failed"};
        if (text == "bad row")
            return std::make_exception_ptr(error{model_errc::failed, "the row failed"});
        std::vector<float> row = fake_row(text, one.dimension);
        if (text == "not a number") row[0] = std::nanf("");
        if (text == "short row") row.pop_back();
        return row;
    }

    std::shared_ptr<fake_plan> plan_;
    embedder_info info_;
};

awaitable<std::unique_ptr<embedder>>
load_fake(std::shared_ptr<fake_plan> plan, load_context context);

/// A loader of fakes that follow `plan`.
inline loader<text_embedding> fake_loader(const std::shared_ptr<fake_plan>& plan)
{
    return [plan](load_context context) { return load_fake(plan, std::move(context)); };
}

}  // namespace modelpool::testing

#pragma once

#include <modelpool/models/generator.hpp>
#include <modelpool/sched/generation_core.hpp>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace modelpool::testing {

inline std::filesystem::path decoder_dir(const std::string& name)
{
    return std::filesystem::path{MODELPOOL_TEST_DATA} / "decoders" / name;
}

/// Allows a number of threads.
class thread_monitor final : public run_monitor {
public:
    explicit thread_monitor(int n_threads)
        : n_threads_{n_threads}
    {}
    int n_threads() const noexcept override { return n_threads_; }
    void step_done() noexcept override { ++n_steps_; }
    std::size_t n_steps() const noexcept { return n_steps_; }

private:
    int n_threads_;
    std::size_t n_steps_{0};
};

/// What a generation gave.
struct decoded {
    std::vector<std::int32_t> ids;
    std::vector<std::vector<float>> logits;
    std::size_t n_cached{0};
    std::optional<finish_reason> reason;

    friend bool operator==(const decoded& a, const decoded& b)
    {
        return a.ids == b.ids && a.logits == b.logits;
    }
};

/// Generations over one model, as a worker runs them.
class decoder_run {
public:
    decoder_run(generator& model, const sched::generation_options& options, int n_threads = 1)
        : core_{model, options}
        , monitor_{n_threads}
        , context_{monitor_, {}}
    {}

    std::size_t add(std::vector<std::int32_t> prompt, std::size_t n_tokens)
    {
        auto prepared = std::make_shared<prepared_prompt>();
        prepared->tokens = std::move(prompt);
        return add(std::move(prepared), n_tokens);
    }

    std::size_t add(std::shared_ptr<const prepared_prompt> prepared, std::size_t n_tokens)
    {
        sched::core_request request;
        request.prompt = std::move(prepared);
        request.params.max_tokens = n_tokens;
        request.params.ignore_end = true;
        ids_.push_back(core_.add(std::move(request)));
        made_.emplace_back();
        return ids_.size() - 1;
    }

    void cancel(std::size_t index) { core_.end(ids_[index]); }
    bool has_work() const { return core_.has_work(); }

    void step()
    {
        for (sched::generation_update& update : core_.step(context_)) {
            if (update.failure) std::rethrow_exception(update.failure);
            decoded& one = of(update.id);
            for (const sched::scored_token& token : update.tokens) {
                one.ids.push_back(token.id);
                one.logits.emplace_back(token.logits.begin(), token.logits.end());
            }
            one.n_cached = update.usage.n_cached_tokens;
            one.reason = update.finish;
        }
    }

    const std::vector<decoded>& finish()
    {
        while (core_.has_work())
            step();
        return made_;
    }

    sched::scheduler_stats stats() const { return core_.stats(); }

private:
    decoded& of(sched::sequence_id id)
    {
        for (std::size_t i = 0; i < ids_.size(); ++i)
            if (ids_[i] == id) return made_[i];
        throw std::logic_error{"an update of an unknown sequence"};
    }

    sched::generation_core core_;
    thread_monitor monitor_;
    run_context context_;
    std::vector<sched::sequence_id> ids_;
    std::vector<decoded> made_;
};

inline sched::generation_options plenty(kv_dtype format = kv_dtype::f32)
{
    sched::generation_options options;
    options.kv_budget_bytes(std::size_t{64} << 20U).kv_format(format);
    return options;
}

/// A prompt that differs with `seed`, of bytes alone.
inline std::vector<std::int32_t> prompt_of(std::size_t n, std::uint32_t seed)
{
    std::vector<std::int32_t> ids;
    for (std::uint32_t i = 0; i < n; ++i)
        ids.push_back(static_cast<std::int32_t>((i * 37 + seed * 101 + i * i * 11) % 256));
    return ids;
}

inline decoded alone(
    generator& model,
    std::vector<std::int32_t> prompt,
    std::size_t n_tokens,
    const sched::generation_options& options = plenty(),
    int n_threads = 1)
{
    decoder_run run{model, options, n_threads};
    run.add(std::move(prompt), n_tokens);
    return run.finish().front();
}

}  // namespace modelpool::testing

#pragma once

#include <modelpool/assert.hpp>
#include <modelpool/capability/generation.hpp>
#include <modelpool/error.hpp>
#include <modelpool/sched/generation_options.hpp>
#include <modelpool/sched/generation_update.hpp>
#include <modelpool/sched/logits.hpp>
#include <modelpool/sched/random.hpp>
#include <modelpool/sched/sampler.hpp>
#include <modelpool/sched/scheduler.hpp>
#include <modelpool/sched/stop_matcher.hpp>
#include <modelpool/sched/utf8_holder.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace modelpool::sched {

/// A generation to be added to a core.
struct core_request {
    std::shared_ptr<const prepared_prompt> prompt;
    generation_params params;
    /// Must be given where the parameters ask for a JSON schema.
    std::unique_ptr<token_constraint> constraint;
    int priority{0};           ///< the greater goes first
    sampling_params defaults;  ///< for what `params.sampling` leaves unset
};

/// All generations of one worker: a scheduler over a model's KV cache, and for each sequence a
/// sampler, a stop matcher and the bytes of an unfinished character. Lives on the worker's thread,
/// and needs no lock; what `scheduler` says of order and fairness holds.
///
///     const sequence_id id = core.add({prompt, params, nullptr, 0});
///     while (core.has_work())
///         for (generation_update& update : core.step(context))
///             ...  // move its text into the stream of update.id; update.ended() says when to close it
///
/// Every sequence ends exactly once: by an update with `finish` or `failure`, or by `end`, which
/// gives its usage. An answer does not depend on what else runs, on chunks, on the cache, or on
/// pauses, as far as the model's rows do not depend on their neighbours.
class generation_core {
public:
    /// Gives the model its KV cache: as many blocks as the budget allows, but no more than
    /// `max_sequences` whole contexts. `model` outlives the core.
    /// Errors: pool_errc::memory_exhausted where the budget does not hold two tokens' blocks;
    /// errc::invalid_argument for limits that cannot be; what `allocate_kv` throws.
    generation_core(generator& model, const generation_options& options)
        : model_{&model}
        , options_{options}
        , scheduler_{limits_of(model, options)}
        , seeds_{options.entropy() ? *options.entropy() : system_entropy()}
    {
        model_->allocate_kv(
            scheduler_.blocks().n_blocks(),
            scheduler_.options().block_tokens(),
            options_.kv_format());
        model_->set_prefill(options_.prefill());
    }

    /// Queues a generation.
    /// Errors: errc::invalid_argument for a parameter out of its range, an empty prompt or stop
    /// string; errc::unsupported for a JSON schema without a constraint; text_errc::not_utf8 for a
    /// stop string; text_errc::bad_id for a token that the vocabulary lacks;
    /// model_errc::context_overflow and pool_errc::memory_exhausted for a prompt that can never
    /// fit.
    sequence_id add(core_request request)
    {
        MODELPOOL_ASSERT(request.prompt);
        check_tokens(*request.prompt);
        sequence_input input = input_of(request);
        input.prompt = request.prompt;
        std::unique_ptr<generation> state = make(std::move(request));
        return keep(scheduler_.add(std::move(input)), std::move(state));
    }

    /// Queues one more answer to the prompt of a sequence that has not ended, sharing what is
    /// computed of it. Its parameters are its own; `request.prompt` is not looked at. Between steps
    /// only.
    /// Errors: as `add`; errc::invalid_argument for an unknown id.
    sequence_id fork(sequence_id from, core_request request)
    {
        const sequence* parent = scheduler_.get(from);
        if (!parent)
            throw error{
                errc::invalid_argument,
                "sequence " + std::to_string(static_cast<std::uint64_t>(from)) +
                    " has ended and cannot be forked"};
        request.prompt = parent->prompt;
        sequence_input input = input_of(request);
        std::unique_ptr<generation> state = make(std::move(request));
        return keep(scheduler_.fork(from, std::move(input)), std::move(state));
    }

    /// Ends a sequence for a reason of the caller's (cancelled, a deadline, a tool call that is
    /// complete): no update of it follows. Empty where it has ended already.
    std::optional<generation_usage> end(sequence_id id)
    {
        const sequence* one = scheduler_.get(id);
        if (!one) return std::nullopt;
        const generation_usage usage = usage_of(*one, *generations_.at(id));
        forget(id);
        return usage;
    }

    /// The reader of that sequence is behind: it makes no steps until `resume`. Unknown ids are
    /// ignored, and holding or resuming twice is once. A token that the step in progress computes
    /// still comes.
    void hold(sequence_id id) { scheduler_.hold(id); }
    void resume(sequence_id id) { scheduler_.resume(id); }

    /// Whether a step would do anything: some sequence has not ended, and is not held.
    bool has_work() const noexcept { return scheduler_.has_work(); }
    /// Sequences that have not ended, held ones too.
    std::size_t size() const noexcept { return scheduler_.size(); }
    scheduler_stats stats() const noexcept { return scheduler_.stats(); }
    /// Bytes of the KV cache that a core of such a model and such options has. Errors: as the
    /// constructor, but nothing is allocated.
    static std::size_t kv_bytes_of(const generator& model, const generation_options& options)
    {
        const scheduler_options limits = limits_of(model, options);
        return limits.n_blocks() * model.kv_bytes(limits.block_tokens(), options.kv_format());
    }

    /// Bytes of the KV cache.
    std::size_t kv_bytes() const noexcept
    {
        const std::size_t n_tokens = scheduler_.options().block_tokens();
        return scheduler_.blocks().n_blocks() * model_->kv_bytes(n_tokens, options_.kv_format());
    }

    /// One step of the model, for all sequences that can go on. The updates are valid until the
    /// next step, and may be moved from; an update comes for each sequence that started, went on or
    /// ended. Nothing happens where the context asked to stop meanwhile.
    /// Errors: what the model throws. The step did not take place then, and all sequences remain:
    /// try again, or end those of `last_plan`. Where the core is `broken` after that, drop it.
    std::span<generation_update> step(run_context& context)
    {
        const step_plan& next = plan();
        if (next.rows.empty()) {
            abandon();
            return {};
        }
        try {
            logits_.resize(next.n_logits * model_->info().vocab_size);
            for (const block_copy& copy : next.copies)
                model_->copy_kv_block(copy.from, copy.to);
            model_->step(next.rows, logits_, context);
        } catch (...) {
            abandon();
            throw;
        }
        if (context.stop_requested()) {
            abandon();
            return {};
        }
        return apply(logits_);
    }

    /// The parts of `step`, for an owner that runs the model itself: `plan`, copy blocks, compute,
    /// and then `apply` with [n_logits, vocab_size] values, or `abandon`.
    const step_plan& plan()
    {
        broken_ = true;
        const step_plan& made = scheduler_.plan();
        broken_ = false;
        return made;
    }

    std::span<generation_update> apply(std::span<const float> logits)
    {
        MODELPOOL_ASSERT(
            logits.size() == scheduler_.last_plan().n_logits * model_->info().vocab_size);
        broken_ = true;
        scheduler_.commit();
        n_updates_ = 0;
        for (const planned_sequence& part : scheduler_.last_plan().sequences)
            advance(part, logits);
        broken_ = false;
        return std::span{updates_}.first(n_updates_);
    }

    void abandon() { scheduler_.abandon(); }

    /// The step planned last; its sequences may have ended since.
    const step_plan& last_plan() const noexcept { return scheduler_.last_plan(); }
    /// Whether the core itself ran out of memory within a step: where its sequences stand is lost.
    bool broken() const noexcept { return broken_; }

    /// Another budget: the KV cache is made anew, and all sequences are computed again, which their
    /// readers do not notice. Gives the ends of those that the new cache cannot hold: their failure
    /// is pool_errc::memory_exhausted. Between steps only.
    /// Errors: as the constructor; where `allocate_kv` threw, the model has no cache, and the core
    /// can do no step.
    std::span<generation_update> set_kv_budget(std::size_t bytes)
    {
        generation_options wanted = options_;
        wanted.kv_budget_bytes(bytes);
        const scheduler_options limits = limits_of(*model_, wanted);
        model_->allocate_kv(limits.n_blocks(), limits.block_tokens(), wanted.kv_format());
        options_ = wanted;
        n_updates_ = 0;
        for (const sequence_id id : scheduler_.resize(limits.n_blocks())) {
            generation_update& update = next_update(id);
            update.usage = usage_of(*scheduler_.get(id), *generations_.at(id));
            update.failure = std::make_exception_ptr(error{
                pool_errc::memory_exhausted,
                "the KV cache was made smaller, and holds this generation no more: " +
                    std::to_string(limits.n_blocks() * limits.block_tokens()) + " tokens in all"});
            forget(id);
        }
        return std::span{updates_}.first(n_updates_);
    }

private:
    /// What a sequence has besides its place in the scheduler.
    struct generation {
        generation(
            generation_params wanted,
            sampling_params sampling,
            std::size_t vocab_size,
            std::uint64_t seed)
            : choice{std::move(sampling), vocab_size, seed}
            , stops{std::move(wanted.stop)}
            , n_logprobs{wanted.n_logprobs}
            , ignore_end{wanted.ignore_end}
        {}

        sampler choice;
        stop_matcher stops;
        utf8_holder bytes;
        std::unique_ptr<token_constraint> constraint;
        std::optional<std::size_t> n_logprobs;
        bool ignore_end;
        std::size_t n_generated{0};  ///< reported; given tokens are known before that
    };

    static std::uint64_t system_entropy()
    {
        std::random_device device;
        return (std::uint64_t{device()} << 32U) | device();
    }

    static scheduler_options limits_of(const generator& model, const generation_options& options)
    {
        scheduler_options limits = options.limits();
        limits.context_length(model.context_length()).check();
        const std::size_t n_tokens = limits.block_tokens();
        if (n_tokens == 0)
            throw error{
                errc::invalid_argument, "scheduler: block_tokens is 0; it must be at least 1"};
        const std::size_t n_a_context = (limits.context_length() - 1) / n_tokens + 1;
        const std::size_t most = std::numeric_limits<std::uint32_t>::max() - 1;
        const std::size_t n_useful = n_a_context > most / limits.max_sequences()
                                         ? most
                                         : n_a_context * limits.max_sequences();
        const std::size_t block_bytes =
            std::max<std::size_t>(1, model.kv_bytes(n_tokens, options.kv_format()));
        limits.n_blocks(std::min(n_useful, options.kv_budget_bytes() / block_bytes));
        if (limits.n_blocks() * n_tokens < 2)
            throw error{
                pool_errc::memory_exhausted,
                "a KV cache of " + std::to_string(options.kv_budget_bytes()) +
                    " bytes holds no two tokens: a block of " + std::to_string(n_tokens) +
                    " tokens takes " + std::to_string(block_bytes) +
                    " bytes; raise the memory limit"};
        return limits;
    }

    void check_id(std::int32_t id, const char* what) const
    {
        if (id < 0 || static_cast<std::size_t>(id) >= model_->info().vocab_size)
            throw error{
                text_errc::bad_id,
                std::string{what} + " holds token " + std::to_string(id) + "; the vocabulary has " +
                    std::to_string(model_->info().vocab_size)};
    }

    /// Ids at image positions stand for no token, and may be any number.
    void check_tokens(const prepared_prompt& prompt) const
    {
        auto image = prompt.images.begin();
        for (std::size_t i = 0; i < prompt.tokens.size(); ++i) {
            while (image != prompt.images.end() && i >= image->begin &&
                   i - image->begin >= image->n_positions)
                ++image;
            if (image == prompt.images.end() || i < image->begin)
                check_id(prompt.tokens[i], "the prompt");
        }
    }

    sequence_input input_of(const core_request& request) const
    {
        for (const std::int32_t id : request.params.forced)
            check_id(id, "the forced beginning of the answer");
        sequence_input input;
        input.forced = request.params.forced;
        input.max_tokens = request.params.max_tokens;
        input.prompt_logits = request.params.prompt_logprobs;
        input.priority = request.priority;
        return input;
    }

    std::unique_ptr<generation> make(core_request request)
    {
        generation_params& params = request.params;
        if (!params.json_schema.empty() && !request.constraint)
            throw error{
                errc::unsupported, "this model cannot constrain its answers to a JSON schema"};
        for (const std::string& stop : params.stop)
            check_utf8(stop);
        if (params.prompt_logprobs && !params.n_logprobs) params.n_logprobs = 0;
        sampling_params sampling = params.sampling.over(request.defaults);
        const std::uint64_t seed = sampling.seed ? *sampling.seed : seeds_.next();
        auto state = std::make_unique<generation>(
            std::move(params), std::move(sampling), model_->info().vocab_size, seed);
        state->constraint = std::move(request.constraint);
        state->choice.see_prompt(request.prompt->tokens);
        return state;
    }

    static void check_utf8(const std::string& stop)
    {
        utf8_holder reader;
        std::string whole;
        reader.push(stop, whole);
        reader.finish(whole);
        if (whole != stop)
            throw error{
                text_errc::not_utf8, "a stop string is not valid UTF-8: it could never appear"};
    }

    sequence_id keep(sequence_id id, std::unique_ptr<generation> state)
    {
        try {
            generations_.emplace(id, std::move(state));
        } catch (...) {
            scheduler_.remove(id);
            throw;
        }
        return id;
    }

    void forget(sequence_id id)
    {
        scheduler_.remove(id);
        generations_.erase(id);
    }

    static generation_usage usage_of(const sequence& one, const generation& state)
    {
        return {one.n_prompt, one.n_cached, state.n_generated};
    }

    /// Updates keep their memory from step to step.
    generation_update& next_update(sequence_id id)
    {
        if (n_updates_ == updates_.size()) updates_.emplace_back();
        generation_update& update = updates_[n_updates_++];
        update.id = id;
        update.started = false;
        update.text.clear();
        update.tokens.clear();
        update.prompt_tokens.clear();
        update.finish.reset();
        update.stop_string.reset();
        update.failure = nullptr;
        return update;
    }

    void advance(const planned_sequence& part, std::span<const float> logits)
    {
        const sequence* one = scheduler_.get(part.id);
        if (!one || (!part.first_time && part.n_logits == 0)) return;
        generation& state = *generations_.at(part.id);
        generation_update& update = next_update(part.id);
        update.started = part.first_time;
        const std::size_t vocab_size = model_->info().vocab_size;
        try {
            for (std::size_t i = 0; i < part.n_logits && !update.ended(); ++i)
                take_row(
                    *one,
                    part.logits_position + i,
                    logits.subspan((part.first_logits + i) * vocab_size, vocab_size),
                    update);
        } catch (const error&) {
            update.failure = std::current_exception();
        }
        update.usage = usage_of(*one, state);
        if (update.ended()) forget(part.id);
    }

    /// `row` says what follows `position`.
    void take_row(
        const sequence& one,
        std::size_t position,
        std::span<const float> row,
        generation_update& update)
    {
        generation& state = *generations_.at(one.id);
        const std::size_t next = position + 1;
        if (next < one.n_prompt) {
            update.prompt_tokens.push_back(score(one.tokens[next], row, state.n_logprobs));
            return;
        }
        if (next == one.tokens.size()) {
            const auto allowed =
                state.constraint ? state.constraint->allowed() : std::span<const std::uint64_t>{};
            scheduler_.append(one.id, state.choice.sample(row, allowed, scratch_));
        }
        const std::int32_t token = one.tokens[next];
        state.choice.see(token);
        if (state.constraint) state.constraint->accept(token);
        ++state.n_generated;
        update.tokens.push_back(score(token, row, state.n_logprobs));
        write_text(state, token, update);
        if (!update.finish && state.n_generated == one.max_tokens)
            update.finish = finish_reason::length;
        if (update.finish && !update.stop_string) flush_text(state, update);
    }

    void write_text(generation& state, std::int32_t token, generation_update& update)
    {
        const auto& ends = model_->info().end_tokens;
        const bool may_end = !state.ignore_end || state.constraint;
        if (may_end && std::find(ends.begin(), ends.end(), token) != ends.end()) {
            update.finish = finish_reason::stop;
            return;
        }
        characters_.clear();
        state.bytes.push(model_->piece(std::span{&token, 1}), characters_);
        match_stops(state, update);
    }

    /// The text ends: what was held back comes out.
    void flush_text(generation& state, generation_update& update)
    {
        characters_.clear();
        state.bytes.finish(characters_);
        match_stops(state, update);
        if (!update.stop_string) state.stops.finish(update.text);
    }

    void match_stops(generation& state, generation_update& update)
    {
        if (!state.stops.push(characters_, update.text)) return;
        update.finish = finish_reason::stop;
        update.stop_string = state.stops.matched();
    }

    scored_token
    score(std::int32_t token, std::span<const float> row, std::optional<std::size_t> n_logprobs)
    {
        scored_token scored;
        scored.id = token;
        scored.logits = row;
        if (!n_logprobs) return scored;
        const double norm = log_sum_exp(row, likeliest(row).logit);
        const auto logprob = [&](float logit) {
            return static_cast<float>(static_cast<double>(logit) - norm);
        };
        const auto index = static_cast<std::size_t>(token);
        scored.logprob =
            index < row.size() ? logprob(row[index]) : -std::numeric_limits<float>::infinity();
        likeliest_n(row, *n_logprobs, scratch_.kept);
        scored.top.reserve(scratch_.kept.size());
        for (const candidate& one : scratch_.kept)
            scored.top.push_back({one.id, logprob(one.logit)});
        return scored;
    }

    generator* model_;
    generation_options options_;
    scheduler scheduler_;
    splitmix64 seeds_;
    std::unordered_map<sequence_id, std::unique_ptr<generation>> generations_;
    std::vector<generation_update> updates_;
    std::size_t n_updates_{0};
    std::vector<float> logits_;
    sampler_scratch scratch_;
    std::string characters_;
    bool broken_{false};
};

}  // namespace modelpool::sched

#pragma once

#include <modelpool/capability/generation.hpp>
#include <modelpool/capability/text_to_text.hpp>
#include <modelpool/capability/vision.hpp>
#include <modelpool/error.hpp>
#include <modelpool/pool/detail/engine.hpp>
#include <modelpool/pool/detail/generation_job.hpp>
#include <modelpool/pool/detail/group.hpp>
#include <modelpool/pool/detail/info_job.hpp>
#include <modelpool/runtime/clock.hpp>
#include <modelpool/sched/generation_core.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <list>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace modelpool::detail {

/// Generates for any number of requests at once: each is a sequence of one
/// `sched::generation_core`, whose updates it moves into their streams. A generation whose reader
/// is behind is held, and makes no steps until there is room.
class generation_engine final : public engine {
public:
    generation_engine(std::unique_ptr<generator> model, engine_options options)
        : model_{std::move(model)}
        , options_{std::move(options)}
    {}

    std::uint64_t cache_bytes(std::uint64_t available_bytes) const override
    {
        return sched::generation_core::kv_bytes_of(*model_, limits_for(available_bytes));
    }

    void start(std::uint64_t granted_bytes) override
    {
        granted_bytes_ = granted_bytes;
        make_core();
    }

    intake take(const std::shared_ptr<job>& one) override
    {
        if (questions_.take(one)) return intake::all;
        if (!open()) return intake::full;
        newcomers_.push_back(one);
        return intake::all;
    }

    bool busy() const noexcept override
    {
        return questions_.busy() || !newcomers_.empty() || !scorings_.empty() ||
               (bell_ && bell_->rung()) || (core_ && core_->has_work());
    }
    bool holds() const noexcept override { return busy() || !streams_.empty(); }
    /// Held generations do not count: those who wait need not wait for the readers of others.
    bool open() const noexcept override
    {
        return newcomers_.size() + n_running() < options_.generation.limits().max_sequences();
    }

    step_report step(run_context& context) override;
    void drop(const std::exception_ptr& why) noexcept override;

    std::unique_ptr<engine> replicate() const override
    {
        std::unique_ptr<generator> copy = model_->replicate();
        if (!copy) return nullptr;
        return std::make_unique<generation_engine>(std::move(copy), options_);
    }

    footprint bytes() const override
    {
        footprint all = model_->bytes();
        if (core_) all.replica_bytes += core_->kv_bytes();
        return all;
    }
    void warm_up(run_context& context) override { model_->warm_up(context); }

private:
    using sequence_id = sched::sequence_id;

    /// A generation with its reader.
    struct streaming {
        std::shared_ptr<generation_job> request;
        std::unique_ptr<answer_parser> parser;
        std::optional<clock::time_point> first_token_at;
        clock::alarm_id alarm{0};
        bool keeps_logits{false};
        std::shared_ptr<const prepared_prompt> prompt;  // where it is told with the end
        bool held{false};
    };

    /// A request for scores, with those of its continuations that are not begun yet.
    struct scoring {
        std::shared_ptr<score_job> request;
        std::shared_ptr<const prepared_prompt> prompt;
        std::vector<std::vector<std::int32_t>> continuations;
        std::size_t next{0};
        std::size_t n_left{0};
    };
    struct scored_sequence {
        scoring* of{nullptr};
        std::size_t index{0};
    };

    std::size_t n_running() const noexcept { return streams_.size() - n_held_ + scored_.size(); }

    sched::generation_options limits_for(std::uint64_t available_bytes) const;
    void make_core();
    void meet(const std::shared_ptr<generation_job>& request);
    void prepare(const std::shared_ptr<job>& one) noexcept;
    void prepare(const std::shared_ptr<generation_job>& request);
    void prepare(const std::shared_ptr<score_job>& request);
    void heed_readers(step_report& report);
    void end_abandoned_scores(step_report& report);
    void begin_scores(step_report& report);
    void begin_score(scoring& one);
    void run(run_context& context, step_report& report);
    void fail_step(step_report& report);
    void take_update(sched::generation_update& update, step_report& report);
    void take_update(streaming& one, sched::generation_update& update, step_report& report);
    void take_update(scored_sequence one, sched::generation_update& update, step_report& report);
    bool write(streaming& one, sched::generation_update& update);
    void end(streaming& one, const sched::generation_update& update, step_report& report);
    void fail(sequence_id id, const std::exception_ptr& why, step_report& report) noexcept;
    void forget(sequence_id id) noexcept;
    void fail_scoring(scoring& one, const std::exception_ptr& why, step_report& report) noexcept;
    void finish_scoring(scoring& one, step_report& report);

    std::unique_ptr<generator> model_;
    engine_options options_;
    std::uint64_t granted_bytes_{0};
    std::optional<sched::generation_core>
        core_;  // empty before `start`, or where it could not be made anew
    info_lane<generator_info> questions_;
    std::vector<std::shared_ptr<job>> newcomers_;
    std::unordered_map<sequence_id, streaming> streams_;
    std::size_t n_held_{0};  // of streams_
    std::list<scoring> scorings_;
    std::unordered_map<sequence_id, scored_sequence> scored_;
    std::shared_ptr<engine_bell> bell_;  // these two from the first request on
    clock* time_{nullptr};
    std::vector<answer_piece> pieces_;
};

inline sched::generation_options generation_engine::limits_for(std::uint64_t available_bytes) const
{
    sched::generation_options limits = options_.generation;
    limits.kv_budget_bytes(static_cast<std::size_t>(
        std::min<std::uint64_t>(limits.kv_budget_bytes(), available_bytes)));
    return limits;
}

inline void generation_engine::make_core()
{
    core_.emplace(*model_, limits_for(granted_bytes_));
}

inline step_report generation_engine::step(run_context& context)
{
    step_report report;
    questions_.answer(model_->info(), report);
    for (const std::shared_ptr<job>& one : std::exchange(newcomers_, {}))
        prepare(one);
    heed_readers(report);
    end_abandoned_scores(report);
    begin_scores(report);
    if (core_ && core_->has_work()) run(context, report);
    return report;
}

inline void generation_engine::drop(const std::exception_ptr& why) noexcept
{
    questions_.drop(why);
    for (const std::shared_ptr<job>& one : std::exchange(newcomers_, {}))
        one->fail(why);
    for (auto& [id, one] : streams_) {
        if (one.alarm != 0) time_->forget(one.alarm);
        one.request->fail(why);
    }
    streams_.clear();
    n_held_ = 0;
    for (scoring& one : scorings_)
        one.request->fail(why);
    scored_.clear();
    scorings_.clear();
}

// --- requests that come --------------------------------------------------------------------------

inline void generation_engine::meet(const std::shared_ptr<generation_job>& request)
{
    if (bell_) return;
    const std::shared_ptr<group> home = request->home().lock();
    if (!home) throw error{pool_errc::shut_down};
    time_ = &home->rt().time();
    bell_ = std::make_shared<engine_bell>(request->home());
}

/// A request that does not suit the model fails alone.
inline void generation_engine::prepare(const std::shared_ptr<job>& one) noexcept
{
    if (one->ended()) return;
    try {
        if (!core_) make_core();
        if (auto request = std::dynamic_pointer_cast<generation_job>(one))
            prepare(request);
        else
            prepare(std::static_pointer_cast<score_job>(one));
    } catch (const std::bad_alloc&) {
        one->fail(std::make_exception_ptr(error{model_errc::out_of_memory}));
    } catch (...) {
        one->fail(std::current_exception());
    }
}

/// Stops a stream, while there is one.
inline std::function<void()> stop_call(const generation_job& request)
{
    return [weak = std::weak_ptr<token_state>{request.shared_stream()}] {
        if (const std::shared_ptr<token_state> stream = weak.lock()) stream->stop();
    };
}

inline void generation_engine::prepare(const std::shared_ptr<generation_job>& request)
{
    meet(request);
    const std::optional<clock::time_point> deadline = request->input.params.deadline;
    auto prompt = std::make_shared<const prepared_prompt>(model_->prepare(request->input));
    streaming one;
    one.request = request;
    one.parser = model_->parse_answer(request->input);
    one.keeps_logits = request->input.params.keep_logits;
    if (request->input.params.keep_prompt) one.prompt = prompt;
    if (deadline && *deadline <= time_->now())
        throw error{
            pool_errc::deadline_missed, "the deadline passed before the prompt was prepared"};
    sched::core_request wanted;
    wanted.prompt = std::move(prompt);
    if (!request->input.params.json_schema.empty())
        wanted.constraint = model_->constrain(request->input);
    wanted.params = std::move(request->input.params);
    wanted.priority = static_cast<int>(request->request().rank());
    wanted.defaults = options_.sampling;
    request->input = {};
    const sequence_id id = core_->add(std::move(wanted));
    try {
        request->stream().connect(bell_);
        if (deadline) one.alarm = time_->call_at(*deadline, stop_call(*request));
        streams_.emplace(id, std::move(one));
    } catch (...) {
        if (one.alarm != 0) time_->forget(one.alarm);
        core_->end(id);
        throw;
    }
    if (!request->admit()) forget(id);
}

inline void generation_engine::prepare(const std::shared_ptr<score_job>& request)
{
    generation_request wanted;
    wanted.input = request->prompt();
    scoring one;
    one.request = request;
    one.prompt = std::make_shared<const prepared_prompt>(model_->prepare(wanted));
    for (std::size_t i = 0; i < request->continuations().size(); ++i) {
        try {
            one.continuations.push_back(model_->tokenize(request->continuations()[i]));
        } catch (const error& problem) {
            throw problem.in("continuation " + std::to_string(i));
        }
    }
    one.n_left = one.continuations.size();
    request->scores.resize(one.continuations.size());
    scorings_.push_back(std::move(one));
}

/// Ends the generations that their readers stopped, and lets those go on whose readers made room.
inline void generation_engine::heed_readers(step_report& report)
{
    if (!bell_ || !bell_->take()) return;
    std::vector<sequence_id> stopped;
    for (auto& [id, one] : streams_) {
        if (one.request->stream().stopped()) {
            stopped.push_back(id);
        } else if (one.held && one.request->stream().has_room()) {
            one.held = false;
            --n_held_;
            core_->resume(id);
        }
    }
    for (const sequence_id id : stopped) {
        streaming& one = streams_.at(id);
        sched::generation_update last;
        last.id = id;
        last.finish = finish_reason::cancelled;
        last.usage = core_->end(id).value_or(generation_usage{});
        take_update(one, last, report);
    }
}

inline void generation_engine::end_abandoned_scores(step_report& report)
{
    for (auto place = scorings_.begin(); place != scorings_.end();) {
        scoring& one = *place++;
        if (one.request->ended()) fail_scoring(one, aborted(), report);
    }
}

/// Adds continuations as long as there is room for sequences. Their common prompt is computed once:
/// what one of them has in the KV cache, the others find there.
inline void generation_engine::begin_scores(step_report& report)
{
    for (auto place = scorings_.begin(); place != scorings_.end();) {
        scoring& one = *place++;
        try {
            while (one.next < one.continuations.size() &&
                   n_running() < options_.generation.limits().max_sequences())
                begin_score(one);
        } catch (const error& problem) {
            fail_scoring(
                one,
                std::make_exception_ptr(problem.in("continuation " + std::to_string(one.next))),
                report);
            continue;
        }
        if (one.n_left == 0) finish_scoring(one, report);
    }
}

inline void generation_engine::begin_score(scoring& one)
{
    std::vector<std::int32_t>& tokens = one.continuations[one.next];
    if (tokens.empty()) {
        ++one.next;
        --one.n_left;
        return;
    }
    sched::core_request wanted;
    wanted.prompt = one.prompt;
    wanted.params.max_tokens = tokens.size();
    wanted.params.forced = std::move(tokens);
    wanted.params.n_logprobs = 1;
    wanted.params.ignore_end = true;
    wanted.priority = static_cast<int>(one.request->request().rank());
    scored_.emplace(core_->add(std::move(wanted)), scored_sequence{&one, one.next});
    ++one.next;
}

// --- steps ---------------------------------------------------------------------------------------

inline void generation_engine::run(run_context& context, step_report& report)
{
    std::span<sched::generation_update> updates;
    try {
        updates = core_->step(context);
    } catch (const std::bad_alloc&) {
        report.failure = std::make_exception_ptr(error{model_errc::out_of_memory});
    } catch (...) {
        report.failure = std::current_exception();
    }
    if (report.failure) {
        fail_step(report);
        return;
    }
    if (updates.empty() && context.stop_requested()) return;
    report.n_items = core_->last_plan().sequences.size();
    report.n_tokens = core_->last_plan().rows.size();
    for (sched::generation_update& update : updates) {
        if (update.failure) report.item_failed(update.failure);
        take_update(update, report);
    }
}

/// Fails what took part in a step that did not come about; the others go on.
inline void generation_engine::fail_step(step_report& report)
{
    std::vector<sequence_id> failed;
    if (core_->broken()) {
        for (const auto& [id, one] : streams_)
            failed.push_back(id);
    } else {
        for (const sched::planned_sequence& part : core_->last_plan().sequences)
            failed.push_back(part.id);
    }
    for (const sequence_id id : failed)
        fail(id, report.failure, report);
    if (!core_->broken()) return;
    while (!scorings_.empty())
        fail_scoring(scorings_.front(), report.failure, report);
    core_.reset();  // the next request has it made anew
}

inline void generation_engine::take_update(sched::generation_update& update, step_report& report)
{
    const auto stream = streams_.find(update.id);
    if (stream != streams_.end()) {
        take_update(stream->second, update, report);
        return;
    }
    const auto scored = scored_.find(update.id);
    if (scored != scored_.end()) take_update(scored->second, update, report);
}

inline void generation_engine::take_update(
    streaming& one, sched::generation_update& update, step_report& report)
{
    if (!update.tokens.empty() && !one.first_token_at) one.first_token_at = time_->now();
    bool has_room = true;
    try {
        has_room = write(one, update);
    } catch (const std::bad_alloc&) {
        update.failure = std::make_exception_ptr(error{model_errc::out_of_memory});
    } catch (...) {
        update.failure = std::current_exception();
    }
    if (update.failure) {
        fail(update.id, update.failure, report);
    } else if (update.finish) {
        end(one, update, report);
        forget(update.id);
    } else if (!has_room) {
        one.held = true;
        ++n_held_;
        core_->hold(update.id);
    }
}

inline std::vector<generated_token>
take_tokens(std::vector<sched::scored_token>& scored, bool keeps_logits)
{
    std::vector<generated_token> tokens;
    tokens.reserve(scored.size());
    for (sched::scored_token& one : scored) {
        generated_token& made = tokens.emplace_back();
        made.id = one.id;
        made.logprob = one.logprob;
        made.top = std::move(one.top);
        if (keeps_logits) made.logits.assign(one.logits.begin(), one.logits.end());
    }
    return tokens;
}

inline generation_event event_of(answer_piece piece)
{
    generation_event made;
    switch (piece.part) {
    case answer_part::text:
        made.text = std::move(piece.text);
        break;
    case answer_part::reasoning:
        made.kind = generation_event_kind::reasoning;
        made.reasoning = std::move(piece.text);
        break;
    case answer_part::tool_call:
        made.kind = generation_event_kind::tool_call;
        made.tool_call = std::move(piece.call);
        break;
    }
    return made;
}

/// Moves what an update brings into its stream; false where that is full.
inline bool generation_engine::write(streaming& one, sched::generation_update& update)
{
    std::vector<generation_event> events;
    if (one.parser) {
        pieces_.clear();
        one.parser->push(update.text, pieces_);
        if (update.ended()) one.parser->finish(pieces_);
        for (answer_piece& piece : pieces_)
            events.push_back(event_of(std::move(piece)));
    } else if (!update.text.empty()) {
        events.emplace_back().text = std::move(update.text);
    }
    const std::size_t weight = update.tokens.size() + update.prompt_tokens.size();
    if (events.empty() && weight == 0) return true;
    if (events.empty()) events.emplace_back();
    events.front().tokens = take_tokens(update.tokens, one.keeps_logits);
    events.front().prompt_tokens = take_tokens(update.prompt_tokens, false);
    bool has_room = true;
    for (generation_event& event : events) {
        const std::size_t n = event.tokens.size() + event.prompt_tokens.size();
        has_room = one.request->stream().push(std::move(event), n);
    }
    return has_room;
}

inline void
generation_engine::end(streaming& one, const sched::generation_update& update, step_report& report)
{
    generation_job& request = *one.request;
    const clock::time_point now = time_->now();
    const clock::time_point first = one.first_token_at.value_or(now);
    generation_end last;
    last.reason = *update.finish;
    if (last.reason == finish_reason::stop && one.parser && one.parser->calls_tools())
        last.reason = finish_reason::tool_calls;
    last.usage = update.usage;
    last.stop_string = update.stop_string;
    if (one.prompt) last.prompt = one.prompt->tokens;
    last.timings.queue = request.begun_at() - request.accepted_at();
    last.timings.prefill = first - request.begun_at();
    last.timings.decode = now - first;
    request.set_end(last);
    if (last.reason != finish_reason::cancelled) ++report.n_succeeded;
    report.done.push_back(one.request);
}

inline void generation_engine::take_update(
    scored_sequence one, sched::generation_update& update, step_report& report)
{
    scoring& all = *one.of;
    if (update.failure) {
        fail_scoring(all, update.failure, report);
        return;
    }
    continuation_score& score = all.request->scores[one.index];
    for (const sched::scored_token& token : update.tokens) {
        score.logprobs.push_back(token.logprob);
        score.sum += static_cast<double>(token.logprob);
        score.greedy = score.greedy && token.top.front().id == token.id;
    }
    if (!update.finish) return;
    scored_.erase(update.id);
    if (--all.n_left == 0) finish_scoring(all, report);
}

// --- ends ----------------------------------------------------------------------------------------

inline void
generation_engine::fail(sequence_id id, const std::exception_ptr& why, step_report& report) noexcept
{
    const auto stream = streams_.find(id);
    if (stream != streams_.end()) {
        const std::shared_ptr<generation_job> request = stream->second.request;
        forget(id);
        report.fail(request, why);
        return;
    }
    const auto scored = scored_.find(id);
    if (scored != scored_.end()) fail_scoring(*scored->second.of, why, report);
}

inline void generation_engine::forget(sequence_id id) noexcept
{
    const auto place = streams_.find(id);
    if (place->second.alarm != 0) time_->forget(place->second.alarm);
    if (place->second.held) --n_held_;
    streams_.erase(place);
    core_->end(id);
}

inline void generation_engine::fail_scoring(
    scoring& one, const std::exception_ptr& why, step_report& report) noexcept
{
    for (auto place = scored_.begin(); place != scored_.end();) {
        if (place->second.of == &one) {
            core_->end(place->first);
            place = scored_.erase(place);
        } else {
            ++place;
        }
    }
    report.fail(one.request, why);
    std::erase_if(scorings_, [&](const scoring& other) { return &other == &one; });
}

inline void generation_engine::finish_scoring(scoring& one, step_report& report)
{
    ++report.n_succeeded;
    report.done.push_back(one.request);
    std::erase_if(scorings_, [&](const scoring& other) { return &other == &one; });
}

}  // namespace modelpool::detail

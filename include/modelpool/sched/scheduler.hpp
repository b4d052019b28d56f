#pragma once

#include <modelpool/assert.hpp>
#include <modelpool/error.hpp>
#include <modelpool/sched/block_allocator.hpp>
#include <modelpool/sched/scheduler_options.hpp>
#include <modelpool/sched/sequence.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace modelpool::sched {

/// Decides which sequences advance in each step, and which blocks of the KV cache each of them has.
/// It knows no model and no clock: `plan`, then compute, then `commit` (or `abandon`). After that,
/// a sequence whose known tokens are all computed must get another one by `append`, or be removed,
/// before the next plan. Not thread-safe.
///
/// A step holds one row for each live sequence that goes on by one token, and at most
/// `prefill_chunk` rows of prompts. Who gets them:
/// - Admission is in order of priority, then arrival, and nobody overtakes: the first of those
///   waiting comes in once there is a place (`max_sequences`) and there are blocks for all its
///   tokens, beside those that the live ones still need for theirs. Waiting makes up for priority:
///   64 steps for each level (`steps_a_priority`), so that nobody is kept out for ever, and a
///   paused sequence, which keeps its age, comes back.
/// - Among admitted prompts, of equal priority, the one with the fewest tokens left goes first, so
///   a short prompt does not wait for a long one that came before it. A prompt that got nothing in
///   four steps running is due: those go before all others, the longest passed over first. So a
///   long prompt gets a fifth of the time beside a stream of short ones, and where more comes than
///   can be done, its turn among the admitted.
/// - With chunks of 128, a prompt of 256 that arrives just after a step of a long one began waits
///   128 rows and has its logits after 256 more: 1.5 times the unloaded 256.
/// - When blocks run out, what sequences that make no steps hold is taken first; then the live
///   sequence whose turn comes last is paused: it gives its blocks back and waits again, and later all its tokens
///   are computed anew.
///
/// Prompts whose beginning is in the cache start behind it, on a block's boundary; the last known
/// token is always computed. A prompt that meets a block which another sequence computes in the
/// same step waits for that step, and then shares it.
class scheduler {
public:
    /// Errors: errc::invalid_argument.
    explicit scheduler(const scheduler_options& options)
        : options_{checked(options)}
        , blocks_{options.n_blocks(), options.block_tokens()}
    {}

    const scheduler_options& options() const noexcept { return options_; }

    /// Queues a sequence.
    /// Errors: errc::invalid_argument for an empty prompt, or images that are out of order or
    /// beyond it; model_errc::context_overflow where the context has no room for it, and a token
    /// more; pool_errc::memory_exhausted where the KV cache would not hold it even alone.
    sequence_id add(sequence_input input)
    {
        std::unique_ptr<sequence> one = make(std::move(input));
        return enqueue(std::move(one));
    }

    /// Queues a sequence with the prompt of another, which begins with what is computed of that.
    /// Only between steps. `input.prompt` is not looked at. Errors: as `add`;
    /// errc::invalid_argument for an unknown id.
    sequence_id fork(sequence_id from, sequence_input input)
    {
        MODELPOOL_ASSERT(!in_step_);
        const sequence* parent = find(from);
        if (!parent)
            throw error{
                errc::invalid_argument,
                "sequence " + std::to_string(static_cast<std::uint64_t>(from)) +
                    " has ended and cannot be forked"};
        input.prompt = parent->prompt;
        std::unique_ptr<sequence> one = make(std::move(input));
        // The last position of the prompt is computed again, for its logits.
        const std::size_t n = std::min(parent->n_computed, one->logits_from);
        const std::size_t n_shared = n_blocks_for(n);
        one->n_computed = n;
        one->blocks.assign(
            parent->blocks.begin(), parent->blocks.begin() + static_cast<std::ptrdiff_t>(n_shared));
        for (const auto number : one->blocks)
            blocks_.share(number);
        const std::size_t n_full = std::min(parent->prefixes.size(), n / options_.block_tokens());
        one->prefixes.assign(
            parent->prefixes.begin(),
            parent->prefixes.begin() + static_cast<std::ptrdiff_t>(n_full));
        return enqueue(std::move(one));
    }

    /// Ends a sequence; false where there is none. Its blocks are given back now, or at the end of
    /// the step.
    bool remove(sequence_id id)
    {
        sequence* one = find(id);
        if (!one) return false;
        if (in_step_ && one->planned) {
            one->doomed = true;
            doomed_.push_back(id);
        } else {
            erase(*one);
        }
        return true;
    }

    /// The sequence makes no steps until `resume`; nobody waits for it, and its blocks go first
    /// when others need some. In a step that it takes part in, this counts from the next one. False
    /// where there is no such sequence.
    bool hold(sequence_id id)
    {
        sequence* one = find(id);
        if (one) move(*one, sequence_place::held);
        return one != nullptr;
    }

    bool resume(sequence_id id)
    {
        sequence* one = find(id);
        if (one && one->place == sequence_place::held) move(*one, sequence_place::waiting);
        return one != nullptr;
    }

    /// The token that follows all known ones. The sequence must be able to go on.
    void append(sequence_id id, std::int32_t token)
    {
        sequence* one = find(id);
        MODELPOOL_ASSERT(one && one->n_generated() < one->max_tokens);
        one->tokens.push_back(token);
    }

    /// Whether a step would do anything.
    bool has_work() const noexcept { return !live_.empty() || !waiting_.empty(); }
    std::size_t size() const noexcept { return sequences_.size(); }
    const sequence* get(sequence_id id) const
    {
        const auto place = sequences_.find(id);
        return place == sequences_.end() || place->second->doomed ? nullptr : place->second.get();
    }
    const block_allocator& blocks() const noexcept { return blocks_; }

    scheduler_stats stats() const noexcept
    {
        scheduler_stats now = totals_;
        now.n_waiting = waiting_.size();
        now.n_live = live_.size();
        now.n_held = sequences_.size() - waiting_.size() - live_.size();
        now.n_free_blocks = blocks_.n_free();
        now.n_cached_blocks = blocks_.n_cached();
        now.n_used_blocks = blocks_.n_used();
        return now;
    }

    /// Chooses the rows of the next step. It has rows whenever there is work.
    const step_plan& plan()
    {
        MODELPOOL_ASSERT(!in_step_);
        in_step_ = true;
        plan_.clear();
        n_planned_rows_ = 0;
        plan_decodes();
        admit();
        plan_prompts();
        if (plan_.sequences.empty() && !live_.empty()) force_oldest();
        MODELPOOL_ASSERT(!plan_.sequences.empty() || !has_work());
        write_rows();
        return plan_;
    }

    /// The plan made last.
    const step_plan& last_plan() const noexcept { return plan_; }

    /// The plan was computed.
    void commit()
    {
        MODELPOOL_ASSERT(in_step_);
        for (planned_sequence& part : plan_.sequences) {
            sequence& one = *part.which;
            part.first_time = !one.started;
            if (part.first_time) one.n_cached = std::min(one.n_computed, one.n_prompt);
            one.started = true;
            one.planned = false;
            one.n_computed += part.n_rows;
            one.logits_from = std::max(one.logits_from, part.logits_position + part.n_logits);
            totals_.n_computed_rows += part.n_rows;
        }
        for (const filled_block& filled : filled_) {
            auto& place = filled.which->blocks[filled.index];
            if (filled.twin) {
                blocks_.release(place);
                place = *filled.twin;
            } else {
                blocks_.complete(place);
            }
            filled.which->prefixes.push_back(filled.prefix);
        }
        end_step();
    }

    /// The plan was not computed, or failed: the step did not take place. Copies count as not made.
    void abandon()
    {
        MODELPOOL_ASSERT(in_step_);
        for (auto filled = filled_.rbegin(); filled != filled_.rend(); ++filled) {
            if (filled->twin)
                blocks_.release(*filled->twin);
            else
                blocks_.forget(filled->which->blocks[filled->index]);
        }
        for (const block_copy& copy : plan_.copies)
            drop_blocks(*copy.which);
        for (const planned_sequence& part : plan_.sequences) {
            sequence& one = *part.which;
            one.planned = false;
            while (one.blocks.size() > n_blocks_for(one.n_computed)) {
                blocks_.release(one.blocks.back());
                one.blocks.pop_back();
            }
        }
        end_step();
    }

    /// Another number of blocks; what the old ones held is lost, and all sequences are paused.
    /// Gives those that cannot go on with so few, for the caller to remove. Only between steps.
    std::vector<sequence_id> resize(std::size_t n_blocks)
    {
        MODELPOOL_ASSERT(!in_step_);
        block_allocator fresh{n_blocks, options_.block_tokens()};
        while (!live_.empty())
            pause(*live_.back());
        for (const auto& [id, one] : sequences_)
            drop_blocks(*one);
        blocks_ = std::move(fresh);
        options_.n_blocks(n_blocks);
        std::vector<sequence_id> too_long;
        for (const auto& [id, one] : sequences_) {
            if (one->tokens.size() >= capacity())
                too_long.push_back(id);
            else
                one->max_tokens = std::min(one->max_tokens, capacity() - one->n_prompt);
        }
        std::sort(too_long.begin(), too_long.end());
        return too_long;
    }

private:
    /// A block that the present step fills.
    struct filled_block {
        sequence* which{nullptr};
        std::size_t index{0};
        prefix_id prefix{prefix_id::empty};
        /// A block that holds the same already, or will after this step; referenced for this
        /// sequence.
        std::optional<block_allocator::block> twin;
    };

    static constexpr unsigned max_passed = 4;

    static const scheduler_options& checked(const scheduler_options& options)
    {
        options.check();
        return options;
    }

    std::size_t capacity() const noexcept
    {
        return std::min(options_.context_length(), blocks_.n_blocks() * options_.block_tokens());
    }

    std::size_t n_blocks_for(std::size_t n_positions) const noexcept
    {
        return (n_positions + options_.block_tokens() - 1) / options_.block_tokens();
    }

    std::unique_ptr<sequence> make(sequence_input input) const
    {
        const std::size_t n_prompt = input.prompt->tokens.size();
        check_prompt(*input.prompt);
        if (n_prompt >= options_.context_length() ||
            input.forced.size() > options_.context_length() - n_prompt)
            throw error{
                model_errc::context_overflow,
                "the prompt has " + std::to_string(n_prompt + input.forced.size()) +
                    " tokens; the model's context holds " +
                    std::to_string(options_.context_length()) +
                    ", prompt and answer together: shorten the prompt"};
        if (n_prompt >= capacity() || input.forced.size() > capacity() - n_prompt)
            throw error{
                pool_errc::memory_exhausted,
                "the prompt has " + std::to_string(n_prompt + input.forced.size()) +
                    " tokens; the KV cache holds " + std::to_string(capacity()) +
                    " in all: shorten the prompt, or raise the memory limit"};
        auto one = std::make_unique<sequence>();
        const std::size_t room = capacity() - n_prompt;
        one->max_tokens = input.max_tokens == 0 ? room : std::min(input.max_tokens, room);
        one->priority = input.priority;
        one->n_prompt = n_prompt;
        one->tokens = input.prompt->tokens;
        input.forced.resize(std::min(input.forced.size(), one->max_tokens));
        one->tokens.insert(one->tokens.end(), input.forced.begin(), input.forced.end());
        one->logits_from = input.prompt_logits ? 0 : n_prompt - 1;
        one->prompt = std::move(input.prompt);
        return one;
    }

    static void check_prompt(const prepared_prompt& prompt)
    {
        if (prompt.tokens.empty())
            throw error{
                errc::invalid_argument, "the prompt has no tokens; a model needs at least one"};
        std::size_t end = 0;
        for (const image_span& image : prompt.images) {
            if (image.begin < end || image.begin > prompt.tokens.size() ||
                image.n_positions > prompt.tokens.size() - image.begin)
                throw error{
                    errc::invalid_argument,
                    "an image takes " + std::to_string(image.n_positions) + " positions from " +
                        std::to_string(image.begin) +
                        " on; images must follow one another within " + "the prompt's " +
                        std::to_string(prompt.tokens.size()) + " tokens"};
            end = image.begin + image.n_positions;
        }
    }

    sequence_id enqueue(std::unique_ptr<sequence> one)
    {
        one->arrival = ++last_arrival_;
        one->id = sequence_id{one->arrival};
        one->turn = n_steps_ - std::int64_t{one->priority} * steps_a_priority;
        sequence* kept = one.get();
        const sequence_id id = one->id;
        sequences_.emplace(id, std::move(one));
        waiting_.insert(kept);
        note_idle(*kept);
        return id;
    }

    sequence* find(sequence_id id)
    {
        const auto place = sequences_.find(id);
        return place == sequences_.end() || place->second->doomed ? nullptr : place->second.get();
    }

    void erase(sequence& one)
    {
        detach(one);
        drop_blocks(one);
        const sequence_id id = one.id;
        sequences_.erase(id);
    }

    void detach(sequence& one)
    {
        idle_holders_.erase(&one);
        if (one.place == sequence_place::waiting)
            waiting_.erase(&one);
        else if (one.place == sequence_place::live)
            live_.erase(std::find(live_.begin(), live_.end(), &one));
    }

    void move(sequence& one, sequence_place to)
    {
        detach(one);
        one.place = to;
        one.n_passed = 0;
        if (to == sequence_place::waiting)
            waiting_.insert(&one);
        else if (to == sequence_place::live)
            live_.insert(
                std::upper_bound(live_.begin(), live_.end(), &one, sequence_order{}), &one);
        note_idle(one);
    }

    /// Blocks held outside the live set are the first to be taken.
    void note_idle(sequence& one)
    {
        if (one.place != sequence_place::live && !one.blocks.empty()) idle_holders_.insert(&one);
    }

    void drop_blocks(sequence& one)
    {
        while (!one.blocks.empty()) {
            blocks_.release(one.blocks.back());
            one.blocks.pop_back();
        }
        one.prefixes.clear();
        one.n_computed = 0;
        idle_holders_.erase(&one);
    }

    void pause(sequence& one)
    {
        drop_blocks(one);
        if (one.place == sequence_place::live) {
            ++totals_.n_pauses;
            move(one, sequence_place::waiting);
        }
    }

    /// Takes the blocks of the youngest sequence that makes no steps.
    bool reclaim_idle(const sequence& requester)
    {
        for (auto place = idle_holders_.rbegin(); place != idle_holders_.rend(); ++place) {
            if (*place == &requester) continue;
            pause(**place);
            return true;
        }
        return false;
    }

    bool must_copy(const sequence& one) const
    {
        const std::size_t index = one.n_computed / options_.block_tokens();
        if (index >= one.blocks.size()) return false;
        return blocks_.n_references(one.blocks[index]) > 1;
    }

    /// Blocks that a sequence lacks for all its known tokens and one more.
    std::size_t n_missing(const sequence& one) const
    {
        const std::size_t n = n_blocks_for(one.n_needed() + 1) + (must_copy(one) ? 1 : 0);
        return n > one.blocks.size() ? n - one.blocks.size() : 0;
    }

    /// Gives the sequence its next block, or a copy of its own of the one that it shares; false
    /// where none is left.
    bool grow(sequence& one)
    {
        const bool copies = must_copy(one);
        const auto fresh = blocks_.allocate();
        if (!fresh) return false;
        if (copies) {
            auto& shared = one.blocks[one.n_computed / options_.block_tokens()];
            plan_.copies.push_back({shared, *fresh, &one});
            blocks_.release(shared);
            shared = *fresh;
        } else {
            one.blocks.push_back(*fresh);
        }
        return true;
    }

    /// Whether position `n_computed + n_rows - 1` has a block that may be written.
    bool has_room(const sequence& one, std::size_t n_rows) const
    {
        return !must_copy(one) && n_blocks_for(one.n_computed + n_rows) <= one.blocks.size();
    }

    void plan_decodes()
    {
        for (std::size_t i = 0; i < live_.size() && n_planned_rows_ < options_.max_rows(); ++i) {
            sequence& one = *live_[i];
            if (one.n_pending() != 1) continue;
            while (!has_room(one, 1) && !grow(one)) {
                if (reclaim_idle(one)) continue;
                // The youngest is last, and not planned yet: it may be this one.
                sequence& victim = *live_.back();
                pause(victim);
                if (&victim == &one) return;
            }
            take_part(one, 1);
        }
    }

    void admit()
    {
        std::size_t n_promised = 0;
        for (const sequence* one : live_)
            n_promised += n_missing(*one);
        while (live_.size() < options_.max_sequences() && !waiting_.empty()) {
            sequence& one = **waiting_.begin();
            extend_from_cache(one);
            while (n_missing(one) + n_promised > blocks_.n_available())
                if (!reclaim_idle(one)) return;
            n_promised += n_missing(one);
            move(one, sequence_place::live);
        }
    }

    /// Takes what the cache holds of the tokens to come. True where the next block is being
    /// computed in this step by another sequence.
    bool extend_from_cache(sequence& one)
    {
        const std::size_t size = options_.block_tokens();
        bool in_flight = false;
        while (one.n_computed == one.blocks.size() * size &&
               one.prefixes.size() == one.blocks.size() &&
               one.n_computed + size <= one.logits_from) {
            const auto found = blocks_.find(last_prefix(one), content_of(one, one.blocks.size()));
            in_flight = found && !found->complete;
            if (!found || in_flight) break;
            blocks_.share(found->number);
            one.blocks.push_back(found->number);
            one.prefixes.push_back(found->prefix);
            one.n_computed += size;
            totals_.n_cached_positions += size;
        }
        note_idle(one);
        return in_flight;
    }

    static prefix_id last_prefix(const sequence& one)
    {
        return one.prefixes.empty() ? prefix_id::empty : one.prefixes.back();
    }

    block_content content_of(const sequence& one, std::size_t index)
    {
        const std::size_t size = options_.block_tokens();
        image_parts(one.prompt->images, index * size, (index + 1) * size, parts_);
        return {std::span{one.tokens}.subspan(index * size, size), parts_};
    }

    void plan_prompts()
    {
        prompts_.clear();
        for (sequence* one : live_)
            if (!one->planned) prompts_.push_back(one);
        std::sort(prompts_.begin(), prompts_.end(), [](const sequence* a, const sequence* b) {
            const bool a_due = a->n_passed >= max_passed;
            const bool b_due = b->n_passed >= max_passed;
            if (a_due != b_due) return a_due;
            if (a_due)
                return a->n_passed != b->n_passed ? a->n_passed > b->n_passed
                                                  : a->arrival < b->arrival;
            if (a->priority != b->priority) return a->priority > b->priority;
            if (a->n_pending() != b->n_pending()) return a->n_pending() < b->n_pending();
            return a->arrival < b->arrival;
        });
        const std::size_t budget =
            std::min(options_.prefill_chunk(), options_.max_rows() - n_planned_rows_);
        std::size_t left = budget;
        n_scored_left_ = options_.max_logits_rows() - live_.size();
        for (sequence* one : prompts_) {
            if (extend_from_cache(*one)) continue;
            const std::size_t n = plan_prompt(*one, left, left == budget);
            left -= n;
            one->n_passed = n > 0 ? 0 : one->n_passed + 1;
        }
    }

    /// Plans at most `left` rows of a prompt; gives how many. Rows end on a block's boundary where
    /// the prompt does not end before it, so that others can share what this step computes.
    std::size_t plan_prompt(sequence& one, std::size_t left, bool is_first)
    {
        const std::size_t size = options_.block_tokens();
        std::size_t n = std::min(one.n_pending(), left);
        const std::size_t n_silent =
            one.logits_from > one.n_computed ? one.logits_from - one.n_computed : 0;
        n = std::min(n, n_silent + 1 + n_scored_left_);
        if (n < one.n_pending()) {
            const std::size_t boundary = (one.n_computed + n) / size * size;
            if (boundary > one.n_computed)
                n = boundary - one.n_computed;
            else if (!is_first && n == left)
                n = 0;
        }
        while (n > 0 && !has_room(one, n) && (grow(one) || reclaim_idle(one))) {
        }
        if (must_copy(one)) return 0;
        n = std::min(n, one.blocks.size() * size - one.n_computed);
        if (n > n_silent + 1) n_scored_left_ -= n - n_silent - 1;
        if (n > 0) take_part(one, n);
        return n;
    }

    /// No prompt has a block to go on with, and nobody is behind to wait for: the younger ones make
    /// room for the oldest.
    void force_oldest()
    {
        sequence& one = *live_.front();
        while (plan_prompt(one, options_.prefill_chunk(), true) == 0) {
            MODELPOOL_ASSERT(live_.size() > 1);
            pause(*live_.back());
        }
    }

    void take_part(sequence& one, std::size_t n_rows)
    {
        // A fork may be the last to hold a block that another sequence filled beyond the prompt.
        // What it writes there differs, so the block must not be found any more.
        const auto written = one.blocks[one.n_computed / options_.block_tokens()];
        if (blocks_.is_published(written)) blocks_.forget(written);
        planned_sequence part;
        part.id = one.id;
        part.which = &one;
        part.n_rows = n_rows;
        part.first_row = n_planned_rows_;
        part.first_logits = plan_.n_logits;
        part.logits_position = std::max(one.n_computed, one.logits_from);
        const std::size_t end = one.n_computed + n_rows;
        part.n_logits = end > part.logits_position ? end - part.logits_position : 0;
        if (part.n_logits == 0) part.logits_position = one.logits_from;
        plan_.n_logits += part.n_logits;
        n_planned_rows_ += n_rows;
        one.planned = true;
        plan_.sequences.push_back(part);
        note_filled(one, end / options_.block_tokens());
    }

    /// Announces the blocks that this step fills, so that others wait for them rather than compute
    /// them too.
    void note_filled(sequence& one, std::size_t n_full)
    {
        prefix_id prefix = last_prefix(one);
        for (std::size_t index = one.prefixes.size(); index < n_full; ++index) {
            const block_content content = content_of(one, index);
            filled_block filled{&one, index, prefix_id::empty, std::nullopt};
            if (const auto known = blocks_.find(prefix, content)) {
                blocks_.share(known->number);
                filled.twin = known->number;
                filled.prefix = known->prefix;
            } else {
                filled.prefix = blocks_.publish(one.blocks[index], prefix, content);
            }
            prefix = filled.prefix;
            filled_.push_back(filled);
        }
    }

    void write_rows()
    {
        for (const planned_sequence& part : plan_.sequences) {
            const sequence& one = *part.which;
            auto image = std::partition_point(
                one.prompt->images.begin(), one.prompt->images.end(), [&](const image_span& span) {
                    return span.begin + span.n_positions <= one.n_computed;
                });
            for (std::size_t i = 0; i < part.n_rows; ++i) {
                const std::size_t position = one.n_computed + i;
                step_row row;
                row.sequence = static_cast<std::uint64_t>(one.id);
                row.token = one.tokens[position];
                row.position = static_cast<std::uint32_t>(position);
                row.wants_logits = position >= one.logits_from;
                row.blocks = one.blocks;
                while (image != one.prompt->images.end() &&
                       image->begin + image->n_positions <= position)
                    ++image;
                if (image != one.prompt->images.end() && image->begin <= position)
                    row.prompt = one.prompt.get();
                plan_.rows.push_back(row);
            }
        }
    }

    void end_step()
    {
        filled_.clear();
        in_step_ = false;
        ++n_steps_;
        for (const sequence_id id : doomed_)
            erase(*sequences_.at(id));
        doomed_.clear();
    }

    scheduler_options options_;
    block_allocator blocks_;
    std::unordered_map<sequence_id, std::unique_ptr<sequence>> sequences_;
    std::set<sequence*, sequence_order> waiting_;
    std::vector<sequence*> live_;  ///< in sequence_order
    std::set<sequence*, sequence_order> idle_holders_;
    std::vector<sequence*> prompts_;
    std::vector<image_part> parts_;
    std::vector<filled_block> filled_;
    std::vector<sequence_id> doomed_;
    step_plan plan_;
    std::size_t n_planned_rows_{0};
    std::size_t n_scored_left_{0};
    std::uint64_t last_arrival_{0};
    std::int64_t n_steps_{0};
    scheduler_stats totals_;
    bool in_step_{false};
};

}  // namespace modelpool::sched

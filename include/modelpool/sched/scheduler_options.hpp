#pragma once

#include <modelpool/error.hpp>

#include <cstddef>
#include <string>

namespace modelpool::sched {

/// Limits of a scheduler.
class scheduler_options {
public:
    /// Positions of one sequence at most, prompt and answer together.
    scheduler_options& context_length(std::size_t value)
    {
        context_length_ = value;
        return *this;
    }
    std::size_t context_length() const noexcept { return context_length_; }

    /// Blocks of the KV cache, for all sequences.
    scheduler_options& n_blocks(std::size_t value)
    {
        n_blocks_ = value;
        return *this;
    }
    std::size_t n_blocks() const noexcept { return n_blocks_; }

    /// Positions of a block. Smaller ones waste less, and share more; larger ones make shorter
    /// tables.
    scheduler_options& block_tokens(std::size_t value)
    {
        block_tokens_ = value;
        return *this;
    }
    std::size_t block_tokens() const noexcept { return block_tokens_; }

    /// Prompt tokens of a step at most. A step lasts about as long as this many rows take, and a
    /// prompt that arrives waits for the step before its own to end: the smaller, the sooner comes
    /// the first token of short prompts, and the better flow the answers of others; too small, and
    /// the weights are read too often.
    scheduler_options& prefill_chunk(std::size_t value)
    {
        prefill_chunk_ = value;
        return *this;
    }
    std::size_t prefill_chunk() const noexcept { return prefill_chunk_; }

    /// Sequences that take part in steps at the same time.
    scheduler_options& max_sequences(std::size_t value)
    {
        max_sequences_ = value;
        return *this;
    }
    std::size_t max_sequences() const noexcept { return max_sequences_; }

    /// Rows of a step at most, not below `max_sequences`. 0: what `prefill_chunk` and
    /// `max_sequences` come to.
    scheduler_options& max_rows(std::size_t value)
    {
        max_rows_ = value;
        return *this;
    }
    std::size_t max_rows() const noexcept
    {
        return max_rows_ > 0 ? max_rows_ : prefill_chunk_ + max_sequences_;
    }

    /// Rows of a step that want logits at most, not below `max_sequences`: a row of logits takes
    /// the vocabulary's size in floats. What the live sequences leave of them scores given tokens.
    /// 0: twice `max_sequences`, at least 32 more than it.
    scheduler_options& max_logits_rows(std::size_t value)
    {
        max_logits_rows_ = value;
        return *this;
    }
    std::size_t max_logits_rows() const noexcept
    {
        if (max_logits_rows_ > 0) return max_logits_rows_;
        return max_sequences_ + (max_sequences_ > 32 ? max_sequences_ : 32);
    }

    /// Errors: errc::invalid_argument.
    void check() const
    {
        const auto require =
            [](bool holds, const char* name, std::size_t found, std::size_t least) {
                if (!holds)
                    throw error{
                        errc::invalid_argument,
                        std::string{"scheduler: "} + name + " is " + std::to_string(found) +
                            "; it must be at least " + std::to_string(least)};
            };
        // One token of prompt and one of answer.
        require(context_length_ >= 2, "context_length", context_length_, 2);
        require(prefill_chunk_ >= 1, "prefill_chunk", prefill_chunk_, 1);
        require(max_sequences_ >= 1, "max_sequences", max_sequences_, 1);
        require(max_rows() >= max_sequences_, "max_rows", max_rows(), max_sequences_);
        require(
            max_logits_rows() >= max_sequences_,
            "max_logits_rows",
            max_logits_rows(),
            max_sequences_);
    }

private:
    std::size_t context_length_{0};
    std::size_t n_blocks_{0};
    std::size_t block_tokens_{16};
    std::size_t prefill_chunk_{128};
    std::size_t max_sequences_{32};
    std::size_t max_rows_{0};
    std::size_t max_logits_rows_{0};
};

/// Figures of a scheduler.
struct scheduler_stats {
    std::size_t n_waiting{0};
    std::size_t n_live{0};
    std::size_t n_held{0};
    std::size_t n_free_blocks{0};
    std::size_t n_cached_blocks{0};
    std::size_t n_used_blocks{0};
    std::size_t n_pauses{0};  ///< times a live sequence lost what it had computed, to make room
    std::size_t n_computed_rows{0};     ///< rows of all steps that ended well
    std::size_t n_cached_positions{0};  ///< positions taken from the cache instead
};

}  // namespace modelpool::sched

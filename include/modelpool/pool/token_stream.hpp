#pragma once

#include <modelpool/async/awaitable.hpp>
#include <modelpool/capability/generation.hpp>
#include <modelpool/config.hpp>
#include <modelpool/pool/detail/stream_state.hpp>
#include <modelpool/text/answer_parser.hpp>
#include <modelpool/text/chat.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace modelpool {

/// A token of an answer, or of a prompt.
struct generated_token {
    std::int32_t id{0};
    float logprob{0.0F};             ///< 0 unless log-probabilities were asked for
    std::vector<token_logprob> top;  ///< the likeliest tokens in its place, likeliest first
    std::vector<float> logits;       ///< with `keep_logits`, [vocab_size]
};

/// Where the time of a generation went.
struct generation_timings {
    std::chrono::nanoseconds queue{0};    ///< until a worker began
    std::chrono::nanoseconds prefill{0};  ///< from there to the first token
    std::chrono::nanoseconds decode{0};   ///< from there to the end
};

/// How a generation ended.
struct generation_end {
    finish_reason reason{finish_reason::stop};
    generation_usage usage;
    generation_timings timings;
    std::optional<std::size_t> stop_string;  ///< which of the stop strings ended it
    std::vector<std::int32_t> prompt;        ///< with `keep_prompt`, the tokens of the prompt
};

/// What a generation_event is.
enum class generation_event_kind {
    text = 1,   ///< the answer goes on: `text`
    reasoning,  ///< what the model thinks goes on: `reasoning`
    tool_call,  ///< a call of a tool goes on: `tool_call`
    end,        ///< the answer is complete: `end`; nothing follows
};

/// A piece of a generation. Members that its kind does not name are empty, so that `text` may be
/// used unseen.
struct generation_event {
    generation_event_kind kind{generation_event_kind::text};
    std::string text;  ///< whole UTF-8; may be empty where tokens came that are no text, or not yet
    std::string reasoning;  ///< likewise
    std::optional<tool_call_delta> tool_call;
    std::optional<generation_end> end;
    /// The tokens that came with it. Their text may be in a later event, or in none.
    std::vector<generated_token> tokens;
    /// With `prompt_logprobs`: the next tokens of the prompt, from its second one on.
    std::vector<generated_token> prompt_tokens;

    /// Appends an event of the same kind; false, and nothing changes, for another one.
    bool absorb(generation_event& next);
};

/// A whole generation.
struct generation_result {
    std::string text;
    std::string reasoning;
    std::vector<tool_call> tool_calls;
    std::vector<generated_token> tokens;  ///< all, those of reasoning and tool calls included
    std::vector<generated_token> prompt_tokens;  ///< with `prompt_logprobs`
    generation_end end;

    /// The ids of `tokens`.
    std::vector<std::int32_t> ids() const;
    /// Appends an event of its stream.
    void add(generation_event event);
};

namespace detail {

using token_state = stream_state<generation_event>;

/// Tokens that wait for a reader before its generation is held.
constexpr std::size_t token_buffer_limit = 256;

template <class T>
void append(std::vector<T>& to, std::vector<T>& from)
{
    to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
    from.clear();
}

}  // namespace detail

/// The answer of a generating model while it is written. Movable; one reader. It outlives its pool
/// safely.
///
/// The generation runs ahead of its reader by a bounded number of tokens, and then stands still
/// until the reader has caught up; other generations go on meanwhile. Destroying the stream stops
/// its generation.
class token_stream {
public:
    /// A stream that has ended.
    token_stream() = default;
    explicit token_stream(std::shared_ptr<detail::token_state> state)
        : state_{std::move(state)}
        , collected_{std::make_shared<generation_result>()}
    {}
    token_stream(token_stream&&) noexcept = default;
    token_stream& operator=(token_stream&& other) noexcept
    {
        if (this == &other) return *this;
        stop();
        state_ = std::move(other.state_);
        collected_ = std::move(other.collected_);
        return *this;
    }
    token_stream(const token_stream&) = delete;
    token_stream& operator=(const token_stream&) = delete;
    ~token_stream() { stop(); }

    /// The next piece of the answer, waiting for one.
    /// Result: events of kind text, reasoning and tool_call, then one of kind end, then empty.
    /// Where the reader is behind, adjacent pieces of one kind come as one.
    /// Runs: completes on the caller's executor; without a suspension where an event is there
    /// already.
    /// Errors: what the generation failed with, after everything before it: model_errc::failed,
    /// out_of_memory, device_lost; pool_errc::shut_down, worker_lost, memory_exhausted;
    /// errc::invalid_argument where another `next` waits.
    /// Cancellation: terminal and partial at any time: the caller resumes at once, the generation
    /// stops at the worker's next step, and what was written until then can still be read, with an
    /// end of finish_reason::cancelled. Total ends the wait alone.
    /// Lifetime: the stream may be moved or destroyed while it waits.
    awaitable<std::optional<generation_event>> next();

    /// The rest of the answer as a whole.
    /// Result: all that no `next` took, and how it ended.
    /// Runs, errors, lifetime: as `next`.
    /// Cancellation: as `next`; nothing is lost: a further `collect` goes on where this one was.
    awaitable<generation_result> collect()
    {
        return collect(
            state_ ? state_ : ended(),
            collected_ ? collected_ : std::make_shared<generation_result>());
    }

    /// Stops the generation at the worker's next step. What was written until then can still be
    /// read, with an end of finish_reason::cancelled. Any thread; without effect once it has ended.
    void stop() noexcept
    {
        if (state_) state_->stop();
    }

private:
    static std::shared_ptr<detail::token_state> ended()
    {
        auto state = std::make_shared<detail::token_state>(1);
        state->close(std::nullopt, nullptr);
        return state;
    }

    static awaitable<generation_result>
    collect(std::shared_ptr<detail::token_state> state, std::shared_ptr<generation_result> so_far);

    std::shared_ptr<detail::token_state> state_;
    std::shared_ptr<generation_result> collected_;
};

}  // namespace modelpool

#if defined(MODELPOOL_HEADER_ONLY)
#include <modelpool/pool/impl/streams.hpp>
#endif

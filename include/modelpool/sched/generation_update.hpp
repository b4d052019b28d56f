#pragma once

#include <modelpool/capability/generation.hpp>
#include <modelpool/sched/sequence.hpp>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace modelpool::sched {

/// A token of an answer, or of a prompt.
struct scored_token {
    std::int32_t id{0};
    /// Of the model's own distribution. 0 unless log-probabilities were asked for.
    float logprob{0.0F};
    std::vector<token_logprob> top;  ///< the likeliest tokens in its place, likeliest first
    /// The model's logits that it was chosen by, before penalties and sampling. Valid until the
    /// next step.
    std::span<const float> logits;
};

/// What a step did for one sequence.
struct generation_update {
    sequence_id id{0};
    bool started{false};  ///< it took part in a step for the first time
    std::string text;     ///< goes on with the answer: whole UTF-8, possibly empty
    /// The tokens generated, the one that ends the text among them. Their text may come later, or
    /// never.
    std::vector<scored_token> tokens;
    /// With `prompt_logprobs`: the next tokens of the prompt, from its second one on.
    std::vector<scored_token> prompt_tokens;
    /// Set in the last update of a sequence, which exists no more.
    std::optional<finish_reason> finish;
    std::optional<std::size_t> stop_string;  ///< which of the stop strings ended it
    /// Set where this sequence alone failed; this is its last update then, too.
    std::exception_ptr failure;
    generation_usage usage;  ///< so far

    bool ended() const noexcept { return finish.has_value() || failure != nullptr; }
};

}  // namespace modelpool::sched

#pragma once

#include <modelpool/capability/model.hpp>
#include <modelpool/image/image.hpp>
#include <modelpool/text/answer_parser.hpp>
#include <modelpool/text/chat.hpp>
#include <modelpool/text/token_constraint.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace modelpool {

/// How the next token is chosen. A temperature of 0 is greedy: always the likeliest token. Of equal
/// ones the lowest id counts as the likelier.
///
/// The logits pass through these in this order, each where it is asked for: repetition penalty,
/// frequency and presence penalties, logit bias, a constraint's mask, temperature, top-k, top-p,
/// min-p, a draw.
struct sampling_params {
    float temperature{0.0F};  ///< divides the logits
    std::size_t top_k{0};     ///< only the likeliest so many; 0: all
    /// Nucleus sampling, arXiv:1904.09751: the fewest of the likeliest tokens that make up this
    /// much of the probability that is left. In (0, 1].
    float top_p{1.0F};
    float min_p{
        0.0F};  ///< only tokens at least so likely relative to the likeliest, arXiv:2407.01082; in [0, 1]
    /// arXiv:1909.05858 as now practised: the logit of every token that the prompt or the answer
    /// holds is divided by it where positive, else multiplied, once. Above 0; 1 does nothing.
    float repetition_penalty{1.0F};
    float frequency_penalty{
        0.0F};  ///< subtracted once for each time that the answer holds the token
    float presence_penalty{0.0F};  ///< subtracted where the answer holds the token
    /// Added to logits, by token id; minus infinity bars a token.
    std::map<std::int32_t, float> logit_bias;
    /// The same seed gives the same answer, whatever else runs; none: a random one. The numbers are
    /// those of xoshiro256** seeded through splitmix64, their upper 53 bits times 2^-53, one a
    /// token.
    std::optional<std::uint64_t> seed;
};

/// What a request says of how tokens are chosen. What it leaves unset is as the model's card has
/// it, or else as `sampling_params` has it.
struct sampling_request {
    std::optional<float> temperature;
    std::optional<std::size_t> top_k;
    std::optional<float> top_p;
    std::optional<float> min_p;
    std::optional<float> repetition_penalty;
    std::optional<float> frequency_penalty;
    std::optional<float> presence_penalty;
    std::map<std::int32_t, float>
        logit_bias;  ///< beside the card's; instead of it for the same token
    std::optional<std::uint64_t> seed;

    /// These choices, and `defaults` for what they leave unset.
    sampling_params over(const sampling_params& defaults) const
    {
        sampling_params all = defaults;
        all.temperature = temperature.value_or(defaults.temperature);
        all.top_k = top_k.value_or(defaults.top_k);
        all.top_p = top_p.value_or(defaults.top_p);
        all.min_p = min_p.value_or(defaults.min_p);
        all.repetition_penalty = repetition_penalty.value_or(defaults.repetition_penalty);
        all.frequency_penalty = frequency_penalty.value_or(defaults.frequency_penalty);
        all.presence_penalty = presence_penalty.value_or(defaults.presence_penalty);
        for (const auto& [id, bias] : logit_bias)
            all.logit_bias.insert_or_assign(id, bias);
        if (seed) all.seed = seed;
        return all;
    }
};

/// What a generation may ask for besides its prompt.
struct generation_params {
    // Declared, so that this is no aggregate: g++ 12 destroys aggregate temporaries of a co_await
    // expression twice, and default arguments are such temporaries.
    generation_params() = default;

    sampling_request sampling;
    /// Generated at most, the token that ends the text counted; 0: as many as the context holds,
    /// which limits any other number too.
    std::size_t max_tokens{0};
    std::vector<std::string> stop;  ///< UTF-8; ends the text where one appears; it is left out
    /// Report log-probabilities of each token: its own, and those of the likeliest so many. They
    /// are the model's own, before penalties, biases, masks and temperature.
    std::optional<std::size_t> n_logprobs;
    /// Give with each token the logits that it was chosen by, before penalties and sampling: as many
    /// numbers as the vocabulary has.
    bool keep_logits{false};
    bool keep_prompt{false};      ///< give the prompt's tokens with the end
    bool prompt_logprobs{false};  ///< log-probabilities of the prompt's tokens too
    /// Constrains the text to JSON of this schema, as `text::json_grammar` describes it; empty:
    /// free text. The answer ends as soon as the JSON can only end, with finish_reason::stop. Where
    /// the model's template has the model think before it answers, it does, freely; calls of tools
    /// are barred. What cuts an answer short (stop strings, `max_tokens`) cuts the JSON short too.
    std::string json_schema;
    /// Go on past the model's own end of text, but not past the end of JSON.
    bool ignore_end{false};
    /// The answer begins with these ids, whatever would have been chosen. With `max_tokens` their
    /// number, the generation only scores them.
    std::vector<std::int32_t> forced;
    /// Bounds the whole: a generation that goes on at that time ends with what it has, as
    /// finish_reason::cancelled; one that was not admitted by then fails with
    /// pool_errc::deadline_missed.
    std::optional<std::chrono::steady_clock::time_point> deadline;
};

/// Why a generation ended.
enum class finish_reason {
    stop = 1,    ///< the model ended the text, or a stop string appeared
    length,      ///< as many tokens as were asked for, or as fit
    cancelled,   ///< its caller left, or a deadline passed
    tool_calls,  ///< the model asks for tools to be called
};

/// Tokens that a generation took.
struct generation_usage {
    std::size_t n_prompt_tokens{0};
    std::size_t n_cached_tokens{
        0};  ///< of the prompt, found in the KV cache and not computed again
    std::size_t n_generated_tokens{0};
};

/// A token with the logarithm of its probability.
struct token_logprob {
    std::int32_t id{0};
    float logprob{0.0F};

    friend bool operator==(const token_logprob&, const token_logprob&) = default;
};

/// How likely a model finds a continuation of a prompt.
struct continuation_score {
    double sum{0};  ///< of `logprobs`: the logarithm of the continuation's probability
    std::vector<float> logprobs;  ///< of each of its tokens, after the prompt and those before it
    /// Whether each of its tokens is the likeliest in its place: greedy decoding would give it.
    bool greedy{true};

    std::size_t n_tokens() const noexcept { return logprobs.size(); }
};

/// What a generator starts from: a conversation through the model's template, or a prompt as it
/// stands, in text or in tokens.
struct generation_request {
    std::variant<chat, std::string, std::vector<std::int32_t>> input;
    generation_params params;
};

/// Positions of a prompt that take an image's embeddings instead of a token's.
struct image_span {
    std::size_t begin{0};  ///< first position
    std::size_t n_positions{0};
    std::uint64_t image_id{0};  ///< hash of the pixels: equal images share their prefix
};

/// A prompt ready to be computed.
struct prepared_prompt {
    std::vector<std::int32_t>
        tokens;  ///< at image positions: whatever id the model's template has there
    std::vector<image_span> images;  ///< in order, not overlapping
    /// What the model needs to compute the images' embeddings; owned by the request.
    std::shared_ptr<void> state;
};

/// One position of one sequence in a step. Rows of a sequence stand together, in order of position,
/// without gaps; its earlier positions are in the KV cache already. Writes of one row to the cache
/// never meet those of another.
struct step_row {
    std::uint64_t sequence{0};
    std::int32_t token{0};
    std::uint32_t position{0};
    bool wants_logits{false};
    /// Of the KV cache, in order: position p lies in block p / block_tokens. They hold at least all
    /// positions up to this one; several sequences may read one block.
    std::span<const std::uint32_t> blocks;
    const prepared_prompt* prompt{nullptr};  ///< set for a position inside an image
};

/// What a generator says of itself once loaded.
struct generator_info {
    std::size_t context_length{0};  ///< positions of one sequence, prompt and answer together
    std::size_t vocab_size{0};
    std::vector<std::int32_t> end_tokens;
    bool takes_images{false};
    bool has_chat_template{false};
};

/// Number format of the KV cache.
enum class kv_dtype { f32 = 1, f16, bf16, int8 };

/// How the positions of prompts are computed, but for those that come one at a time.
enum class prefill_mode {
    exact = 1,  ///< as all others: a token's numbers depend on what is before it in its text alone
    /// In fewer bits where that is faster, on processors with AMX: products with quantised weights
    /// in bf16. A token's numbers, and those that follow from them, then depend a little on how its
    /// prompt was cut into chunks, and so on what else ran at the time.
    fast
};

/// The blocking interface of a text generation model. The scheduler above it decides which
/// sequences advance, and which blocks of the KV cache each may use; the model computes.
class generator : public model {
public:
    virtual const generator_info& info() const noexcept = 0;
    std::size_t context_length() const noexcept { return info().context_length; }

    /// Templates, tokenises and decodes images. Throws for this request alone: text_errc,
    /// model_errc.
    virtual prepared_prompt prepare(const generation_request& request) const = 0;

    /// Bytes of the KV cache that `n_tokens` positions of one sequence take in that number format.
    virtual std::size_t kv_bytes(std::size_t n_tokens, kv_dtype dtype) const noexcept = 0;
    /// Makes room for `n_blocks` blocks of `block_tokens` positions; called before the first step,
    /// and when the pool's share of memory changes. What the blocks held is lost.
    virtual void allocate_kv(std::size_t n_blocks, std::size_t block_tokens, kv_dtype dtype) = 0;
    /// From the next step on. A model that computes prompts in one way only keeps to that.
    virtual void set_prefill(prefill_mode) {}
    /// Copies block `from` to block `to`: sequences that shared it go apart inside it. Called
    /// between steps.
    virtual void copy_kv_block(std::uint32_t from, std::uint32_t to) = 0;

    /// Advances sequences: one forward over all rows. `logits` gets [rows that want them,
    /// vocab_size] f32, in the order of the rows. On a CPU, a row's numbers do not depend on its
    /// neighbours, but with prefill_mode::fast. After a failure, or once stopped, the same rows may
    /// come again.
    virtual void
    step(std::span<const step_row> rows, std::span<float> logits, run_context& context) = 0;

    /// The bytes that `ids` add inside a text, which may end inside a character; special tokens add
    /// none. Pieces add up: piece(a) + piece(b) is piece(a, b). Errors: text_errc::bad_id.
    virtual std::string piece(std::span<const std::int32_t> ids) const = 0;
    /// The tokens of `text` inside a text, without special tokens around or within it.
    /// Errors: text_errc::not_utf8.
    virtual std::vector<std::int32_t> tokenize(std::string_view text) const = 0;

    /// What splits the answer to that request into text, reasoning and tool calls. Null: it is text
    /// throughout.
    virtual std::unique_ptr<answer_parser> parse_answer(const generation_request&) const
    {
        return nullptr;
    }

    /// What holds the answer to the JSON schema that the request has. Null: the model cannot
    /// constrain its answers. Errors: as `text::json_grammar::from_schema`.
    virtual std::unique_ptr<token_constraint> constrain(const generation_request&)
    {
        return nullptr;
    }

    virtual std::unique_ptr<generator> replicate() const { return nullptr; }
};

}  // namespace modelpool

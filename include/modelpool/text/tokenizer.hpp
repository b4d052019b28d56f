#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace modelpool::text {

using token_id = std::int32_t;

/// A text as tokens. All vectors have one entry a token.
struct encoding {
    std::vector<token_id> ids;
    std::vector<std::string> tokens;  ///< empty unless asked for
    /// Where each token lies in the text, as [begin, end) in code points; [0, 0) for special
    /// tokens. Empty unless asked for.
    std::vector<std::pair<std::uint32_t, std::uint32_t>> offsets;
    /// Which text of a pair each token belongs to, as the tokenizer's template numbers them. Empty
    /// unless asked for.
    std::vector<std::uint32_t> type_ids;
    /// 1 for the special tokens that the template adds. Empty unless asked for.
    std::vector<std::uint8_t> special_mask;
    /// 1 for tokens, 0 for what fills up. Empty unless padded.
    std::vector<std::uint8_t> attention_mask;
    bool truncated{false};
    /// What was cut, in parts with their own special tokens. Empty unless asked for.
    std::vector<encoding> overflow;
};

/// An end of a text.
enum class text_side : std::uint8_t { left = 1, right };

/// Which of two texts is cut where they have too many tokens together.
enum class cut_order : std::uint8_t {
    longest_first = 1,  ///< the longer one, down to the length of the other, then both
    only_first,
    only_second,
};

/// How texts with too many tokens are cut.
class truncation_options {
public:
    /// The most tokens wanted, special ones included. Special tokens are never cut: where the limit
    /// is below their number, they are all that is left.
    truncation_options& max_tokens(std::size_t value)
    {
        max_tokens_ = value;
        return *this;
    }
    std::size_t max_tokens() const noexcept { return max_tokens_; }

    /// The end at which tokens are cut off.
    truncation_options& from(text_side value)
    {
        from_ = value;
        return *this;
    }
    text_side from() const noexcept { return from_; }

    truncation_options& order(cut_order value)
    {
        order_ = value;
        return *this;
    }
    cut_order order() const noexcept { return order_; }

    /// Whether what is cut becomes `encoding::overflow`, in parts of the same length.
    truncation_options& keep_overflow(bool value)
    {
        keeps_overflow_ = value;
        return *this;
    }
    bool keeps_overflow() const noexcept { return keeps_overflow_; }

    /// How many tokens each of these parts has in common with the one before.
    truncation_options& overlap(std::size_t n_tokens)
    {
        overlap_ = n_tokens;
        return *this;
    }
    std::size_t overlap() const noexcept { return overlap_; }

private:
    std::size_t max_tokens_{512};
    std::size_t overlap_{0};
    text_side from_{text_side::right};
    cut_order order_{cut_order::longest_first};
    bool keeps_overflow_{false};
};

/// How encodings are filled up to one length.
class padding_options {
public:
    /// The length, which no encoding is cut to. 0: that of the longest one of the batch.
    padding_options& n_tokens(std::size_t value)
    {
        n_tokens_ = value;
        return *this;
    }
    std::size_t n_tokens() const noexcept { return n_tokens_; }

    /// Makes that length a multiple of this one. 0: it stays as it is.
    padding_options& multiple(std::size_t value)
    {
        multiple_ = value;
        return *this;
    }
    std::size_t multiple() const noexcept { return multiple_; }

    /// The end that is filled up.
    padding_options& at(text_side value)
    {
        at_ = value;
        return *this;
    }
    text_side at() const noexcept { return at_; }

    /// The token, as an id and as it is shown, and the number of its text.
    padding_options& id(token_id value)
    {
        id_ = value;
        return *this;
    }
    token_id id() const noexcept { return id_; }
    padding_options& token(std::string value)
    {
        token_ = std::move(value);
        return *this;
    }
    const std::string& token() const noexcept { return token_; }
    padding_options& type_id(std::uint32_t value)
    {
        type_id_ = value;
        return *this;
    }
    std::uint32_t type_id() const noexcept { return type_id_; }

private:
    std::size_t n_tokens_{0};
    std::size_t multiple_{0};
    std::string token_{"[PAD]"};
    token_id id_{0};
    std::uint32_t type_id_{0};
    text_side at_{text_side::right};
};

/// What `tokenizer::encode` gives besides the ids.
class encode_options {
public:
    /// Whether the post-processor adds its special tokens ("[CLS] … [SEP]").
    encode_options& add_special_tokens(bool value)
    {
        add_special_tokens_ = value;
        return *this;
    }
    bool add_special_tokens() const noexcept { return add_special_tokens_; }

    /// Whether `encoding::tokens` and `encoding::offsets` are filled.
    encode_options& with_offsets(bool value)
    {
        with_offsets_ = value;
        return *this;
    }
    bool with_offsets() const noexcept { return with_offsets_; }

    /// Whether `encoding::type_ids` and `encoding::special_mask` are filled.
    encode_options& with_types(bool value)
    {
        with_types_ = value;
        return *this;
    }
    bool with_types() const noexcept { return with_types_; }

    /// The most tokens wanted, special ones included; what lies beyond is cut from the right. 0: no
    /// limit. The same as `truncate` with that limit alone.
    encode_options& max_tokens(std::size_t value)
    {
        truncation_.reset();
        if (value > 0) truncation_ = truncation_options{}.max_tokens(value);
        return *this;
    }

    /// How texts are cut. Without it none is, nor by what a tokenizer.json says, which
    /// `tokenizer::truncation` tells.
    encode_options& truncate(std::optional<truncation_options> value)
    {
        truncation_ = value;
        return *this;
    }
    const std::optional<truncation_options>& truncation() const noexcept { return truncation_; }

    /// How encodings are filled up. Without it none is, nor by what a tokenizer.json says, which
    /// `tokenizer::padding` tells.
    encode_options& pad(std::optional<padding_options> value)
    {
        padding_ = std::move(value);
        return *this;
    }
    const std::optional<padding_options>& padding() const noexcept { return padding_; }

private:
    std::optional<truncation_options> truncation_;
    std::optional<padding_options> padding_;
    bool add_special_tokens_{true};
    bool with_offsets_{false};
    bool with_types_{false};
};

/// Text to tokens and back, exactly as the checkpoint's reference tokenizer does. Immutable after
/// load and thread-safe; a cheap value (copies share one vocabulary).
class tokenizer {
public:
    /// Reads the tokenizer of a checkpoint: `path` is a folder that holds tokenizer.json, or else a
    /// SentencePiece model (tokenizer.model, spiece.model), tiktoken's ranks (tiktoken.model),
    /// vocab.json with merges.txt, or vocab.txt; or one of these files. tokenizer_config.json
    /// beside the file says how text is treated, by the class of the reference implementation; of a
    /// tokenizer.json it only names special tokens that this lacks, and only in a folder. Blocks on
    /// the files.
    /// Errors: text_errc::bad_file (missing, malformed, a field missing or out of range),
    /// text_errc::unsupported (a component or a class by its name).
    static tokenizer blocking_load(const std::filesystem::path& path);

    /// Reads a tokenizer.json already in memory; `name` goes into error messages.
    /// Errors: text_errc::bad_file (malformed, a field missing or out of range),
    /// text_errc::unsupported (a component or a class by its name).
    static tokenizer from_json(std::string_view json, const std::string& name);

    /// The tokens of a text of at most 256 MiB.
    /// Errors: text_errc::not_utf8, with the offset of the first bad byte; text_errc::too_long;
    /// text_errc::unsupported where the tokenizer's pattern takes too many steps;
    /// text_errc::bad_file where the tokenizer has no token for a part of the text, and no unknown
    /// token either; errc::invalid_argument where the text cannot be cut, or filled up, as asked.
    encoding encode(std::string_view text, const encode_options& options) const;
    encoding encode(std::string_view text) const { return encode(text, encode_options{}); }

    /// The tokens of two texts that belong together (a question and an answer, say) as one
    /// sequence; offsets count in each text from its own begin.
    /// Errors: those of `encode`; text_errc::unsupported where the tokenizer has a template for one
    /// text alone.
    encoding encode_pair(
        std::string_view first, std::string_view second, const encode_options& options) const;

    /// The tokens of several texts, in their order, filled up to the longest where padding is asked
    /// for. Errors: those of `encode` for the first text that has any.
    std::vector<encoding>
    encode_batch(std::span<const std::string> texts, const encode_options& options) const;

    /// The text of `ids`; special tokens are left out when `skip_special` says so. An id below
    /// vocab_size() that no token has stands for nothing.
    /// Errors: text_errc::bad_id, for one outside [0, vocab_size()).
    std::string decode(std::span<const token_id> ids, bool skip_special) const;

    /// The bytes that a token adds inside a text, after another token; they may be a part of a
    /// character. Special tokens add none, nor does an id below vocab_size() that no token has.
    /// Errors: text_errc::bad_id.
    std::string piece(token_id id) const;

    /// The id of an exact token, added tokens included.
    std::optional<token_id> id_of(std::string_view token) const;
    /// One more than the largest id.
    std::size_t vocab_size() const noexcept;
    /// Special tokens that `encode` adds to every text.
    std::size_t n_special_added() const noexcept;
    /// How a tokenizer.json says that texts are cut and filled up; nothing where it does not.
    const std::optional<truncation_options>& truncation() const noexcept;
    const std::optional<padding_options>& padding() const noexcept;

private:
    friend class tokenizer_maker;
    friend class stream_decoder;
    class impl;
    explicit tokenizer(std::shared_ptr<const impl> self);
    encoding encode_unpadded(std::string_view text, const encode_options& options) const;
    std::shared_ptr<const impl> self_;
};

/// Decodes tokens as they come. The texts given, each of whole UTF-8 characters, put together are
/// exactly what `tokenizer::decode` gives for all the tokens: what a later token may still change
/// is held back (bytes of a character, a space that ends the text, a run of byte tokens).
/// Not thread-safe: one object serves one sequence. Once a call has thrown, it can only be
/// destroyed.
class stream_decoder {
public:
    stream_decoder(const tokenizer& of, bool skip_special);
    stream_decoder(stream_decoder&& other) noexcept;
    stream_decoder& operator=(stream_decoder&& other) noexcept;
    stream_decoder(const stream_decoder&) = delete;
    stream_decoder& operator=(const stream_decoder&) = delete;
    ~stream_decoder();

    /// The sequence goes on with a token: appends to `text` what is certain.
    /// Errors: as `tokenizer::decode`.
    void push(token_id id, std::string& text);
    /// The sequence ends here: appends what was held back. Called once, last.
    void finish(std::string& text);

private:
    friend class tokenizer;
    class run;
    std::unique_ptr<run> run_;
};

}  // namespace modelpool::text

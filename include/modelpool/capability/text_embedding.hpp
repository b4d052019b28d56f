#pragma once

#include <modelpool/capability/model.hpp>
#include <modelpool/config.hpp>
#include <modelpool/error.hpp>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace modelpool {

/// How a row of an embedding is stored.
enum class embedding_dtype {
    f32 = 1,  ///< four bytes a number
    int8,     ///< one byte a number, with one scale a row: value = scale × byte
    binary,   ///< one bit a number, set where it is above zero; the first number is the highest bit
};

/// Bytes of one row of `dim` numbers.
std::size_t row_bytes(embedding_dtype dtype, std::size_t dim) noexcept;

/// What to do with a text that has more tokens than the limit.
enum class on_too_long { truncate = 1, error };

/// What a request for text embeddings may ask for. The defaults are the checkpoint's own, except
/// that rows have unit length.
class embed_options {
public:
    /// A prompt of the model's card by its name ("query", "document", …), put before every text.
    embed_options& prompt_name(std::string value)
    {
        prompt_name_ = std::move(value);
        return *this;
    }
    const std::optional<std::string>& prompt_name() const noexcept { return prompt_name_; }

    /// A literal prefix, put before every text; goes before `prompt_name`. It counts as the
    /// instruction where a model leaves the instruction out of its pooling.
    embed_options& prompt(std::string value)
    {
        prompt_ = std::move(value);
        return *this;
    }
    const std::optional<std::string>& prompt() const noexcept { return prompt_; }

    /// Numbers a row: one of the model's own choices (`embedder_info::dimensions`), or, where the
    /// model allows to cut rows, anything up to `dim`. 0: the model's default.
    embed_options& dimension(std::size_t value)
    {
        dimension_ = value;
        return *this;
    }
    std::size_t dimension() const noexcept { return dimension_; }

    /// Whether rows are scaled to unit length (the default), or come as the model pools them.
    embed_options& normalize(bool value)
    {
        normalize_ = value;
        return *this;
    }
    bool normalize() const noexcept { return normalize_; }

    /// The limit of tokens a text, special tokens included. 0: the model's own; never above it.
    embed_options& max_tokens(std::size_t value)
    {
        max_tokens_ = value;
        return *this;
    }
    std::size_t max_tokens() const noexcept { return max_tokens_; }

    embed_options& too_long(on_too_long value)
    {
        too_long_ = value;
        return *this;
    }
    on_too_long too_long() const noexcept { return too_long_; }

    embed_options& encoding(embedding_dtype value)
    {
        encoding_ = value;
        return *this;
    }
    embedding_dtype encoding() const noexcept { return encoding_; }

private:
    std::optional<std::string> prompt_name_;
    std::optional<std::string> prompt_;
    std::size_t dimension_{0};
    std::size_t max_tokens_{0};
    bool normalize_{true};
    on_too_long too_long_{on_too_long::truncate};
    embedding_dtype encoding_{embedding_dtype::f32};
};

/// What a request cost.
struct embedding_usage {
    std::size_t n_tokens{0};     ///< tokens computed, special ones included
    std::size_t n_truncated{0};  ///< texts that were cut to the limit
};

/// Rows of numbers, one a text, in the order of the request. A value: copies and moves freely.
class embeddings {
public:
    embeddings() = default;
    /// `n_rows` rows of zeroes.
    embeddings(std::size_t n_rows, std::size_t dim, embedding_dtype dtype, bool normalized);

    std::size_t size() const noexcept { return n_rows_; }
    bool empty() const noexcept { return n_rows_ == 0; }
    /// Numbers a row.
    std::size_t dim() const noexcept { return dim_; }
    embedding_dtype dtype() const noexcept { return dtype_; }
    /// Whether rows have unit length (before they were stored as int8 or binary).
    bool normalized() const noexcept { return normalized_; }
    const embedding_usage& usage() const noexcept { return usage_; }

    /// Row `index` as stored. Precondition: dtype() is f32, index < size(). Valid while this object
    /// lives.
    std::span<const float> operator[](std::size_t index) const;
    /// Row `index` of any dtype, widened to f32 (binary: -1 and 1).
    std::vector<float> to_f32(std::size_t index) const;
    /// The bytes of row `index`, row_bytes(dtype(), dim()) of them.
    std::span<const std::byte> bytes(std::size_t index) const;
    /// The factor of row `index`; 1 unless dtype() is int8.
    float scale(std::size_t index) const noexcept;

    /// Stores `values` (dim() of them) as row `index`. Rows may be set from several threads at
    /// once, each by one of them. Used by the pool and by fakes.
    void set_row(std::size_t index, std::span<const float> values);
    void set_usage(embedding_usage usage) noexcept { usage_ = usage; }

private:
    std::size_t n_rows_{0};
    std::size_t dim_{0};
    embedding_dtype dtype_{embedding_dtype::f32};
    bool normalized_{false};
    embedding_usage usage_;
    std::vector<float> floats_;      // f32 rows
    std::vector<std::byte> packed_;  // int8 and binary rows
    std::vector<float> scales_;      // int8: one a row
};

/// The cosine of the angle between two rows, accumulated in f64; 0 where one of them is zero. Rows
/// of different length throw errc::invalid_argument.
double cosine(std::span<const float> a, std::span<const float> b);

/// What a text embedding model says of itself once loaded.
struct embedder_info {
    std::size_t dim{0};                   ///< numbers a row by default
    std::vector<std::size_t> dimensions;  ///< all sizes the model has a head for; holds `dim`
    bool cuttable{false};       ///< rows may be cut to any shorter size (Matryoshka training)
    std::size_t max_tokens{0};  ///< a text's limit, special tokens included
    std::map<std::string, std::string> prompts;  ///< name -> prefix
    std::optional<std::string>
        default_prompt;  ///< the name of the prompt used when none is asked for
};

/// One text as a model gets it.
struct embed_input {
    std::string_view text;
    std::string_view prompt;    ///< goes before the text; already resolved from its name
    std::size_t dimension{0};   ///< a head of the model, never 0
    std::size_t max_tokens{0};  ///< never 0, never above the model's own limit
    on_too_long too_long{on_too_long::truncate};
};

/// One text ready to be computed.
struct prepared_text {
    std::vector<std::int32_t> tokens;  ///< special tokens included
    std::size_t n_prompt_tokens{
        0};  ///< leading tokens left out of the pooling, where the model does so
    std::size_t dimension{0};
    bool truncated{false};

    std::size_t n_tokens() const noexcept { return tokens.size(); }
};

/// The blocking interface of a text embedding model.
class embedder : public model {
public:
    virtual const embedder_info& info() const noexcept = 0;

    /// Turns a text into tokens. Throws for this text alone: text_errc::not_utf8,
    /// text_errc::too_long.
    virtual prepared_text prepare(const embed_input& input) const = 0;

    /// Computes a batch: one row for each text in order, pooled, of that text's `dimension`, not
    /// scaled to unit length. A row's numbers do not depend on its neighbours. Throws only where
    /// the whole batch failed; std::bad_alloc passes through.
    virtual std::vector<item_result<std::vector<float>>>
    run(std::span<const prepared_text> batch, run_context& context) = 0;

    virtual std::unique_ptr<embedder> replicate() const { return nullptr; }
};

/// Texts to rows of numbers.
struct text_embedding {
    using model = embedder;
    static constexpr const char* name = "text_embedding";
};

}  // namespace modelpool

#if defined(MODELPOOL_HEADER_ONLY)
#include <modelpool/capability/impl/text_embedding.hpp>
#endif

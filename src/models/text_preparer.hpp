#pragma once

#include <modelpool/capability/text_embedding.hpp>
#include <modelpool/text/tokenizer.hpp>

#include <cstddef>
#include <exception>
#include <optional>

#include "models/sentence_transformers.hpp"

namespace modelpool::models {

/// Text to tokens for an embedding model: what `embedder::prepare` does for every family that gets its texts
/// through sentence-transformers. Immutable and thread-safe.
class text_preparer {
public:
    /// Reads the checkpoint's tokenizer. `vocab_size` is the number of rows of the model's embedding table.
    /// Errors: text_errc::bad_file, text_errc::unsupported.
    static text_preparer blocking_load(const sentence_modules& modules, std::size_t vocab_size);

    /// Errors: text_errc::not_utf8; text_errc::too_long; text_errc::bad_id for a token that the model has no
    /// embedding for.
    prepared_text prepare(const embed_input& input) const;

    /// Why a text prepared elsewhere cannot be computed; null where it can.
    std::exception_ptr problem(const prepared_text& text, const embedder_info& info) const;

private:
    text_preparer(text::tokenizer tokenizer, bool count_prompt, std::size_t vocab_size);

    std::size_t prompt_length(const embed_input& input) const;
    std::optional<text::token_id> foreign_id(std::span<const text::token_id> ids) const noexcept;

    text::tokenizer tokenizer_;
    bool count_prompt_;
    std::size_t vocab_size_;
};

}  // namespace modelpool::models

#pragma once

#include <modelpool/capability/text_embedding.hpp>
#include <modelpool/text/tokenizer.hpp>

#include <cstddef>
#include <exception>
#include <optional>
#include <span>
#include <string>

#include "models/sentence_transformers.hpp"

namespace modelpool::models {

/// How the tokens of a prompt are counted, where they are left out of the pooling.
enum class prompt_count {
    none,           ///< they take part
    with_specials,  ///< as sentence-transformers: special tokens before the prompt go with it
    prompt_alone,   ///< the tokens of the prompt itself, which does not reach as far
};

/// What a family does with texts besides tokenizing them.
struct text_rules {
    prompt_count count{prompt_count::none};
    std::string suffix;  ///< put after every text, before it is cut

    /// What the sentence-transformers files say.
    static text_rules of(const sentence_modules& modules);
};

/// Text to tokens for an embedding model: what `embedder::prepare` does for every family that gets
/// its texts through sentence-transformers. Immutable and thread-safe.
class text_preparer {
public:
    /// Reads the checkpoint's tokenizer. `vocab_size` is the number of rows of the model's
    /// embedding table.
    /// Errors: text_errc::bad_file, text_errc::unsupported.
    static text_preparer blocking_load(const sentence_modules& modules, std::size_t vocab_size)
    {
        return blocking_load(modules, vocab_size, text_rules::of(modules));
    }
    static text_preparer
    blocking_load(const sentence_modules& modules, std::size_t vocab_size, text_rules rules);

    /// Errors: text_errc::not_utf8; text_errc::too_long; text_errc::bad_id for a token that the
    /// model has no embedding for.
    prepared_text prepare(const embed_input& input) const;

    /// Why a text prepared elsewhere cannot be computed; null where it can.
    std::exception_ptr problem(const prepared_text& text, const embedder_info& info) const;

private:
    text_preparer(text::tokenizer tokenizer, text_rules rules, std::size_t vocab_size);

    std::size_t prompt_length(const embed_input& input) const;
    std::optional<text::token_id> foreign_id(std::span<const text::token_id> ids) const noexcept;

    text::tokenizer tokenizer_;
    text_rules rules_;
    std::size_t vocab_size_;
};

}  // namespace modelpool::models

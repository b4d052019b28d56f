#pragma once

#include "text/normalized_text.hpp"

namespace modelpool::text {

/// A step that cuts text into what the model sees one by one. Immutable and thread-safe.
class pre_tokenizer {
public:
    pre_tokenizer() = default;
    pre_tokenizer(const pre_tokenizer&) = delete;
    pre_tokenizer& operator=(const pre_tokenizer&) = delete;
    pre_tokenizer(pre_tokenizer&&) = delete;
    pre_tokenizer& operator=(pre_tokenizer&&) = delete;
    virtual ~pre_tokenizer() = default;

    /// Cuts the pieces of `work` further, and may rewrite their text. Pieces that are tokens
    /// already stay as they are; no piece is left empty.
    virtual void apply(workspace& work) const = 0;

    /// Whether the cuts depend on where in the whole text a piece begins.
    virtual bool needs_sources() const { return false; }
};

}  // namespace modelpool::text

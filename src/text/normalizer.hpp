#pragma once

#include "text/normalized_text.hpp"

namespace modelpool::text {

/// A step that rewrites text before it is cut. Immutable and thread-safe.
class normalizer {
public:
    normalizer() = default;
    normalizer(const normalizer&) = delete;
    normalizer& operator=(const normalizer&) = delete;
    normalizer(normalizer&&) = delete;
    normalizer& operator=(normalizer&&) = delete;
    virtual ~normalizer() = default;

    /// Rewrites `work.text`; pieces are not looked at.
    virtual void apply(workspace& work) const = 0;
};

}  // namespace modelpool::text

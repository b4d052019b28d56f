#pragma once

#include <memory>
#include <string_view>

#include "text/char_map.hpp"
#include "text/normalizer.hpp"

namespace modelpool::text {

/// Precompiled: the character map of a SentencePiece model. Each user-perceived character of up to
/// five bytes is looked up as a whole, and where the map has nothing for it, or it is longer,
/// character by character.
class precompiled_normalizer final : public normalizer {
public:
    /// `charsmap`: what `char_map` takes. Errors: std::invalid_argument.
    explicit precompiled_normalizer(std::string_view charsmap);
    precompiled_normalizer(const precompiled_normalizer&) = delete;
    precompiled_normalizer& operator=(const precompiled_normalizer&) = delete;
    precompiled_normalizer(precompiled_normalizer&&) = delete;
    precompiled_normalizer& operator=(precompiled_normalizer&&) = delete;
    ~precompiled_normalizer() override;
    void apply(workspace& work) const override;

private:
    class boundaries;

    class rewriting;

    char_map map_;
    std::unique_ptr<const boundaries> boundaries_;
};

}  // namespace modelpool::text

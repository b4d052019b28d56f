#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/normalizer.hpp"

namespace modelpool::text {

/// Precompiled: the character map of a SentencePiece model. Each user-perceived character of up to five bytes is
/// looked up as a whole, and where the map has nothing for it, or it is longer, character by character.
class precompiled_normalizer final : public normalizer {
public:
    /// `charsmap`: the number of bytes of a double array (darts-clone), the array, and the texts that its values
    /// point to, each ended by NUL. Errors: std::invalid_argument.
    explicit precompiled_normalizer(std::string_view charsmap);
    precompiled_normalizer(const precompiled_normalizer&) = delete;
    precompiled_normalizer& operator=(const precompiled_normalizer&) = delete;
    precompiled_normalizer(precompiled_normalizer&&) = delete;
    precompiled_normalizer& operator=(precompiled_normalizer&&) = delete;
    ~precompiled_normalizer() override;
    void apply(workspace& work) const override;

private:
    class boundaries;

    // What the shortest entry that `text` starts with becomes.
    std::optional<std::string_view> find(std::string_view text) const;
    class rewriting;

    std::vector<std::uint32_t> units_;
    std::string texts_;
    std::unique_ptr<const boundaries> boundaries_;
};

}  // namespace modelpool::text

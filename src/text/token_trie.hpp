#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace modelpool::text {

/// Tokens by their bytes, as one array of nodes in depth-first order: a walk goes on to the next
/// node, or skips what lies below the one it stands on.
class token_trie {
public:
    struct node {
        std::uint32_t end{0};    ///< one past the last node below
        std::int32_t token{-1};  ///< whose bytes end here; -1: none
        std::uint16_t depth{0};  ///< bytes up to here, 1 for the first
        std::uint8_t byte{0};
    };

    /// Tokens of the same bytes are kept as one, with the others in `same`.
    explicit token_trie(std::vector<std::pair<std::string_view, std::int32_t>> tokens);

    const std::vector<node>& nodes() const noexcept { return nodes_; }
    /// Bytes of the longest token.
    std::size_t height() const noexcept { return height_; }
    /// Other tokens of the same bytes as the first.
    const std::vector<std::pair<std::int32_t, std::int32_t>>& same() const noexcept
    {
        return same_;
    }

private:
    std::vector<node> nodes_;
    std::size_t height_{0};
    std::vector<std::pair<std::int32_t, std::int32_t>> same_;
};

}  // namespace modelpool::text

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace modelpool::nn {

/// Texts of one length that lie next to each other in a packed matrix of tokens.
struct text_group {
    std::int64_t first_row{0};
    std::int64_t n_texts{0};
    std::int64_t length{0};  ///< tokens a text

    std::int64_t n_rows() const noexcept { return n_texts * length; }
};

/// Texts that go through the layers together: one row a token, no padding, the shortest text first.
struct packed_block {
    std::vector<std::size_t> texts;  ///< indices into the batch, in the order of their rows
    std::vector<text_group> groups;  ///< in the order of their rows, without gaps
    std::int64_t n_rows{0};
};

/// Tokens that go through the layers together. Large enough for the matrix products to run at full
/// speed, small enough for a layer's temporaries to stay in the last-level cache.
inline constexpr std::int64_t default_block_rows = 1024;

/// Sorts the texts `wanted` by length and cuts them into blocks of at most `max_rows` tokens; a
/// longer text is a block of its own. `lengths[i]` is the number of tokens of text i; every wanted
/// one is at least 1.
std::vector<packed_block> pack(
    std::span<const std::size_t> wanted,
    std::span<const std::size_t> lengths,
    std::size_t max_rows);

}  // namespace modelpool::nn

#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/block_type.hpp"

namespace modelpool::kernels {

/// Output rows that lie interleaved in a panel: the lanes of the widest vectors.
inline constexpr int panel_rows = 16;

/// How a block of a quantised type lies in a panel: its 4-byte words, each as a vector of 16 rows'
/// words, and after them the lone f16 that some types have, as a vector of 16.
struct packed_shape {
    int n_words;
    bool has_half;
    int half_offset;       ///< of the lone f16 in the stored block
    int first_word;        ///< offset of the words in the stored block
    std::int64_t n_bytes;  ///< of 16 rows' block

    /// Of a type that is not dense.
    static constexpr packed_shape of(std::int64_t block_bytes, bool half_is_last) noexcept
    {
        const bool has_half = block_bytes % 4 != 0;
        const int bytes = static_cast<int>(block_bytes);
        return {
            bytes / 4,
            has_half,
            has_half && half_is_last ? bytes - 2 : 0,
            has_half && !half_is_last ? 2 : 0,
            block_bytes * panel_rows};
    }
};

packed_shape packed_shape_of(block_type type) noexcept;

/// Packs up to 16 rows [n_rows, n] of blocks, `row_stride` bytes apart, as a panel of
/// 16·row_bytes(type, n) bytes; rows that are missing become zeros.
void pack_panel(
    block_type type,
    const std::byte* from,
    std::int64_t row_stride,
    int n_rows,
    std::int64_t n,
    std::byte* to);

}  // namespace modelpool::kernels

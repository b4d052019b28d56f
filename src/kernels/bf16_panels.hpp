#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/block_type.hpp"

// Products of many rows with quantised panels that are widened to bf16 on the way, in tiles: half
// the work of exact integers, with 8 bits of each number. Only where has_bf16_tiles().

namespace modelpool::kernels {

/// Rows of activations as bf16 in tiles of 1 KiB: [row / 16, column / 32 of tiles_apart, row % 16, 32]. Rows are
/// made room for in pairs of tiles, and those that fill one up may hold anything.
struct bf16_tile_rows {
    static constexpr std::int64_t rows_together = 32;

    const std::uint16_t* tiles{nullptr};
    std::int64_t n{0};  ///< numbers of a row, a multiple of 32

    static std::int64_t n_numbers(std::int64_t n_rows, std::int64_t n)
    {
        return tile_at((n_rows + rows_together - 1) / rows_together * rows_together, 0, n);
    }
    /// From the tiles of 16 rows to the next ones: an odd number, since rows that lie a power of
    /// two apart would share few of a cache's sets.
    static std::int64_t tiles_apart(std::int64_t n) { return n / 32 | 1; }
    /// Where the tile of that row and column begins.
    static std::int64_t tile_at(std::int64_t row, std::int64_t column, std::int64_t n)
    {
        return (row / 16 * tiles_apart(n) + column / 32) * 512;
    }
};

/// Rounds one row of `n` numbers to the nearest bf16, into tiles.
void set_bf16_row(const float* x, std::int64_t n, std::int64_t row, std::uint16_t* tiles);

/// y = x · weightᵀ for all rows and some neighbouring panels, of 16 outputs each.
struct bf16_panels_job {
    /// Panels of a job at most: so many share what a core's cache holds of the rows.
    static constexpr std::int64_t max_panels = 8;

    block_type type{block_type::q8_0};  ///< no dense one
    const std::byte* panels{nullptr};   ///< as pack_panel makes them, one after the other
    std::int64_t panel_bytes{0};
    std::int64_t n_outputs{0};  ///< in all, at most 16 · max_panels
    bf16_tile_rows x;
    std::int64_t n_rows{0};
    float* y{nullptr};
    std::int64_t y_stride{0};
    std::byte* room{nullptr};  ///< bf16_room_of(n_rows) bytes of the thread's own, aligned to 64
};

/// What a job may use: widened columns of two panels, and then the sums of all rows.
inline constexpr std::int64_t bf16_columns_together = 512;
constexpr std::int64_t bf16_room_of(std::int64_t n_rows)
{
    const std::int64_t rows = (n_rows + 31) / 32 * 32;
    return bf16_columns_together * 64 + rows * 64 * bf16_panels_job::max_panels;
}

void multiply_in_bf16(const bf16_panels_job& job);

}  // namespace modelpool::kernels

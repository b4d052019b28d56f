#pragma once

#include <cstdint>
#include <vector>

#include "kernels/bf16_tiles.hpp"
#include "kernels/linear.hpp"
#include "kernels/scratch.hpp"
#include "kernels/thread_team.hpp"

namespace modelpool::kernels {

/// Rows of bf16, `stride` numbers from one to the next.
struct bf16_matrix {
    std::uint16_t* data{nullptr};
    std::int64_t n_rows{0};
    std::int64_t n{0};
    std::int64_t stride{0};
};
struct const_bf16_matrix {
    const std::uint16_t* data{nullptr};
    std::int64_t n_rows{0};
    std::int64_t n{0};
    std::int64_t stride{0};
};

/// Activations in bf16 the way tiles take them, ready for any number of products that share them.
/// Not thread-safe.
class tile_input {
public:
    /// Rows that are multiplied together: two tiles.
    static constexpr std::int64_t block_rows = 32;
    /// Columns of a step, and the numbers of a block's step.
    static constexpr std::int64_t step_columns = 32;
    static constexpr std::int64_t step_numbers = block_rows * step_columns;

    /// Copies `x`. Precondition: x.n is a multiple of 32.
    void set(const_bf16_matrix x, thread_team& team);

    std::int64_t n_rows() const noexcept { return n_rows_; }
    std::int64_t n() const noexcept { return n_; }
    std::int64_t n_blocks() const noexcept { return (n_rows_ + block_rows - 1) / block_rows; }
    /// For kernels: [step, tile, row, column] of a block of rows; rows that are missing are zeros.
    const std::uint16_t* block(std::int64_t index) const noexcept
    {
        return data_ + index * block_rows * n_;
    }

private:
    std::int64_t n_rows_{0};
    std::int64_t n_{0};
    std::uint16_t* data_{nullptr};
    aligned_room room_;
};

/// Room that products in tiles keep from call to call. Not thread-safe.
class tile_room {
public:
    tile_input& input() noexcept { return input_; }
    /// For kernels.
    std::vector<aligned_room>& of_threads() noexcept { return per_thread_; }

private:
    tile_input input_;
    std::vector<aligned_room> per_thread_;
};

/// Whether this machine multiplies these weights in tiles: packed blocks, and AMX for bf16.
bool fits_tiles(const linear& weights) noexcept;

/// y = f(x · weightᵀ + bias), weights widened to bf16 on the way: each once in a call, so this is
/// for many rows. Products are added up in f32; a row's numbers do not depend on other rows, nor on
/// the number of threads. `bias` is [n_out], or null. Columns of y may be those of a wider matrix.
/// Preconditions: fits_tiles(weights); one expert; sizes fit.
/// Errors: std::invalid_argument where sizes do not fit.
void multiply_in_tiles(
    const tile_input& x,
    const linear& weights,
    const float* bias,
    row_function function,
    bf16_matrix y,
    thread_team& team,
    tile_room& room);

}  // namespace modelpool::kernels

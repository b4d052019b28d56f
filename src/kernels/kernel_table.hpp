#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/block_type.hpp"
#include "kernels/kv_layout.hpp"

namespace modelpool::kernels {

/// Numbers of activations that share a scale; the last such block of a row may be shorter.
inline constexpr std::int64_t scale_block = 256;

/// Rows of activations as integers of 16 bits, 256·high + low, both of them int8, with a scale for
/// each 256. A view, in tiles: 16 rows lie together, as 64 numbers of each row. Below, `r` is
/// row % 16, `pair` 64 numbers, `group` 32 and `half` 16 of them; what is beyond a row's end is 0.
struct quantized_view {
    const std::int8_t* codes{nullptr};       ///< [row / 16, pair, high or low, r, 64]
    const float* scales{nullptr};            ///< [row / 16, scale block, r]
    const float* sums{nullptr};              ///< of a group's integers: [row / 16, group, r]
    const float* half_sums{nullptr};         ///< [row / 16, group, half, r]
    const std::int32_t* code_sums{nullptr};  ///< as `sums`, in integers
    /// Sums of the bytes alone: [row / 16, group, high or low, half, r].
    const std::int32_t* byte_sums{nullptr};
    std::int64_t n{0};

    static constexpr std::int64_t pair_bytes = 2048;  ///< of 16 rows' 64 numbers
    std::int64_t n_groups() const { return n / 32; }
    std::int64_t n_pairs() const { return (n + 63) / 64; }
    std::int64_t n_scales() const { return (n + scale_block - 1) / scale_block; }

    /// A row's high bytes of a group; the low ones come 1024 later.
    const std::int8_t* codes_of(std::int64_t row, std::int64_t group) const
    {
        return codes + (row / 16 * n_pairs() + group / 2) * pair_bytes + row % 16 * 64 +
               group % 2 * 32;
    }
    /// Where a row's number of a group is among those that it has one of for each.
    std::int64_t group_at(std::int64_t row, std::int64_t group) const
    {
        return (row / 16 * n_groups() + group) * 16 + row % 16;
    }
    const float* scale_of(std::int64_t row, std::int64_t block) const
    {
        return scales + (row / 16 * n_scales() + block) * 16 + row % 16;
    }
};

/// Products of rows and one panel of 16 packed weight rows, or of some columns of both: then `y`
/// holds what the columns before them came to.
struct panel_job {
    const std::byte* panel{nullptr};  ///< its first column
    quantized_view x;
    std::int64_t first_column{0};  ///< a multiple of 256
    std::int64_t n_columns{0};
    std::int64_t first_row{0};
    std::int64_t n_rows{0};
    float* y{nullptr};                    ///< the panel's first output
    const std::int32_t* y_rows{nullptr};  ///< where row r goes; null: to row r
    std::int64_t y_stride{0};
    std::int64_t n_outputs{16};  ///< fewer in the last panel
    std::byte* room{nullptr};    ///< panel_room_of(n_rows) bytes of the thread's own, aligned to 64

    float* y_row(std::int64_t row) const
    {
        return y + (y_rows == nullptr ? row : y_rows[row]) * y_stride;
    }
};

/// What a panel kernel may use: for codes and products of some columns, and then for the sums that
/// each row has come to.
inline constexpr std::int64_t panel_room_bytes = 32768;
constexpr std::int64_t panel_room_of(std::int64_t n_rows)
{
    return panel_room_bytes + n_rows * 64;
}

/// Products of rows and some rows of dense weights.
struct dense_job {
    const std::byte* weights{nullptr};
    std::int64_t weight_stride{0};  ///< bytes
    std::int64_t n_outputs{0};
    const float* x{nullptr};
    std::int64_t x_stride{0};
    std::int64_t n{0};
    std::int64_t first_row{0};
    std::int64_t n_rows{0};
    float* y{nullptr};
    const std::int32_t* y_rows{nullptr};
    std::int64_t y_stride{0};

    float* y_row(std::int64_t row) const
    {
        return y + (y_rows == nullptr ? row : y_rows[row]) * y_stride;
    }
};

/// One row to quantise; the pointers are to where a quantized_view has its first numbers.
struct quantize_job {
    const float* x{nullptr};
    std::int64_t n{0};
    std::int8_t* codes{nullptr};
    float* scales{nullptr};
    float* sums{nullptr};
    float* half_sums{nullptr};
    std::int32_t* code_sums{nullptr};
    std::int32_t* byte_sums{nullptr};
};

/// The most queries, heads times rows, of one attention_job.
inline constexpr int max_attention_queries = 16;

/// Some rows of one sequence with one key-value head: `n_queries` of them, row by row and within a
/// row head by head.
struct attention_job {
    kv_layout layout;
    int kv_head{0};
    int heads_per_row{1};
    float scale{1.0F};
    const attention_row* rows{nullptr};
    std::int64_t n_rows{0};
    const float* q{nullptr};  ///< of the first row's first head of the group
    std::int64_t q_stride{0};
    float* out{nullptr};
    std::int64_t out_stride{0};
    float* scores{nullptr};  ///< room for [n_queries, score_stride]
    std::int64_t score_stride{0};
};

/// The kernels of one instruction set.
struct kernel_table {
    using panel_function = void (*)(const panel_job&);
    using dense_function = void (*)(const dense_job&);

    panel_function (*panel)(block_type type);  ///< of a type that is not dense
    dense_function (*dense)(block_type type);  ///< of a dense type
    void (*quantize)(const quantize_job& job);
    void (*attend)(const attention_job& job);
    void (*rms_norm)(const float* x, const float* weight, float eps, float* y, std::int64_t n);
    void (*layer_norm)(
        const float* x,
        const float* weight,
        const float* bias,
        float eps,
        float* y,
        std::int64_t n);
    void (*silu_mul)(const float* gate, const float* up, float* y, std::int64_t n);
    void (*gelu_mul)(const float* gate, const float* up, float* y, std::int64_t n);
    void (*add)(const float* a, const float* b, float* y, std::int64_t n);
    void (*add_scaled)(const float* x, float factor, float* y, std::int64_t n);
    void (*softmax)(const float* x, float scale, float* y, std::int64_t n);
    void (*sigmoid)(const float* x, float* y, std::int64_t n);
    /// Turns pairs (x[i], x[i + n]), or (x[2i], x[2i + 1]), by the angles i of n.
    void (*rotate_halves)(float* x, const float* cosines, const float* sines, std::int64_t n);
    void (*rotate_neighbours)(float* x, const float* cosines, const float* sines, std::int64_t n);
};

const kernel_table& scalar_table() noexcept;
#if defined(__x86_64__)
const kernel_table& avx2_table() noexcept;
const kernel_table& avx512_table() noexcept;
const kernel_table& amx_table() noexcept;
#endif

}  // namespace modelpool::kernels

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <vector>

#include "kernels/block_type.hpp"
#include "kernels/matrix.hpp"
#include "kernels/scratch.hpp"
#include "kernels/thread_team.hpp"

namespace modelpool::kernels {

struct quantized_view;
struct bf16_tile_rows;

/// Activations, ready for any number of linears that share them (query, key and value; gate and
/// up). Where asked for, each row is also quantised, once: blocks of 256 numbers as integers of 16
/// bits with an f32 scale of greatest/32639, which every quantised type is multiplied with. A block
/// with an infinity or a NaN gives NaN in all that it is multiplied with; one below 1e-30 everywhere
/// counts as zeros.
class linear_input {
public:
    /// Refers to `x`, which stays as it is while this is in use. `quantized` is needed for weights
    /// that are not dense; then x.n must be a multiple of 32.
    ///
    /// Rows from `first_fast` on are rounded to bf16 instead, where that many are worth it and
    /// room.has_bf16(): their products are half the work, agree with the others' to some 8 bits,
    /// and depend on how many such rows come together.
    void
    set(const_matrix x,
        bool quantized,
        thread_team& team,
        scratch& room,
        std::int64_t first_fast = no_fast_row);
    /// Above all rows.
    static constexpr std::int64_t no_fast_row = std::numeric_limits<std::int64_t>::max();

    const const_matrix& rows() const noexcept { return rows_; }
    bool is_quantized() const noexcept { return quantized_; }
    std::int64_t n_rows() const noexcept { return rows_.n_rows; }
    std::int64_t n() const noexcept { return rows_.n; }
    /// Rows that are no bf16; the others come after them.
    std::int64_t n_exact() const noexcept { return n_exact_; }

    /// For kernels.
    quantized_view quantized() const noexcept;
    bf16_tile_rows fast() const noexcept;

private:
    friend class linear;
    static constexpr std::int32_t no_row = -1;
    /// This one's row i is the other's row `rows[i]`; where that is no_row, it is anything.
    void gather(const linear_input& from, std::span<const std::int32_t> rows, thread_team& team);

    void set_fast(thread_team& team);

    const_matrix rows_;
    bool quantized_{false};
    std::int64_t n_exact_{0};
    aligned_room codes_;
    aligned_room scales_;
    aligned_room code_sums_;
    aligned_room gathered_;
    aligned_room fast_;
};

/// Told when bytes of the source have been read for the last time, in order and on the caller's
/// thread: a mapped file's pages may go.
using bytes_read = std::function<void(std::span<const std::byte>)>;

/// A row that goes through one of several matrices.
struct routed_row {
    std::int32_t row;     ///< of the input
    std::int32_t expert;  ///< of the weights
};

/// y = x · weightᵀ with weights as a checkpoint stores them, computed on without being widened.
///
/// Quantised types: products of the stored integers and the input's, exact in each block of the type,
/// added up in f32 in the order of the blocks. Dense types: f32 products added up in 16 interleaved
/// sums. So an output depends on its input row alone: not on how many rows came with it, nor on the
/// number of threads, the instruction set, or the layout. Rows that the input has as bf16 are the
/// exception.
///
/// Immutable, and used by several threads at once. Not copyable: it may own gigabytes.
class linear {
public:
    enum class layout {
        /// Refers to the caller's bytes, which must outlive this; they need not be aligned.
        stored,
        /// Quantised types are copied, 16 rows interleaved, into as many bytes (of n_out rounded up
        /// to 16), and the caller's bytes may go. Dense types stay stored: see refers_to_bytes.
        packed
    };

    linear() = default;
    /// `bytes` are [n_experts, n_out, n_in] blocks. Packing runs on `team` where one is given, and
    /// tells `read`. Errors: std::invalid_argument where n_in is no multiple of the block, or the
    /// sizes differ; what `read` throws.
    linear(
        block_type type,
        std::span<const std::byte> bytes,
        std::int64_t n_out,
        std::int64_t n_in,
        layout how,
        thread_team* team = nullptr,
        std::int64_t n_experts = 1,
        const bytes_read& read = {});
    linear(const linear&) = delete;
    linear(linear&&) noexcept = default;
    linear& operator=(const linear&) = delete;
    linear& operator=(linear&&) noexcept = default;
    ~linear() = default;

    block_type type() const noexcept { return type_; }
    std::int64_t n_out() const noexcept { return n_out_; }
    std::int64_t n_in() const noexcept { return n_in_; }
    std::int64_t n_experts() const noexcept { return n_experts_; }
    /// Must its input be quantised?
    bool takes_quantized() const noexcept { return !is_dense(type_); }
    /// Does it still use the bytes that it was made from?
    bool refers_to_bytes() const noexcept { return packed_.n_bytes() == 0; }
    /// Bytes of its own.
    std::size_t n_bytes() const noexcept { return packed_.n_bytes(); }
    /// For kernels: 16 outputs of packed weights. Precondition: !refers_to_bytes().
    const std::byte* panel(std::int64_t index) const noexcept;

    /// y[r] = x[r] · weightᵀ, for x.n_rows() rows; y may be columns of a wider matrix.
    /// Preconditions: x.n() == n_in, y.n == n_out, y.n_rows == x.n_rows(); x is quantised where
    /// takes_quantized(). Errors: std::invalid_argument where they do not hold.
    void apply(const linear_input& x, matrix y, thread_team& team, scratch& room) const;
    /// The same for rows that no other linear shares.
    void apply(const_matrix x, matrix y, thread_team& team, scratch& room) const;

    /// y[i] = x[routes[i].row] · weight[routes[i].expert]ᵀ; for mixtures of experts. Rows of one
    /// expert are computed together.
    /// Errors: std::invalid_argument where a route or a size does not fit, or rows are bf16.
    void apply_routed(
        const linear_input& x,
        std::span<const routed_row> routes,
        matrix y,
        thread_team& team,
        scratch& room) const;

private:
    struct row_range;
    void pack(std::span<const std::byte> bytes, thread_team* team, const bytes_read& read);
    void check(const linear_input& x, const matrix& y, std::int64_t n_rows) const;
    void
    run(const linear_input& x,
        std::span<const row_range> ranges,
        const std::int32_t* y_rows,
        matrix y,
        thread_team& team,
        scratch& room) const;
    void run_panels(
        const quantized_view& x,
        const row_range& range,
        std::int64_t first,
        std::int64_t last,
        matrix y,
        const std::int32_t* y_rows,
        scratch& room,
        int thread) const;
    void run_fast(const linear_input& x, matrix y, thread_team& team, scratch& room) const;
    void run_dense(
        const const_matrix& x,
        const row_range& range,
        std::int64_t first,
        std::int64_t last,
        matrix y,
        const std::int32_t* y_rows,
        const scratch& room) const;

    block_type type_{block_type::f32};
    std::int64_t n_out_{0};
    std::int64_t n_in_{0};
    std::int64_t n_experts_{0};
    const std::byte* stored_{nullptr};
    aligned_room packed_;
};

}  // namespace modelpool::kernels

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "kernels/scratch.hpp"

// What encoders are made of where the processor multiplies bf16 in tiles (AMX): linears whose
// results go straight into what follows them, attention within a text, and norms. Everything here
// computes on the calling thread, and a row's numbers depend on that row alone (attention: on its
// text alone), bit for bit.

namespace modelpool::kernels {

/// Whether this machine has AMX for bf16, and lets this process use it. Nothing else here may be
/// called where it has not, but for bf16_rows.
bool has_bf16_tiles() noexcept;

/// How numbers are given to the tiles. Products are added up in f32 in either case.
enum class bf16_parts {
    one = 1,  ///< rounded to bf16: 8 bits of a number
    two       ///< with what the rounding left, as a bf16 of its own: 16 bits, for f32
};

/// Rows of numbers as one or two bf16 each. What they hold is not kept when they grow.
class bf16_rows {
public:
    /// Columns and rows of one tile; rows are made room for in whole tiles.
    static constexpr std::int64_t tile_columns = 32;
    static constexpr std::int64_t tile_rows = 16;

    /// `n` is a multiple of tile_columns.
    bf16_rows(std::int64_t n, bf16_parts parts)
        : n_{n}
        , parts_{parts}
    {}

    /// Makes room for `n_rows` rows of any content.
    void resize(std::int64_t n_rows);

    std::int64_t n() const noexcept { return n_; }
    std::int64_t n_rows() const noexcept { return n_rows_; }
    bool is_split() const noexcept { return parts_ == bf16_parts::two; }
    std::uint16_t* high(std::int64_t row) noexcept { return data_ + row * n_; }
    const std::uint16_t* high(std::int64_t row) const noexcept { return data_ + row * n_; }
    /// Null where there is one part only.
    std::uint16_t* low(std::int64_t row) noexcept
    {
        return is_split() ? data_ + (n_rows_ + row) * n_ : nullptr;
    }
    const std::uint16_t* low(std::int64_t row) const noexcept
    {
        return is_split() ? data_ + (n_rows_ + row) * n_ : nullptr;
    }

private:
    std::int64_t n_;
    std::int64_t n_rows_{0};  // made room for
    bf16_parts parts_;
    std::uint16_t* data_{nullptr};
    aligned_room room_;
};

/// Functions between linears.
enum class row_function { none = 1, gelu, gelu_tanh, relu, silu };

/// y = f(x · weightᵀ + bias) with weights repacked for the tiles. Immutable, and used by several
/// threads at once. Not copyable: it may own gigabytes.
class bf16_linear {
public:
    /// Outputs computed together.
    static constexpr std::int64_t panel_outputs = 32;

    bf16_linear() = default;
    /// weight: [n_out, n_in] and bias: [n_out], or none, copied. n_out and n_in are multiples of
    /// 32. `parts` are those of the rows that are multiplied; weights that bf16 holds exactly take
    /// one part in either case.
    /// Errors: std::invalid_argument where they are not, or the sizes differ.
    bf16_linear(
        std::span<const float> weight,
        std::span<const float> bias,
        std::int64_t n_in,
        bf16_parts parts);

    std::int64_t n_in() const noexcept { return n_in_; }
    std::int64_t n_out() const noexcept { return n_out_; }
    std::int64_t n_panels() const noexcept { return n_out_ / panel_outputs; }
    std::size_t n_bytes() const noexcept { return room_.n_bytes() + bias_.n_bytes(); }

    /// Rows and panels of a product, each from the first to before the last.
    struct range {
        std::int64_t first_row{0};
        std::int64_t last_row{0};
        std::int64_t first_panel{0};
        std::int64_t last_panel{0};
    };
    /// y [row, n_out] = x · weightᵀ + bias, `stride` numbers from one row to the next.
    void run(const bf16_rows& x, const range& what, float* y, std::int64_t stride) const;
    /// The same, added to y.
    void add_to(const bf16_rows& x, const range& what, float* y, std::int64_t stride) const;
    /// The same through a function, into the rows that another linear takes.
    void run(const bf16_rows& x, const range& what, row_function f, bf16_rows& y) const;

    /// For kernels: [panel, step of 32 inputs, part, tile of 16 outputs], tiles of 1 KiB.
    const std::uint16_t* panel(std::int64_t index) const noexcept
    {
        return room_.data_as<std::uint16_t>() + index * panel_outputs * n_in_ * n_parts();
    }
    const float* bias() const noexcept { return bias_.data_as<float>(); }
    int n_parts() const noexcept { return parts_ == bf16_parts::two ? 2 : 1; }

private:
    std::int64_t n_in_{0};
    std::int64_t n_out_{0};
    bf16_parts parts_{bf16_parts::one};
    aligned_room room_;
    aligned_room bias_;
};

/// Queries, keys and values of the tokens of one text, side by side in a row; each of `n_heads`
/// heads of `head_size` numbers, a multiple of 16.
struct text_heads {
    const float* qkv{nullptr};  ///< [n_tokens, 3 · n_heads · head_size]
    std::int64_t n_tokens{0};
    std::int64_t n_heads{0};
    std::int64_t head_size{0};
};

/// Floats that attention keeps in its room: scores and weights of 16 queries; the queries, keys
/// and values of a head as bf16, or its keys as they are.
constexpr std::int64_t attention_numbers(std::int64_t n_tokens, std::int64_t head_size)
{
    return (2 * head_size + 24) * ((n_tokens + 31) / 32 * 32);
}

/// Every token attends to all tokens of its text, with scale 1/sqrt(head size); the heads
/// [first_head, last_head). Token i goes to row first_row + i of `out` [n_heads · head_size].
/// Computes in f32 for rows of two parts, and where a head is no multiple of 32; else queries, keys,
/// values and weights are rounded to bf16, and sums are f32.
void attend_in_text(
    const text_heads& text,
    std::pair<std::int64_t, std::int64_t> heads,
    bf16_rows& out,
    std::int64_t first_row,
    aligned_room& room);

/// A norm's weights, of `n` numbers each, a multiple of 16.
struct norm_weights {
    const float* weight{nullptr};
    const float* bias{nullptr};
    float eps{0};
    std::int64_t n{0};
};

/// x = (x − mean(x)) / sqrt(variance(x) + eps) · weight + bias for `n_rows` rows in place; row i
/// also goes to row first_row + i of `out`.
void normalize_rows(
    const norm_weights& norm,
    float* x,
    std::int64_t n_rows,
    bf16_rows& out,
    std::int64_t first_row);

}  // namespace modelpool::kernels

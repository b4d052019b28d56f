#include "kernels/bf16_tiles.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>

#include "kernels/bf16_numbers.hpp"
#include "kernels/vec_avx512.hpp"

#include <immintrin.h>

// NOLINTBEGIN(portability-simd-intrinsics): this is one machine's unit
namespace modelpool::kernels {
namespace {

using namespace bf16_numbers;

// ---- linears -------------------------------------------------------------------------------------------

/// The products of two tiles of rows (or one) and one panel, in tiles 0 to 3. Tiles 4 and 5 take
/// rows, 6 and 7 weights.
template <bool two_rows, bool split_rows, bool split_weights>
[[gnu::always_inline]] inline void
multiply(const bf16_rows& x, std::int64_t row, const std::uint16_t* weights, std::int64_t n_in)
{
    constexpr std::int64_t tile = 512;  // numbers of a tile of weights
    const std::int64_t stride = 2 * x.n();
    const std::int64_t next = bf16_rows::tile_rows * x.n();
    const std::uint16_t* high = x.high(row);
    const std::uint16_t* low = x.low(row);
    _tile_zero(0);
    _tile_zero(1);
    if constexpr (two_rows) {
        _tile_zero(2);
        _tile_zero(3);
    }
    const auto add = [] {
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        if constexpr (two_rows) {
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
    };
    for (std::int64_t k = 0; k != n_in; k += bf16_rows::tile_columns) {
        _tile_loadd(4, high + k, stride);
        if constexpr (two_rows) _tile_loadd(5, high + next + k, stride);
        if constexpr (split_weights) {
            _tile_loadd(6, weights + 2 * tile, 64);
            _tile_loadd(7, weights + 3 * tile, 64);
            add();
        }
        _tile_loadd(6, weights, 64);
        _tile_loadd(7, weights + tile, 64);
        add();
        if constexpr (split_rows) {
            _tile_loadd(4, low + k, stride);
            if constexpr (two_rows) _tile_loadd(5, low + next + k, stride);
            add();
        }
        weights += split_weights ? 4 * tile : 2 * tile;
    }
}

/// Calls store(row, column, numbers) for the products of the range, 16 columns at a time.
template <bool split_rows, bool split_weights, class Store>
void for_products(
    const bf16_linear& linear, const bf16_rows& x, const bf16_linear::range& what, Store&& store)
{
    constexpr std::int64_t tile_rows = bf16_rows::tile_rows;
    alignas(64) float sums[2 * tile_rows][bf16_linear::panel_outputs];
    constexpr std::int64_t stride = sizeof sums[0];
    configure_tiles();
    for (std::int64_t panel = what.first_panel; panel != what.last_panel; ++panel) {
        const std::uint16_t* weights = linear.panel(panel);
        const std::int64_t column = panel * bf16_linear::panel_outputs;
        const f bias[2] = {
            vec::load(linear.bias() + column), vec::load(linear.bias() + column + 16)};
        for (std::int64_t row = what.first_row; row < what.last_row; row += 2 * tile_rows) {
            const std::int64_t n = std::min(2 * tile_rows, what.last_row - row);
            if (n > tile_rows) {
                multiply<true, split_rows, split_weights>(x, row, weights, linear.n_in());
                _tile_stored(2, sums[tile_rows], stride);
                _tile_stored(3, sums[tile_rows] + 16, stride);
            } else {
                multiply<false, split_rows, split_weights>(x, row, weights, linear.n_in());
            }
            _tile_stored(0, sums[0], stride);
            _tile_stored(1, sums[0] + 16, stride);
            for (std::int64_t r = 0; r != n; ++r) {
                store(row + r, column, vec::add(vec::load(sums[r]), bias[0]));
                store(row + r, column + 16, vec::add(vec::load(sums[r] + 16), bias[1]));
            }
        }
    }
    _tile_release();
}

template <class Store>
void for_products_of(
    const bf16_linear& linear, const bf16_rows& x, const bf16_linear::range& what, Store&& store)
{
    if (!x.is_split())
        for_products<false, false>(linear, x, what, store);
    else if (linear.n_parts() == 1)
        for_products<true, false>(linear, x, what, store);
    else
        for_products<true, true>(linear, x, what, store);
}

template <row_function function>
void run_through(
    const bf16_linear& linear, const bf16_rows& x, const bf16_linear::range& what, bf16_rows& y)
{
    for_products_of(linear, x, what, [&](std::int64_t row, std::int64_t column, f sum) {
        store_parts(y, row, column, value_of(function, sum));
    });
}

// ---- packing -------------------------------------------------------------------------------------------

/// Whether bf16 holds all numbers as they are.
bool is_exact(std::span<const float> numbers)
{
    std::uint32_t rest = 0;
    for (const float x : numbers)
        rest |= std::bit_cast<std::uint32_t>(x) & 0xffffU;
    return rest == 0;
}

}  // namespace

bf16_linear::bf16_linear(
    std::span<const float> weight, std::span<const float> bias, std::int64_t n_in, bf16_parts parts)
    : n_in_{n_in}
    , n_out_{n_in > 0 ? static_cast<std::int64_t>(weight.size()) / n_in : 0}
    , parts_{is_exact(weight) ? bf16_parts::one : parts}
{
    const bool fits = n_in > 0 && n_in % bf16_rows::tile_columns == 0 &&
                      n_out_ % panel_outputs == 0 &&
                      static_cast<std::int64_t>(weight.size()) == n_in * n_out_ &&
                      (bias.empty() || static_cast<std::int64_t>(bias.size()) == n_out_);
    if (!fits)
        throw std::invalid_argument{"a linear in tiles has multiples of 32 inputs and outputs"};
    float* const own_bias = bias_.get_as<float>(n_out_);
    std::fill_n(own_bias, n_out_, 0.0F);
    std::copy(bias.begin(), bias.end(), own_bias);
    auto* to = room_.get_as<std::uint16_t>(n_out_ * n_in * n_parts());
    for (std::int64_t out = 0; out != n_out_; out += panel_outputs)
        for (std::int64_t in = 0; in != n_in; in += bf16_rows::tile_columns)
            for (int part = 0; part != n_parts(); ++part)
                for (std::int64_t tile = 0; tile != panel_outputs; tile += 16, to += 512)
                    pack_tile({weight.data() + (out + tile) * n_in + in, n_in, 16}, part == 1, to);
}

void bf16_linear::run(const bf16_rows& x, const range& what, float* y, std::int64_t stride) const
{
    for_products_of(*this, x, what, [&](std::int64_t row, std::int64_t column, f sum) {
        vec::store(y + row * stride + column, sum);
    });
}

void bf16_linear::add_to(const bf16_rows& x, const range& what, float* y, std::int64_t stride) const
{
    for_products_of(*this, x, what, [&](std::int64_t row, std::int64_t column, f sum) {
        float* to = y + row * stride + column;
        vec::store(to, vec::add(vec::load(to), sum));
    });
}

void bf16_linear::run(
    const bf16_rows& x, const range& what, row_function function, bf16_rows& y) const
{
    switch (function) {
    case row_function::none:
        return run_through<row_function::none>(*this, x, what, y);
    case row_function::gelu:
        return run_through<row_function::gelu>(*this, x, what, y);
    case row_function::gelu_tanh:
        return run_through<row_function::gelu_tanh>(*this, x, what, y);
    case row_function::relu:
        return run_through<row_function::relu>(*this, x, what, y);
    case row_function::silu:
        return run_through<row_function::silu>(*this, x, what, y);
    }
}

void normalize_rows(
    const norm_weights& norm, float* x, std::int64_t n_rows, bf16_rows& out, std::int64_t first_row)
{
    const auto count = static_cast<float>(norm.n);
    for (std::int64_t row = 0; row != n_rows; ++row, x += norm.n) {
        f sum = vec::set(0.0F);
        for (std::int64_t k = 0; k != norm.n; k += 16)
            sum = vec::add(sum, vec::load(x + k));
        const f mean = vec::set(_mm512_reduce_add_ps(sum) / count);
        f squares = vec::set(0.0F);
        for (std::int64_t k = 0; k != norm.n; k += 16) {
            const f from_mean = vec::sub(vec::load(x + k), mean);
            squares = vec::fma(from_mean, from_mean, squares);
        }
        const float variance = _mm512_reduce_add_ps(squares) / count;
        const f factor = vec::set(1.0F / std::sqrt(variance + norm.eps));
        for (std::int64_t k = 0; k != norm.n; k += 16) {
            const f scaled = vec::mul(vec::sub(vec::load(x + k), mean), factor);
            const f result = vec::fma(scaled, vec::load(norm.weight + k), vec::load(norm.bias + k));
            vec::store(x + k, result);
            store_parts(out, first_row + row, k, result);
        }
    }
}

}  // namespace modelpool::kernels
// NOLINTEND(portability-simd-intrinsics)

#include "kernels/bf16_tiles.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>

#include "kernels/row_kernels.hpp"
#include "kernels/tile_config.hpp"
#include "kernels/vec_avx512.hpp"

#include <immintrin.h>

// NOLINTBEGIN(portability-simd-intrinsics): this is one machine's unit
namespace modelpool::kernels {
namespace {

using vec = avx512_vec;
using f = __m512;

/// 1 / x within 2 ulp, of an x that is neither tiny nor huge: a third of a division's time.
f reciprocal(f x)
{
    const f guess = _mm512_rcp14_ps(x);
    return vec::fma(guess, _mm512_fnmadd_ps(x, guess, vec::set(1.0F)), guess);
}

f gelu_of(f x)
{
    // erf by Abramowitz and Stegun 7.1.26, within 1.5e-7.
    const f z = vec::mul(_mm512_abs_ps(x), vec::set(0.70710678F));
    const f t = reciprocal(vec::fma(z, vec::set(0.3275911F), vec::set(1.0F)));
    f p = vec::set(1.061405429F);
    p = vec::fma(p, t, vec::set(-1.453152027F));
    p = vec::fma(p, t, vec::set(1.421413741F));
    p = vec::fma(p, t, vec::set(-0.284496736F));
    p = vec::fma(p, t, vec::set(0.254829592F));
    const f e = exponential<vec>(vec::sub(vec::set(0.0F), vec::mul(z, z)));
    const f tail = vec::mul(vec::mul(p, t), vec::mul(e, vec::set(0.5F)));  // (1 − erf z) / 2
    const __mmask16 negative = _mm512_cmp_ps_mask(x, vec::set(0.0F), _CMP_LT_OQ);
    const f share = _mm512_mask_blend_ps(negative, vec::sub(vec::set(1.0F), tail), tail);
    return vec::mul(x, share);
}

f gelu_tanh_of(f x)
{
    const f cubic = vec::fma(vec::mul(x, x), vec::set(0.044715F), vec::set(1.0F));
    return vec::mul(x, sigmoid_of<vec>(vec::mul(vec::mul(x, vec::set(1.59576912F)), cubic)));
}

f value_of(row_function function, f x)
{
    switch (function) {
    case row_function::gelu:
        return gelu_of(x);
    case row_function::gelu_tanh:
        return gelu_tanh_of(x);
    case row_function::relu:
        return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, vec::set(0.0F), _CMP_NLE_UQ), x);
    case row_function::silu:
        return vec::mul(x, sigmoid_of<vec>(x));
    case row_function::none:
        break;
    }
    return x;
}

/// 16 numbers as bf16, to the nearest; NaN stays NaN.
__m256i to_bf16(f x)
{
    const __m256bh rounded = _mm512_cvtneps_pbh(x);
    __m256i bits;
    __builtin_memcpy(&bits, &rounded, sizeof bits);
    return bits;
}

f from_bf16(__m256i bits)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}

void store_parts(bf16_rows& to, std::int64_t row, std::int64_t column, f x)
{
    const __m256i high = to_bf16(x);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to.high(row) + column), high);
    if (!to.is_split()) return;
    const __m256i low = to_bf16(vec::sub(x, from_bf16(high)));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to.low(row) + column), low);
}

// ---- linears -------------------------------------------------------------------------------------------

void configure()
{
    tile_config config{};
    config.palette = 1;
    for (int t = 0; t != 8; ++t) {
        config.row_bytes[t] = 64;
        config.n_rows[t] = 16;
    }
    asm volatile("" ::"r"(&config) : "memory");  // g++ 12 drops the stores otherwise
    _tile_loadconfig(&config);
}

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
    configure();
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

// ---- attention -----------------------------------------------------------------------------------------

/// to[j][i] = from[i][j] for 16 rows of 16 numbers, of which the first `n_rows` are there; the rest
/// counts as zeroes.
void transpose(
    const float* from, std::int64_t stride, std::int64_t n_rows, float* to, std::int64_t to_stride)
{
    f r[16];
    f t[16];
    for (int i = 0; i != 16; ++i)
        r[i] = i < n_rows ? vec::load(from + i * stride) : vec::set(0.0F);
    for (int i = 0; i != 16; i += 2) {
        t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i != 16; i += 4) {
        r[i] = _mm512_shuffle_ps(t[i], t[i + 2], 0x44);
        r[i + 1] = _mm512_shuffle_ps(t[i], t[i + 2], 0xee);
        r[i + 2] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        r[i + 3] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
    for (int i = 0; i != 4; ++i) {
        t[i] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0xdd);
    }
    for (int i = 0; i != 8; ++i) {
        vec::store(to + i * to_stride, _mm512_shuffle_f32x4(t[i], t[i + 8], 0x88));
        vec::store(to + (i + 8) * to_stride, _mm512_shuffle_f32x4(t[i], t[i + 8], 0xdd));
    }
}

/// One tile of 16 outputs and 32 inputs: a row has two inputs of each output, next to each other.
void pack_tile(const float* weight, std::int64_t n_in, bool low, std::uint16_t* to)
{
    alignas(64) float pairs[16][16];
    alignas(64) float turned[16][16];
    for (int out = 0; out != 16; ++out, weight += n_in) {
        __m512i halves[2];
        for (int i = 0; i != 2; ++i) {
            const f x = vec::load(weight + std::ptrdiff_t{16} * i);
            __m256i part = to_bf16(x);
            if (low) part = to_bf16(vec::sub(x, from_bf16(part)));
            halves[i] = _mm512_castsi256_si512(part);
        }
        const __m512i both = _mm512_inserti64x4(halves[0], _mm512_castsi512_si256(halves[1]), 1);
        _mm512_store_si512(pairs[out], both);
    }
    transpose(pairs[0], 16, 16, turned[0], 16);
    __builtin_memcpy(to, turned, sizeof turned);
}

/// Whether bf16 holds all numbers as they are.
bool is_exact(std::span<const float> numbers)
{
    std::uint32_t rest = 0;
    for (const float x : numbers)
        rest |= std::bit_cast<std::uint32_t>(x) & 0xffffU;
    return rest == 0;
}

class head_attention {
public:
    static constexpr int n_together = queries_together;

    /// `room` has place for attention_numbers().
    head_attention(const text_heads& text, std::int64_t head, float* room)
        : n_tokens_{text.n_tokens}
        , padded_{(text.n_tokens + 31) / 32 * 32}
        , size_{text.head_size}
        , stride_{3 * text.n_heads * text.head_size}
        , query_{text.qkv + head * text.head_size}
        , value_{query_ + 2 * text.n_heads * text.head_size}
        , keys_{room}
        , scores_{room + padded_ * size_}
        , scale_{1.0F / std::sqrt(static_cast<float>(size_))}
    {
        const float* key = query_ + text.n_heads * text.head_size;
        for (std::int64_t token = 0; token != padded_; token += 16)
            for (std::int64_t d = 0; d != size_; d += 16)
                transpose(
                    key + token * stride_ + d,
                    stride_,
                    n_tokens_ - token,
                    keys_ + d * padded_ + token,
                    padded_);
    }

    void run(bf16_rows& out, std::int64_t first_row, std::int64_t column) const
    {
        std::int64_t token = 0;
        for (; token + n_together <= n_tokens_; token += n_together)
            attend<n_together>(token, out, first_row + token, column);
        for (; token != n_tokens_; ++token)
            attend<1>(token, out, first_row + token, column);
    }

private:
    template <int n>
    void attend(std::int64_t token, bf16_rows& out, std::int64_t row, std::int64_t column) const
    {
        for (std::int64_t key = 0; key != padded_; key += 32)
            score<n>(token, key);
        float inverse[n];
        for (int i = 0; i != n; ++i)
            inverse[i] = 1.0F / exponentials(scores_ + i * padded_);
        for (std::int64_t d = 0; d != size_; d += 16) {
            f acc[n];
            for (f& one : acc)
                one = vec::set(0.0F);
            for (std::int64_t key = 0; key != n_tokens_; ++key) {
                const f value = vec::load(value_ + key * stride_ + d);
#pragma GCC unroll 8
                for (int i = 0; i != n; ++i)
                    acc[i] = vec::fma(vec::set(scores_[i * padded_ + key]), value, acc[i]);
            }
            for (int i = 0; i != n; ++i)
                store_parts(out, row + i, column + d, vec::mul(acc[i], vec::set(inverse[i])));
        }
    }

    template <int n>
    void score(std::int64_t token, std::int64_t key) const
    {
        f acc[n][2];
        for (auto& one : acc)
            one[0] = one[1] = vec::set(0.0F);
        const float* query = query_ + token * stride_;
        for (std::int64_t d = 0; d != size_; ++d) {
            const f first = vec::load(keys_ + d * padded_ + key);
            const f second = vec::load(keys_ + d * padded_ + key + 16);
#pragma GCC unroll 8
            for (int i = 0; i != n; ++i) {
                const f q = vec::set(query[i * stride_ + d]);
                acc[i][0] = vec::fma(q, first, acc[i][0]);
                acc[i][1] = vec::fma(q, second, acc[i][1]);
            }
        }
        for (int i = 0; i != n; ++i) {
            vec::store(scores_ + i * padded_ + key, acc[i][0]);
            vec::store(scores_ + i * padded_ + key + 16, acc[i][1]);
        }
    }

    /// x = exp(scale·x − greatest) of one query's scores; gives their sum.
    float exponentials(float* x) const
    {
        const std::int64_t whole = n_tokens_ / 16 * 16;
        const auto rest = static_cast<__mmask16>((1U << (n_tokens_ - whole)) - 1U);
        f greatest = vec::set(-INFINITY);
        for (std::int64_t k = 0; k != whole; k += 16)
            greatest = vec::max(vec::load(x + k), greatest);
        if (rest != 0)
            greatest = _mm512_mask_max_ps(greatest, rest, vec::load(x + whole), greatest);
        const f base = vec::set(_mm512_reduce_max_ps(greatest) * scale_);
        const auto shifted = [&](f a) {
            return exponential<vec>(_mm512_fmsub_ps(a, vec::set(scale_), base));
        };
        f sum = vec::set(0.0F);
        for (std::int64_t k = 0; k != whole; k += 16) {
            const f e = shifted(vec::load(x + k));
            vec::store(x + k, e);
            sum = vec::add(sum, e);
        }
        if (rest != 0) {
            const f e = _mm512_maskz_mov_ps(rest, shifted(vec::load(x + whole)));
            vec::store(x + whole, e);
            sum = vec::add(sum, e);
        }
        return _mm512_reduce_add_ps(sum);
    }

    std::int64_t n_tokens_;
    std::int64_t padded_;
    std::int64_t size_;
    std::int64_t stride_;
    const float* query_;
    const float* value_;
    float* keys_;    // [size, padded]
    float* scores_;  // [n_together, padded]
    float scale_;
};

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
                    pack_tile(weight.data() + (out + tile) * n_in + in, n_in, part == 1, to);
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

void attend_in_text(
    const text_heads& text,
    std::pair<std::int64_t, std::int64_t> heads,
    bf16_rows& out,
    std::int64_t first_row,
    aligned_room& room)
{
    float* own = room.get_as<float>(attention_numbers(text.n_tokens, text.head_size));
    for (std::int64_t head = heads.first; head != heads.second; ++head)
        head_attention{text, head, own}.run(out, first_row, head * text.head_size);
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

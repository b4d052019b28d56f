#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/bf16_tiles.hpp"
#include "kernels/row_kernels.hpp"
#include "kernels/tile_config.hpp"
#include "kernels/vec_avx512.hpp"

#include <immintrin.h>

// What the units that compute in bf16 tiles share; compiled for AVX-512 with bf16 and AMX.

// NOLINTBEGIN(portability-simd-intrinsics): this is one machine's unit
namespace modelpool::kernels::bf16_numbers {

using vec = avx512_vec;
using f = __m512;

/// 1 / x within 2 ulp, of an x that is neither tiny nor huge: a third of a division's time.
inline f reciprocal(f x)
{
    const f guess = _mm512_rcp14_ps(x);
    return vec::fma(guess, _mm512_fnmadd_ps(x, guess, vec::set(1.0F)), guess);
}

inline f gelu_of(f x)
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

inline f gelu_tanh_of(f x)
{
    const f cubic = vec::fma(vec::mul(x, x), vec::set(0.044715F), vec::set(1.0F));
    return vec::mul(x, sigmoid_of<vec>(vec::mul(vec::mul(x, vec::set(1.59576912F)), cubic)));
}

inline f value_of(row_function function, f x)
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
inline __m256i to_bf16(__m512 x)
{
    const __m256bh rounded = _mm512_cvtneps_pbh(x);
    __m256i bits;
    __builtin_memcpy(&bits, &rounded, sizeof bits);
    return bits;
}

inline __m512 from_bf16(__m256i bits)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}

inline void store_parts(bf16_rows& to, std::int64_t row, std::int64_t column, __m512 x)
{
    const __m256i high = to_bf16(x);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to.high(row) + column), high);
    if (!to.is_split()) return;
    const __m256i low = to_bf16(_mm512_sub_ps(x, from_bf16(high)));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to.low(row) + column), low);
}

/// Eight tiles of 16 rows of 64 bytes.
inline void configure_tiles()
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

/// to[j][i] = from[i][j] for 16 rows of 16 numbers, of which the first `n_rows` are there; the rest
/// counts as zeroes.
inline void transpose(
    const float* from, std::int64_t stride, std::int64_t n_rows, float* to, std::int64_t to_stride)
{
    __m512 r[16];
    __m512 t[16];
    for (int i = 0; i != 16; ++i)
        r[i] = i < n_rows ? _mm512_loadu_ps(from + i * stride) : _mm512_setzero_ps();
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
        _mm512_storeu_ps(to + i * to_stride, _mm512_shuffle_f32x4(t[i], t[i + 8], 0x88));
        _mm512_storeu_ps(to + (i + 8) * to_stride, _mm512_shuffle_f32x4(t[i], t[i + 8], 0xdd));
    }
}

/// Rows of numbers, `stride` of them from one to the next; only the first `n_rows` are there.
struct some_rows {
    const float* data{nullptr};
    std::int64_t stride{0};
    std::int64_t n_rows{0};
};

/// One tile of 16 outputs (rows of `from`; those that are not there count as zeroes) and 32 inputs:
/// a row has two inputs of each output, next to each other.
inline void pack_tile(const some_rows& from, bool low, std::uint16_t* to)
{
    alignas(64) float pairs[16][16];
    alignas(64) float turned[16][16];
    for (int out = 0; out != 16; ++out) {
        if (out >= from.n_rows) {
            _mm512_store_ps(pairs[out], _mm512_setzero_ps());
            continue;
        }
        const float* weight = from.data + out * from.stride;
        __m512i halves[2];
        for (int i = 0; i != 2; ++i) {
            const __m512 x = _mm512_loadu_ps(weight + std::ptrdiff_t{16} * i);
            __m256i part = to_bf16(x);
            if (low) part = to_bf16(_mm512_sub_ps(x, from_bf16(part)));
            halves[i] = _mm512_castsi256_si512(part);
        }
        const __m512i both = _mm512_inserti64x4(halves[0], _mm512_castsi512_si256(halves[1]), 1);
        _mm512_store_si512(pairs[out], both);
    }
    transpose(pairs[0], 16, 16, turned[0], 16);
    __builtin_memcpy(to, turned, sizeof turned);
}

}  // namespace modelpool::kernels::bf16_numbers
// NOLINTEND(portability-simd-intrinsics)

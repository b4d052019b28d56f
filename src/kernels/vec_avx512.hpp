#pragma once

#include <cstdint>

#include <immintrin.h>

// NOLINTBEGIN(portability-simd-intrinsics): this is one machine's header
namespace modelpool::kernels {
namespace {

/// Sixteen lanes; needs F, BW, VL, DQ and VNNI. Contracts as scalar_vec's.
struct avx512_vec {
    static constexpr int lanes = 16;
    static constexpr int rows_together = 8;
    static constexpr int dense_outputs = 4;
    static constexpr int dense_rows = 4;
    using i = __m512i;
    using f = __m512;

    static i load_i(const void* from) { return _mm512_loadu_si512(from); }
    static i set_word(const std::int8_t* from)
    {
        std::int32_t word = 0;
        __builtin_memcpy(&word, from, 4);
        return _mm512_set1_epi32(word);
    }
    static i set_i(std::int32_t x) { return _mm512_set1_epi32(x); }
    static i and_i(i a, i b) { return _mm512_and_si512(a, b); }
    static i or_i(i a, i b) { return _mm512_or_si512(a, b); }
    static i xor_i(i a, i b) { return _mm512_xor_si512(a, b); }
    static i add_i(i a, i b) { return _mm512_add_epi32(a, b); }
    static i mul_i(i a, i b) { return _mm512_mullo_epi32(a, b); }
    template <int n>
    static i srl(i a)
    {
        return _mm512_srli_epi32(a, n);
    }
    template <int n>
    static i sll(i a)
    {
        return _mm512_slli_epi32(a, n);
    }
    template <int n>
    static i sra(i a)
    {
        return _mm512_srai_epi32(a, n);
    }
    template <bool>
    static i dot(i acc, i weights, i activations)
    {
        return _mm512_dpbusd_epi32(acc, weights, activations);
    }

    static f to_f(i a) { return _mm512_cvtepi32_ps(a); }
    static i bits(f a) { return _mm512_castps_si512(a); }
    static f low_f16(i a) { return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(a)); }
    static f high_f16(i a) { return low_f16(srl<16>(a)); }
    static f load_f16(const void* from)
    {
        return _mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(from)));
    }
    static f load_bf16(const void* from)
    {
        const __m256i halves = _mm256_loadu_si256(static_cast<const __m256i*>(from));
        return _mm512_castsi512_ps(sll<16>(_mm512_cvtepu16_epi32(halves)));
    }
    static f load_i8(const void* from)
    {
        const __m128i bytes = _mm_loadu_si128(static_cast<const __m128i*>(from));
        return to_f(_mm512_cvtepi8_epi32(bytes));
    }
    static f load(const void* from) { return _mm512_loadu_ps(from); }
    static void store(float* to, f a) { _mm512_storeu_ps(to, a); }
    static f load_first(const float* from, std::int64_t n)
    {
        return _mm512_maskz_loadu_ps(first(n), from);
    }
    static void store_first(float* to, f a, std::int64_t n)
    {
        _mm512_mask_storeu_ps(to, first(n), a);
    }
    static f set(float x) { return _mm512_set1_ps(x); }
    static f add(f a, f b) { return _mm512_add_ps(a, b); }
    static f sub(f a, f b) { return _mm512_sub_ps(a, b); }
    static f mul(f a, f b) { return _mm512_mul_ps(a, b); }
    static f div(f a, f b) { return _mm512_div_ps(a, b); }
    static f fma(f a, f b, f c) { return _mm512_fmadd_ps(a, b, c); }
    static f max(f a, f b) { return _mm512_max_ps(a, b); }
    static f min(f a, f b) { return _mm512_min_ps(a, b); }
    static f round(f a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT); }
    static f add_exponent(f a, f n)
    {
        return _mm512_castsi512_ps(add_i(bits(a), sll<23>(_mm512_cvtps_epi32(n))));
    }
    static i to_i(f a) { return _mm512_cvtps_epi32(a); }
    static void store_low_bytes(std::int8_t* to, i a)
    {
        __m128i bytes = _mm512_cvtepi32_epi8(a);
        __builtin_memcpy(to, &bytes, 16);
    }
    static i max_u(i a, i b) { return _mm512_max_epu32(a, b); }
    static std::uint32_t greatest_u(i a) { return _mm512_reduce_max_epu32(a); }
    static std::int32_t sum_i(i a) { return _mm512_reduce_add_epi32(a); }

private:
    static __mmask16 first(std::int64_t n)
    {
        return n >= 16 ? static_cast<__mmask16>(0xffffU) : static_cast<__mmask16>((1U << n) - 1U);
    }
};

}  // namespace
}  // namespace modelpool::kernels
// NOLINTEND(portability-simd-intrinsics)

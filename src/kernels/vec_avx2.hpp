#pragma once

#include <cstdint>

#include <immintrin.h>

// NOLINTBEGIN(portability-simd-intrinsics): this is one machine's header
namespace modelpool::kernels {
namespace {

/// Eight lanes; needs AVX2, FMA and F16C. Contracts as scalar_vec's.
struct avx2_vec {
    static constexpr int lanes = 8;
    static constexpr int rows_together = 4;
    static constexpr int dense_outputs = 2;
    static constexpr int dense_rows = 2;
    using i = __m256i;
    using f = __m256;

    static i load_i(const void* from)
    {
        return _mm256_loadu_si256(static_cast<const __m256i*>(from));
    }
    static i set_word(const std::int8_t* from)
    {
        std::int32_t word = 0;
        __builtin_memcpy(&word, from, 4);
        return _mm256_set1_epi32(word);
    }
    static i set_i(std::int32_t x) { return _mm256_set1_epi32(x); }
    static i and_i(i a, i b) { return _mm256_and_si256(a, b); }
    static i or_i(i a, i b) { return _mm256_or_si256(a, b); }
    static i xor_i(i a, i b) { return _mm256_xor_si256(a, b); }
    static i add_i(i a, i b) { return _mm256_add_epi32(a, b); }
    static i mul_i(i a, i b) { return _mm256_mullo_epi32(a, b); }
    template <int n>
    static i srl(i a)
    {
        return _mm256_srli_epi32(a, n);
    }
    template <int n>
    static i sll(i a)
    {
        return _mm256_slli_epi32(a, n);
    }
    template <int n>
    static i sra(i a)
    {
        return _mm256_srai_epi32(a, n);
    }
    template <bool small>
    static i dot(i acc, i weights, i activations)
    {
        if constexpr (small) {
            // Two products of at most 63 by 127 fit the 16 bits that they are added up in.
            const i pairs = _mm256_maddubs_epi16(weights, activations);
            return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
        } else {
            const i even = _mm256_and_si256(weights, _mm256_set1_epi16(0xff));
            const i odd = _mm256_srli_epi16(weights, 8);
            const i even_x = _mm256_srai_epi16(_mm256_slli_epi16(activations, 8), 8);
            const i odd_x = _mm256_srai_epi16(activations, 8);
            const i sum = _mm256_add_epi32(acc, _mm256_madd_epi16(even, even_x));
            return _mm256_add_epi32(sum, _mm256_madd_epi16(odd, odd_x));
        }
    }

    static f to_f(i a) { return _mm256_cvtepi32_ps(a); }
    static i bits(f a) { return _mm256_castps_si256(a); }
    static f low_f16(i a)
    {
        const i low = _mm256_and_si256(a, _mm256_set1_epi32(0xffff));
        const i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(low, low), 0x08);
        return _mm256_cvtph_ps(_mm256_castsi256_si128(packed));
    }
    static f high_f16(i a) { return low_f16(srl<16>(a)); }
    static f load_f16(const void* from)
    {
        return _mm256_cvtph_ps(_mm_loadu_si128(static_cast<const __m128i*>(from)));
    }
    static f load_bf16(const void* from)
    {
        const __m128i halves = _mm_loadu_si128(static_cast<const __m128i*>(from));
        return _mm256_castsi256_ps(sll<16>(_mm256_cvtepu16_epi32(halves)));
    }
    static f load_i8(const void* from)
    {
        return to_f(_mm256_cvtepi8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(from))));
    }
    static f load(const void* from) { return _mm256_loadu_ps(static_cast<const float*>(from)); }
    static void store(float* to, f a) { _mm256_storeu_ps(to, a); }
    static f load_first(const float* from, std::int64_t n)
    {
        return _mm256_maskload_ps(from, first(n));
    }
    static void store_first(float* to, f a, std::int64_t n)
    {
        _mm256_maskstore_ps(to, first(n), a);
    }
    static f set(float x) { return _mm256_set1_ps(x); }
    static f add(f a, f b) { return _mm256_add_ps(a, b); }
    static f sub(f a, f b) { return _mm256_sub_ps(a, b); }
    static f mul(f a, f b) { return _mm256_mul_ps(a, b); }
    static f div(f a, f b) { return _mm256_div_ps(a, b); }
    static f fma(f a, f b, f c) { return _mm256_fmadd_ps(a, b, c); }
    static f max(f a, f b) { return _mm256_max_ps(a, b); }
    static f min(f a, f b) { return _mm256_min_ps(a, b); }
    static f round(f a)
    {
        return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    }
    static f add_exponent(f a, f n)
    {
        return _mm256_castsi256_ps(add_i(bits(a), sll<23>(_mm256_cvtps_epi32(n))));
    }
    static i to_i(f a) { return _mm256_cvtps_epi32(a); }
    static void store_low_bytes(std::int8_t* to, i a)
    {
        const __m128i low = _mm256_castsi256_si128(a);
        const __m128i words = _mm_packs_epi32(low, _mm256_extracti128_si256(a, 1));
        const __m128i bytes = _mm_packs_epi16(words, words);
        __builtin_memcpy(to, &bytes, 8);
    }
    static i max_u(i a, i b) { return _mm256_max_epu32(a, b); }
    static std::uint32_t greatest_u(i a)
    {
        __m128i m = _mm_max_epu32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
        m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0x4e));
        m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0xb1));
        return static_cast<std::uint32_t>(_mm_cvtsi128_si32(m));
    }
    static std::int32_t sum_i(i a)
    {
        __m128i s = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
        s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
        s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));
        return _mm_cvtsi128_si32(s);
    }

private:
    static i first(std::int64_t n)
    {
        const i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        const int count = n > 8 ? 8 : static_cast<int>(n);
        return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), lane);
    }
};

}  // namespace
}  // namespace modelpool::kernels
// NOLINTEND(portability-simd-intrinsics)

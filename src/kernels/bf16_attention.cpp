#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "kernels/bf16_numbers.hpp"
#include "kernels/bf16_tiles.hpp"
#include "kernels/row_kernels.hpp"

#include <immintrin.h>

// NOLINTBEGIN(portability-simd-intrinsics): this is one machine's unit
namespace modelpool::kernels {
namespace {

using namespace bf16_numbers;

// ---- in f32 --------------------------------------------------------------------------------------------

class head_attention {
public:
    static constexpr int n_together = 8;

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

// ---- in tiles ------------------------------------------------------------------------------------------

/// 2^x within 1.1e-4 of itself, which is well below what bf16 rounds: a cubic through the Chebyshev
/// nodes of [-1/2, 1/2].
f power_of_two(f x)
{
    const f n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const f r = vec::sub(x, n);
    f p = vec::set(0.05583828F);
    p = vec::fma(p, r, vec::set(0.24263948F));
    p = vec::fma(p, r, vec::set(0.69313673F));
    p = vec::fma(p, r, vec::set(0.99992456F));
    return _mm512_scalef_ps(p, n);
}

/// The same on queries, keys, values and weights rounded to bf16, with sums in f32.
class tiled_head {
public:
    /// `room` has place for attention_numbers(). The head's size is a multiple of 32.
    tiled_head(const text_heads& text, std::int64_t head, float* room)
        : n_tokens_{text.n_tokens}
        , padded_{(text.n_tokens + 31) / 32 * 32}
        , size_{text.head_size}
        , scores_{room}
        , weights_{reinterpret_cast<std::uint16_t*>(room + tile_rows * padded_)}
        , queries_{weights_ + tile_rows * padded_}
        , keys_{queries_ + padded_ * size_}
        , values_{keys_ + padded_ * size_}
        , scale_{1.44269504F / std::sqrt(static_cast<float>(size_))}
    {
        const std::int64_t stride = 3 * text.n_heads * size_;
        const float* const query = text.qkv + head * size_;
        take_queries(query, stride);
        take_keys(query + text.n_heads * size_, stride);
        take_values(query + 2 * text.n_heads * size_, stride);
    }

    void run(bf16_rows& out, std::int64_t first_row, std::int64_t column) const
    {
        for (std::int64_t token = 0; token < n_tokens_; token += tile_rows) {
            const std::int64_t n = std::min(tile_rows, n_tokens_ - token);
            score(token);
            float inverse[tile_rows];
            for (std::int64_t i = 0; i != n; ++i)
                inverse[i] = 1.0F / weigh(scores_ + i * padded_, weights_ + i * padded_);
            for (std::int64_t d = 0; d != size_; d += 32) {
                sum_values(d);
                for (std::int64_t i = 0; i != n; ++i)
                    for (std::int64_t half = 0; half != 32; half += 16) {
                        const f sum = vec::load(scores_ + i * 32 + half);
                        const f mean = vec::mul(sum, vec::set(inverse[i]));
                        store_parts(out, first_row + token + i, column + d + half, mean);
                    }
            }
        }
    }

private:
    static constexpr std::int64_t tile_rows = bf16_rows::tile_rows;
    static constexpr std::int64_t tile = 512;  // numbers of a packed tile

    void take_queries(const float* from, std::int64_t stride)
    {
        for (std::int64_t token = 0; token != padded_; ++token, from += stride)
            for (std::int64_t d = 0; d != size_; d += 16) {
                const f x = token < n_tokens_ ? vec::load(from + d) : vec::set(0.0F);
                store(queries_ + token * size_ + d, to_bf16(x));
            }
    }

    // [token / 16, step of 32 numbers]
    void take_keys(const float* from, std::int64_t stride)
    {
        std::uint16_t* to = keys_;
        for (std::int64_t token = 0; token != padded_; token += 16)
            for (std::int64_t d = 0; d != size_; d += 32, to += tile)
                pack_tile({from + token * stride + d, stride, n_tokens_ - token}, false, to);
    }

    // [step of 32 tokens, 16 numbers]: a row has two tokens' numbers, in turns.
    void take_values(const float* from, std::int64_t stride)
    {
        std::uint16_t* to = values_;
        for (std::int64_t first = 0; first != padded_; first += 32)
            for (std::int64_t d = 0; d != size_; d += 16)
                for (std::int64_t token = first; token != first + 32; token += 2, to += 32) {
                    __m512i words[2];
                    for (std::int64_t i = 0; i != 2; ++i) {
                        const bool there = token + i < n_tokens_;
                        const float* at = from + (token + i) * stride + d;
                        const f x = there ? vec::load(at) : vec::set(0.0F);
                        words[i] = _mm512_cvtepu16_epi32(to_bf16(x));
                    }
                    const __m512i pairs =
                        _mm512_or_si512(words[0], _mm512_slli_epi32(words[1], 16));
                    _mm512_storeu_si512(to, pairs);
                }
    }

    static void store(std::uint16_t* to, __m256i numbers)
    {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), numbers);
    }

    // The products of 16 queries with all keys.
    void score(std::int64_t token) const
    {
        const std::uint16_t* const query = queries_ + token * size_;
        const std::int64_t steps = size_ / 32;
        const auto stride = padded_ * static_cast<std::int64_t>(sizeof(float));
        for (std::int64_t key = 0; key != padded_; key += 32) {
            const std::uint16_t* const first = keys_ + key / 16 * steps * tile;
            _tile_zero(0);
            _tile_zero(1);
            for (std::int64_t step = 0; step != steps; ++step) {
                _tile_loadd(4, query + step * 32, 2 * size_);
                _tile_loadd(6, first + step * tile, 64);
                _tile_loadd(7, first + (steps + step) * tile, 64);
                _tile_dpbf16ps(0, 4, 6);
                _tile_dpbf16ps(1, 4, 7);
            }
            _tile_stored(0, scores_ + key, stride);
            _tile_stored(1, scores_ + key + 16, stride);
        }
    }

    // Sums of 32 columns of the values, weighted, in place of the scores: [16, 32].
    void sum_values(std::int64_t d) const
    {
        const std::int64_t tiles = size_ / 16;
        const std::uint16_t* values = values_ + d / 16 * tile;
        _tile_zero(0);
        _tile_zero(1);
        for (std::int64_t key = 0; key != padded_; key += 32, values += tiles * tile) {
            _tile_loadd(4, weights_ + key, 2 * padded_);
            _tile_loadd(6, values, 64);
            _tile_loadd(7, values + tile, 64);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
        }
        _tile_stored(0, scores_, 128);
        _tile_stored(1, scores_ + 16, 128);
    }

    /// y = exp(scale·x − greatest) of one query's scores, zero beyond the last key; gives their sum.
    float weigh(const float* x, std::uint16_t* y) const
    {
        const std::int64_t whole = n_tokens_ / 16 * 16;
        const auto rest = static_cast<__mmask16>((1U << (n_tokens_ - whole)) - 1U);
        f greatest = vec::set(-INFINITY);
        for (std::int64_t k = 0; k != whole; k += 16)
            greatest = vec::max(vec::load(x + k), greatest);
        if (rest != 0)
            greatest = _mm512_mask_max_ps(greatest, rest, vec::load(x + whole), greatest);
        const f base = vec::set(_mm512_reduce_max_ps(greatest) * scale_);
        f sum = vec::set(0.0F);
        for (std::int64_t k = 0; k != padded_; k += 16) {
            f e = power_of_two(_mm512_fmsub_ps(vec::load(x + k), vec::set(scale_), base));
            if (k >= whole) e = _mm512_maskz_mov_ps(k == whole ? rest : __mmask16{0}, e);
            store(y + k, to_bf16(e));
            sum = vec::add(sum, e);
        }
        return _mm512_reduce_add_ps(sum);
    }

    std::int64_t n_tokens_;
    std::int64_t padded_;
    std::int64_t size_;
    float* scores_;           // [16, padded], then [16, 32] sums
    std::uint16_t* weights_;  // [16, padded]
    std::uint16_t* queries_;  // [padded, size]
    std::uint16_t* keys_;
    std::uint16_t* values_;
    float scale_;  // of a power of two
};

}  // namespace

void attend_in_text(
    const text_heads& text,
    std::pair<std::int64_t, std::int64_t> heads,
    bf16_rows& out,
    std::int64_t first_row,
    aligned_room& room)
{
    float* own = room.get_as<float>(attention_numbers(text.n_tokens, text.head_size));
    const bool tiled = !out.is_split() && text.head_size % bf16_rows::tile_columns == 0;
    if (!tiled) {
        for (std::int64_t head = heads.first; head != heads.second; ++head)
            head_attention{text, head, own}.run(out, first_row, head * text.head_size);
        return;
    }
    configure_tiles();
    for (std::int64_t head = heads.first; head != heads.second; ++head)
        tiled_head{text, head, own}.run(out, first_row, head * text.head_size);
    _tile_release();
}

}  // namespace modelpool::kernels
// NOLINTEND(portability-simd-intrinsics)

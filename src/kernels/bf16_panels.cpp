#include "kernels/bf16_panels.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "kernels/bf16_numbers.hpp"
#include "kernels/panel_kernel.hpp"

#include <immintrin.h>

// NOLINTBEGIN(portability-simd-intrinsics): this is one machine's unit
namespace modelpool::kernels {
namespace {

using namespace bf16_numbers;
constexpr std::int64_t tile = 512;  // numbers of a tile

/// What 16 outputs' codes are multiplied by, and what is added then.
struct line {
    __m512 factor;
    __m512 addend;

    /// factor·(code − zero) + offset, of a code that comes as 256 + code.
    static line of(__m512 factor, int zero, __m512 offset)
    {
        const __m512 shift = vec::set(static_cast<float>(-256 - zero));
        return {factor, vec::fma(factor, shift, offset)};
    }
};

/// Byte `index` of each lane as the f32 256 + byte: its place in the mantissa says so.
template <int index>
__m512 above_256(__m512i words)
{
    __m512i moved = words;
    if constexpr (index < 2)
        moved = vec::sll<15 - 8 * index>(words);
    else
        moved = vec::srl<8 * index - 15>(words);
    constexpr int and_or = 0xea;
    return _mm512_castsi512_ps(
        _mm512_ternarylogic_epi32(moved, vec::set_i(0x007f8000), vec::set_i(0x43800000), and_or));
}

/// Two numbers of each of 16 outputs, side by side: a row of a tile of weights.
__m512i pair_of(__m512 first, __m512 second)
{
    const __m512bh rounded = _mm512_cvtne2ps_pbh(second, first);
    __m512i both = _mm512_setzero_si512();
    __builtin_memcpy(&both, &rounded, sizeof both);
    // Of dwords, first and second in turn.
    const __m512i counted = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i order =
        vec::add_i(vec::or_i(counted, vec::sll<16>(counted)), vec::set_i(16 << 16));
    return _mm512_permutexvar_epi16(order, both);
}

/// A group of 32 columns: a tile.
[[gnu::always_inline]] inline void
widen_group(const __m512i (&code)[8], const line& first, const line& second, std::uint16_t* to)
{
#pragma GCC unroll 8
    for (int c = 0; c != 8; ++c) {
        const line& by = c < 4 ? first : second;
        const __m512 a = vec::fma(above_256<0>(code[c]), by.factor, by.addend);
        const __m512 b = vec::fma(above_256<1>(code[c]), by.factor, by.addend);
        _mm512_storeu_si512(to + std::ptrdiff_t{64} * c, pair_of(a, b));
        const __m512 d = vec::fma(above_256<2>(code[c]), by.factor, by.addend);
        const __m512 e = vec::fma(above_256<3>(code[c]), by.factor, by.addend);
        _mm512_storeu_si512(to + std::ptrdiff_t{64} * c + 32, pair_of(d, e));
    }
}

template <block_type type, int g>
void widen_part(const panel_block<vec, type>& weights, std::uint16_t* to)
{
    using block = panel_block<vec, type>;
    __m512i code[8];
    weights.template codes<g>(code);
    const half_scales<vec> factors = weights.template factors<g>();
    half_scales<vec> least{vec::set_i(0), vec::set_i(0)};
    __m512 minus = vec::set(0.0F);
    if constexpr (block::has_offset) {
        least = weights.template minima<g>();
        minus = weights.minus;
    }
    const auto half = [&](__m512i factor, __m512i minimum) {
        return line::of(
            vec::mul(weights.scale, vec::to_f(factor)),
            block::zero,
            vec::mul(minus, vec::to_f(minimum)));
    };
    const line first = half(factors.first, least.first);
    const line second = block::is_split ? half(factors.second, least.second) : first;
    widen_group(code, first, second, to);
}

/// Columns of one panel as tiles of weights.
template <block_type type>
void widen(const std::byte* panel, std::int64_t n_columns, std::uint16_t* to)
{
    using block = panel_block<vec, type>;
    constexpr std::int64_t block_bytes = packed_shape_for<type>().n_bytes;
    for (std::int64_t k = 0; k < n_columns; k += 32 * block::n_groups, panel += block_bytes) {
        const block weights = block_at<vec, type>(panel, 0);
        std::uint16_t* const tiles = to + k / 32 * tile;
        if constexpr (block::n_groups == 8) {
            [&]<int... g>(std::integer_sequence<int, g...>) {
                (widen_part<type, g>(weights, tiles + g * tile), ...);
            }(std::make_integer_sequence<int, 8>{});
        } else {
            __m512i code[8];
            weights.template codes<0>(code);
            const group_scales<vec> scales = weights.scales();
            const line by = line::of(scales.scale, block::zero, scales.offset);
            widen_group(code, by, by, tiles);
        }
    }
}

using widen_function = void (*)(const std::byte*, std::int64_t, std::uint16_t*);

widen_function widen_function_of(block_type type)
{
    switch (type) {
    case block_type::q4_0:
        return widen<block_type::q4_0>;
    case block_type::q4_1:
        return widen<block_type::q4_1>;
    case block_type::q5_0:
        return widen<block_type::q5_0>;
    case block_type::q5_1:
        return widen<block_type::q5_1>;
    case block_type::q8_0:
        return widen<block_type::q8_0>;
    case block_type::q2_k:
        return widen<block_type::q2_k>;
    case block_type::q3_k:
        return widen<block_type::q3_k>;
    case block_type::q4_k:
        return widen<block_type::q4_k>;
    case block_type::q5_k:
        return widen<block_type::q5_k>;
    default:
        return widen<block_type::q6_k>;
    }
}

/// Adds the products of two tiles of rows with some columns of two panels to their sums, which
/// are four tiles. `x` is where the rows have these columns, `next` numbers apart.
void multiply(
    const std::uint16_t* x,
    std::int64_t next,
    const std::uint16_t* first,
    const std::uint16_t* second,
    std::int64_t n_tiles,
    bool is_first,
    float* sums)
{
    if (is_first) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    } else {
        _tile_loadd(0, sums, 64);
        _tile_loadd(1, sums + 256, 64);
        _tile_loadd(2, sums + 512, 64);
        _tile_loadd(3, sums + 768, 64);
    }
    for (std::int64_t k = 0; k != n_tiles; ++k) {
        _tile_loadd(6, first + k * tile, 64);
        _tile_loadd(4, x + k * tile, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, second + k * tile, 64);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, x + next + k * tile, 64);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, sums, 64);
    _tile_stored(1, sums + 256, 64);
    _tile_stored(2, sums + 512, 64);
    _tile_stored(3, sums + 768, 64);
}

/// Sums of a job: [pair of panels, pair of row tiles, row tile, panel, row, output].
void store(const bf16_panels_job& job, const float* sums)
{
    const std::int64_t pair_numbers = (job.n_rows + 31) / 32 * 1024;
    for (std::int64_t row = 0; row != job.n_rows; ++row) {
        const float* from = sums + row / 32 * 1024 + row / 16 % 2 * 512 + row % 16 * 16;
        float* const to = job.y + row * job.y_stride;
        for (std::int64_t out = 0; out < job.n_outputs; out += 16) {
            const __m512 sum = vec::load(from + out / 32 * pair_numbers + out / 16 % 2 * 256);
            vec::store_first(to + out, sum, job.n_outputs - out);
        }
    }
}

}  // namespace

void set_bf16_row(const float* x, std::int64_t n, std::int64_t row, std::uint16_t* tiles)
{
    for (std::int64_t k = 0; k != n; k += 32) {
        const __m512bh rounded = _mm512_cvtne2ps_pbh(vec::load(x + k + 16), vec::load(x + k));
        std::uint16_t* const to = tiles + bf16_tile_rows::tile_at(row, k, n) + row % 16 * 32;
        __builtin_memcpy(to, &rounded, sizeof rounded);
    }
}

void multiply_in_bf16(const bf16_panels_job& job)
{
    // Columns of all rows that a core's cache holds while the panels pass by.
    constexpr std::int64_t cached_bytes = std::int64_t{1} << 19U;
    constexpr std::int64_t together = bf16_columns_together;
    const std::int64_t pass =
        std::max(cached_bytes / 2 / job.n_rows / together * together, together);
    auto* const first = reinterpret_cast<std::uint16_t*>(job.room);
    std::uint16_t* const second = first + together * 16;
    auto* const sums = reinterpret_cast<float*>(job.room + together * 64);
    const widen_function widen_columns = widen_function_of(job.type);
    const std::int64_t n_panels = (job.n_outputs + 15) / 16;
    const std::int64_t next = bf16_tile_rows::tiles_apart(job.x.n) * tile;
    configure_tiles();
    for (std::int64_t begin = 0; begin < job.x.n; begin += pass) {
        const std::int64_t end = std::min(begin + pass, job.x.n);
        float* to = sums;
        for (std::int64_t p = 0; p < n_panels; p += 2) {
            const std::byte* panel = job.panels + p * job.panel_bytes;
            const bool is_single = p + 1 == n_panels;
            float* const pair = to;
            for (std::int64_t k = begin; k < end; k += together) {
                const std::int64_t n = std::min(together, end - k);
                const std::int64_t skipped = row_bytes(job.type, k) * kernels::panel_rows;
                widen_columns(panel + skipped, n, first);
                if (!is_single) widen_columns(panel + job.panel_bytes + skipped, n, second);
                to = pair;
                for (std::int64_t row = 0; row < job.n_rows; row += 32, to += 1024)
                    multiply(
                        job.x.tiles + bf16_tile_rows::tile_at(row, k, job.x.n),
                        next,
                        first,
                        is_single ? first : second,
                        n / 32,
                        k == 0,
                        to);
            }
        }
    }
    _tile_release();
    store(job, sums);
}

}  // namespace modelpool::kernels
// NOLINTEND(portability-simd-intrinsics)

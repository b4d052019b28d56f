#include <cstddef>
#include <cstdint>
#include <utility>

#include "kernels/kernel_table.hpp"
#include "kernels/panel_kernel.hpp"
#include "kernels/tile_config.hpp"
#include "kernels/vec_avx512.hpp"

#include <immintrin.h>

// NOLINTBEGIN(portability-simd-intrinsics): this is one machine's unit
namespace modelpool::kernels {
namespace {

using vec = avx512_vec;

/// Rows from which tiles are faster than unpacking for each few rows, as measured.
constexpr std::int64_t least_tile_rows = 9;

/// Tiles 0 to 3 take products, 4 and 5 activations, 6 and 7 weights; `k_bytes` columns at once.
void configure(int n_rows, int k_bytes)
{
    tile_config config{};
    config.palette = 1;
    for (int t = 0; t != 8; ++t) {
        const bool is_activations = t == 4 || t == 5;
        config.row_bytes[t] = static_cast<std::uint16_t>(is_activations ? k_bytes : 64);
        config.n_rows[t] = static_cast<std::uint8_t>(t < 6 ? n_rows : k_bytes / 4);
    }
    asm volatile("" ::"r"(&config) : "memory");  // g++ 12 drops the stores otherwise
    _tile_loadconfig(&config);
}

using products = std::int32_t[4][16][16];

__m512i whole(const std::int32_t* high, const std::int32_t* low)
{
    return vec::add_i(vec::sll<8>(vec::load_i(high)), vec::load_i(low));
}

/// What rows have come to, as panel_rows' acc. Rows of the output are far apart, and often by a
/// multiple of what a cache's sets are, so they are visited once.
class row_sums {
public:
    explicit row_sums(const panel_job& job)
        : job_{job}
        , sums_{reinterpret_cast<float*>(job.room + panel_room_bytes)}
    {
        for (std::int64_t r = 0; r != job.n_rows; ++r) {
            __m512 before = _mm512_setzero_ps();
            if (job.first_column != 0)
                before = vec::load_first(job.y_row(job.first_row + r), job.n_outputs);
            vec::store(sums_ + 16 * r, before);
        }
    }

    /// sum of the row += x·factor
    [[gnu::always_inline]] void add(std::int64_t row, __m512 x, float factor) const
    {
        float* sum = sums_ + 16 * (row - job_.first_row);
        vec::store(sum, vec::fma(x, vec::set(factor), vec::load(sum)));
    }
    void store() const
    {
        for (std::int64_t r = 0; r != job_.n_rows; ++r)
            vec::store_first(
                job_.y_row(job_.first_row + r), vec::load(sums_ + 16 * r), job_.n_outputs);
    }

private:
    const panel_job& job_;
    float* sums_;
};

/// Super blocks of 256: the weights' codes times the factors of their groups are integers of 16
/// bits, 256·high + low, so tiles add up whole blocks. In a thread's room.
template <block_type type>
class super_tiles {
public:
    explicit super_tiles(const panel_job& job)
        : job_{job}
        , room_{*reinterpret_cast<room*>(job.room)}
        , sums_{job}
    {
        static_assert(sizeof(room) <= panel_room_bytes);
    }

    void run()
    {
        constexpr std::int64_t block_bytes = packed_shape_for<type>().n_bytes;
        const std::byte* panel = job_.panel;
        const std::int64_t end = job_.first_row + job_.n_rows;
        for (std::int64_t k = 0; k != job_.n_columns; k += 256, panel += block_bytes) {
            const block weights = block_at<vec, type>(panel, 0);
            [&]<int... g>(std::integer_sequence<int, g...>) {
                (unpack<g>(weights), ...);
            }(std::make_integer_sequence<int, 8>{});
            const std::int64_t column = job_.first_column + k;
            multiply(job_.first_row, column);
            for (std::int64_t row = job_.first_row; row < end; row += 16) {
                if (row + 16 < end) multiply(row + 16, column);
                add(weights, row, end - row < 16 ? end : row + 16, column);
            }
        }
        sums_.store();
    }

private:
    using block = panel_block<vec, type>;
    /// Are the products of codes and factors bytes?
    static constexpr bool is_narrow = type == block_type::q2_k;

    struct room {
        std::int8_t low[4][1024];
        std::int8_t high[4][1024];
        products sums[2];  // of a tile of rows, and of the next one
        float minima[16][16];
    };

    template <int g>
    void unpack(const block& weights)
    {
        __m512i code[8];
        weights.template codes<g>(code);
        const half_scales<vec> factors = weights.template factors<g>();
        const __m512i first = twice(factors.first);
        const __m512i second = block::is_split ? twice(factors.second) : first;
        std::int8_t* low = room_.low[g / 2] + g % 2 * 512;
        std::int8_t* high = room_.high[g / 2] + g % 2 * 512;
        const __m512i zero = _mm512_set1_epi16(block::zero);
#pragma GCC unroll 8
        for (int c = 0; c != 8; ++c) {
            const __m512i factor = c < 4 ? first : second;
            const __m512i even_codes = _mm512_and_si512(code[c], _mm512_set1_epi16(0xff));
            const __m512i odd_codes = _mm512_srli_epi16(code[c], 8);
            const __m512i even = _mm512_mullo_epi16(_mm512_sub_epi16(even_codes, zero), factor);
            const __m512i odd = _mm512_mullo_epi16(_mm512_sub_epi16(odd_codes, zero), factor);
            _mm512_storeu_si512(low + std::ptrdiff_t{64} * c, low_bytes(even, odd));
            if constexpr (!is_narrow) {
                const __m512i half = _mm512_set1_epi16(128);
                const __m512i even_high = _mm512_srli_epi16(_mm512_add_epi16(even, half), 8);
                const __m512i odd_high = _mm512_srli_epi16(_mm512_add_epi16(odd, half), 8);
                _mm512_storeu_si512(high + std::ptrdiff_t{64} * c, low_bytes(even_high, odd_high));
            }
        }
        if constexpr (block::has_offset) {
            const half_scales<vec> least = weights.template minima<g>();
            vec::store(room_.minima[2 * g], vec::to_f(least.first));
            if constexpr (block::is_split)
                vec::store(room_.minima[2 * g + 1], vec::to_f(least.second));
        }
    }
    static __m512i twice(__m512i x)
    {
        return vec::or_i(vec::and_i(x, vec::set_i(0xffff)), vec::sll<16>(x));
    }
    static __m512i low_bytes(__m512i even, __m512i odd)
    {
        return _mm512_mask_mov_epi8(even, 0xaaaaaaaaaaaaaaaaULL, _mm512_slli_epi16(odd, 8));
    }

    [[gnu::always_inline]] void multiply(std::int64_t row, std::int64_t column) const
    {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        const std::int8_t* x = job_.x.codes_of(row, column / 32);
        for (int pair = 0; pair != 4; ++pair, x += quantized_view::pair_bytes) {
            _tile_loadd(7, room_.low[pair], 64);
            _tile_loadd(4, x, 64);
            _tile_dpbssd(1, 4, 7);
            _tile_loadd(5, x + 1024, 64);
            _tile_dpbssd(3, 5, 7);
            if constexpr (!is_narrow) {
                _tile_loadd(6, room_.high[pair], 64);
                _tile_dpbssd(0, 4, 6);
                _tile_dpbssd(2, 5, 6);
            }
        }
        products& to = room_.sums[row / 16 % 2];
        if constexpr (!is_narrow) {
            _tile_stored(0, to[0], 64);
            _tile_stored(2, to[2], 64);
        }
        _tile_stored(1, to[1], 64);
        _tile_stored(3, to[3], 64);
    }

    [[gnu::always_inline]] void
    add(const block& weights, std::int64_t first, std::int64_t last, std::int64_t column) const
    {
        const products& sums = room_.sums[first / 16 % 2];
        const std::int64_t group = column / 32;
        const float* scales = job_.x.scale_of(first, column / 256);
        const float* x_sums = block::is_split ? job_.x.half_sums + job_.x.group_at(first, group) * 2
                                              : job_.x.sums + job_.x.group_at(first, group);
        for (std::int64_t row = first; row != last; ++row) {
            const std::int64_t r = row - first;
            __m512i high = vec::load_i(sums[1][r]);
            __m512i low = vec::load_i(sums[3][r]);
            if constexpr (!is_narrow) {
                high = whole(sums[0][r], sums[1][r]);
                low = whole(sums[2][r], sums[3][r]);
            }
            const __m512 both = vec::fma(vec::to_f(high), vec::set(256.0F), vec::to_f(low));
            __m512 sum = vec::mul(both, weights.scale);
            if constexpr (block::has_offset) {
                __m512 minima = _mm512_setzero_ps();
                constexpr int n = block::is_split ? 16 : 8;
#pragma GCC unroll 16
                for (int m = 0; m != n; ++m)
                    minima = vec::fma(
                        vec::load(room_.minima[16 / n * m]),
                        vec::set(x_sums[std::int64_t{16} * m + r]),
                        minima);
                sum = vec::fma(minima, weights.minus, sum);
            }
            sums_.add(row, sum, scales[r]);
        }
    }

    const panel_job& job_;
    room& room_;
    row_sums sums_;
};

/// Blocks of 32, eight of which share the scale of their activations.
template <block_type type>
class small_tiles {
public:
    explicit small_tiles(const panel_job& job)
        : job_{job}
        , room_{*reinterpret_cast<room*>(job.room)}
        , sums_{job}
    {
        static_assert(sizeof(room) <= panel_room_bytes);
    }

    void run()
    {
        constexpr std::int64_t block_bytes = packed_shape_for<type>().n_bytes;
        const std::byte* panel = job_.panel;
        for (std::int64_t k = 0; k < job_.n_columns; k += 256) {
            const std::int64_t left = job_.n_columns - k;
            const int n_groups = left < 256 ? static_cast<int>(left / 32) : 8;
            for (int g = 0; g != n_groups; ++g, panel += block_bytes)
                unpack(block_at<vec, type>(panel, 0), g);
            run_rows(job_.first_column + k, n_groups);
        }
        sums_.store();
    }

private:
    using block = panel_block<vec, type>;

    struct room {
        std::int8_t codes[8][512];
        float scales[8][16];
        float offsets[8][16];
        products sums[2];  // of two groups, and of the next two
    };

    void unpack(const block& weights, int g)
    {
        __m512i code[8];
        weights.template codes<0>(code);
        const __m512i zero = _mm512_set1_epi8(static_cast<char>(block::zero));
#pragma GCC unroll 8
        for (int c = 0; c != 8; ++c)
            _mm512_storeu_si512(
                room_.codes[g] + std::ptrdiff_t{64} * c, _mm512_sub_epi8(code[c], zero));
        const group_scales<vec> scales = weights.scales();
        vec::store(room_.scales[g], scales.scale);
        vec::store(room_.offsets[g], scales.offset);
    }

    void run_rows(std::int64_t column, int n_groups)
    {
        const int n_pairs = (n_groups + 1) / 2;
        const std::int64_t end = job_.first_row + job_.n_rows;
        int turn = 0;
        multiply(job_.first_row, column, 0, n_groups, room_.sums[0]);
        for (std::int64_t row = job_.first_row; row < end; row += 16) {
            __m512 sums[16];
#pragma GCC unroll 16
            for (__m512& s : sums)
                s = _mm512_setzero_ps();
            for (int pair = 0; pair != n_pairs; ++pair, turn ^= 1) {
                products& next = room_.sums[turn ^ 1];
                if (pair + 1 != n_pairs)
                    multiply(row, column, pair + 1, n_groups, next);
                else if (row + 16 < end)
                    multiply(row + 16, column, 0, n_groups, next);
                add<0>(row, column, pair, room_.sums[turn], sums);
                if (2 * pair + 1 != n_groups) add<2>(row, column, pair, room_.sums[turn], sums);
            }
            const float* scales = job_.x.scale_of(row, column / 256);
            const std::int64_t n = end - row < 16 ? end - row : 16;
#pragma GCC unroll 16
            for (int r = 0; r != 16; ++r) {
                if (r >= n) break;
                sums_.add(row + r, sums[r], scales[r]);
            }
        }
    }

    [[gnu::always_inline]] void
    multiply(std::int64_t row, std::int64_t column, int pair, int n_groups, products& to) const
    {
        const std::int8_t* x = job_.x.codes_of(row, column / 32 + std::int64_t{2} * pair);
        _tile_zero(0);
        _tile_zero(1);
        _tile_loadd(6, room_.codes[2 * pair], 64);
        _tile_loadd(4, x, 64);
        _tile_dpbssd(0, 4, 6);
        _tile_loadd(5, x + 1024, 64);
        _tile_dpbssd(1, 5, 6);
        _tile_stored(0, to[0], 64);
        _tile_stored(1, to[1], 64);
        if (2 * pair + 1 == n_groups) return;
        _tile_zero(2);
        _tile_zero(3);
        _tile_loadd(7, room_.codes[2 * pair + 1], 64);
        _tile_loadd(4, x + 32, 64);
        _tile_dpbssd(2, 4, 7);
        _tile_loadd(5, x + 1024 + 32, 64);
        _tile_dpbssd(3, 5, 7);
        _tile_stored(2, to[2], 64);
        _tile_stored(3, to[3], 64);
    }

    /// Products `which` and the next one are the high and the low ones of a group.
    template <int which>
    [[gnu::always_inline]] void
    add(std::int64_t row, std::int64_t column, int pair, const products& dots, __m512 (&sums)[16])
        const
    {
        const int g = 2 * pair + which / 2;
        const float* x_sums = job_.x.sums + job_.x.group_at(row, column / 32 + g);
        const __m512 scale = vec::load(room_.scales[g]);
        const __m512 offset = vec::load(room_.offsets[g]);
#pragma GCC unroll 16
        for (int r = 0; r != 16; ++r) {
            const __m512 dot = vec::to_f(whole(dots[which][r], dots[which + 1][r]));
            sums[r] = vec::fma(dot, scale, sums[r]);
            if constexpr (block::has_offset)
                sums[r] = vec::fma(offset, vec::set(x_sums[r]), sums[r]);
        }
    }

    const panel_job& job_;
    room& room_;
    row_sums sums_;
};

/// Rows beyond the last one of a tile are multiplied as they lie in memory, and not stored.
template <block_type type>
void run_tiles(const panel_job& job)
{
    if (job.n_rows < least_tile_rows || job.first_row % 16 != 0) {
        avx512_table().panel(type)(job);
        return;
    }
    constexpr bool is_super = panel_block<vec, type>::n_groups == 8;
    configure(job.n_rows < 16 ? static_cast<int>(job.n_rows) : 16, is_super ? 64 : 32);
    if constexpr (is_super)
        super_tiles<type>{job}.run();
    else
        small_tiles<type>{job}.run();
    _tile_release();
}

kernel_table::panel_function tile_function_of(block_type type)
{
    switch (type) {
    case block_type::q4_0:
        return run_tiles<block_type::q4_0>;
    case block_type::q4_1:
        return run_tiles<block_type::q4_1>;
    case block_type::q5_0:
        return run_tiles<block_type::q5_0>;
    case block_type::q5_1:
        return run_tiles<block_type::q5_1>;
    case block_type::q8_0:
        return run_tiles<block_type::q8_0>;
    case block_type::q2_k:
        return run_tiles<block_type::q2_k>;
    case block_type::q3_k:
        return run_tiles<block_type::q3_k>;
    case block_type::q4_k:
        return run_tiles<block_type::q4_k>;
    case block_type::q5_k:
        return run_tiles<block_type::q5_k>;
    case block_type::q6_k:
        return run_tiles<block_type::q6_k>;
    default:
        return nullptr;
    }
}

}  // namespace

const kernel_table& amx_table() noexcept
{
    static const kernel_table table = [] {
        kernel_table same = avx512_table();
        same.panel = tile_function_of;
        return same;
    }();
    return table;
}

}  // namespace modelpool::kernels
// NOLINTEND(portability-simd-intrinsics)

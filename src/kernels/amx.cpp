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

/// Rows from which tiles are faster than unpacking for each few rows, as measured: the dearer the
/// unpacking, the sooner.
constexpr std::int64_t least_tile_rows(block_type type)
{
    switch (type) {
    case block_type::q4_0:
    case block_type::q4_1:
    case block_type::q4_k:
    case block_type::q8_0:
        return 17;
    default:
        return 12;
    }
}

/// Tiles 0 and 1 take products, 2 and 3 activations, 4 and 5 weights; `k_bytes` codes at once.
void configure(int n_rows, int k_bytes)
{
    tile_config config{};
    config.palette = 1;
    for (int t = 0; t != 6; ++t) {
        const bool is_activations = t == 2 || t == 3;
        config.row_bytes[t] = static_cast<std::uint16_t>(is_activations ? k_bytes : 64);
        config.n_rows[t] = static_cast<std::uint8_t>(t < 4 ? n_rows : k_bytes / 4);
    }
    asm volatile("" ::"r"(&config) : "memory");  // g++ 12 drops the stores otherwise
    _tile_loadconfig(&config);
}

/// A panel's codes as signed bytes, in the order of tiles, and its scales; in a thread's room.
template <block_type type>
struct open_panel {
    using block = panel_block<vec, type>;
    static constexpr int n_scales = block::is_split ? 3 : block::has_offset ? 2 : 1;
    static_assert(!block::is_split || !block::has_offset);

    std::int8_t* codes;
    float* scales;  // [n / 32, n_scales, 16]

    explicit open_panel(const panel_job& job)
        : codes{reinterpret_cast<std::int8_t*>(job.room)}
        , scales{reinterpret_cast<float*>(job.room + 16 * job.n_in())}
    {
        constexpr std::int64_t block_bytes = packed_shape_for<type>().n_bytes;
        const std::int64_t n_blocks = job.n_in() / (32 * block::n_groups);
        for (std::int64_t b = 0; b != n_blocks; ++b) {
            const block weights = block_at<vec, type>(job.panel + b * block_bytes, 0);
            [&]<int... g>(std::integer_sequence<int, g...>) {
                (unpack<g>(weights, b * block::n_groups + g), ...);
            }(std::make_integer_sequence<int, block::n_groups>{});
        }
    }

    template <int g>
    void unpack(const block& weights, std::int64_t index)
    {
        __m512i code[8];
        weights.template codes<g>(code);
        const __m512i zero = _mm512_set1_epi8(static_cast<char>(block::zero));
#pragma GCC unroll 8
        for (int c = 0; c != 8; ++c) {
            const __m512i signed_code = block::zero == 0 ? code[c] : _mm512_sub_epi8(code[c], zero);
            _mm512_storeu_si512(codes + index * 512 + std::ptrdiff_t{64} * c, signed_code);
        }
        const auto s = weights.template scales<g>();
        float* to = scales + index * 16 * n_scales;
        vec::store(to, s.scale);
        if constexpr (block::is_split) {
            vec::store(to + 16, s.first);
            vec::store(to + 32, s.second);
        } else if constexpr (block::has_offset) {
            vec::store(to + 16, s.offset);
        }
    }
};

/// Products of one tile of rows; the same sums in the same order as panel_rows. The tiles work on
/// the next groups while the vectors add up the last one.
template <block_type type, int n_rows>
class tile_rows {
public:
    tile_rows(const panel_job& job, const open_panel<type>& panel, std::int64_t row)
        : x_{job.x}
        , codes_{panel.codes}
        , scales_{panel.scales}
        , tile_{job.x.tile(row, 0)}
        , row_{row % 16}
    {}

    void run(const panel_job& job, std::int64_t row, int n_used) const
    {
        alignas(64) std::int32_t products[n_ahead + 1][2][16][16];
        __m512 acc[n_rows];
#pragma GCC unroll 16
        for (int r = 0; r != n_rows; ++r)
            acc[r] = _mm512_setzero_ps();
        const std::int64_t n_groups = x_.n / 32;
        for (std::int64_t g = 0; g != n_ahead && g != n_groups; ++g)
            multiply(g, products[g]);
        for (std::int64_t g = 0; g != n_groups; ++g) {
            if (g + n_ahead < n_groups)
                multiply(g + n_ahead, products[(g + n_ahead) % (n_ahead + 1)]);
            add(g, products[g % (n_ahead + 1)], acc);
        }
#pragma GCC unroll 16
        for (int r = 0; r != n_rows; ++r) {
            if (r < n_used) vec::store_first(job.y_row(row + r), acc[r], job.n_outputs);
        }
    }

private:
    using block = panel_block<vec, type>;
    static constexpr int n_scales = open_panel<type>::n_scales;
    /// Groups that the tiles are ahead: what they store is read once it has left their pipeline.
    static constexpr std::int64_t n_ahead = 3;

    [[gnu::always_inline]] void multiply(std::int64_t g, std::int32_t (&to)[2][16][16]) const
    {
        const std::int8_t* x = x_.codes + ((tile_ + g) * 16 + row_) * 32;
        const std::int8_t* w = codes_ + g * 512;
        _tile_zero(0);
        _tile_loadd(2, x, 32);
        _tile_loadd(4, w, 64);
        _tile_dpbssd(0, 2, 4);
        _tile_stored(0, to[0], 64);
        if constexpr (block::is_split) {
            _tile_zero(1);
            _tile_loadd(3, x + 16, 32);
            _tile_loadd(5, w + 256, 64);
            _tile_dpbssd(1, 3, 5);
            _tile_stored(1, to[1], 64);
        }
    }

    [[gnu::always_inline]] void
    add(std::int64_t g, const std::int32_t (&dots)[2][16][16], __m512 (&acc)[n_rows]) const
    {
        const float* s = scales_ + g * 16 * n_scales;
        const float* x_scales = x_.scales + (tile_ + g) * 16 + row_;
        const float* sums = x_.sums + (tile_ + g) * 16 + row_;
        const __m512 scale = vec::load(s);
#pragma GCC unroll 16
        for (int r = 0; r != n_rows; ++r) {
            const __m512 both = vec::mul(scale, vec::set(x_scales[r]));
            const __m512 dot = vec::to_f(vec::load_i(dots[0][r]));
            if constexpr (block::is_split) {
                const __m512 other =
                    vec::mul(vec::to_f(vec::load_i(dots[1][r])), vec::load(s + 32));
                acc[r] = vec::fma(vec::fma(dot, vec::load(s + 16), other), both, acc[r]);
            } else {
                acc[r] = vec::fma(dot, both, acc[r]);
                if constexpr (block::has_offset)
                    acc[r] = vec::fma(vec::load(s + 16), vec::set(sums[r]), acc[r]);
            }
        }
    }

    quantized_view x_;
    const std::int8_t* codes_;
    const float* scales_;
    std::int64_t tile_;
    std::int64_t row_;
};

template <block_type type>
void run_tiles(const panel_job& job)
{
    if (job.n_rows < least_tile_rows(type)) {
        avx512_table().panel(type)(job);
        return;
    }
    constexpr int k_bytes = panel_block<vec, type>::is_split ? 16 : 32;
    const open_panel<type> panel{job};
    int configured = 0;
    const std::int64_t end = job.first_row + job.n_rows;
    for (std::int64_t row = job.first_row; row != end;) {
        const std::int64_t in_tile = 16 - row % 16;
        const int n = static_cast<int>(end - row < in_tile ? end - row : in_tile);
        if (n != configured) configure(n, k_bytes);
        configured = n;
        // Lanes of rows beyond the last one add up what lies in memory, and are not stored.
        if (n <= 8 && row % 16 <= 8)
            tile_rows<type, 8>{job, panel, row}.run(job, row, n);
        else
            tile_rows<type, 16>{job, panel, row}.run(job, row, n);
        row += n;
    }
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
        return avx512_table().panel(type);  // as fast without tiles, with so many scales
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

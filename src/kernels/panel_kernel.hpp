#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "kernels/kernel_table.hpp"
#include "kernels/packing.hpp"
#include "kernels/panel_types.hpp"

namespace modelpool::kernels {
namespace {

template <block_type type>
constexpr packed_shape packed_shape_for()
{
    switch (type) {
    case block_type::q4_0:
        return packed_shape::of(18, false);
    case block_type::q4_1:
        return packed_shape::of(20, false);
    case block_type::q5_0:
        return packed_shape::of(22, false);
    case block_type::q5_1:
        return packed_shape::of(24, false);
    case block_type::q8_0:
        return packed_shape::of(34, false);
    case block_type::q2_k:
        return packed_shape::of(84, false);
    case block_type::q3_k:
        return packed_shape::of(110, true);
    case block_type::q4_k:
        return packed_shape::of(144, false);
    case block_type::q5_k:
        return packed_shape::of(176, false);
    default:
        return packed_shape::of(210, true);
    }
}

template <class V, block_type type>
panel_block<V, type> block_at(const std::byte* packed, int lane)
{
    constexpr packed_shape shape = packed_shape_for<type>();
    panel_block<V, type> block;
    block.words = packed + std::ptrdiff_t{4} * lane;
    block.half = packed + std::ptrdiff_t{64} * shape.n_words + std::ptrdiff_t{2} * lane;
    block.prepare();
    return block;
}

/// The dot products of one group are exact, so only what follows them has an order that counts:
/// acc = dot·(scale of the weights · scale of the activations) + acc, then the offsets.
template <class V, block_type type, int n_rows>
struct panel_rows {
    using i = typename V::i;
    using f = typename V::f;
    using block = panel_block<V, type>;

    const panel_job& job;
    std::int64_t first_row;
    f acc[n_rows];

    template <int g>
    void group(const block& weights, std::int64_t index)
    {
        i code[8];
        weights.template codes<g>(code);
        const auto scales = weights.template scales<g>();
        const std::int64_t tile = job.x.tile(first_row, index);
        const std::int64_t at = tile * 16 + first_row % 16;
        const std::int64_t half_at = tile * 32 + first_row % 16;
#pragma GCC unroll 8
        for (int r = 0; r != n_rows; ++r) {
            const std::int8_t* x = job.x.codes + (at + r) * 32;
            const f scale = V::mul(scales.scale, V::set(job.x.scales[at + r]));
            if constexpr (block::is_split) {
                const std::int32_t* code_sums = job.x.half_code_sums + half_at + r;
                const f first = half<0>(code, x, code_sums);
                const f second = half<1>(code, x, code_sums + 16);
                const f both = V::fma(first, scales.first, V::mul(second, scales.second));
                acc[r] = V::fma(both, scale, acc[r]);
                if constexpr (block::has_offset) {
                    const float* sums = job.x.half_sums + half_at + r;
                    acc[r] = V::fma(scales.first_offset, V::set(sums[0]), acc[r]);
                    acc[r] = V::fma(scales.second_offset, V::set(sums[16]), acc[r]);
                }
            } else {
                i dot = start(job.x.code_sums + at + r);
#pragma GCC unroll 8
                for (int c = 0; c != 8; ++c)
                    dot = V::template dot<block::is_small>(
                        dot, code[c], V::set_word(x + std::ptrdiff_t{4} * c));
                acc[r] = V::fma(V::to_f(dot), scale, acc[r]);
                if constexpr (block::has_offset)
                    acc[r] = V::fma(scales.offset, V::set(job.x.sums[at + r]), acc[r]);
            }
        }
    }

    /// Codes are unsigned: what their zero adds to a product is taken off beforehand.
    static i start(const std::int32_t* code_sum)
    {
        if constexpr (block::zero == 0)
            return V::set_i(0);
        else
            return V::set_i(-block::zero * *code_sum);
    }

    template <int which>
    static f half(const i (&code)[8], const std::int8_t* x, const std::int32_t* code_sum)
    {
        i dot = start(code_sum);
#pragma GCC unroll 4
        for (int c = 4 * which; c != 4 * which + 4; ++c)
            dot = V::template dot<block::is_small>(
                dot, code[c], V::set_word(x + std::ptrdiff_t{4} * c));
        return V::to_f(dot);
    }

    void run(int lane)
    {
        constexpr std::int64_t block_bytes = packed_shape_for<type>().n_bytes;
        for (f& a : acc)
            a = V::set(0.0F);
        const std::int64_t n_blocks = job.x.n / (32 * block::n_groups);
        for (std::int64_t b = 0; b != n_blocks; ++b) {
            const block weights = block_at<V, type>(job.panel + b * block_bytes, lane);
            [&]<int... g>(std::integer_sequence<int, g...>) {
                (group<g>(weights, b * block::n_groups + g), ...);
            }(std::make_integer_sequence<int, block::n_groups>{});
        }
        for (int r = 0; r != n_rows; ++r)
            V::store_first(job.y_row(first_row + r) + lane, acc[r], job.n_outputs - lane);
    }
};

template <class V, block_type type, int n_rows>
bool run_panel_rows(const panel_job& job, std::int64_t& row)
{
    const std::int64_t left = job.first_row + job.n_rows - row;
    if (V::rows_together < n_rows || left < n_rows || 16 - row % 16 < n_rows) return false;
    for (int lane = 0; lane < job.n_outputs; lane += V::lanes) {
        panel_rows<V, type, n_rows> rows{job, row, {}};
        rows.run(lane);
    }
    row += n_rows;
    return true;
}

/// As many rows at once as there are registers for, none of them beyond their tile.
template <class V, block_type type>
void run_panel(const panel_job& job)
{
    std::int64_t row = job.first_row;
    while (row != job.first_row + job.n_rows) {
        if (run_panel_rows<V, type, 8>(job, row)) continue;
        if (run_panel_rows<V, type, 4>(job, row)) continue;
        if (run_panel_rows<V, type, 2>(job, row)) continue;
        run_panel_rows<V, type, 1>(job, row);
    }
}

template <class V>
kernel_table::panel_function panel_function_of(block_type type)
{
    switch (type) {
    case block_type::q4_0:
        return run_panel<V, block_type::q4_0>;
    case block_type::q4_1:
        return run_panel<V, block_type::q4_1>;
    case block_type::q5_0:
        return run_panel<V, block_type::q5_0>;
    case block_type::q5_1:
        return run_panel<V, block_type::q5_1>;
    case block_type::q8_0:
        return run_panel<V, block_type::q8_0>;
    case block_type::q2_k:
        return run_panel<V, block_type::q2_k>;
    case block_type::q3_k:
        return run_panel<V, block_type::q3_k>;
    case block_type::q4_k:
        return run_panel<V, block_type::q4_k>;
    case block_type::q5_k:
        return run_panel<V, block_type::q5_k>;
    case block_type::q6_k:
        return run_panel<V, block_type::q6_k>;
    default:
        return nullptr;
    }
}

/// One row of activations in groups of 32.
template <class V>
void quantize_row_groups(const quantize_job& job)
{
    using i = typename V::i;
    using f = typename V::f;
    for (std::int64_t g = 0; g != job.n / 32; ++g) {
        const float* x = job.x + 32 * g;
        i greatest = V::set_i(0);
        for (int k = 0; k != 32; k += V::lanes) {
            const i magnitude = V::and_i(V::bits(V::load(x + k)), V::set_i(0x7fffffff));
            greatest = V::max_u(greatest, magnitude);
        }
        const std::uint32_t bits = V::greatest_u(greatest);
        float scale = 0.0F;
        float inverse = 0.0F;
        if (bits >= 0x7f800000U) {
            scale = __builtin_nanf("");
        } else if (bits >= 0x0da24260U) {  // 1e-30
            const auto magnitude = std::bit_cast<float>(bits);
            scale = magnitude / 127.0F;
            inverse = 127.0F / magnitude;
        }
        i half_sum[2] = {V::set_i(0), V::set_i(0)};
        for (int k = 0; k != 32; k += V::lanes) {
            i code = V::set_i(0);
            if (inverse != 0.0F) {
                const f scaled = V::mul(V::load(x + k), V::set(inverse));
                code = V::to_i(scaled);
            }
            half_sum[k / 16] = V::add_i(half_sum[k / 16], code);
            V::store_low_bytes(job.codes + 512 * g + k, code);
        }
        const std::int32_t first = V::sum_i(half_sum[0]);
        const std::int32_t second = V::sum_i(half_sum[1]);
        job.scales[16 * g] = scale;
        job.half_code_sums[32 * g] = first;
        job.half_code_sums[32 * g + 16] = second;
        job.code_sums[16 * g] = first + second;
        job.half_sums[32 * g] = scale * static_cast<float>(first);
        job.half_sums[32 * g + 16] = scale * static_cast<float>(second);
        job.sums[16 * g] = scale * static_cast<float>(first + second);
    }
}

}  // namespace
}  // namespace modelpool::kernels

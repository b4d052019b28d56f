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

/// Products of a block of 256 activations and its weights are exact integers, so only what follows
/// them has an order that counts. Of super blocks, the factors of groups are part of them:
/// acc = (scale·(256·high + low) + minus·minima)·(scale of the activations) + acc. Of blocks of 32:
/// block = dot·(scale of the weights) + block, with offsets after it, and at the end of the 256
/// acc = block·(scale of the activations) + acc.
template <class V, block_type type, int n_rows>
class panel_rows {
public:
    panel_rows(const panel_job& job, std::int64_t first_row)
        : job_{job}
        , row_{first_row}
    {}

    void run(int lane)
    {
        for (int r = 0; r != n_rows; ++r) {
            acc_[r] = V::set(0.0F);
            if (job_.first_column != 0)
                acc_[r] = V::load_first(job_.y_row(row_ + r) + lane, job_.n_outputs - lane);
        }
        const std::byte* panel = job_.panel;
        const std::int64_t end = job_.first_column + job_.n_columns;
        for (std::int64_t k = job_.first_column; k < end; k += scale_block) {
            const std::int64_t left = end - k;
            const int n_groups = left < scale_block ? static_cast<int>(left / 32) : 8;
            if constexpr (block::n_groups == 8) {
                super_block(block_at<V, type>(panel, lane), k / 32);
                panel += block_bytes;
            } else {
                small_blocks(panel, lane, k / 32, n_groups);
                panel += n_groups * block_bytes;
            }
        }
        for (int r = 0; r != n_rows; ++r)
            V::store_first(job_.y_row(row_ + r) + lane, acc_[r], job_.n_outputs - lane);
    }

private:
    using i = typename V::i;
    using f = typename V::f;
    using block = panel_block<V, type>;
    static constexpr std::int64_t block_bytes = packed_shape_for<type>().n_bytes;
    static constexpr std::ptrdiff_t low_bytes = 1024;

    void small_blocks(const std::byte* panel, int lane, std::int64_t first_group, int n_groups)
    {
        f sum[n_rows];
#pragma GCC unroll 8
        for (f& s : sum)
            s = V::set(0.0F);
        for (int g = 0; g != n_groups; ++g) {
            const block weights = block_at<V, type>(panel + g * block_bytes, lane);
            i code[8];
            weights.template codes<0>(code);
            const group_scales<V> scales = weights.scales();
            const std::int8_t* x = job_.x.codes_of(row_, first_group + g);
            const std::int64_t at = job_.x.group_at(row_, first_group + g);
#pragma GCC unroll 8
            for (int r = 0; r != n_rows; ++r) {
                // Codes are unsigned: what their zero adds to a product is taken off beforehand.
                i low = V::set_i(0);
                if constexpr (block::zero != 0)
                    low = V::set_i(-block::zero * job_.x.code_sums[at + r]);
                const i high = dot<0, 8>(V::set_i(0), code, x + std::ptrdiff_t{64} * r);
                low = dot<0, 8>(low, code, x + std::ptrdiff_t{64} * r + low_bytes);
                const i both = V::add_i(V::template sll<8>(high), low);
                sum[r] = V::fma(V::to_f(both), scales.scale, sum[r]);
                if constexpr (block::has_offset)
                    sum[r] = V::fma(scales.offset, V::set(job_.x.sums[at + r]), sum[r]);
            }
        }
        const float* scale = job_.x.scale_of(row_, first_group / 8);
#pragma GCC unroll 8
        for (int r = 0; r != n_rows; ++r)
            acc_[r] = V::fma(sum[r], V::set(scale[r]), acc_[r]);
    }

    void super_block(const block& weights, std::int64_t first_group)
    {
        i high[n_rows];
        i low[n_rows];
#pragma GCC unroll 8
        for (int r = 0; r != n_rows; ++r) {
            high[r] = V::set_i(0);
            low[r] = V::set_i(0);
        }
        [&]<int... g>(std::integer_sequence<int, g...>) {
            (group<g>(weights, first_group + g, high, low), ...);
        }(std::make_integer_sequence<int, 8>{});
        f minima[n_rows];
        if constexpr (block::has_offset) {
#pragma GCC unroll 8
            for (f& m : minima)
                m = V::set(0.0F);
            [&]<int... g>(std::integer_sequence<int, g...>) {
                (minimum<g>(weights, first_group + g, minima), ...);
            }(std::make_integer_sequence<int, 8>{});
        }
        const float* scale = job_.x.scale_of(row_, first_group / 8);
#pragma GCC unroll 8
        for (int r = 0; r != n_rows; ++r) {
            const f both = V::fma(V::to_f(high[r]), V::set(256.0F), V::to_f(low[r]));
            f sum = V::mul(both, weights.scale);
            if constexpr (block::has_offset) sum = V::fma(minima[r], weights.minus, sum);
            acc_[r] = V::fma(sum, V::set(scale[r]), acc_[r]);
        }
    }

    template <int g>
    void group(const block& weights, std::int64_t index, i (&high)[n_rows], i (&low)[n_rows]) const
    {
        i code[8];
        weights.template codes<g>(code);
        const half_scales<V> factors = weights.template factors<g>();
        const std::int8_t* x = job_.x.codes_of(row_, index);
        const std::int32_t* sums = job_.x.byte_sums + job_.x.group_at(row_, index) * 4 -
                                   row_ % 16 * 3;  // [high or low, half, r]
#pragma GCC unroll 8
        for (int r = 0; r != n_rows; ++r) {
            const std::int8_t* bytes = x + std::ptrdiff_t{64} * r;
            if constexpr (block::is_split) {
                add_part<0, 4>(high[r], code, factors.first, bytes, sums + r);
                add_part<4, 8>(high[r], code, factors.second, bytes, sums + 16 + r);
                add_part<0, 4>(low[r], code, factors.first, bytes + low_bytes, sums + 32 + r);
                add_part<4, 8>(low[r], code, factors.second, bytes + low_bytes, sums + 48 + r);
            } else {
                static_assert(block::zero == 0);
                add_part<0, 8>(high[r], code, factors.first, bytes, sums);
                add_part<0, 8>(low[r], code, factors.first, bytes + low_bytes, sums);
            }
        }
    }

    template <int first, int last>
    static void
    add_part(i& to, const i (&code)[8], i factor, const std::int8_t* x, const std::int32_t* sum)
    {
        i start = V::set_i(0);
        if constexpr (block::zero != 0) start = V::set_i(-block::zero * *sum);
        to = V::add_i(to, V::mul_i(dot<first, last>(start, code, x), factor));
    }

    template <int g>
    void minimum(const block& weights, std::int64_t index, f (&minima)[n_rows]) const
    {
        const half_scales<V> least = weights.template minima<g>();
        const f first = V::to_f(least.first);
        const std::int64_t at = job_.x.group_at(row_, index);
        if constexpr (block::is_split) {
            const f second = V::to_f(least.second);
            const float* sums = job_.x.half_sums + at * 2 - row_ % 16;
#pragma GCC unroll 8
            for (int r = 0; r != n_rows; ++r) {
                minima[r] = V::fma(first, V::set(sums[r]), minima[r]);
                minima[r] = V::fma(second, V::set(sums[16 + r]), minima[r]);
            }
        } else {
#pragma GCC unroll 8
            for (int r = 0; r != n_rows; ++r)
                minima[r] = V::fma(first, V::set(job_.x.sums[at + r]), minima[r]);
        }
    }

    template <int first, int last>
    static i dot(i sum, const i (&code)[8], const std::int8_t* x)
    {
#pragma GCC unroll 8
        for (int c = first; c != last; ++c)
            sum = V::template dot<block::is_small>(
                sum, code[c], V::set_word(x + std::ptrdiff_t{4} * c));
        return sum;
    }

    const panel_job& job_;
    std::int64_t row_;
    f acc_[n_rows];
};

template <class V, block_type type, int n_rows>
bool run_panel_rows(const panel_job& job, std::int64_t& row)
{
    const std::int64_t left = job.first_row + job.n_rows - row;
    if (V::rows_together < n_rows || left < n_rows || 16 - row % 16 < n_rows) return false;
    for (int lane = 0; lane < job.n_outputs; lane += V::lanes)
        panel_rows<V, type, n_rows>{job, row}.run(lane);
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

/// Scale, and what turns numbers into integers of at most 127·257, for which both bytes are in range.
struct integer_scale {
    float scale;
    float inverse;

    /// Of numbers whose greatest magnitude has these bits.
    static integer_scale of(std::uint32_t bits)
    {
        constexpr float greatest = 32639.0F;
        if (bits >= 0x7f800000U) return {__builtin_nanf(""), 0.0F};
        if (bits < 0x0da24260U) return {0.0F, 0.0F};  // 1e-30
        const auto magnitude = std::bit_cast<float>(bits);
        return {magnitude / greatest, greatest / magnitude};
    }
};

/// The 32 numbers at `x` as group `g` of a row.
template <class V>
void quantize_group(const quantize_job& job, const float* x, std::int64_t g, float inverse)
{
    using i = typename V::i;
    std::int8_t* to = job.codes + g / 2 * quantized_view::pair_bytes + g % 2 * 32;
    i high_sum[2] = {V::set_i(0), V::set_i(0)};
    i low_sum[2] = {V::set_i(0), V::set_i(0)};
    for (int k = 0; k != 32; k += V::lanes) {
        i code = V::set_i(0);
        if (inverse != 0.0F) code = V::to_i(V::mul(V::load(x + k), V::set(inverse)));
        const i high = V::template sra<8>(V::add_i(code, V::set_i(128)));
        high_sum[k / 16] = V::add_i(high_sum[k / 16], high);
        // The low byte of the integer is what `high` leaves of it, as int8.
        const i low = V::template sra<24>(V::template sll<24>(code));
        low_sum[k / 16] = V::add_i(low_sum[k / 16], low);
        V::store_low_bytes(to + k, high);
        V::store_low_bytes(to + 1024 + k, low);
    }
    std::int32_t sum = 0;
    for (int half = 0; half != 2; ++half) {
        const std::int32_t high = V::sum_i(high_sum[half]);
        const std::int32_t low = V::sum_i(low_sum[half]);
        const std::int64_t at = std::int64_t{16} * half;
        job.byte_sums[64 * g + at] = high;
        job.byte_sums[64 * g + 32 + at] = low;
        job.half_sums[32 * g + at] = static_cast<float>(256 * high + low);
        sum += 256 * high + low;
    }
    job.code_sums[16 * g] = sum;
    job.sums[16 * g] = static_cast<float>(sum);
}

/// One row of activations as integers.
template <class V>
void quantize_row_groups(const quantize_job& job)
{
    for (std::int64_t k = 0; k < job.n; k += scale_block) {
        const std::int64_t n = job.n - k < scale_block ? job.n - k : scale_block;
        auto greatest = V::set_i(0);
        for (std::int64_t j = k; j != k + n; j += V::lanes) {
            const auto magnitude = V::and_i(V::bits(V::load(job.x + j)), V::set_i(0x7fffffff));
            greatest = V::max_u(greatest, magnitude);
        }
        const integer_scale scale = integer_scale::of(V::greatest_u(greatest));
        job.scales[k / scale_block * 16] = scale.scale;
        for (std::int64_t g = k / 32; g != (k + n) / 32; ++g)
            quantize_group<V>(job, job.x + 32 * g, g, scale.inverse);
    }
    if (job.n % 64 == 0) return;
    std::int8_t* rest = job.codes + job.n / 64 * quantized_view::pair_bytes + 32;
    __builtin_memset(rest, 0, 32);
    __builtin_memset(rest + 1024, 0, 32);
}

}  // namespace
}  // namespace modelpool::kernels

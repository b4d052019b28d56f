#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "kernels/bf16_panels.hpp"
#include "kernels/kernel_table.hpp"
#include "kernels/linear.hpp"
#include "kernels/row_parts.hpp"

namespace modelpool::kernels {
namespace {

/// Where the parts of `n_rows` quantised rows lie in the rooms that hold them.
struct quantized_parts {
    quantized_view shape;  // sizes alone
    std::int8_t* codes{nullptr};
    float* scales{nullptr};
    float* sums{nullptr};
    float* half_sums{nullptr};
    std::int32_t* code_sums{nullptr};
    std::int32_t* byte_sums{nullptr};

    quantize_job row(std::int64_t index) const
    {
        const std::int64_t tile = index / 16;
        const std::int64_t r = index % 16;
        const std::int64_t group = tile * shape.n_groups() * 16;
        return {
            nullptr,
            shape.n,
            codes + tile * shape.n_pairs() * quantized_view::pair_bytes + r * 64,
            scales + tile * shape.n_scales() * 16 + r,
            sums + group + r,
            half_sums + group * 2 + r,
            code_sums + group + r,
            byte_sums + group * 4 + r};
    }
};

/// Numbers of each kind that tiles of `n_rows` rows have one of for each row and group, or for each
/// row and scale.
struct counts {
    std::int64_t groups;
    std::int64_t scales;
    std::int64_t pairs;

    counts(std::int64_t n_rows, const quantized_view& shape)
        : groups{(n_rows + 15) / 16 * shape.n_groups() * 16}
        , scales{(n_rows + 15) / 16 * shape.n_scales() * 16}
        , pairs{(n_rows + 15) / 16 * shape.n_pairs()}
    {}
};

/// Three rooms: codes; scales, sums and sums of halves; sums of codes and of their bytes.
quantized_parts
parts_in(std::int64_t n_rows, std::int64_t n, aligned_room& codes, aligned_room& f, aligned_room& i)
{
    quantized_parts parts;
    parts.shape.n = n;
    const counts of{n_rows, parts.shape};
    parts.codes = codes.get_as<std::int8_t>(of.pairs * quantized_view::pair_bytes);
    parts.scales = f.get_as<float>(of.scales + 3 * of.groups);
    parts.sums = parts.scales + of.scales;
    parts.half_sums = parts.sums + of.groups;
    parts.code_sums = i.get_as<std::int32_t>(5 * of.groups);
    parts.byte_sums = parts.code_sums + of.groups;
    return parts;
}

}  // namespace

quantized_view linear_input::quantized() const noexcept
{
    quantized_view view;
    view.n = rows_.n;
    const counts of{rows_.n_rows, view};
    view.codes = codes_.data_as<std::int8_t>();
    view.scales = scales_.data_as<float>();
    view.sums = view.scales + of.scales;
    view.half_sums = view.sums + of.groups;
    view.code_sums = code_sums_.data_as<std::int32_t>();
    view.byte_sums = view.code_sums + of.groups;
    return view;
}

bf16_tile_rows linear_input::fast() const noexcept
{
    return {fast_.data_as<std::uint16_t>(), rows_.n};
}

void linear_input::set_fast(thread_team& team)
{
    const std::int64_t n_rows = rows_.n_rows - n_exact_;
    const std::int64_t n = rows_.n;
    auto* const tiles = fast_.get_as<std::uint16_t>(bf16_tile_rows::n_numbers(n_rows, n));
    for_rows(n_rows, n, team, [&](std::int64_t row) {
        set_bf16_row(rows_.row(n_exact_ + row), n, row, tiles);
    });
}

void linear_input::set(
    const_matrix x, bool quantized, thread_team& team, scratch& room, std::int64_t first_fast)
{
    if (quantized && x.n % 32 != 0)
        throw std::invalid_argument{"activations are quantised in groups of 32 numbers"};
    // Fewer do not make up for what widening the weights takes.
    constexpr std::int64_t least_fast = 32;
    rows_ = x;
    quantized_ = quantized;
    n_exact_ = x.n_rows;
    if (!quantized) return;
    if (first_fast <= x.n_rows - least_fast && room.has_bf16()) {
        n_exact_ = first_fast;
        set_fast(team);
    }
    const quantized_parts parts = parts_in(x.n_rows, x.n, codes_, scales_, code_sums_);
    const auto quantize = [&](std::int64_t row) {
        quantize_job job = parts.row(row);
        job.x = x.row(row);
        room.table().quantize(job);
    };
    for_rows(n_exact_, x.n, team, quantize);
}

void linear_input::gather(
    const linear_input& from, std::span<const std::int32_t> rows, thread_team& team)
{
    const auto n_rows = static_cast<std::int64_t>(rows.size());
    const std::int64_t n = from.n();
    quantized_ = from.quantized_;
    n_exact_ = n_rows;
    if (!quantized_) {
        auto* numbers = gathered_.get_as<float>(n_rows * n);
        rows_ = {numbers, n_rows, n, n};
        for_rows(n_rows, n, team, [&](std::int64_t row) {
            const std::int32_t old = rows[static_cast<std::size_t>(row)];
            if (old != no_row) std::copy_n(from.rows_.row(old), n, numbers + row * n);
        });
        return;
    }
    rows_ = {nullptr, n_rows, n, n};
    const quantized_parts to = parts_in(n_rows, n, codes_, scales_, code_sums_);
    const quantized_view source = from.quantized();
    for_rows(n_rows, n, team, [&](std::int64_t row) {
        const std::int64_t old = rows[static_cast<std::size_t>(row)];
        if (old == no_row) return;
        const quantize_job job = to.row(row);
        for (std::int64_t g = 0; g < n / 32; g += 2) {
            const std::int8_t* codes = source.codes_of(old, g);
            std::copy_n(codes, 64, job.codes + g / 2 * quantized_view::pair_bytes);
            std::copy_n(codes + 1024, 64, job.codes + g / 2 * quantized_view::pair_bytes + 1024);
        }
        for (std::int64_t b = 0; b != source.n_scales(); ++b)
            job.scales[b * 16] = *source.scale_of(old, b);
        for (std::int64_t g = 0; g != n / 32; ++g) {
            const std::int64_t at = source.group_at(old, g);
            job.sums[g * 16] = source.sums[at];
            job.code_sums[g * 16] = source.code_sums[at];
            for (std::int64_t half = 0; half != 2; ++half)
                job.half_sums[g * 32 + half * 16] = source.half_sums[at * 2 - old % 16 + half * 16];
            for (std::int64_t part = 0; part != 4; ++part)
                job.byte_sums[g * 64 + part * 16] =
                    source.byte_sums[at * 4 - old % 16 * 3 + part * 16];
        }
    });
}

}  // namespace modelpool::kernels

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "kernels/kernel_table.hpp"
#include "kernels/linear.hpp"
#include "kernels/row_parts.hpp"

namespace modelpool::kernels {
namespace {

/// Where the parts of `n_rows` quantised rows lie in the rooms that hold them.
struct quantized_parts {
    std::int8_t* codes;
    float* scales;
    float* sums;
    float* half_sums;
    std::int32_t* code_sums;
    std::int32_t* half_code_sums;

    quantize_job row(std::int64_t index, std::int64_t n) const
    {
        const std::int64_t tile = index / 16 * (n / 32);
        const std::int64_t at = tile * 16 + index % 16;
        const std::int64_t half_at = tile * 32 + index % 16;
        return {
            nullptr,
            n,
            codes + at * 32,
            scales + at,
            sums + at,
            half_sums + half_at,
            code_sums + at,
            half_code_sums + half_at};
    }
};

/// Numbers of each kind that tiles of `n_rows` rows have one of for each row and group.
std::int64_t numbers_of(std::int64_t n_rows, std::int64_t n)
{
    return (n_rows + 15) / 16 * (n / 32) * 16;
}

/// Three rooms, with slack for kernels that read whole vectors: codes; scales, sums and sums of halves; the codes' sums and their halves'.
quantized_parts
parts_in(std::int64_t n_rows, std::int64_t n, aligned_room& codes, aligned_room& f, aligned_room& i)
{
    const std::int64_t g = numbers_of(n_rows, n);
    quantized_parts parts{};
    parts.codes = codes.get_as<std::int8_t>(32 * g);
    parts.scales = f.get_as<float>(4 * g + 64);
    parts.sums = parts.scales + g;
    parts.half_sums = parts.sums + g;
    parts.code_sums = i.get_as<std::int32_t>(3 * g + 64);
    parts.half_code_sums = parts.code_sums + g;
    return parts;
}

}  // namespace

quantized_view linear_input::quantized() const noexcept
{
    const std::int64_t g = numbers_of(rows_.n_rows, rows_.n);
    const float* scales = scales_.data_as<float>();
    const auto* code_sums = code_sums_.data_as<std::int32_t>();
    return {
        codes_.data_as<std::int8_t>(),
        scales,
        scales + g,
        scales + 2 * g,
        code_sums,
        code_sums + g,
        rows_.n};
}

void linear_input::set(const_matrix x, bool quantized, thread_team& team, scratch& room)
{
    if (quantized && x.n % 32 != 0)
        throw std::invalid_argument{"activations are quantised in groups of 32 numbers"};
    rows_ = x;
    quantized_ = quantized;
    if (!quantized) return;
    const quantized_parts parts = parts_in(x.n_rows, x.n, codes_, scales_, code_sums_);
    const auto quantize = [&](std::int64_t row) {
        quantize_job job = parts.row(row, x.n);
        job.x = x.row(row);
        room.table().quantize(job);
    };
    for_rows(x.n_rows, x.n, team, quantize);
}

void linear_input::gather(
    const linear_input& from, std::span<const std::int32_t> rows, thread_team& team)
{
    const auto n_rows = static_cast<std::int64_t>(rows.size());
    const std::int64_t n = from.n();
    quantized_ = from.quantized_;
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
        const quantize_job job = to.row(row, n);
        for (std::int64_t g = 0; g != n / 32; ++g) {
            const std::int64_t at = source.tile(old, g) * 16 + old % 16;
            const std::int64_t half_at = source.tile(old, g) * 32 + old % 16;
            std::copy_n(source.codes + at * 32, 32, job.codes + g * 512);
            job.scales[g * 16] = source.scales[at];
            job.sums[g * 16] = source.sums[at];
            job.code_sums[g * 16] = source.code_sums[at];
            for (const int half : {0, 16}) {
                job.half_sums[g * 32 + half] = source.half_sums[half_at + half];
                job.half_code_sums[g * 32 + half] = source.half_code_sums[half_at + half];
            }
        }
    });
}

}  // namespace modelpool::kernels

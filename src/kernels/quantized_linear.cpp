#include "kernels/quantized_linear.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

#include "kernels/scratch.hpp"

namespace modelpool::kernels {
namespace {

constexpr float greatest = 65504.0F;

// Of the source between two reports: enough for all threads, little beside any model.
constexpr std::int64_t slice_bytes = std::int64_t{32} << 20U;

bool all_fit(const float* x, std::int64_t n)
{
    std::int64_t n_misfits = 0;
    for (std::int64_t k = 0; k != n; ++k)
        n_misfits += std::fabs(x[k]) <= greatest ? 0 : 1;
    return n_misfits == 0;
}

class matrix_quantizer {
public:
    matrix_quantizer(block_type to, const dense_weights& from, thread_team& team)
        : to_{to}
        , type_{from.type}
        , n_in_{from.n_in}
        , team_{team}
        , rows_(static_cast<std::size_t>(team.n_threads()) * static_cast<std::size_t>(from.n_in))
    {}

    void run(const std::byte* from, std::int64_t n_rows, std::byte* to)
    {
        const std::int64_t from_row = row_bytes(type_, n_in_);
        const std::int64_t to_row = row_bytes(to_, n_in_);
        constexpr std::int64_t part_numbers = 1 << 16;
        const std::int64_t per_part = std::max<std::int64_t>(1, part_numbers / n_in_);
        const auto quantize_part = [&](int part, int thread) {
            float* const room = rows_.data() + static_cast<std::ptrdiff_t>(thread) * n_in_;
            const std::int64_t end = std::min((part + 1) * per_part, n_rows);
            for (std::int64_t i = part * per_part; i < end; ++i) {
                dequantize_row(type_, from + i * from_row, n_in_, room);
                if (!all_fit(room, n_in_)) {
                    fit_.store(false, std::memory_order_relaxed);
                    return;
                }
                quantize_row(to_, room, n_in_, to + i * to_row);
            }
        };
        team_.run(static_cast<int>((n_rows + per_part - 1) / per_part), quantize_part);
        if (!fit_.load(std::memory_order_relaxed))
            throw std::domain_error{"a weight is not finite, or above 65504"};
    }

    std::int64_t rows_of_a_slice() const noexcept
    {
        return std::max<std::int64_t>(1, slice_bytes / row_bytes(type_, n_in_));
    }

private:
    block_type to_;
    block_type type_;
    std::int64_t n_in_;
    thread_team& team_;
    std::vector<float> rows_;  // one for each thread
    std::atomic<bool> fit_{true};
};

void check(block_type to, const dense_weights& from)
{
    constexpr std::int64_t most = std::numeric_limits<std::int32_t>::max();
    const bool sane = from.n_out >= 1 && from.n_in >= 1 && from.n_out <= most && from.n_in <= most;
    if (!sane) throw std::invalid_argument{"a linear's sizes must be positive and below 2^31"};
    if (from.n_in % shape_of(to).n_elements != 0)
        throw std::invalid_argument{"a linear's rows must be whole blocks"};
    const auto row = static_cast<std::uint64_t>(row_bytes(from.type, from.n_in));
    for (const std::span<const std::byte> each : from.experts)
        if (each.size() / row != static_cast<std::uint64_t>(from.n_out) || each.size() % row != 0)
            throw std::invalid_argument{"a linear's bytes are not those of its sizes"};
}

}  // namespace

block_type fitting_type(block_type wanted, std::int64_t n) noexcept
{
    const auto fits = [n](block_type type) { return n % shape_of(type).n_elements == 0; };
    if (fits(wanted)) return wanted;
    const block_type smaller = wanted == block_type::q4_k ? block_type::q5_0 : block_type::q8_0;
    return fits(smaller) ? smaller : block_type::bf16;
}

linear quantized_linear(
    block_type to, const dense_weights& from, thread_team& team, const bytes_read& read)
{
    check(to, from);
    const auto n_experts = static_cast<std::int64_t>(from.experts.size());
    const std::int64_t from_row = row_bytes(from.type, from.n_in);
    const std::int64_t to_row = row_bytes(to, from.n_in);
    const auto n_bytes = static_cast<std::size_t>(n_experts * from.n_out * to_row);
    aligned_room blocks;
    std::byte* place = blocks.get(n_bytes);
    matrix_quantizer quantizer{to, from, team};
    for (const std::span<const std::byte> each : from.experts) {
        for (std::int64_t first = 0; first < from.n_out;) {
            const std::int64_t n_rows = std::min(quantizer.rows_of_a_slice(), from.n_out - first);
            const auto slice = each.subspan(
                static_cast<std::size_t>(first * from_row),
                static_cast<std::size_t>(n_rows * from_row));
            quantizer.run(slice.data(), n_rows, place);
            place += n_rows * to_row;
            first += n_rows;
            if (read) read(slice);
        }
    }
    return linear{
        to,
        {blocks.data_as<std::byte>(), n_bytes},
        from.n_out,
        from.n_in,
        linear::layout::packed,
        &team,
        n_experts};
}

}  // namespace modelpool::kernels

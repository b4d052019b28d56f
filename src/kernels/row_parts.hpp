#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/thread_team.hpp"

namespace modelpool::kernels {

/// Calls f(row) for each row, in parts that are worth a thread's while: `n` numbers a row.
template <class F>
void for_rows(std::int64_t n_rows, std::int64_t n, thread_team& team, F&& f)
{
    constexpr std::int64_t numbers_per_part = 16384;
    const std::int64_t rows_per_part = std::clamp<std::int64_t>(
        numbers_per_part / std::max<std::int64_t>(n, 1),
        1 + n_rows / thread_team::max_parts,
        std::max<std::int64_t>(n_rows, 1));
    const std::int64_t n_parts = (n_rows + rows_per_part - 1) / rows_per_part;
    const auto part_of = [&](int part, int) {
        const std::int64_t begin = part * rows_per_part;
        const std::int64_t end = std::min(begin + rows_per_part, n_rows);
        for (std::int64_t row = begin; row != end; ++row)
            f(row);
    };
    team.run(static_cast<int>(n_parts), part_of);
}

}  // namespace modelpool::kernels

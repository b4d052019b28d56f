#include <algorithm>
#include <cstdint>

#include "kernels/bf16_panels.hpp"
#include "kernels/bf16_tiles.hpp"
#include "kernels/tile_product.hpp"

#if !defined(__x86_64__)
#include <stdexcept>
#endif

namespace modelpool::kernels {

void bf16_rows::resize(std::int64_t n_rows)
{
    const std::int64_t needed = (n_rows + tile_rows - 1) / tile_rows * tile_rows;
    if (needed <= n_rows_) return;
    const std::int64_t count = needed * n_ * (is_split() ? 2 : 1);
    data_ = room_.get_as<std::uint16_t>(count);
    std::fill_n(data_, count, std::uint16_t{0});  // rows that fill up a tile are multiplied too
    n_rows_ = needed;
}

#if !defined(__x86_64__)
// What only x86 has. The promise of has_bf16_tiles() keeps everybody from the rest.

bool has_bf16_tiles() noexcept
{
    return false;
}

namespace {

[[noreturn]] void refuse()
{
    throw std::logic_error{"this machine has no tiles"};
}

}  // namespace

bf16_linear::bf16_linear(std::span<const float>, std::span<const float>, std::int64_t, bf16_parts)
{
    refuse();
}

void bf16_linear::run(const bf16_rows&, const range&, float*, std::int64_t) const
{
    refuse();
}

void bf16_linear::add_to(const bf16_rows&, const range&, float*, std::int64_t) const
{
    refuse();
}

void bf16_linear::run(const bf16_rows&, const range&, row_function, bf16_rows&) const
{
    refuse();
}

void attend_in_text(
    const text_heads&,
    std::pair<std::int64_t, std::int64_t>,
    bf16_rows&,
    std::int64_t,
    aligned_room&)
{
    refuse();
}

void normalize_rows(const norm_weights&, float*, std::int64_t, bf16_rows&, std::int64_t)
{
    refuse();
}

void set_bf16_row(const float*, std::int64_t, std::int64_t, std::uint16_t*)
{
    refuse();
}

void multiply_in_bf16(const bf16_panels_job&)
{
    refuse();
}

void tile_input::set(const_bf16_matrix, thread_team&)
{
    refuse();
}

bool fits_tiles(const linear&) noexcept
{
    return false;
}

void multiply_in_tiles(
    const tile_input&,
    const linear&,
    const float*,
    row_function,
    bf16_matrix,
    thread_team&,
    tile_room&)
{
    refuse();
}
#endif

}  // namespace modelpool::kernels

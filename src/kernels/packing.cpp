#include "kernels/packing.hpp"

#include <cstring>

namespace modelpool::kernels {

packed_shape packed_shape_of(block_type type) noexcept
{
    const bool half_is_last = type == block_type::q3_k || type == block_type::q6_k;
    return packed_shape::of(shape_of(type).n_bytes, half_is_last);
}

void pack_panel(
    block_type type,
    const std::byte* from,
    std::int64_t row_stride,
    int n_rows,
    std::int64_t n,
    std::byte* to)
{
    const packed_shape shape = packed_shape_of(type);
    const block_shape block = shape_of(type);
    const std::int64_t n_blocks = n / block.n_elements;
    if (n_rows < panel_rows) std::memset(to, 0, static_cast<std::size_t>(n_blocks * shape.n_bytes));
    for (std::int64_t b = 0; b != n_blocks; ++b, to += shape.n_bytes) {
        for (int r = 0; r != n_rows; ++r) {
            const std::byte* stored = from + r * row_stride + b * block.n_bytes;
            const std::byte* words = stored + shape.first_word;
            std::byte* lane = to + std::ptrdiff_t{4} * r;
            for (int w = 0; w != shape.n_words; ++w)
                std::memcpy(lane + std::ptrdiff_t{64} * w, words + std::ptrdiff_t{4} * w, 4);
            if (shape.has_half)
                std::memcpy(
                    to + std::ptrdiff_t{64} * shape.n_words + std::ptrdiff_t{2} * r,
                    stored + shape.half_offset,
                    2);
        }
    }
}

}  // namespace modelpool::kernels

#pragma once

#include <cstddef>
#include <cstdint>

namespace modelpool::kernels {

/// How numbers are stored, by the numbers of the GGUF format.
enum class block_type : std::uint32_t {
    f32 = 0,
    f16 = 1,
    q4_0 = 2,
    q4_1 = 3,
    q5_0 = 6,
    q5_1 = 7,
    q8_0 = 8,
    q2_k = 10,
    q3_k = 11,
    q4_k = 12,
    q5_k = 13,
    q6_k = 14,
    bf16 = 30
};

/// The unit in which numbers of a type are stored: how many there are, in how many bytes.
struct block_shape {
    std::int64_t n_elements;
    std::int64_t n_bytes;
};

/// Is it one of `block_type`? Numbers from files are asked this before they become a type.
bool is_known(block_type type) noexcept;
/// Precondition: is_known(type).
block_shape shape_of(block_type type) noexcept;
/// f32, f16 and bf16: numbers one by one, with no scales.
bool is_dense(block_type type) noexcept;
/// Bytes of a row of `n` numbers. Precondition: `n` is a multiple of the block.
std::int64_t row_bytes(block_type type, std::int64_t n) noexcept;

/// to[0..n) = the numbers of a row. Neither pointer need be aligned.
/// Precondition: `n` is a multiple of the block.
void dequantize_row(block_type type, const std::byte* from, std::int64_t n, float* to);

/// Is there a quantize_row to `type`? Dense types, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K and Q6_K.
bool can_quantize(block_type type) noexcept;
/// Stores a row as blocks, each number rounded to the nearest one that its block can hold.
/// Preconditions: can_quantize(type), `n` is a multiple of the block, the numbers are finite.
void quantize_row(block_type type, const float* from, std::int64_t n, std::byte* to);

/// One row of a table [n_rows, n] of any type, as numbers. Precondition: the table has that row.
inline void
lookup_row(block_type type, const std::byte* table, std::int64_t row, std::int64_t n, float* to)
{
    dequantize_row(type, table + row * row_bytes(type, n), n, to);
}

}  // namespace modelpool::kernels

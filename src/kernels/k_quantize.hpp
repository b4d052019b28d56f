#pragma once

#include <cstddef>

namespace modelpool::kernels {

/// Stores 256 numbers as one block; `to` need not be aligned.
using store_block_function = void (*)(const float* x, std::byte* to);

/// How blocks of Q4_K and Q6_K are stored: each group's scale is the one, of some around its
/// range's, that leaves the least squared error.
struct k_quantizer {
    store_block_function q4_k;
    store_block_function q6_k;
};

/// For any machine, and for those with AVX2; both give the same bytes.
const k_quantizer& scalar_k_quantizer() noexcept;
const k_quantizer& avx2_k_quantizer() noexcept;
/// The faster one that this machine has.
const k_quantizer& best_k_quantizer() noexcept;

}  // namespace modelpool::kernels

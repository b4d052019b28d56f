#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "kernels/block_type.hpp"

namespace modelpool::decoder {

/// Where weights are computed on, and in which form.
enum class weight_layout {
    packed = 1,  ///< copied once into the kernels' own order; the file's pages are given back
    stored,      ///< in the mapped file, so that the system may drop what is not in use
    q8_0,        ///< dense matrices are rounded to Q8_0 on the way, and packed
    q4_k,        ///< the same to Q4_K; the output to Q6_K
};

/// Are matrices of a dense type rounded to blocks?
constexpr bool is_quantizing(weight_layout layout) noexcept
{
    return layout == weight_layout::q8_0 || layout == weight_layout::q4_k;
}

/// What a matrix does, where that decides how it is rounded.
enum class matrix_use {
    layer = 1,  ///< most of them
    latent,     ///< between a compressed row and a head's: small, and read as Q8_0 at least
    output,     ///< from hidden rows to words
    router,     ///< stays as stored: a small error chooses other experts
};

/// By the name that GGUF gives a matrix.
matrix_use use_of(std::string_view name) noexcept;

/// What a matrix with rows of `n_columns` numbers of type `stored` becomes; empty where it stays as
/// it is. Rows that are no whole blocks take a type of smaller blocks, or stay.
std::optional<kernels::block_type> quantized_type(
    weight_layout layout,
    matrix_use use,
    kernels::block_type stored,
    std::int64_t n_columns) noexcept;

}  // namespace modelpool::decoder

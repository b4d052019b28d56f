#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/kv_layout.hpp"
#include "kernels/matrix.hpp"
#include "kernels/scratch.hpp"
#include "kernels/thread_team.hpp"

namespace modelpool::kernels {

/// Stores one token's keys [n_kv_heads, k_dim] and values [n_kv_heads, v_dim] into slot `slot` of a
/// block. Other slots stay as they are. Precondition: slot < block_tokens.
void store_kv(
    const kv_layout& layout, std::byte* block, int slot, const float* keys, const float* values);
/// One token's keys and values as they are read back; either may be null.
void load_kv(const kv_layout& layout, const std::byte* block, int slot, float* keys, float* values);

/// Query heads share key-value heads evenly: head h reads key-value head h·n_kv_heads/n_heads.
struct attention_shape {
    kv_layout layout;
    int n_heads{0};
    float scale{1.0F};  ///< of the products of queries and keys
};

/// out[r] = softmax(scale · q[r] · keysᵀ) · values, head by head; q is [n_rows, n_heads·k_dim], out
/// is [n_rows, n_heads·v_dim]. Keys are added up in the order of their dimensions, values in the
/// order of the tokens, so a row's numbers depend neither on the other rows nor on threads.
/// Rows that follow one another in one sequence (the same `blocks`) are computed together.
/// Errors: std::invalid_argument where sizes do not fit.
void attend(
    const attention_shape& shape,
    const_matrix q,
    std::span<const attention_row> rows,
    matrix out,
    thread_team& team,
    scratch& room);

}  // namespace modelpool::kernels

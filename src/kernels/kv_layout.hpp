#pragma once

#include <cstddef>
#include <cstdint>

namespace modelpool::kernels {

/// How keys and values are stored. q8: int8 with an f32 scale of greatest/127 for each head's row.
enum class kv_type { f32, f16, bf16, q8 };

/// How the keys and values of one layer lie in a block of tokens. Keys of 16 tokens lie
/// interleaved, values token by token; both head by head.
struct kv_layout {
    kv_type type{kv_type::f16};
    int n_kv_heads{0};
    int k_dim{0};
    int v_dim{0};
    int block_tokens{16};  ///< a multiple of 16

    /// Bytes of a block, a multiple of 64. A block is to be aligned to 64.
    std::int64_t block_bytes() const noexcept
    {
        return n_kv_heads * (k_head_bytes() + v_head_bytes());
    }
    /// The same of one token, for estimates.
    std::int64_t token_bytes() const noexcept { return block_bytes() / block_tokens; }

    // For kernels: where a head's keys and values begin in a block, and a value's padded length.
    std::int64_t k_head_bytes() const noexcept { return head_bytes(k_dim); }
    std::int64_t v_head_bytes() const noexcept { return head_bytes(v_row_numbers()); }
    std::int64_t k_offset(int head) const noexcept { return head * k_head_bytes(); }
    std::int64_t v_offset(int head) const noexcept
    {
        return n_kv_heads * k_head_bytes() + head * v_head_bytes();
    }
    std::int64_t v_row_numbers() const noexcept { return (std::int64_t{v_dim} + 15) / 16 * 16; }
    std::int64_t number_bytes() const noexcept
    {
        return type == kv_type::f32 ? 4 : type == kv_type::q8 ? 1 : 2;
    }

private:
    std::int64_t head_bytes(std::int64_t n) const noexcept
    {
        const std::int64_t scales = type == kv_type::q8 ? 4 : 0;
        return (block_tokens * (n * number_bytes() + scales) + 63) / 64 * 64;
    }
};

/// A query's row: what it attends to.
struct attention_row {
    const std::byte* const* blocks;  ///< of its sequence; token t lies in blocks[t / block_tokens]
    std::int64_t n_keys;             ///< tokens [first_key, n_keys) are attended to; at least one
    std::int64_t first_key{0};       ///< above 0 where a sliding window ends there
};

}  // namespace modelpool::kernels

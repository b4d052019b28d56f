#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "kernels/block_type.hpp"
#include "kernels/half.hpp"
#include "kernels/matrix.hpp"
#include "kernels/scratch.hpp"

namespace modelpool::kernels::test {

/// The same numbers on every machine: std::normal_distribution is not.
class numbers {
public:
    explicit numbers(std::uint32_t seed)
        : engine_{seed}
    {}
    std::uint32_t bits() { return static_cast<std::uint32_t>(engine_()); }
    /// In [-1, 1).
    float one() { return static_cast<float>(static_cast<std::int32_t>(bits())) * 0x1p-31F; }
    std::vector<float> many(std::int64_t n, float scale = 1.0F)
    {
        std::vector<float> all(static_cast<std::size_t>(n));
        for (float& x : all)
            x = scale * one();
        return all;
    }

private:
    std::mt19937 engine_;
};

inline const std::vector<block_type>& all_types()
{
    static const std::vector<block_type> types{
        block_type::f32,
        block_type::f16,
        block_type::bf16,
        block_type::q4_0,
        block_type::q4_1,
        block_type::q5_0,
        block_type::q5_1,
        block_type::q8_0,
        block_type::q2_k,
        block_type::q3_k,
        block_type::q4_k,
        block_type::q5_k,
        block_type::q6_k};
    return types;
}

/// Blocks with every code and scale as it comes, but for the f16 scales, which stay about 0.01.
inline std::vector<std::byte> random_blocks(block_type type, std::int64_t n, numbers& random)
{
    std::vector<std::byte> bytes(static_cast<std::size_t>(row_bytes(type, n)));
    if (can_quantize(type) && is_dense(type)) {
        quantize_row(type, random.many(n).data(), n, bytes.data());
        return bytes;
    }
    for (std::byte& b : bytes)
        b = static_cast<std::byte>(random.bits() & 0xffU);
    const block_shape block = shape_of(type);
    const std::int64_t size = block.n_bytes;
    std::vector<std::int64_t> halves{0, 2};
    if (type == block_type::q3_k || type == block_type::q6_k) halves = {size - 2};
    if (type == block_type::q2_k) halves = {80, 82};
    if (type == block_type::q4_0 || type == block_type::q5_0 || type == block_type::q8_0)
        halves = {0};
    for (std::size_t at = 0; at != bytes.size(); at += static_cast<std::size_t>(size)) {
        for (const std::int64_t half : halves)
            store_as(bytes.data() + at + half, f32_to_f16(0.01F * random.one()));
    }
    return bytes;
}

inline matrix as_matrix(std::vector<float>& data, std::int64_t n_rows)
{
    const auto n = static_cast<std::int64_t>(data.size()) / n_rows;
    return {data.data(), n_rows, n, n};
}

/// The instruction sets that this machine has, beside the scalar one.
inline std::vector<isa> others()
{
    std::vector<isa> all;
    for (const isa one : {isa::avx2, isa::avx512, isa::amx}) {
        if (scratch{one}.chosen() == one) all.push_back(one);
    }
    return all;
}

}  // namespace modelpool::kernels::test

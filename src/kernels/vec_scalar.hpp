#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels/half.hpp"

namespace modelpool::kernels {
namespace {

/// One lane, in plain C++: what the kernels run on where there is nothing better, and what every
/// other set of lanes is tested against, bit for bit.
struct scalar_vec {
    static constexpr int lanes = 1;
    static constexpr int rows_together = 4;
    static constexpr int dense_outputs = 1;
    static constexpr int dense_rows = 2;
    using i = std::int32_t;
    using f = float;

    static i load_i(const void* from) { return load_as<i>(from); }
    /// Four bytes, the same in each lane.
    static i set_word(const std::int8_t* from) { return load_as<i>(from); }
    static i set_i(std::int32_t x) { return x; }
    static i and_i(i a, i b) { return a & b; }
    static i or_i(i a, i b) { return a | b; }
    static i xor_i(i a, i b) { return a ^ b; }
    static i add_i(i a, i b) { return static_cast<i>(u(a) + u(b)); }
    static i mul_i(i a, i b) { return static_cast<i>(u(a) * u(b)); }
    template <int n>
    static i srl(i a)
    {
        return static_cast<i>(u(a) >> n);
    }
    template <int n>
    static i sll(i a)
    {
        return static_cast<i>(u(a) << n);
    }
    template <int n>
    static i sra(i a)
    {
        return a >> n;
    }
    /// acc + sum of the products of four bytes, the first ones unsigned, the others signed. `small`
    /// says that no unsigned one is above 127.
    template <bool small>
    static i dot(i acc, i weights, i activations)
    {
        for (unsigned byte = 0; byte != 32; byte += 8) {
            const auto w = static_cast<std::int32_t>((u(weights) >> byte) & 0xffU);
            const auto a = static_cast<std::int8_t>((u(activations) >> byte) & 0xffU);
            acc += w * a;
        }
        return acc;
    }

    static f to_f(i a) { return static_cast<float>(a); }
    static i bits(f a) { return std::bit_cast<i>(a); }
    static f from_bits(i a) { return std::bit_cast<f>(a); }
    /// Numbers from the lower and the upper half of each lane.
    static f low_f16(i a) { return f16_to_f32(static_cast<std::uint16_t>(u(a) & 0xffffU)); }
    static f high_f16(i a) { return f16_to_f32(static_cast<std::uint16_t>(u(a) >> 16U)); }
    static f load_f16(const void* from) { return f16_to_f32(load_as<std::uint16_t>(from)); }
    static f load_bf16(const void* from) { return bf16_to_f32(load_as<std::uint16_t>(from)); }
    static f load_i8(const void* from) { return static_cast<float>(load_as<std::int8_t>(from)); }
    static f load(const void* from) { return load_as<float>(from); }
    static void store(float* to, f a) { *to = a; }
    /// The first `n` lanes alone, `n` in [0, lanes]; what is not loaded is 0.
    static f load_first(const float* from, std::int64_t n) { return n > 0 ? *from : 0.0F; }
    static void store_first(float* to, f a, std::int64_t n)
    {
        if (n > 0) *to = a;
    }
    static f set(float x) { return x; }
    static f add(f a, f b) { return a + b; }
    static f sub(f a, f b) { return a - b; }
    static f mul(f a, f b) { return a * b; }
    static f div(f a, f b) { return a / b; }
    static f fma(f a, f b, f c) { return std::fma(a, b, c); }
    static f max(f a, f b) { return a > b ? a : b; }
    static f min(f a, f b) { return a < b ? a : b; }
    /// To the nearest integer, ties to even.
    static f round(f a) { return std::nearbyint(a); }
    /// a·2^n of a whole `n` that leaves it a normal number.
    static f add_exponent(f a, f n)
    {
        if (n != n) return n;  // has no integer
        return std::bit_cast<f>(add_i(std::bit_cast<i>(a), sll<23>(static_cast<i>(n))));
    }
    static i to_i(f a) { return static_cast<i>(std::nearbyint(a)); }
    static void store_low_bytes(std::int8_t* to, i a) { *to = static_cast<std::int8_t>(a); }
    static i max_u(i a, i b) { return u(a) > u(b) ? a : b; }
    static std::uint32_t greatest_u(i a) { return u(a); }
    static std::int32_t sum_i(i a) { return a; }

private:
    static std::uint32_t u(i a) { return static_cast<std::uint32_t>(a); }
};

}  // namespace
}  // namespace modelpool::kernels

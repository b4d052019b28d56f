#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/block_type.hpp"
#include "kernels/half.hpp"
#include "kernels/k_quantize.hpp"

namespace modelpool::kernels {
namespace {

/// The number of greatest magnitude, with its sign.
float extreme_of(const float* x, int n)
{
    float extreme = 0.0F;
    for (int k = 0; k != n; ++k) {
        if (std::fabs(x[k]) > std::fabs(extreme)) extreme = x[k];
    }
    return extreme;
}

float inverse_of(float x)
{
    const float inverse = 1.0F / x;
    return x == 0.0F || !std::isfinite(inverse) ? 0.0F : inverse;
}

std::uint32_t code_of(float x, int most)
{
    return static_cast<std::uint32_t>(
        std::clamp(std::nearbyint(x), 0.0F, static_cast<float>(most)));
}

float store_half(std::byte* to, float x)
{
    const std::uint16_t half = f32_to_f16(x);
    store_as(to, half);
    return f16_to_f32(half);
}

/// Codes of 32 numbers as 16 bytes of nibbles, and their fifth bits.
std::uint32_t store_codes(const std::uint32_t (&code)[32], std::byte* nibbles)
{
    std::uint32_t high = 0;
    for (unsigned k = 0; k != 16; ++k)
        nibbles[k] = static_cast<std::byte>((code[k] & 15U) | (code[k + 16] & 15U) << 4U);
    for (unsigned k = 0; k != 32; ++k)
        high |= (code[k] >> 4U) << k;
    return high;
}

/// Q4_0 and Q5_0: symmetric, the extreme number takes the code 0.
void store_symmetric(const float* x, int n_bits, std::byte* to)
{
    const int zero = 1 << (n_bits - 1);
    const float d = store_half(to, extreme_of(x, 32) / static_cast<float>(-zero));
    const float inverse = inverse_of(d);
    std::uint32_t code[32];
    for (int k = 0; k != 32; ++k)
        code[k] = code_of(x[k] * inverse + static_cast<float>(zero), 2 * zero - 1);
    if (n_bits == 4)
        store_codes(code, to + 2);
    else
        store_as(to + 2, store_codes(code, to + 6));
}

/// Q4_1 and Q5_1: from the least number to the greatest.
void store_ranged(const float* x, int n_bits, std::byte* to)
{
    const auto [least, greatest] = std::minmax_element(x, x + 32);
    const int most = (1 << n_bits) - 1;
    const float d = store_half(to, (*greatest - *least) / static_cast<float>(most));
    const float m = store_half(to + 2, *least);
    const float inverse = inverse_of(d);
    std::uint32_t code[32];
    for (int k = 0; k != 32; ++k)
        code[k] = code_of((x[k] - m) * inverse, most);
    if (n_bits == 4)
        store_codes(code, to + 4);
    else
        store_as(to + 4, store_codes(code, to + 8));
}

void store_q8_0(const float* x, std::byte* to)
{
    const float d = store_half(to, std::fabs(extreme_of(x, 32)) / 127.0F);
    const float inverse = inverse_of(d);
    for (int k = 0; k != 32; ++k) {
        const float code = std::clamp(std::nearbyint(x[k] * inverse), -127.0F, 127.0F);
        store_as(to + 2 + k, static_cast<std::int8_t>(code));
    }
}

void store_block(block_type type, const float* x, std::byte* to)
{
    switch (type) {
    case block_type::f32:
        store_as(to, *x);
        break;
    case block_type::f16:
        store_as(to, f32_to_f16(*x));
        break;
    case block_type::bf16:
        store_as(to, f32_to_bf16(*x));
        break;
    case block_type::q4_0:
        store_symmetric(x, 4, to);
        break;
    case block_type::q5_0:
        store_symmetric(x, 5, to);
        break;
    case block_type::q4_1:
        store_ranged(x, 4, to);
        break;
    case block_type::q5_1:
        store_ranged(x, 5, to);
        break;
    case block_type::q8_0:
        store_q8_0(x, to);
        break;
    case block_type::q4_k:
        best_k_quantizer().q4_k(x, to);
        break;
    case block_type::q6_k:
        best_k_quantizer().q6_k(x, to);
        break;
    case block_type::q2_k:
    case block_type::q3_k:
    case block_type::q5_k:
        break;
    }
}

}  // namespace

bool can_quantize(block_type type) noexcept
{
    return is_known(type) && type != block_type::q2_k && type != block_type::q3_k &&
           type != block_type::q5_k;
}

void quantize_row(block_type type, const float* from, std::int64_t n, std::byte* to)
{
    const block_shape block = shape_of(type);
    for (std::int64_t k = 0; k != n; k += block.n_elements, to += block.n_bytes)
        store_block(type, from + k, to);
}

}  // namespace modelpool::kernels

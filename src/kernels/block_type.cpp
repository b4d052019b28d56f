#include "kernels/block_type.hpp"

#include <cstring>

#include "kernels/half.hpp"

// Block layouts are those of the GGUF format (ggml-common.h of the ggml project describes them).

namespace modelpool::kernels {
namespace {

using bytes = const std::byte*;

unsigned at(bytes from, int index)
{
    return std::to_integer<unsigned>(from[index]);
}

float half_at(bytes from, int offset)
{
    return f16_to_f32(load_as<std::uint16_t>(from + offset));
}

float signed_code(unsigned code, int zero)
{
    return static_cast<float>(static_cast<int>(code) - zero);
}

void widen_q4_0(bytes b, float* to)
{
    const float d = half_at(b, 0);
    for (int k = 0; k != 16; ++k) {
        const unsigned two = at(b, 2 + k);
        to[k] = d * signed_code(two & 15U, 8);
        to[k + 16] = d * signed_code(two >> 4U, 8);
    }
}

void widen_q4_1(bytes b, float* to)
{
    const float d = half_at(b, 0);
    const float m = half_at(b, 2);
    for (int k = 0; k != 16; ++k) {
        const unsigned two = at(b, 4 + k);
        to[k] = d * static_cast<float>(two & 15U) + m;
        to[k + 16] = d * static_cast<float>(two >> 4U) + m;
    }
}

void widen_q5_0(bytes b, float* to)
{
    const float d = half_at(b, 0);
    const auto high = load_as<std::uint32_t>(b + 2);
    for (unsigned k = 0; k != 16; ++k) {
        const unsigned two = at(b, 6 + static_cast<int>(k));
        to[k] = d * signed_code((two & 15U) | ((high >> k & 1U) << 4U), 16);
        to[k + 16] = d * signed_code((two >> 4U) | ((high >> (k + 16) & 1U) << 4U), 16);
    }
}

void widen_q5_1(bytes b, float* to)
{
    const float d = half_at(b, 0);
    const float m = half_at(b, 2);
    const auto high = load_as<std::uint32_t>(b + 4);
    for (unsigned k = 0; k != 16; ++k) {
        const unsigned two = at(b, 8 + static_cast<int>(k));
        to[k] = d * static_cast<float>((two & 15U) | ((high >> k & 1U) << 4U)) + m;
        to[k + 16] = d * static_cast<float>((two >> 4U) | ((high >> (k + 16) & 1U) << 4U)) + m;
    }
}

void widen_q8_0(bytes b, float* to)
{
    const float d = half_at(b, 0);
    for (int k = 0; k != 32; ++k)
        to[k] = d * static_cast<float>(load_as<std::int8_t>(b + 2 + k));
}

void widen_q2_k(bytes b, float* to)
{
    const float d = half_at(b, 80);
    const float dmin = half_at(b, 82);
    for (int k = 0; k != 256; ++k) {
        const unsigned scales = at(b, k / 16);
        const unsigned code = at(b, 16 + k / 128 * 32 + k % 32) >> (2U * (unsigned(k) / 32 % 4));
        const float scale = d * static_cast<float>(scales & 15U);
        to[k] = scale * static_cast<float>(code & 3U) - dmin * static_cast<float>(scales >> 4U);
    }
}

/// The 16 six-bit scales of Q3_K: four low bits in the first eight bytes, two high ones after them.
int scale_q3_k(bytes scales, int index)
{
    const unsigned low = at(scales, index % 8) >> (index < 8 ? 0U : 4U) & 15U;
    const unsigned high = at(scales, 8 + index % 4) >> (2U * (unsigned(index) / 4)) & 3U;
    return static_cast<int>(low | high << 4U) - 32;
}

void widen_q3_k(bytes b, float* to)
{
    const float d = half_at(b, 108);
    for (int k = 0; k != 256; ++k) {
        const unsigned low = at(b, 32 + k / 128 * 32 + k % 32) >> (2U * (unsigned(k) / 32 % 4));
        const unsigned high = at(b, k % 32) >> (unsigned(k) / 32) & 1U;
        const float scale = d * static_cast<float>(scale_q3_k(b + 96, k / 16));
        to[k] = scale * signed_code((low & 3U) | high << 2U, 4);
    }
}

/// The six-bit scale and minimum of group `g` of Q4_K and Q5_K.
void scale_and_minimum(bytes scales, int g, unsigned& scale, unsigned& minimum)
{
    if (g < 4) {
        scale = at(scales, g) & 63U;
        minimum = at(scales, g + 4) & 63U;
    } else {
        scale = (at(scales, g + 4) & 15U) | (at(scales, g - 4) >> 6U) << 4U;
        minimum = (at(scales, g + 4) >> 4U) | (at(scales, g) >> 6U) << 4U;
    }
}

/// Q4_K, and Q5_K where `high` is not null.
void widen_six_bit(bytes b, bytes high, bytes low, float* to)
{
    const float d = half_at(b, 0);
    const float dmin = half_at(b, 2);
    for (int g = 0; g != 8; ++g) {
        unsigned scale = 0;
        unsigned minimum = 0;
        scale_and_minimum(b + 4, g, scale, minimum);
        const float s = d * static_cast<float>(scale);
        const float m = dmin * static_cast<float>(minimum);
        for (int k = 0; k != 32; ++k) {
            unsigned code = at(low, g / 2 * 32 + k) >> (g % 2 == 0 ? 0U : 4U) & 15U;
            if (high != nullptr) code |= (at(high, k) >> static_cast<unsigned>(g) & 1U) << 4U;
            to[32 * g + k] = s * static_cast<float>(code) - m;
        }
    }
}

void widen_q6_k(bytes b, float* to)
{
    const float d = half_at(b, 208);
    for (int k = 0; k != 256; ++k) {
        const int half = k / 128;
        const int part = k / 32 % 4;
        const int l = k % 32;
        const unsigned low = at(b, 64 * half + 32 * (part % 2) + l) >> (part < 2 ? 0U : 4U) & 15U;
        const unsigned high = at(b, 128 + 32 * half + l) >> (2U * static_cast<unsigned>(part)) & 3U;
        const auto scale = load_as<std::int8_t>(b + 192 + k / 16);
        to[k] = d * static_cast<float>(scale) * signed_code(low | high << 4U, 32);
    }
}

void widen_block(block_type type, bytes b, float* to)
{
    switch (type) {
    case block_type::f32:
        *to = load_as<float>(b);
        break;
    case block_type::f16:
        *to = half_at(b, 0);
        break;
    case block_type::bf16:
        *to = bf16_to_f32(load_as<std::uint16_t>(b));
        break;
    case block_type::q4_0:
        widen_q4_0(b, to);
        break;
    case block_type::q4_1:
        widen_q4_1(b, to);
        break;
    case block_type::q5_0:
        widen_q5_0(b, to);
        break;
    case block_type::q5_1:
        widen_q5_1(b, to);
        break;
    case block_type::q8_0:
        widen_q8_0(b, to);
        break;
    case block_type::q2_k:
        widen_q2_k(b, to);
        break;
    case block_type::q3_k:
        widen_q3_k(b, to);
        break;
    case block_type::q4_k:
        widen_six_bit(b, nullptr, b + 16, to);
        break;
    case block_type::q5_k:
        widen_six_bit(b, b + 16, b + 48, to);
        break;
    case block_type::q6_k:
        widen_q6_k(b, to);
        break;
    }
}

}  // namespace

bool is_known(block_type type) noexcept
{
    switch (type) {
    case block_type::f32:
    case block_type::f16:
    case block_type::q4_0:
    case block_type::q4_1:
    case block_type::q5_0:
    case block_type::q5_1:
    case block_type::q8_0:
    case block_type::q2_k:
    case block_type::q3_k:
    case block_type::q4_k:
    case block_type::q5_k:
    case block_type::q6_k:
    case block_type::bf16:
        return true;
    }
    return false;
}

block_shape shape_of(block_type type) noexcept
{
    switch (type) {
    case block_type::f32:
        return {1, 4};
    case block_type::f16:
    case block_type::bf16:
        return {1, 2};
    case block_type::q4_0:
        return {32, 18};
    case block_type::q4_1:
        return {32, 20};
    case block_type::q5_0:
        return {32, 22};
    case block_type::q5_1:
        return {32, 24};
    case block_type::q8_0:
        return {32, 34};
    case block_type::q2_k:
        return {256, 84};
    case block_type::q3_k:
        return {256, 110};
    case block_type::q4_k:
        return {256, 144};
    case block_type::q5_k:
        return {256, 176};
    case block_type::q6_k:
        return {256, 210};
    }
    return {1, 1};
}

bool is_dense(block_type type) noexcept
{
    return type == block_type::f32 || type == block_type::f16 || type == block_type::bf16;
}

std::int64_t row_bytes(block_type type, std::int64_t n) noexcept
{
    const block_shape block = shape_of(type);
    return n / block.n_elements * block.n_bytes;
}

void dequantize_row(block_type type, const std::byte* from, std::int64_t n, float* to)
{
    const block_shape block = shape_of(type);
    for (std::int64_t k = 0; k != n; k += block.n_elements, from += block.n_bytes)
        widen_block(type, from, to + k);
}

}  // namespace modelpool::kernels

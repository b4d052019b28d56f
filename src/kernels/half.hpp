#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

namespace modelpool::kernels {

// The narrow formats, without help of the machine. Roundings are to nearest, ties to even.
// Everything is static, since units for several instruction sets include this.

static inline float f16_to_f32(std::uint16_t h) noexcept
{
    const std::uint32_t sign = (h & 0x8000U) << 16U;
    const std::uint32_t magnitude = h & 0x7fffU;
    if (magnitude >= 0x7c00U) {
        const std::uint32_t quiet = magnitude > 0x7c00U ? 0x00400000U : 0U;
        return std::bit_cast<float>(sign | 0x7f800000U | ((magnitude & 0x3ffU) << 13U) | quiet);
    }
    // Scaling by 2^112 moves the exponent from half's bias to float's, and makes subnormals normal.
    const auto scaled = std::bit_cast<float>(magnitude << 13U) * std::bit_cast<float>(0x77800000U);
    return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(scaled));
}

static inline std::uint16_t f32_to_f16(float x) noexcept
{
    const auto bits = std::bit_cast<std::uint32_t>(x);
    const std::uint32_t sign = (bits >> 16U) & 0x8000U;
    const std::uint32_t magnitude = bits & 0x7fffffffU;
    if (magnitude > 0x7f800000U)
        return static_cast<std::uint16_t>(sign | 0x7e00U | ((magnitude >> 13U) & 0x3ffU));
    if (magnitude >= 0x477ff000U)  // rounds to 65536 or more
        return static_cast<std::uint16_t>(sign | 0x7c00U);
    if (magnitude < 0x38800000U) {  // subnormal in half: adding 0.5 rounds at the right bit
        const float shifted = std::bit_cast<float>(magnitude) + 0.5F;
        return static_cast<std::uint16_t>(
            sign | (std::bit_cast<std::uint32_t>(shifted) - 0x3f000000U));
    }
    const std::uint32_t odd = (magnitude >> 13U) & 1U;
    return static_cast<std::uint16_t>(sign | ((magnitude - 0x38000000U + 0xfffU + odd) >> 13U));
}

static inline float bf16_to_f32(std::uint16_t h) noexcept
{
    return std::bit_cast<float>(static_cast<std::uint32_t>(h) << 16U);
}

static inline std::uint16_t f32_to_bf16(float x) noexcept
{
    const auto bits = std::bit_cast<std::uint32_t>(x);
    if ((bits & 0x7fffffffU) > 0x7f800000U)
        return static_cast<std::uint16_t>((bits >> 16U) | 0x40U);
    return static_cast<std::uint16_t>((bits + 0x7fffU + ((bits >> 16U) & 1U)) >> 16U);
}

/// A value from bytes that need not be aligned.
template <class T>
static inline T load_as(const void* from) noexcept
{
    T value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

template <class T>
static inline void store_as(void* to, T value) noexcept
{
    std::memcpy(to, &value, sizeof value);
}

}  // namespace modelpool::kernels

#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

#include "kernels/half.hpp"

namespace modelpool::kernels {
namespace {

// Units for several instruction sets include this: everything is static.
//
// Groups are fitted eight at once, one a lane: the sums over a group's numbers are then made in the
// same order on every machine, and there is nothing to add up across lanes.
inline constexpr int n_lanes = 8;
using lanes = float __attribute__((vector_size(n_lanes * sizeof(float))));

inline void fill(float value, lanes& to)
{
    for (int g = 0; g != n_lanes; ++g)
        to[g] = value;
}

// What follows changes its first argument, since vectors that no register holds are not to be
// returned.
inline void round_codes(lanes& x, float least, float most)
{
    // Adding 1.5·2^23 leaves no bits below the point; to nearest, ties to even.
    constexpr float shift = 12582912.0F;
    x = (x + shift) - shift;
    x = x < least ? x - x + least : x;
    x = x > most ? x - x + most : x;
}

// The number k of each of the eight groups.
template <std::size_t n>
struct group_numbers {
    lanes x[n];

    explicit group_numbers(const float* from)
    {
        for (std::size_t k = 0; k != n; ++k)
            for (std::size_t g = 0; g != n_lanes; ++g)
                x[k][g] = from[n * g + k];
    }
};

inline float store_half(std::byte* to, float x)
{
    const std::uint16_t half = f32_to_f16(x);
    store_as(to, half);
    return f16_to_f32(half);
}

inline float inverse_of(float x)
{
    const float inverse = 1.0F / x;
    return x == 0.0F || !std::isfinite(inverse) ? 0.0F : inverse;
}

inline void inverse_lanes(const lanes& x, lanes& to)
{
    for (int g = 0; g != n_lanes; ++g)
        to[g] = inverse_of(x[g]);
}

// ---- Q4_K ----------------------------------------------------------------------------------------

inline constexpr std::size_t q4_numbers = 32;  // of a group

struct range_fit {
    lanes scale;
    lanes minimum;
};

// Of the codes c of a group's numbers x: sums of c, c² and c·x.
struct code_sums {
    lanes c;
    lanes cc;
    lanes cx;
};

/// The scale s and minimum m >= 0 that make Σ(s·c − m − x)² least for these codes; they become the
/// fit where that is less than the best so far.
inline void
improve(const code_sums& codes, const lanes& sum, const lanes& squares, lanes& best, range_fit& fit)
{
    constexpr float n = q4_numbers;
    const lanes determinant = n * codes.cc - codes.c * codes.c;
    lanes s = (n * codes.cx - codes.c * sum) / determinant;
    lanes m = (codes.c * codes.cx - codes.cc * sum) / determinant;
    const lanes alone = codes.cx / codes.cc;
    const auto below = m < 0.0F;  // it is stored without a sign
    s = below ? alone : s;
    m = below ? m - m : m;
    const lanes error =
        s * (s * codes.cc - 2.0F * (m * codes.c + codes.cx)) + m * (n * m + 2.0F * sum) + squares;
    // Where the codes are all one, the quotients are no numbers, and no comparison holds.
    const auto better = (determinant > 0.0F) & (s > 0.0F) & (error < best);
    best = better ? error : best;
    fit.scale = better ? s : fit.scale;
    fit.minimum = better ? m : fit.minimum;
}

inline void fit_range(const group_numbers<q4_numbers>& numbers, range_fit& fit)
{
    lanes zero;
    fill(0.0F, zero);
    lanes least = zero;
    lanes greatest = zero;
    lanes sum = zero;
    lanes squares = zero;
    for (const lanes& x : numbers.x) {
        least = x < least ? x : least;
        greatest = x > greatest ? x : greatest;
        sum += x;
        squares += x * x;
    }
    const lanes range = greatest - least;
    fit.scale = range / 15.0F;
    fit.minimum = -least;
    lanes best;
    fill(INFINITY, best);
    lanes one;
    inverse_lanes(range, one);
    for (int step = -6; step <= 6; ++step) {
        const lanes inverse = (15.0F + 0.18F * static_cast<float>(step)) * one;
        code_sums codes{zero, zero, zero};
        for (const lanes& x : numbers.x) {
            lanes code = (x - least) * inverse;
            round_codes(code, 0.0F, 15.0F);
            codes.c += code;
            codes.cc += code * code;
            codes.cx += code * x;
        }
        improve(codes, sum, squares, best, fit);
    }
}

inline void store_six_bits(
    const std::array<std::uint32_t, 8>& scale,
    const std::array<std::uint32_t, 8>& minimum,
    std::byte* to)
{
    for (std::size_t g = 0; g != 4; ++g) {
        to[g] = static_cast<std::byte>(scale[g] | (scale[g + 4] >> 4U) << 6U);
        to[g + 4] = static_cast<std::byte>(minimum[g] | (minimum[g + 4] >> 4U) << 6U);
        to[g + 8] = static_cast<std::byte>((scale[g + 4] & 15U) | (minimum[g + 4] & 15U) << 4U);
    }
}

inline std::uint32_t six_bits(float x)
{
    return static_cast<std::uint32_t>(std::clamp(std::nearbyint(x), 0.0F, 63.0F));
}

inline float greatest_of(const lanes& x)
{
    float greatest = 0.0F;
    for (int g = 0; g != n_lanes; ++g)
        greatest = std::max(greatest, x[g]);
    return greatest;
}

// ---- Q6_K ----------------------------------------------------------------------------------------

inline constexpr std::size_t q6_numbers = 16;

/// Scales of eight groups: a number is scale·code, with codes from -32 to 31.
inline void fit_symmetric(const group_numbers<q6_numbers>& numbers, lanes& scale)
{
    lanes zero;
    fill(0.0F, zero);
    lanes extreme = zero;
    for (const lanes& x : numbers.x) {
        const lanes size = x < 0.0F ? -x : x;
        const lanes most = extreme < 0.0F ? -extreme : extreme;
        extreme = size > most ? x : extreme;
    }
    scale = zero;
    lanes best = zero;
    lanes one;
    inverse_lanes(extreme, one);
    for (int step = -6; step <= 6; ++step) {
        const lanes inverse = (-32.0F - 0.15F * static_cast<float>(step)) * one;
        lanes cc = zero;
        lanes cx = zero;
        for (const lanes& x : numbers.x) {
            lanes code = x * inverse;
            round_codes(code, -32.0F, 31.0F);
            cc += code * code;
            cx += code * x;
        }
        // The scale cx/cc takes cx²/cc off the squared error. Without codes it is no number.
        const lanes alone = cx / cc;
        const lanes gain = cx * alone;
        const auto better = gain > best;
        best = better ? gain : best;
        scale = better ? alone : scale;
    }
}

inline void store_q4_k(const float* x, std::byte* to)
{
    const group_numbers<q4_numbers> numbers{x};
    range_fit fit;
    fit_range(numbers, fit);
    const float d = store_half(to, greatest_of(fit.scale) / 63.0F);
    const float dmin = store_half(to + 2, greatest_of(fit.minimum) / 63.0F);
    std::array<std::uint32_t, 8> scale{};
    std::array<std::uint32_t, 8> minimum{};
    lanes inverse;
    lanes offset;
    for (int g = 0; g != n_lanes; ++g) {
        const auto i = static_cast<std::size_t>(g);
        scale[i] = six_bits(fit.scale[g] * inverse_of(d));
        minimum[i] = six_bits(fit.minimum[g] * inverse_of(dmin));
        inverse[g] = inverse_of(d * static_cast<float>(scale[i]));
        offset[g] = dmin * static_cast<float>(minimum[i]);
    }
    store_six_bits(scale, minimum, to + 4);
    for (std::size_t k = 0; k != q4_numbers; ++k) {
        lanes code = (numbers.x[k] + offset) * inverse;
        round_codes(code, 0.0F, 15.0F);
        for (std::size_t g = 0; g != n_lanes; g += 2) {
            const auto low = static_cast<unsigned>(code[g]);
            const auto high = static_cast<unsigned>(code[g + 1]);
            to[16 + q4_numbers * (g / 2) + k] = static_cast<std::byte>(low | high << 4U);
        }
    }
}

inline void store_q6_k(const float* x, std::byte* to)
{
    constexpr std::size_t n_groups = 16;
    constexpr std::ptrdiff_t high_bits = 128;
    constexpr std::ptrdiff_t scales = 192;
    constexpr std::ptrdiff_t common = 208;
    std::array<float, n_groups> fitted{};
    for (int half = 0; half != 2; ++half) {
        const group_numbers<q6_numbers> numbers{x + std::ptrdiff_t{128} * half};
        lanes scale;
        fit_symmetric(numbers, scale);
        float* const of_half = fitted.data() + std::ptrdiff_t{n_lanes} * half;
        for (int g = 0; g != n_lanes; ++g)
            of_half[g] = scale[g];
    }
    float extreme = 0.0F;
    for (const float each : fitted)
        if (std::fabs(each) > std::fabs(extreme)) extreme = each;
    // The extreme scale takes the code -128.
    const float d = store_half(to + common, extreme / -128.0F);
    std::array<std::uint32_t, 256> code{};
    for (std::size_t g = 0; g != n_groups; ++g) {
        const float rounded =
            std::clamp(std::nearbyint(fitted[g] * inverse_of(d)), -128.0F, 127.0F);
        store_as(to + scales + static_cast<std::ptrdiff_t>(g), static_cast<std::int8_t>(rounded));
        const float inverse = inverse_of(d * rounded);
        for (std::size_t k = q6_numbers * g; k != q6_numbers * (g + 1); ++k) {
            const float c = std::clamp(std::nearbyint(x[k] * inverse), -32.0F, 31.0F);
            code[k] = static_cast<std::uint32_t>(static_cast<std::int32_t>(c) + 32);
        }
    }
    for (std::size_t k = 0; k != 64; ++k) {
        const std::size_t half = k / 32;
        const std::uint32_t* const c = code.data() + 128 * half + k % 32;
        std::byte* const low = to + 64 * half + k % 32;
        low[0] = static_cast<std::byte>((c[0] & 15U) | (c[64] & 15U) << 4U);
        low[32] = static_cast<std::byte>((c[32] & 15U) | (c[96] & 15U) << 4U);
        to[high_bits + static_cast<std::ptrdiff_t>(k)] = static_cast<std::byte>(
            c[0] >> 4U | (c[32] >> 4U) << 2U | (c[64] >> 4U) << 4U | (c[96] >> 4U) << 6U);
    }
}

}  // namespace
}  // namespace modelpool::kernels

#include <catch2/catch.hpp>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <stdexcept>

#include "kernels/bf16_tiles.hpp"
#include "kernels/random_numbers.hpp"

// On machines without such tiles only the rows can be tested.

using namespace modelpool::kernels;
using namespace modelpool::kernels::test;

namespace {

using many = std::vector<float>;

float from_bf16(std::uint16_t bits)
{
    return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16U);
}

std::uint16_t to_bf16(float x)
{
    const auto bits = std::bit_cast<std::uint32_t>(x);
    return static_cast<std::uint16_t>((bits + 0x7fffU + ((bits >> 16U) & 1U)) >> 16U);
}

bf16_rows rows_of(const many& x, std::int64_t n, bf16_parts parts)
{
    const auto n_rows = static_cast<std::int64_t>(x.size()) / n;
    bf16_rows rows{n, parts};
    rows.resize(n_rows);
    for (std::int64_t r = 0; r != n_rows; ++r)
        for (std::int64_t k = 0; k != n; ++k) {
            const float one = x[static_cast<std::size_t>(r * n + k)];
            rows.high(r)[k] = to_bf16(one);
            if (rows.is_split()) rows.low(r)[k] = to_bf16(one - from_bf16(rows.high(r)[k]));
        }
    return rows;
}

many numbers_of(const bf16_rows& rows, std::int64_t n_rows)
{
    many result;
    for (std::int64_t r = 0; r != n_rows; ++r)
        for (std::int64_t k = 0; k != rows.n(); ++k) {
            const float low = rows.is_split() ? from_bf16(rows.low(r)[k]) : 0.0F;
            result.push_back(from_bf16(rows.high(r)[k]) + low);
        }
    return result;
}

struct sizes {
    std::int64_t n_rows;
    std::int64_t n_in;
    std::int64_t n_out;
};

many plain_product(const many& x, const many& weight, const many& bias, const sizes& of)
{
    many y;
    for (std::int64_t r = 0; r != of.n_rows; ++r)
        for (std::int64_t out = 0; out != of.n_out; ++out) {
            double sum = static_cast<double>(bias[static_cast<std::size_t>(out)]);
            for (std::int64_t k = 0; k != of.n_in; ++k)
                sum += static_cast<double>(x[static_cast<std::size_t>(r * of.n_in + k)]) *
                       static_cast<double>(weight[static_cast<std::size_t>(out * of.n_in + k)]);
            y.push_back(static_cast<float>(sum));
        }
    return y;
}

float largest_difference(const many& a, const many& b)
{
    REQUIRE(a.size() == b.size());
    float largest = 0;
    for (std::size_t i = 0; i != a.size(); ++i) {
        const float difference = std::abs(a[i] - b[i]);
        largest = difference <= largest ? largest : difference;  // NaN is the largest
    }
    return largest;
}

bool same_bits(const many& a, const many& b)
{
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

float tolerance_of(bf16_parts parts)
{
    return parts == bf16_parts::two ? 2e-5F : 2e-2F;
}

double plain_value(row_function function, double x)
{
    constexpr double root = 0.7978845608028654;
    switch (function) {
    case row_function::gelu:
        return x / 2 * (1 + std::erf(x / std::sqrt(2.0)));
    case row_function::gelu_tanh:
        return x / 2 * (1 + std::tanh(root * (x + 0.044715 * x * x * x)));
    case row_function::relu:
        return std::max(x, 0.0);
    case row_function::silu:
        return x / (1 + std::exp(-x));
    case row_function::none:
        break;
    }
    return x;
}

}  // namespace

TEST_CASE("bf16 tiles: rows have room for whole tiles, and grow only")
{
    bf16_rows rows{64, bf16_parts::two};
    CHECK(rows.n_rows() == 0);
    rows.resize(17);
    CHECK(rows.n_rows() == 32);
    CHECK(rows.low(0) - rows.high(0) == 32 * 64);
    CHECK(rows.high(31)[63] == 0);
    rows.resize(3);
    CHECK(rows.n_rows() == 32);
    CHECK(bf16_rows{32, bf16_parts::one}.low(0) == nullptr);
}

TEST_CASE("bf16 tiles: products agree with plain ones, and a row's with those of any company")
{
    if (!has_bf16_tiles()) return;
    const bf16_parts parts = GENERATE(bf16_parts::one, bf16_parts::two);
    const bool exact_weights = GENERATE(false, true);
    for (const std::int64_t n_rows : {1, 16, 17, 50}) {
        const sizes of{n_rows, 96, 64};
        numbers random{static_cast<std::uint32_t>(n_rows)};
        const many x = random.many(n_rows * of.n_in);
        many weight = random.many(of.n_out * of.n_in, 0.3F);
        if (exact_weights)
            for (float& one : weight)
                one = from_bf16(to_bf16(one));
        const many bias = random.many(of.n_out);
        const bf16_linear linear{weight, bias, of.n_in, parts};
        CHECK(linear.n_parts() == (parts == bf16_parts::two && !exact_weights ? 2 : 1));
        const bf16_rows in = rows_of(x, of.n_in, parts);
        many y(static_cast<std::size_t>(n_rows * of.n_out));
        linear.run(in, {0, n_rows, 0, linear.n_panels()}, y.data(), of.n_out);
        const many expected = plain_product(x, weight, bias, of);
        CHECK(largest_difference(y, expected) < tolerance_of(parts));

        many pieces(y.size());
        for (std::int64_t r = 0; r != n_rows; ++r)
            for (std::int64_t panel = 0; panel != linear.n_panels(); ++panel) {
                bf16_rows alone = rows_of(
                    {x.begin() + r * of.n_in, x.begin() + (r + 1) * of.n_in}, of.n_in, parts);
                linear.run(alone, {0, 1, panel, panel + 1}, pieces.data() + r * of.n_out, of.n_out);
            }
        CHECK(same_bits(pieces, y));

        many sum(y.size(), 1.0F);
        linear.add_to(in, {0, n_rows, 0, linear.n_panels()}, sum.data(), of.n_out);
        for (float& one : sum)
            one -= 1.0F;
        CHECK(largest_difference(sum, y) < 1e-6F);
    }
}

TEST_CASE("bf16 tiles: a product goes through a function into rows for the next one")
{
    if (!has_bf16_tiles()) return;
    const row_function function = GENERATE(
        row_function::none,
        row_function::gelu,
        row_function::gelu_tanh,
        row_function::relu,
        row_function::silu);
    const sizes of{20, 32, 32};
    numbers random{7};
    const many x = random.many(of.n_rows * of.n_in);
    const many weight = random.many(of.n_out * of.n_in, 2.0F);
    const many bias = random.many(of.n_out);
    const bf16_linear linear{weight, bias, of.n_in, bf16_parts::two};
    bf16_rows y{of.n_out, bf16_parts::two};
    y.resize(of.n_rows);
    linear.run(
        rows_of(x, of.n_in, bf16_parts::two), {0, of.n_rows, 0, linear.n_panels()}, function, y);
    many expected = plain_product(x, weight, bias, of);
    for (float& one : expected)
        one = static_cast<float>(plain_value(function, static_cast<double>(one)));
    CHECK(largest_difference(numbers_of(y, of.n_rows), expected) < 1e-4F);
}

TEST_CASE("bf16 tiles: sizes that do not fit are refused")
{
    if (!has_bf16_tiles()) return;
    const many weight(32 * 32);
    const many bias(32);
    CHECK_NOTHROW(bf16_linear{weight, bias, 32, bf16_parts::one});
    CHECK_NOTHROW(bf16_linear{weight, many{}, 32, bf16_parts::one});
    CHECK_THROWS_AS((bf16_linear{weight, bias, 16, bf16_parts::one}), std::invalid_argument);
    CHECK_THROWS_AS((bf16_linear{weight, bias, 0, bf16_parts::one}), std::invalid_argument);
    CHECK_THROWS_AS((bf16_linear{weight, many(31), 32, bf16_parts::one}), std::invalid_argument);
    CHECK_THROWS_AS((bf16_linear{many(32 * 31), bias, 32, bf16_parts::one}), std::invalid_argument);
}

TEST_CASE("bf16 tiles: attention agrees with its formula for any number of tokens")
{
    if (!has_bf16_tiles()) return;
    for (const std::int64_t n_tokens : {1, 2, 8, 15, 16, 33, 64, 70}) {
        const std::int64_t n_heads = 3;
        const std::int64_t size = n_tokens % 4 == 0 ? 64 : n_tokens % 2 == 0 ? 16 : 32;
        const std::int64_t width = n_heads * size;
        numbers random{static_cast<std::uint32_t>(n_tokens)};
        const many qkv = random.many(n_tokens * 3 * width, 2.0F);
        const auto at = [&](std::int64_t token, std::int64_t column) {
            return static_cast<double>(qkv[static_cast<std::size_t>(token * 3 * width + column)]);
        };
        many expected;
        for (std::int64_t q = 0; q != n_tokens; ++q)
            for (std::int64_t column = 0; column != width; ++column) {
                const std::int64_t head = column / size * size;
                double sum = 0;
                double weighted = 0;
                for (std::int64_t k = 0; k != n_tokens; ++k) {
                    double score = 0;
                    for (std::int64_t d = 0; d != size; ++d)
                        score += at(q, head + d) * at(k, width + head + d);
                    const double e = std::exp(score / std::sqrt(static_cast<double>(size)));
                    sum += e;
                    weighted += e * at(k, 2 * width + column);
                }
                expected.push_back(static_cast<float>(weighted / sum));
            }
        aligned_room room;
        for (const bf16_parts parts : {bf16_parts::two, bf16_parts::one}) {
            bf16_rows out{width, parts};
            out.resize(n_tokens + 3);
            const text_heads text{qkv.data(), n_tokens, n_heads, size};
            attend_in_text(text, {0, 2}, out, 3, room);
            attend_in_text(text, {2, n_heads}, out, 3, room);
            const many found = numbers_of(out, n_tokens + 3);
            const many own{found.begin() + 3 * width, found.end()};
            CHECK(largest_difference(own, expected) < tolerance_of(parts));
        }
    }
}

TEST_CASE("bf16 tiles: norms agree with their formula")
{
    if (!has_bf16_tiles()) return;
    const std::int64_t n = 96;
    numbers random{3};
    many x = random.many(5 * n, 3.0F);
    const many weight = random.many(n);
    const many bias = random.many(n);
    many expected;
    for (std::int64_t r = 0; r != 5; ++r) {
        double mean = 0;
        double variance = 0;
        const float* row = x.data() + r * n;
        for (std::int64_t k = 0; k != n; ++k)
            mean += static_cast<double>(row[k]) / static_cast<double>(n);
        for (std::int64_t k = 0; k != n; ++k)
            variance += std::pow(static_cast<double>(row[k]) - mean, 2) / static_cast<double>(n);
        for (std::int64_t k = 0; k != n; ++k)
            expected.push_back(static_cast<float>(
                (static_cast<double>(row[k]) - mean) / std::sqrt(variance + 1e-5) *
                    static_cast<double>(weight[static_cast<std::size_t>(k)]) +
                static_cast<double>(bias[static_cast<std::size_t>(k)])));
    }
    bf16_rows out{n, bf16_parts::two};
    out.resize(7);
    normalize_rows({weight.data(), bias.data(), 1e-5F, n}, x.data(), 5, out, 2);
    CHECK(largest_difference(x, expected) < 1e-5F);
    const many parts = numbers_of(out, 7);
    CHECK(largest_difference({parts.begin() + 2 * n, parts.end()}, expected) < 5e-5F);
}

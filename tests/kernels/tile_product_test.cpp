#include <catch2/catch.hpp>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <vector>

#include "kernels/random_numbers.hpp"
#include "kernels/tile_product.hpp"

using namespace modelpool::kernels;
using namespace modelpool::kernels::test;

namespace {

using halves = std::vector<std::uint16_t>;

float from_bf16(std::uint16_t bits)
{
    return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16U);
}

std::uint16_t to_bf16(float x)
{
    const auto bits = std::bit_cast<std::uint32_t>(x);
    return static_cast<std::uint16_t>((bits + 0x7fffU + ((bits >> 16U) & 1U)) >> 16U);
}

struct product_case {
    product_case(block_type type, std::int64_t rows, std::int64_t in, std::int64_t outs)
        : n_rows{rows}
        , n_in{in}
        , n_out{outs}
        , wide(static_cast<std::size_t>(n_out * n_in))
        , x(static_cast<std::size_t>(n_rows * (n_in + 8)))
    {
        numbers random{7};
        const std::int64_t row = row_bytes(type, n_in);
        for (std::int64_t out = 0; out != n_out; ++out) {
            const std::vector<std::byte> one = random_blocks(type, n_in, random);
            blocks.insert(blocks.end(), one.begin(), one.end());
            dequantize_row(type, blocks.data() + out * row, n_in, wide.data() + out * n_in);
        }
        weights = linear{type, blocks, n_out, n_in, linear::layout::packed};
        bias = random.many(n_out);
        for (std::uint16_t& one : x)
            one = to_bf16(random.one());
    }

    const_bf16_matrix rows(std::int64_t n) const { return {x.data(), n, n_in, n_in + 8}; }

    // Columns of a wider matrix, whose other numbers stay what they were.
    halves run(row_function function, int n_threads, std::int64_t n) const
    {
        thread_team team{n_threads};
        tile_room room;
        room.input().set(rows(n), team);
        halves y(static_cast<std::size_t>(n * (n_out + 3)), 0x4242);
        multiply_in_tiles(
            room.input(),
            weights,
            bias.data(),
            function,
            {y.data(), n, n_out, n_out + 3},
            team,
            room);
        return y;
    }

    double expected(std::int64_t row, std::int64_t out) const
    {
        double sum = static_cast<double>(bias[static_cast<std::size_t>(out)]);
        for (std::int64_t k = 0; k != n_in; ++k) {
            const float weight = wide[static_cast<std::size_t>(out * n_in + k)];
            sum +=
                static_cast<double>(from_bf16(to_bf16(weight))) *
                static_cast<double>(from_bf16(x[static_cast<std::size_t>(row * (n_in + 8) + k)]));
        }
        return sum;
    }

    std::int64_t n_rows;
    std::int64_t n_in;
    std::int64_t n_out;
    std::vector<std::byte> blocks;
    std::vector<float> wide;
    std::vector<float> bias;
    halves x;
    linear weights;
};

void check(const product_case& one, const halves& y)
{
    double largest = 0;
    double sum = 0;
    bool others_kept = true;
    for (std::int64_t row = 0; row != one.n_rows; ++row) {
        const std::uint16_t* got = y.data() + row * (one.n_out + 3);
        for (std::int64_t out = 0; out != one.n_out; ++out) {
            const double expected = one.expected(row, out);
            const double error = std::abs(static_cast<double>(from_bf16(got[out])) - expected);
            // A result is rounded to 8 bits, and so are the weights: halves the other way.
            largest = std::max(largest, error / (std::abs(expected) + 1));
            sum += expected * expected;
        }
        for (std::int64_t k = one.n_out; k != one.n_out + 3; ++k)
            others_kept = others_kept && got[k] == 0x4242;
    }
    CHECK(sum > 0);
    CHECK(largest < 0.03);
    CHECK(others_kept);
}

}  // namespace

TEST_CASE("products in tiles: give what the widened weights give, whatever the type")
{
    for (const block_type type : all_types()) {
        if (is_dense(type)) continue;
        CAPTURE(static_cast<int>(type));
        const product_case one{type, 45, 512, 70};
        if (!fits_tiles(one.weights)) return;
        check(one, one.run(row_function::none, 2, one.n_rows));
    }
}

TEST_CASE("products in tiles: add up the columns of wide rows in the same sums")
{
    const product_case one{block_type::q8_0, 33, 3072 + 544, 16};
    if (!fits_tiles(one.weights)) return;
    check(one, one.run(row_function::none, 1, one.n_rows));
}

TEST_CASE("products in tiles: do not depend on threads, nor on other rows")
{
    const product_case one{block_type::q4_k, 64, 256, 300};
    if (!fits_tiles(one.weights)) return;
    const halves all = one.run(row_function::none, 1, 64);
    CHECK(one.run(row_function::none, 3, 64) == all);
    const halves some = one.run(row_function::none, 2, 7);
    CHECK(std::equal(some.begin(), some.end(), all.begin()));
    CHECK(one.run(row_function::none, 1, 0).empty());
}

TEST_CASE("products in tiles: go through a function")
{
    const product_case one{block_type::q8_0, 16, 64, 32};
    if (!fits_tiles(one.weights)) return;
    const halves y = one.run(row_function::gelu_tanh, 1, 16);
    double largest = 0;
    for (std::int64_t row = 0; row != 16; ++row)
        for (std::int64_t out = 0; out != 32; ++out) {
            const double v = one.expected(row, out);
            const double inner = 0.7978845608 * (v + 0.044715 * v * v * v);
            const double got =
                static_cast<double>(from_bf16(y[static_cast<std::size_t>(row * 35 + out)]));
            largest = std::max(largest, std::abs(got - 0.5 * v * (1 + std::tanh(inner))));
        }
    CHECK(largest < 0.02);
}

TEST_CASE("products in tiles: refuse sizes that do not fit")
{
    const product_case one{block_type::q8_0, 16, 64, 32};
    if (!fits_tiles(one.weights)) return;
    thread_team team{1};
    tile_room room;
    CHECK_THROWS_AS(room.input().set({one.x.data(), 16, 33, 72}, team), std::invalid_argument);
    room.input().set({one.x.data(), 16, 32, 72}, team);
    halves y(16 * 32);
    CHECK_THROWS_AS(
        multiply_in_tiles(
            room.input(),
            one.weights,
            nullptr,
            row_function::none,
            {y.data(), 16, 32, 32},
            team,
            room),
        std::invalid_argument);
}

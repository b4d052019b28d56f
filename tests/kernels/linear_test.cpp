#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>

#include "kernels/kernel_table.hpp"
#include "kernels/linear.hpp"
#include "kernels/random_numbers.hpp"

using namespace modelpool::kernels;
using namespace modelpool::kernels::test;

namespace {

/// The whole product in f64, on the numbers that both sides stand for.
std::vector<double>
reference(block_type type, const std::vector<std::byte>& w, std::int64_t n_out, const_matrix x)
{
    thread_team team{1};
    scratch room{isa::scalar};
    linear_input input;
    input.set(x, !is_dense(type), team, room);
    std::vector<float> row(static_cast<std::size_t>(x.n));
    std::vector<double> y(static_cast<std::size_t>(x.n_rows * n_out));
    for (std::int64_t o = 0; o != n_out; ++o) {
        dequantize_row(type, w.data() + o * row_bytes(type, x.n), x.n, row.data());
        for (std::int64_t r = 0; r != x.n_rows; ++r) {
            double sum = 0;
            for (std::int64_t k = 0; k != x.n; ++k) {
                double a = static_cast<double>(x.row(r)[k]);
                if (input.is_quantized()) {
                    const quantized_view q = input.quantized();
                    const std::int8_t* codes = q.codes_of(r, k / 32) + k % 32;
                    a = static_cast<double>(*q.scale_of(r, k / 256)) *
                        (256 * codes[0] + codes[1024]);
                }
                sum += a * static_cast<double>(row[static_cast<std::size_t>(k)]);
            }
            y[static_cast<std::size_t>(r * n_out + o)] = sum;
        }
    }
    return y;
}

std::vector<float>
product(const linear& weights, const_matrix x, isa set, int n_threads, std::int64_t rows_at_once)
{
    thread_team team{n_threads};
    scratch room{set};
    std::vector<float> y(static_cast<std::size_t>(x.n_rows * weights.n_out()), -77.0F);
    for (std::int64_t row = 0; row < x.n_rows; row += rows_at_once) {
        const std::int64_t n = std::min(rows_at_once, x.n_rows - row);
        const const_matrix some{x.row(row), n, x.n, x.stride};
        const matrix out{y.data() + row * weights.n_out(), n, weights.n_out(), weights.n_out()};
        weights.apply(some, out, team, room);
    }
    return y;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b)
{
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace

TEST_CASE("linear: agrees with a product in f64 for every type")
{
    for (const block_type type : all_types()) {
        const std::int64_t n_in = is_dense(type) ? 523 : 512;
        const std::int64_t n_out = 21;
        numbers random{static_cast<std::uint32_t>(type)};
        const auto bytes = random_blocks(type, n_in * n_out, random);
        auto x = random.many(3 * n_in);
        const auto expected = reference(type, bytes, n_out, as_matrix(x, 3));
        const linear weights{type, bytes, n_out, n_in, linear::layout::packed};
        const auto y = product(weights, as_matrix(x, 3), isa::scalar, 1, 3);
        double size = 0;
        for (const double e : expected)
            size = std::max(size, std::fabs(e));
        REQUIRE(size > 0.01);
        for (std::size_t i = 0; i != y.size(); ++i) {
            INFO("type " << static_cast<unsigned>(type) << " at " << i);
            CHECK(std::fabs(static_cast<double>(y[i]) - expected[i]) < 1e-5 * size);
        }
    }
}

TEST_CASE("linear: gives the same bits for any instruction set, layout, threads and rows at once")
{
    for (const block_type type : all_types()) {
        const std::int64_t n_in = is_dense(type) ? 300 : 768;
        const std::int64_t n_out = 55;
        const std::int64_t n_rows = 37;
        numbers random{100 + static_cast<std::uint32_t>(type)};
        const auto bytes = random_blocks(type, n_in * n_out, random);
        auto x = random.many(n_rows * n_in);
        x[5] = 100.0F;
        const linear packed{type, bytes, n_out, n_in, linear::layout::packed};
        const linear stored{type, bytes, n_out, n_in, linear::layout::stored};
        const auto expected = product(packed, as_matrix(x, n_rows), isa::scalar, 1, n_rows);
        INFO("type " << static_cast<unsigned>(type));
        CHECK(same_bits(product(stored, as_matrix(x, n_rows), isa::scalar, 2, 5), expected));
        CHECK(same_bits(product(packed, as_matrix(x, n_rows), isa::scalar, 1, 1), expected));
        for (const isa set : others()) {
            INFO("instruction set " << static_cast<int>(set));
            for (const std::int64_t rows_at_once : {1, 2, 3, 7, 16, 37}) {
                INFO(rows_at_once << " rows at once");
                const auto alone = product(packed, as_matrix(x, n_rows), set, 1, rows_at_once);
                CHECK(same_bits(alone, expected));
                const auto two = product(stored, as_matrix(x, n_rows), set, 2, rows_at_once);
                CHECK(same_bits(two, expected));
            }
        }
    }
}

TEST_CASE("linear: gives the same bits where rows are many, and where they end within a block")
{
    for (const block_type type : {block_type::q4_k, block_type::q6_k, block_type::q5_1}) {
        // So many rows, or columns, that they are computed on in parts.
        const bool is_wide = type == block_type::q6_k;
        const std::int64_t narrow = type == block_type::q5_1 ? 608 : 768;
        const std::int64_t n_in = is_wide ? 33 * 256 : narrow;
        const std::int64_t n_out = 17;
        const std::int64_t n_rows = is_wide ? 150 : 1100;
        numbers random{200 + static_cast<std::uint32_t>(type)};
        const auto bytes = random_blocks(type, n_in * n_out, random);
        auto x = random.many(n_rows * n_in);
        const linear packed{type, bytes, n_out, n_in, linear::layout::packed};
        const linear stored{type, bytes, n_out, n_in, linear::layout::stored};
        INFO("type " << static_cast<unsigned>(type));
        const auto expected = product(packed, as_matrix(x, n_rows), isa::scalar, 2, 61);
        for (const isa set : others()) {
            INFO("instruction set " << static_cast<int>(set));
            CHECK(same_bits(product(packed, as_matrix(x, n_rows), set, 2, n_rows), expected));
            CHECK(same_bits(product(stored, as_matrix(x, n_rows), set, 2, n_rows), expected));
            CHECK(same_bits(product(stored, as_matrix(x, n_rows), set, 2, 45), expected));
        }
    }
}

TEST_CASE("linear: an input is held to a part in 32,000 of the greatest of 256 neighbours")
{
    numbers random{11};
    auto x = random.many(3 * 608);
    x[7] = 40.0F;
    x[1000] = -3.0F;
    thread_team team{1};
    scratch room;
    linear_input input;
    const const_matrix rows = as_matrix(x, 3);
    input.set(rows, true, team, room);
    const quantized_view q = input.quantized();
    for (std::int64_t r = 0; r != 3; ++r) {
        for (std::int64_t k = 0; k != 608; ++k) {
            float greatest = 0.0F;
            for (std::int64_t j = k / 256 * 256;
                 j != std::min<std::int64_t>(608, k / 256 * 256 + 256);
                 ++j)
                greatest = std::max(greatest, std::fabs(rows.row(r)[j]));
            const std::int8_t* codes = q.codes_of(r, k / 32) + k % 32;
            const float held =
                *q.scale_of(r, k / 256) * static_cast<float>(256 * codes[0] + codes[1024]);
            CHECK(std::fabs(held - rows.row(r)[k]) <= greatest / 32000.0F / 1.9F);
        }
    }
}

TEST_CASE("linear: takes bytes at odd addresses, and weights that use their whole range")
{
    for (const block_type type : all_types()) {
        const std::int64_t n_in = 256;
        const std::int64_t n_out = 16;
        numbers random{7};
        auto bytes = random_blocks(type, n_in * n_out, random);
        for (std::byte& b : bytes) {  // where every code is all ones, sums are greatest
            if (!is_dense(type)) b |= std::byte{0xc3};
        }
        for (std::size_t at = 0; !is_dense(type) && at != bytes.size();) {
            const auto size = static_cast<std::size_t>(shape_of(type).n_bytes);
            const bool is_last = type == block_type::q3_k || type == block_type::q6_k;
            store_as(bytes.data() + at + (is_last ? size - 2 : 0), std::uint16_t{0x2c00});
            if (type == block_type::q2_k) store_as(bytes.data() + at + 80, 0x2c002c00U);
            if (type == block_type::q4_k || type == block_type::q5_k || type == block_type::q4_1 ||
                type == block_type::q5_1)
                store_as(bytes.data() + at, 0x2c002c00U);
            at += size;
        }
        std::vector<std::byte> shifted(bytes.size() + 1);
        std::memcpy(shifted.data() + 1, bytes.data(), bytes.size());
        const std::span<const std::byte> odd{shifted.data() + 1, bytes.size()};
        std::vector<float> x(static_cast<std::size_t>(2 * n_in), -3.0F);
        for (std::size_t k = 0; k != static_cast<std::size_t>(n_in); ++k)
            x[k] = 3.0F;
        const linear stored{type, odd, n_out, n_in, linear::layout::stored};
        const auto expected = product(stored, as_matrix(x, 2), isa::scalar, 1, 2);
        const auto exact = reference(type, bytes, n_out, as_matrix(x, 2));
        INFO("type " << static_cast<unsigned>(type));
        for (std::size_t i = 0; i != exact.size(); ++i)
            CHECK(static_cast<double>(expected[i]) == Approx(exact[i]).epsilon(1e-5).margin(0.01));
        for (const isa set : others())
            CHECK(same_bits(product(stored, as_matrix(x, 2), set, 1, 2), expected));
    }
}

TEST_CASE("linear: packing tells what it has read for good, in order, and copies all of it")
{
    const std::int64_t n_in = 65536;
    const std::int64_t n_out = 161;
    const std::int64_t n_experts = 3;  // some 33 MiB, which are more than one slice
    numbers random{12};
    const auto bytes = random_blocks(block_type::q8_0, n_in * n_out * n_experts, random);
    std::vector<std::byte> source = bytes;
    std::vector<std::size_t> parts;
    std::size_t n_read = 0;
    thread_team team{2};
    const auto read = [&](std::span<const std::byte> part) {
        CHECK(part.data() == source.data() + n_read);
        n_read += part.size();
        parts.push_back(part.size());
        std::fill_n(source.data() + (part.data() - source.data()), part.size(), std::byte{0x55});
    };
    constexpr auto packing = linear::layout::packed;
    const linear packed{block_type::q8_0, source, n_out, n_in, packing, &team, n_experts, read};
    CHECK(n_read == bytes.size());
    CHECK(parts.size() == 2);
    const linear stored{
        block_type::q8_0, bytes, n_out, n_in, linear::layout::stored, &team, n_experts};
    auto x = random.many(n_in);
    const std::vector<routed_row> routes{{0, 0}, {0, 1}, {0, 2}};
    const auto through = [&](const linear& weights) {
        std::vector<float> y(static_cast<std::size_t>(n_experts * n_out));
        scratch room;
        linear_input input;
        input.set(as_matrix(x, 1), true, team, room);
        weights.apply_routed(input, routes, as_matrix(y, n_experts), team, room);
        return y;
    };
    CHECK(same_bits(through(packed), through(stored)));
    const auto stop = [](std::span<const std::byte>) { throw std::runtime_error{"enough"}; };
    const auto pack = [&] {
        const linear none{block_type::q8_0, bytes, n_out, n_in, packing, &team, n_experts, stop};
    };
    CHECK_THROWS_AS(pack(), std::runtime_error);
}

TEST_CASE("linear: a row with an infinity or a NaN gives NaN, and leaves its neighbours alone")
{
    numbers random{3};
    const auto bytes = random_blocks(block_type::q4_k, 256 * 16, random);
    const linear weights{block_type::q4_k, bytes, 16, 256, linear::layout::packed};
    auto x = random.many(3 * 256);
    const auto clean = product(weights, as_matrix(x, 3), isa::scalar, 1, 3);
    x[10] = std::numeric_limits<float>::infinity();
    x[2 * 256 + 200] = std::numeric_limits<float>::quiet_NaN();
    std::vector<isa> sets = others();
    sets.push_back(isa::scalar);
    for (const isa set : sets) {
        const auto y = product(weights, as_matrix(x, 3), set, 1, 3);
        for (std::size_t o = 0; o != 16; ++o) {
            CHECK(std::isnan(y[o]));
            CHECK(y[16 + o] == clean[16 + o]);
            CHECK(std::isnan(y[32 + o]));
        }
    }
}

TEST_CASE("linear: rows that may be fast agree to 8 bits, and leave those before them alone")
{
    for (const block_type type : all_types()) {
        if (is_dense(type)) continue;
        const bool is_small = shape_of(type).n_elements == 32;
        const std::int64_t n_in = is_small ? 1120 : 1280;
        const std::int64_t n_out = 8 * 16 + 39;  // panels in two parts, and one of them alone
        const std::int64_t n_rows = 70;
        const std::int64_t first_fast = 9;
        numbers random{300 + static_cast<std::uint32_t>(type)};
        const auto bytes = random_blocks(type, n_in * n_out, random);
        auto x = random.many(n_rows * n_in);
        INFO("type " << static_cast<unsigned>(type));
        for (const auto how : {linear::layout::packed, linear::layout::stored}) {
            const linear weights{type, bytes, n_out, n_in, how};
            const auto exact = product(weights, as_matrix(x, n_rows), best_isa(), 1, n_rows);
            thread_team team{2};
            scratch room;
            linear_input input;
            input.set(as_matrix(x, n_rows), true, team, room, first_fast);
            REQUIRE(input.n_exact() == (room.has_bf16() ? first_fast : n_rows));
            std::vector<float> y(exact.size(), -77.0F);
            weights.apply(input, as_matrix(y, n_rows), team, room);
            const auto n_same = static_cast<std::size_t>(input.n_exact() * n_out);
            CHECK(std::memcmp(y.data(), exact.data(), n_same * sizeof(float)) == 0);
            double squares = 0;
            double difference = 0;
            for (std::size_t i = n_same; i != y.size(); ++i) {
                const auto expected = static_cast<double>(exact[i]);
                squares += expected * expected;
                difference += std::pow(static_cast<double>(y[i]) - expected, 2.0);
            }
            CHECK(difference <= squares * 0x1p-14);
            CHECK((difference > 0) == room.has_bf16());
        }
    }
}

TEST_CASE("linear: few rows are never fast, and rows in bf16 take no routes")
{
    numbers random{12};
    const auto bytes = random_blocks(block_type::q8_0, 256 * 16, random);
    const linear weights{block_type::q8_0, bytes, 16, 256, linear::layout::packed};
    auto x = random.many(40 * 256);
    std::vector<float> y(40 * 16);
    thread_team team{1};
    scratch room;
    linear_input input;
    input.set(as_matrix(x, 40), true, team, room, 9);
    CHECK(input.n_exact() == 40);
    input.set(as_matrix(x, 40), true, team, room, 8);
    const std::vector<routed_row> routes(40, {39, 0});
    if (room.has_bf16())
        CHECK_THROWS_AS(
            weights.apply_routed(input, routes, as_matrix(y, 40), team, room),
            std::invalid_argument);
    scratch narrow{isa::scalar};
    input.set(as_matrix(x, 40), true, team, narrow, 0);
    CHECK(input.n_exact() == 40);
}

TEST_CASE("linear: routes rows through experts as each expert alone would compute them")
{
    for (const block_type type : {block_type::q4_k, block_type::f16, block_type::q8_0}) {
        const std::int64_t n_in = 256;
        const std::int64_t n_out = 40;
        const std::int64_t n_experts = 5;
        const std::int64_t n_rows = 60;
        numbers random{9};
        const auto bytes = random_blocks(type, n_in * n_out * n_experts, random);
        auto x = random.many(n_rows * n_in);
        std::vector<routed_row> routes;
        for (std::int32_t row = 0; row != n_rows; ++row) {
            routes.push_back({row, static_cast<std::int32_t>(random.bits() % n_experts)});
            routes.push_back({row, static_cast<std::int32_t>(random.bits() % n_experts)});
        }
        std::vector<isa> sets = others();
        sets.push_back(isa::scalar);
        for (const auto how : {linear::layout::stored, linear::layout::packed}) {
            const linear all{type, bytes, n_out, n_in, how, nullptr, n_experts};
            for (const isa set : sets) {
                thread_team team{2};
                scratch room{set};
                linear_input input;
                input.set(as_matrix(x, n_rows), all.takes_quantized(), team, room);
                std::vector<float> y(routes.size() * 40);
                all.apply_routed(
                    input,
                    routes,
                    as_matrix(y, static_cast<std::int64_t>(routes.size())),
                    team,
                    room);
                const auto one = static_cast<std::size_t>(row_bytes(type, n_in * n_out));
                for (std::size_t i = 0; i != routes.size(); ++i) {
                    const auto expert = static_cast<std::size_t>(routes[i].expert);
                    const std::span<const std::byte> own{bytes.data() + one * expert, one};
                    const linear alone{type, own, n_out, n_in, linear::layout::stored};
                    const const_matrix row{x.data() + routes[i].row * n_in, 1, n_in, n_in};
                    const auto expected = product(alone, row, isa::scalar, 1, 1);
                    CHECK(std::memcmp(expected.data(), y.data() + i * 40, 160) == 0);
                }
            }
        }
    }
}

TEST_CASE("linear: refuses what does not fit")
{
    const std::vector<std::byte> bytes(18 * 4);
    const auto how = linear::layout::packed;
    CHECK_THROWS_AS((linear{block_type::q4_0, bytes, 4, 33, how}), std::invalid_argument);
    CHECK_THROWS_AS((linear{block_type::q4_0, bytes, 5, 32, how}), std::invalid_argument);
    CHECK_THROWS_AS((linear{block_type::q4_0, bytes, 0, 32, how}), std::invalid_argument);
    CHECK_THROWS_AS((linear{static_cast<block_type>(5), bytes, 4, 32, how}), std::invalid_argument);
    const linear weights{block_type::q4_0, bytes, 4, 32, how};
    thread_team team{1};
    scratch room;
    std::vector<float> x(64);
    std::vector<float> y(8);
    CHECK_THROWS_AS(
        weights.apply(as_matrix(x, 1), as_matrix(y, 1), team, room), std::invalid_argument);
    linear_input input;
    input.set(as_matrix(x, 2), false, team, room);
    CHECK_THROWS_AS(weights.apply(input, as_matrix(y, 2), team, room), std::invalid_argument);
    input.set(as_matrix(x, 2), true, team, room);
    const std::vector<routed_row> wrong{{2, 0}, {0, 0}};
    CHECK_THROWS_AS(
        weights.apply_routed(input, wrong, as_matrix(y, 2), team, room), std::invalid_argument);
}

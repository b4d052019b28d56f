#include <catch2/catch.hpp>

#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>

#include "kernels/k_quantize.hpp"
#include "kernels/quantized_linear.hpp"
#include "kernels/random_numbers.hpp"

using namespace modelpool::kernels;
using namespace modelpool::kernels::test;

namespace {

using bytes = std::vector<std::byte>;

bytes stored(block_type type, const std::vector<float>& numbers)
{
    const auto n = static_cast<std::int64_t>(numbers.size());
    bytes made(static_cast<std::size_t>(row_bytes(type, n)));
    quantize_row(type, numbers.data(), n, made.data());
    return made;
}

std::vector<float> read(block_type type, const bytes& from, std::int64_t n)
{
    std::vector<float> made(static_cast<std::size_t>(n));
    dequantize_row(type, from.data(), n, made.data());
    return made;
}

// What each expert makes of one row.
std::vector<float> products(const linear& weights, std::vector<float> x)
{
    thread_team team{1};
    scratch room{isa::scalar};
    std::vector<routed_row> routes;
    for (std::int32_t expert = 0; expert != weights.n_experts(); ++expert)
        routes.push_back({0, expert});
    std::vector<float> y(static_cast<std::size_t>(weights.n_experts() * weights.n_out()));
    linear_input input;
    input.set(as_matrix(x, 1), true, team, room);
    weights.apply_routed(
        input,
        routes,
        {y.data(), weights.n_experts(), weights.n_out(), weights.n_out()},
        team,
        room);
    return y;
}

double relative_error(block_type type, const std::vector<float>& x)
{
    const auto back = read(type, stored(type, x), static_cast<std::int64_t>(x.size()));
    double squares = 0;
    double all = 0;
    for (std::size_t k = 0; k != x.size(); ++k) {
        squares += std::pow(static_cast<double>(back[k]) - static_cast<double>(x[k]), 2.0);
        all += std::pow(static_cast<double>(x[k]), 2.0);
    }
    return std::sqrt(squares / all);
}

}  // namespace

TEST_CASE("quantized_linear: dense experts become the packed blocks of their numbers")
{
    const block_type to = GENERATE(block_type::q8_0, block_type::q4_k, block_type::q6_k);
    const block_type from = GENERATE(block_type::f32, block_type::f16, block_type::bf16);
    const int n_threads = GENERATE(1, 3);
    constexpr std::int64_t n_in = 512;
    constexpr std::int64_t n_out = 21;
    numbers random{5};
    std::vector<bytes> dense;
    bytes blocks;
    for (int expert = 0; expert != 2; ++expert) {
        dense.push_back(stored(from, random.many(n_in * n_out, 0.1F)));
        const bytes same = stored(to, read(from, dense.back(), n_in * n_out));
        blocks.insert(blocks.end(), same.begin(), same.end());
    }
    const std::vector<std::span<const std::byte>> experts{dense[0], dense[1]};
    std::vector<std::byte> seen;
    thread_team team{n_threads};
    const linear made = quantized_linear(
        to, {from, n_out, n_in, experts}, team, [&](std::span<const std::byte> part) {
            seen.insert(seen.end(), part.begin(), part.end());
        });
    CHECK(made.type() == to);
    CHECK_FALSE(made.refers_to_bytes());
    const linear expected{to, blocks, n_out, n_in, linear::layout::packed, nullptr, 2};
    const auto x = random.many(n_in);
    CHECK(products(made, x) == products(expected, x));
    bytes whole = dense[0];
    whole.insert(whole.end(), dense[1].begin(), dense[1].end());
    CHECK(seen == whole);
}

TEST_CASE(
    "quantized_linear: numbers that no block can hold, and sizes that do not fit, are refused")
{
    thread_team team{2};
    std::vector<float> x(512, 0.5F);
    const auto quantize = [&](std::int64_t n_out, std::int64_t n_in) {
        const std::vector<float> copy = x;
        quantized_linear(
            block_type::q4_k, block_type::f32, std::as_bytes(std::span{copy}), n_out, n_in, team);
    };
    CHECK_NOTHROW(quantize(2, 256));
    CHECK_THROWS_AS(quantize(1, 256), std::invalid_argument);
    CHECK_THROWS_AS(quantize(4, 128), std::invalid_argument);
    CHECK_THROWS_AS(quantize(0, 256), std::invalid_argument);
    for (const float bad : {std::numeric_limits<float>::infinity(), std::nanf(""), -65536.0F}) {
        x[300] = bad;
        CHECK_THROWS_AS(quantize(2, 256), std::domain_error);
    }
    x[300] = 65504.0F;
    CHECK_NOTHROW(quantize(2, 256));
}

TEST_CASE("quantized_linear: rows that are no whole blocks take smaller ones with as many bits")
{
    CHECK(fitting_type(block_type::q4_k, 512) == block_type::q4_k);
    CHECK(fitting_type(block_type::q4_k, 96) == block_type::q5_0);
    CHECK(fitting_type(block_type::q6_k, 96) == block_type::q8_0);
    CHECK(fitting_type(block_type::q8_0, 96) == block_type::q8_0);
    CHECK(fitting_type(block_type::q8_0, 48) == block_type::bf16);
    CHECK(fitting_type(block_type::q4_k, 40) == block_type::bf16);
}

TEST_CASE("quantized_linear: K blocks leave no more error than the published search")
{
    // Sums of twelve even numbers: as good as normal.
    numbers random{3};
    std::vector<float> x(std::size_t{1} << 15U);
    for (float& each : x)
        for (int i = 0; i != 12; ++i)
            each += random.one();
    // The search of the format's reference implementation leaves 0.0718 and 0.0175 of normal
    // numbers' root mean square.
    CHECK(relative_error(block_type::q4_k, x) < 0.0718);
    CHECK(relative_error(block_type::q6_k, x) < 0.0175);
    CHECK(relative_error(block_type::q8_0, x) < 0.006);
}

#if defined(__x86_64__)
TEST_CASE("quantized_linear: the same blocks come with and without vector instructions")
{
    if (best_isa() == isa::scalar) return;
    numbers random{8};
    for (int i = 0; i != 200; ++i) {
        auto x = random.many(256, 2.0F);
        if (i % 4 == 1) std::fill_n(x.begin() + 32, 40, 0.0F);
        if (i % 4 == 2) std::fill(x.begin(), x.end(), -0.25F);
        if (i % 4 == 3)
            for (float& each : x)
                each = std::fabs(each) * 1e-6F;
        bytes plain(144);
        bytes fast(144);
        scalar_k_quantizer().q4_k(x.data(), plain.data());
        avx2_k_quantizer().q4_k(x.data(), fast.data());
        REQUIRE(plain == fast);
        plain.resize(210);
        fast.resize(210);
        scalar_k_quantizer().q6_k(x.data(), plain.data());
        avx2_k_quantizer().q6_k(x.data(), fast.data());
        REQUIRE(plain == fast);
    }
}
#endif

#include <catch2/catch.hpp>

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>

#include "kernels/random_numbers.hpp"
#include "kernels/rows.hpp"

using namespace modelpool::kernels;
using namespace modelpool::kernels::test;

namespace {

using operation = std::function<void(const_matrix, matrix, thread_team&, scratch&)>;

/// The result of a whole run with the scalar kernels, and the check that every other way to get
/// there gives the same bits: other instruction sets, row by row, with two threads, in place.
std::vector<float> checked(const operation& run, std::vector<float> x, std::int64_t n_rows)
{
    const matrix in = as_matrix(x, n_rows);
    std::vector<float> expected(x.size());
    thread_team one{1};
    scratch scalar{isa::scalar};
    run(in, as_matrix(expected, n_rows), one, scalar);
    std::vector<isa> sets = others();
    sets.push_back(isa::scalar);
    for (const isa set : sets) {
        scratch room{set};
        thread_team two{2};
        std::vector<float> y(x.size());
        run(in, as_matrix(y, n_rows), two, room);
        CHECK(std::memcmp(y.data(), expected.data(), y.size() * 4) == 0);
        std::vector<float> in_place = x;
        for (std::int64_t r = 0; r != n_rows; ++r) {
            const matrix row{in_place.data() + r * in.n, 1, in.n, in.n};
            run(row, row, one, room);
        }
        CHECK(std::memcmp(in_place.data(), expected.data(), y.size() * 4) == 0);
    }
    return expected;
}

double at(const std::vector<float>& x, std::int64_t index)
{
    return static_cast<double>(x[static_cast<std::size_t>(index)]);
}

}  // namespace

TEST_CASE("rows: norms agree with their formulas, for any length and instruction set")
{
    for (const std::int64_t n : {1, 5, 16, 37, 64, 1000}) {
        numbers random{static_cast<std::uint32_t>(n)};
        const auto x = random.many(3 * n, 4.0F);
        const auto weight = random.many(n);
        const auto bias = random.many(n);
        const auto rms = checked(
            [&](const_matrix in, matrix out, thread_team& team, scratch& room) {
                rms_norm(in, weight.data(), 1e-5F, out, team, room);
            },
            x,
            3);
        const auto layer = checked(
            [&](const_matrix in, matrix out, thread_team& team, scratch& room) {
                layer_norm(in, weight.data(), bias.data(), 1e-5F, out, team, room);
            },
            x,
            3);
        for (std::int64_t r = 0; r != 3; ++r) {
            double squares = 0;
            double sum = 0;
            for (std::int64_t k = 0; k != n; ++k) {
                squares += at(x, r * n + k) * at(x, r * n + k);
                sum += at(x, r * n + k);
            }
            const auto count = static_cast<double>(n);
            const double mean = sum / count;
            const double variance = squares / count - mean * mean;
            for (std::int64_t k = 0; k != n; ++k) {
                const double a = at(x, r * n + k);
                const double by_rms = a / std::sqrt(squares / count + 1e-5) * at(weight, k);
                CHECK(at(rms, r * n + k) == Approx(by_rms).margin(1e-5));
                const double by_layer =
                    (a - mean) / std::sqrt(variance + 1e-5) * at(weight, k) + at(bias, k);
                CHECK(at(layer, r * n + k) == Approx(by_layer).margin(2e-5));
            }
        }
    }
}

TEST_CASE("rows: activations and softmax agree with their formulas, far from zero too")
{
    const std::int64_t n = 83;
    numbers random{5};
    auto x = random.many(2 * n, 12.0F);
    x[3] = 200.0F;
    x[4] = -200.0F;
    x[5] = 0.0F;
    const auto up = random.many(n, 2.0F);
    const const_matrix ups{up.data(), 2, n, 0};
    const auto silu = checked(
        [&](const_matrix in, matrix out, thread_team& team, scratch& room) {
            silu_mul(in, ups, out, team, room);
        },
        x,
        2);
    const auto gelu = checked(
        [&](const_matrix in, matrix out, thread_team& team, scratch& room) {
            gelu_mul(in, ups, out, team, room);
        },
        x,
        2);
    const auto soft = checked(
        [&](const_matrix in, matrix out, thread_team& team, scratch& room) {
            softmax(in, 0.5F, out, team, room);
        },
        x,
        2);
    const auto sig = checked(
        [&](const_matrix in, matrix out, thread_team& team, scratch& room) {
            sigmoid(in, out, team, room);
        },
        x,
        2);
    for (std::int64_t r = 0; r != 2; ++r) {
        double greatest = -1e9;
        double sum = 0;
        for (std::int64_t k = 0; k != n; ++k)
            greatest = std::max(greatest, 0.5 * at(x, r * n + k));
        for (std::int64_t k = 0; k != n; ++k)
            sum += std::exp(0.5 * at(x, r * n + k) - greatest);
        for (std::int64_t k = 0; k != n; ++k) {
            const double a = at(x, r * n + k);
            const double sigma = 1.0 / (1.0 + std::exp(-a));
            CHECK(at(sig, r * n + k) == Approx(sigma).epsilon(1e-5).margin(1e-30));
            CHECK(at(silu, r * n + k) == Approx(a * sigma * at(up, k)).epsilon(1e-5).margin(1e-20));
            const double inner = std::sqrt(2.0 / M_PI) * (a + 0.044715 * a * a * a);
            const double expected = 0.5 * a * (1.0 + std::tanh(inner)) * at(up, k);
            CHECK(at(gelu, r * n + k) == Approx(expected).epsilon(1e-5).margin(1e-5));
            const double p = std::exp(0.5 * a - greatest) / sum;
            CHECK(at(soft, r * n + k) == Approx(p).epsilon(1e-5).margin(1e-20));
        }
    }
}

TEST_CASE("rows: NaN goes through activations, and fills its row of a softmax")
{
    std::vector<isa> sets = others();
    sets.push_back(isa::scalar);
    for (const isa set : sets) {
        thread_team team{1};
        scratch room{set};
        std::vector<float> x(20, 1.0F);
        x[7] = std::numeric_limits<float>::quiet_NaN();
        std::vector<float> y(20);
        sigmoid(as_matrix(x, 1), as_matrix(y, 1), team, room);
        CHECK(std::isnan(y[7]));
        CHECK(!std::isnan(y[8]));
        softmax(as_matrix(x, 1), 1.0F, as_matrix(y, 1), team, room);
        CHECK(std::isnan(y[0]));
        CHECK(std::isnan(y[19]));
    }
}

TEST_CASE("rows: sums agree with their formulas")
{
    numbers random{6};
    const auto x = random.many(3 * 21);
    const auto b = random.many(3 * 21);
    const auto sum = checked(
        [&](const_matrix in, matrix out, thread_team& team, scratch& room) {
            add_bias(in, b.data(), out, team, room);
        },
        x,
        3);
    CHECK(sum[21 + 4] == x[21 + 4] + b[4]);
    thread_team team{1};
    scratch room;
    std::vector<float> x_copy = x;
    std::vector<float> y = b;
    const std::vector<float> factors{2.0F, 0.0F, -1.0F};
    add_scaled(as_matrix(x_copy, 3), factors, as_matrix(y, 3), team, room);
    CHECK(y[3] == std::fma(x[3], 2.0F, b[3]));
    CHECK(y[21] == b[21]);
    CHECK(y[62] == b[62] - x[62]);
    std::vector<float> b_copy = b;
    add(as_matrix(x_copy, 3), as_matrix(b_copy, 3), as_matrix(y, 3), team, room);
    CHECK(y[62] == b[62] + x[62]);
}

TEST_CASE("rows: rope turns the pairs that it is told to by position times frequency")
{
    const std::vector<float> frequencies{1.0F, 0.1F};
    numbers random{8};
    const auto x = random.many(2 * 2 * 6);
    const std::vector<std::int32_t> positions{3, 70000};
    for (const rope_pairs pairs : {rope_pairs::neox, rope_pairs::interleaved}) {
        rope_options options;
        options.pairs = pairs;
        options.n_heads = 2;
        options.head_dim = 6;
        options.first = 1;
        options.frequencies = frequencies;
        options.magnitude = 1.5F;
        auto y = x;
        thread_team team{2};
        scratch room{isa::scalar};
        rope(as_matrix(y, 2), positions, options, team, room);
        for (const isa set : others()) {
            auto other = x;
            scratch forced{set};
            rope(as_matrix(other, 2), positions, options, team, forced);
            CHECK(other == y);
        }
        for (std::int64_t r = 0; r != 2; ++r) {
            for (std::int64_t h = 0; h != 2; ++h) {
                const std::int64_t head = r * 12 + h * 6;
                CHECK(y[static_cast<std::size_t>(head)] == x[static_cast<std::size_t>(head)]);
                for (std::int64_t i = 0; i != 2; ++i) {
                    const std::int64_t a = head + 1 + (pairs == rope_pairs::neox ? i : 2 * i);
                    const std::int64_t b = a + (pairs == rope_pairs::neox ? 2 : 1);
                    const double angle =
                        positions[static_cast<std::size_t>(r)] * at(frequencies, i);
                    const double c = 1.5 * std::cos(angle);
                    const double s = 1.5 * std::sin(angle);
                    CHECK(at(y, a) == Approx(at(x, a) * c - at(x, b) * s).margin(1e-6));
                    CHECK(at(y, b) == Approx(at(x, a) * s + at(x, b) * c).margin(1e-6));
                }
            }
        }
    }
}

TEST_CASE("rows: top_k gives the greatest first, equals in their order, and NaN last")
{
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const std::vector<float> x{1.0F, 5.0F, nan, 5.0F, -2.0F, 7.0F};
    std::vector<std::int32_t> three(3);
    top_k(x, three);
    CHECK(three == std::vector<std::int32_t>{5, 1, 3});
    std::vector<std::int32_t> all(6);
    top_k(x, all);
    CHECK(all == std::vector<std::int32_t>{5, 1, 3, 0, 4, 2});
}

#include <catch2/catch.hpp>

#include <cmath>
#include <cstring>
#include <stdexcept>

#include "kernels/attention.hpp"
#include "kernels/random_numbers.hpp"

using namespace modelpool::kernels;
using namespace modelpool::kernels::test;

namespace {

/// One sequence's keys and values, in blocks that are not in order and hold rubbish elsewhere.
struct sequence {
    kv_layout layout;
    std::int64_t n_tokens;
    std::vector<aligned_room> rooms;
    std::vector<const std::byte*> blocks;
    std::vector<float> keys;  // as read back
    std::vector<float> values;

    sequence(const kv_layout& how, std::int64_t n, numbers& random)
        : layout{how}
        , n_tokens{n}
    {
        const auto size = static_cast<std::size_t>(layout.block_bytes());
        const std::int64_t n_blocks = (n + layout.block_tokens - 1) / layout.block_tokens;
        std::vector<std::byte*> writable;
        for (std::int64_t b = 0; b != n_blocks; ++b) {
            rooms.emplace_back();
            writable.push_back(rooms.back().get(size));
            std::memset(writable.back(), 0xff, size);
        }
        const std::int64_t k_size = std::int64_t{layout.n_kv_heads} * layout.k_dim;
        const std::int64_t v_size = std::int64_t{layout.n_kv_heads} * layout.v_dim;
        keys.resize(static_cast<std::size_t>(n * k_size));
        values.resize(static_cast<std::size_t>(n * v_size));
        for (std::int64_t t = 0; t != n; ++t) {
            const auto k = random.many(k_size, 2.0F);
            const auto v = random.many(v_size);
            std::byte* block = writable[static_cast<std::size_t>(t / layout.block_tokens)];
            const int slot = static_cast<int>(t % layout.block_tokens);
            store_kv(layout, block, slot, k.data(), v.data());
            load_kv(layout, block, slot, keys.data() + t * k_size, values.data() + t * v_size);
            for (std::size_t i = 0; i != k.size(); ++i) {
                const float error = layout.type == kv_type::f32    ? 0.0F
                                    : layout.type == kv_type::f16  ? 1e-3F
                                    : layout.type == kv_type::bf16 ? 8e-3F
                                                                   : 9e-3F;
                REQUIRE(std::fabs(keys[static_cast<std::size_t>(t * k_size) + i] - k[i]) <= error);
            }
        }
        blocks.assign(writable.begin(), writable.end());
    }
};

std::vector<double> reference(
    const attention_shape& shape,
    const sequence& from,
    const_matrix q,
    std::span<const attention_row> rows)
{
    const kv_layout& layout = shape.layout;
    std::vector<double> out;
    for (std::int64_t r = 0; r != q.n_rows; ++r) {
        const attention_row& row = rows[static_cast<std::size_t>(r)];
        for (int h = 0; h != shape.n_heads; ++h) {
            const std::int64_t kv = std::int64_t{h} * layout.n_kv_heads / shape.n_heads;
            double sum = 0;
            std::vector<double> total(static_cast<std::size_t>(layout.v_dim));
            for (std::int64_t t = row.first_key; t != row.n_keys; ++t) {
                double dot = 0;
                const std::int64_t place = t * layout.n_kv_heads + kv;
                for (int d = 0; d != layout.k_dim; ++d)
                    dot += static_cast<double>(q.row(r)[h * layout.k_dim + d]) *
                           static_cast<double>(
                               from.keys[static_cast<std::size_t>(place * layout.k_dim + d)]);
                const double p = std::exp(dot * static_cast<double>(shape.scale));
                sum += p;
                for (int d = 0; d != layout.v_dim; ++d)
                    total[static_cast<std::size_t>(d)] +=
                        p * static_cast<double>(
                                from.values[static_cast<std::size_t>(place * layout.v_dim + d)]);
            }
            for (const double x : total)
                out.push_back(x / sum);
        }
    }
    return out;
}

struct sizes {
    int n_heads;
    int n_kv_heads;
    int k_dim;
    int v_dim;
    int block_tokens;
};

}  // namespace

TEST_CASE("attention: agrees with f64, and gives the same bits for any chunks, threads and kernels")
{
    const std::vector<sizes> all{
        {4, 2, 32, 32, 16},
        {6, 1, 24, 16, 32},
        {3, 3, 8, 5, 16},
        {20, 1, 72, 64, 16},
        {2, 1, 128, 128, 64}};
    for (const kv_type type : {kv_type::f32, kv_type::f16, kv_type::bf16, kv_type::q8}) {
        for (const sizes& size : all) {
            INFO("type " << static_cast<int>(type) << ", " << size.n_heads << " heads");
            const kv_layout layout{
                type, size.n_kv_heads, size.k_dim, size.v_dim, size.block_tokens};
            const attention_shape shape{layout, size.n_heads, 0.2F};
            numbers random{static_cast<std::uint32_t>(size.k_dim)};
            const sequence tokens{layout, 75, random};
            const std::int64_t n_rows = 30;
            std::vector<attention_row> rows;
            for (std::int64_t r = 0; r != n_rows; ++r) {
                const std::int64_t n_keys = 46 + r;
                // The last rows have a window, as models with sliding attention do.
                rows.push_back({tokens.blocks.data(), n_keys, r < 20 ? 0 : n_keys - 30});
            }
            auto q = random.many(n_rows * size.n_heads * size.k_dim);
            const matrix queries = as_matrix(q, n_rows);
            std::vector<float> expected(
                static_cast<std::size_t>(n_rows * size.n_heads * size.v_dim));
            thread_team one{1};
            scratch scalar{isa::scalar};
            attend(shape, queries, rows, as_matrix(expected, n_rows), one, scalar);
            const auto exact = reference(shape, tokens, queries, rows);
            for (std::size_t i = 0; i != exact.size(); ++i)
                REQUIRE(static_cast<double>(expected[i]) == Approx(exact[i]).margin(5e-6));
            std::vector<isa> sets = others();
            sets.push_back(isa::scalar);
            for (const isa set : sets) {
                thread_team two{2};
                scratch room{set};
                for (const std::int64_t chunk : {1, 3, 8, 30}) {
                    std::vector<float> out(expected.size());
                    const matrix outs = as_matrix(out, n_rows);
                    for (std::int64_t r = 0; r < n_rows; r += chunk) {
                        const std::int64_t n = std::min(chunk, n_rows - r);
                        const const_matrix some{queries.row(r), n, queries.n, queries.stride};
                        const matrix to{outs.row(r), n, outs.n, outs.stride};
                        const std::span<const attention_row> part{
                            rows.data() + r, static_cast<std::size_t>(n)};
                        attend(shape, some, part, to, two, room);
                    }
                    INFO("instruction set " << static_cast<int>(set) << ", chunk " << chunk);
                    CHECK(std::memcmp(out.data(), expected.data(), out.size() * 4) == 0);
                }
            }
        }
    }
}

TEST_CASE("attention: rows of several sequences go through in one call")
{
    const kv_layout layout{kv_type::f16, 2, 16, 16, 16};
    const attention_shape shape{layout, 4, 0.25F};
    numbers random{77};
    const sequence a{layout, 40, random};
    const sequence b{layout, 17, random};
    const std::vector<attention_row> rows{
        {a.blocks.data(), 40}, {b.blocks.data(), 17}, {a.blocks.data(), 1}, {b.blocks.data(), 16}};
    auto q = random.many(4 * 64);
    std::vector<float> out(4 * 64);
    thread_team team{2};
    scratch room;
    attend(shape, as_matrix(q, 4), rows, as_matrix(out, 4), team, room);
    for (std::size_t r = 0; r != 4; ++r) {
        const const_matrix row{q.data() + 64 * r, 1, 64, 64};
        const auto exact = reference(shape, r % 2 == 0 ? a : b, row, {&rows[r], 1});
        for (std::size_t i = 0; i != 64; ++i)
            CHECK(static_cast<double>(out[64 * r + i]) == Approx(exact[i]).margin(2e-6));
    }
}

TEST_CASE("attention: refuses heads and rows that do not fit")
{
    numbers random{1};
    const kv_layout layout{kv_type::f32, 2, 8, 8, 16};
    const sequence tokens{layout, 3, random};
    std::vector<float> q(24);
    thread_team team{1};
    scratch room;
    const std::vector<attention_row> rows{{tokens.blocks.data(), 3}};
    const matrix m = as_matrix(q, 1);
    CHECK_THROWS_AS(attend({layout, 3, 1.0F}, m, rows, m, team, room), std::invalid_argument);
    CHECK_THROWS_AS(attend({layout, 4, 1.0F}, m, rows, m, team, room), std::invalid_argument);
    std::vector<float> x(16);
    const std::vector<attention_row> empty{{tokens.blocks.data(), 0}};
    const matrix fits = as_matrix(x, 1);
    CHECK_THROWS_AS(
        attend({layout, 2, 1.0F}, fits, empty, fits, team, room), std::invalid_argument);
}

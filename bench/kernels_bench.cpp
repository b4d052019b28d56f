// What the kernels reach, type by type: GB/s of weights read, and GOPS (two a product) at 1 to 512
// rows, exact ones and at last rows that may be fast. Every case runs several times, the cases
// taking turns, and the best time counts; with one thread it is processor time, which other work on
// the machine disturbs least.
//
//     kernels_bench [threads [scalar|avx2|avx512|amx [n_out n_in [rounds]]]]

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <iterator>
#include <random>
#include <string_view>
#include <vector>

#include "kernels/attention.hpp"
#include "kernels/half.hpp"
#include "kernels/linear.hpp"

using namespace modelpool::kernels;

namespace {

struct named_type {
    const char* name;
    block_type type;
};

constexpr named_type types[] = {
    {"Q4_K", block_type::q4_k},
    {"Q6_K", block_type::q6_k},
    {"Q8_0", block_type::q8_0},
    {"Q4_0", block_type::q4_0},
    {"F16", block_type::f16},
    {"BF16", block_type::bf16},
    {"F32", block_type::f32},
    {"Q5_K", block_type::q5_k},
    {"Q5_0", block_type::q5_0},
    {"Q5_1", block_type::q5_1},
    {"Q4_1", block_type::q4_1},
    {"Q3_K", block_type::q3_k},
    {"Q2_K", block_type::q2_k}};
constexpr std::int64_t row_counts[] = {1, 4, 8, 16, 64, 128, 512};
constexpr std::int64_t fast_row_counts[] = {128, 512};

using seconds = std::chrono::duration<double>;

/// Seconds, or of one thread on a machine with other work: seconds of processor time.
template <class F>
double timed(bool by_processor, F&& f)
{
    const auto start = std::chrono::steady_clock::now();
    const std::clock_t processor_start = std::clock();
    f();
    if (by_processor) return static_cast<double>(std::clock() - processor_start) / CLOCKS_PER_SEC;
    return seconds{std::chrono::steady_clock::now() - start}.count();
}

std::vector<std::byte> small_numbers(block_type type, std::int64_t n_numbers)
{
    std::vector<std::byte> bytes(static_cast<std::size_t>(row_bytes(type, n_numbers)));
    std::mt19937 random{1};
    if (is_dense(type)) {
        std::byte* to = bytes.data();
        for (std::int64_t k = 0; k != n_numbers; ++k, to += row_bytes(type, 1)) {
            const float x = static_cast<float>(static_cast<std::int32_t>(random())) * 0x1p-36F;
            quantize_row(type, &x, 1, to);
        }
        return bytes;
    }
    for (std::size_t at = 0; at + 4 <= bytes.size(); at += 4) {
        // Every half of a word is a small f16, so that no sum overflows.
        const auto word = static_cast<std::uint32_t>(random()) & 0x9fff9fffU;
        store_as(bytes.data() + at, word);
    }
    return bytes;
}

double read_bandwidth(thread_team& team)
{
    const std::vector<std::uint64_t> room(std::size_t{64} << 20U, 1);
    double best = 1e9;
    std::vector<std::uint64_t> sums(64);
    for (int round = 0; round != 5; ++round) {
        best = std::min(best, timed(team.n_threads() == 1, [&] {
                            team.run(64, [&](int part, int) {
                                std::uint64_t sum = 0;
                                const std::size_t each = room.size() / 64;
                                for (std::size_t i = 0; i != each; ++i)
                                    sum += room[static_cast<std::size_t>(part) * each + i];
                                sums[static_cast<std::size_t>(part)] = sum;
                            });
                        }));
    }
    if (sums[0] == 0) std::abort();
    return static_cast<double>(room.size() * 8) / best / 1e9;
}

void bench_attention(thread_team& team, scratch& room)
{
    const kv_layout layout{kv_type::f16, 8, 128, 128, 16};
    const attention_shape shape{layout, 16, 0.088F};
    const std::int64_t n_keys = 2048;
    std::vector<aligned_room> rooms(static_cast<std::size_t>(n_keys / layout.block_tokens));
    std::vector<const std::byte*> blocks;
    for (aligned_room& block : rooms) {
        const auto size = static_cast<std::size_t>(layout.block_bytes());
        std::memset(block.get(size), 1, size);
        blocks.push_back(block.data_as<std::byte>());
    }
    for (const std::int64_t n_rows : {std::int64_t{1}, std::int64_t{16}, std::int64_t{512}}) {
        std::vector<float> q(static_cast<std::size_t>(n_rows * 2048), 0.01F);
        std::vector<float> out(q.size());
        std::vector<attention_row> rows;
        for (std::int64_t r = 0; r != n_rows; ++r)
            rows.push_back({blocks.data(), n_keys - n_rows + r + 1});
        double best = 1e9;
        for (int round = 0; round != 5; ++round) {
            best = std::min(best, timed(team.n_threads() == 1, [&] {
                                attend(
                                    shape,
                                    {q.data(), n_rows, 2048, 2048},
                                    rows,
                                    {out.data(), n_rows, 2048, 2048},
                                    team,
                                    room);
                            }));
        }
        const double products = 2.0 * static_cast<double>(n_rows * n_keys) * 16 * 128;
        std::printf(
            "attention %4lld rows x %lld keys, 16/8 heads of 128, f16: %8.1f us, %6.1f GFLOPS\n",
            static_cast<long long>(n_rows),
            static_cast<long long>(n_keys),
            best * 1e6,
            2.0 * products / best / 1e9);
    }
}

isa set_of(std::string_view name)
{
    if (name == "scalar") return isa::scalar;
    if (name == "avx2") return isa::avx2;
    return name == "avx512" ? isa::avx512 : isa::amx;
}

}  // namespace

int main(int argc, char** argv)
{
    const int n_threads = argc > 1 ? std::atoi(argv[1]) : 2;
    thread_team team{std::max(n_threads, 1)};
    scratch room{argc > 2 ? set_of(argv[2]) : best_isa()};
    const std::int64_t n_out = argc > 4 ? std::atoll(argv[3]) : 12288;
    const std::int64_t n_in = argc > 4 ? std::atoll(argv[4]) : 6144;
    const int n_rounds = argc > 5 ? std::atoi(argv[5]) : 3;
    std::printf(
        "%d threads, instruction set %d, weights [%lld, %lld]; plain reading: %.1f GB/s\n",
        n_threads,
        static_cast<int>(room.chosen()),
        static_cast<long long>(n_out),
        static_cast<long long>(n_in),
        read_bandwidth(team));
    std::printf("type  GB/s at 1 |  GOPS at");
    for (const std::int64_t n_rows : row_counts)
        std::printf(" %7lld", static_cast<long long>(n_rows));
    std::printf(" | in bf16:");
    for (const std::int64_t n_rows : fast_row_counts)
        std::printf(" %5lld", static_cast<long long>(n_rows));
    std::printf("\n");
    std::vector<float> x(static_cast<std::size_t>(512 * n_in));
    std::mt19937 random{2};
    for (float& number : x)
        number = static_cast<float>(static_cast<std::int32_t>(random())) * 0x1p-31F;
    std::vector<float> y(static_cast<std::size_t>(512 * n_out));
    for (const named_type& type : types) {
        const auto bytes = small_numbers(type.type, n_out * n_in);
        const linear weights{type.type, bytes, n_out, n_in, linear::layout::packed, &team};
        linear_input input;
        double best[std::size(row_counts)];
        std::fill(std::begin(best), std::end(best), 1e9);
        for (int round = 0; round != n_rounds; ++round) {
            for (std::size_t i = 0; i != std::size(row_counts); ++i) {
                const const_matrix in{x.data(), row_counts[i], n_in, n_in};
                const matrix out{y.data(), row_counts[i], n_out, n_out};
                best[i] = std::min(best[i], timed(team.n_threads() == 1, [&] {
                                       input.set(in, weights.takes_quantized(), team, room);
                                       weights.apply(input, out, team, room);
                                   }));
            }
        }
        const double weight_bytes = static_cast<double>(bytes.size());
        std::printf("%-5s %9.1f |         ", type.name, weight_bytes / best[0] / 1e9);
        for (std::size_t i = 0; i != std::size(row_counts); ++i) {
            const double products = static_cast<double>(row_counts[i] * n_out * n_in);
            std::printf(" %7.0f", 2.0 * products / best[i] / 1e9);
        }
        for (const std::int64_t n_rows : fast_row_counts) {
            if (!weights.takes_quantized() || !room.has_bf16()) break;
            const const_matrix in{x.data(), n_rows, n_in, n_in};
            const matrix out{y.data(), n_rows, n_out, n_out};
            double least = 1e9;
            for (int round = 0; round != n_rounds; ++round)
                least = std::min(least, timed(team.n_threads() == 1, [&] {
                                     input.set(in, true, team, room, 0);
                                     weights.apply(input, out, team, room);
                                 }));
            const double products = static_cast<double>(n_rows * n_out * n_in);
            std::printf(" %7.0f", 2.0 * products / least / 1e9);
        }
        std::printf("\n");
        std::fflush(stdout);
    }
    bench_attention(team, room);
    return 0;
}

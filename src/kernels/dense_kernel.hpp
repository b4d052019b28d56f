#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_table.hpp"

namespace modelpool::kernels {
namespace {

/// Sums run in 16 parts, part p over the numbers p, p + 16, …, whatever the width of the vectors;
/// then halves are added to halves.
template <class V>
struct sixteen {
    static constexpr int n_vectors = 16 / V::lanes;
    typename V::f part[n_vectors];

    static sixteen zero()
    {
        sixteen sum;
        for (auto& p : sum.part)
            p = V::set(0.0F);
        return sum;
    }

    float total() const
    {
        float lane[16];
        for (int v = 0; v != n_vectors; ++v)
            V::store(lane + v * V::lanes, part[v]);
        for (int width = 8; width != 0; width /= 2) {
            for (int p = 0; p != width; ++p)
                lane[p] += lane[p + width];
        }
        return lane[0];
    }
};

/// The first numbers of 16 at `from`, in one vector of the 16; what is not there is 0.
template <class V>
typename V::f load_some(const float* from, int vector, std::int64_t n)
{
    std::int64_t left = n - vector * V::lanes;
    if (left >= V::lanes) return V::load(from + vector * V::lanes);
    if (left < 0) left = 0;
    return V::load_first(from + vector * V::lanes, left);
}

template <class V, block_type type>
struct dense_weights;

template <class V>
struct dense_weights<V, block_type::f32> {
    static constexpr int n_bytes = 4;
    static typename V::f load(const std::byte* from) { return V::load(from); }
};

template <class V>
struct dense_weights<V, block_type::f16> {
    static constexpr int n_bytes = 2;
    static typename V::f load(const std::byte* from) { return V::load_f16(from); }
};

template <class V>
struct dense_weights<V, block_type::bf16> {
    static constexpr int n_bytes = 2;
    static typename V::f load(const std::byte* from) { return V::load_bf16(from); }
};

template <class V, block_type type, int n_outputs, int n_rows>
void dense_block(const dense_job& job, std::int64_t output, std::int64_t row)
{
    using weights = dense_weights<V, type>;
    using f = typename V::f;
    constexpr int n_vectors = sixteen<V>::n_vectors;
    sixteen<V> acc[n_outputs][n_rows];
#pragma GCC unroll 4
    for (auto& of_output : acc) {
#pragma GCC unroll 4
        for (auto& sum : of_output)
            sum = sixteen<V>::zero();
    }
    const std::byte* w = job.weights + output * job.weight_stride;
    const float* x = job.x + row * job.x_stride;
    std::int64_t k = 0;
    for (; k + 16 <= job.n; k += 16) {
#pragma GCC unroll 16
        for (int v = 0; v != n_vectors; ++v) {
            const std::int64_t at = k + v * V::lanes;
            f in[n_rows];
#pragma GCC unroll 4
            for (int r = 0; r != n_rows; ++r)
                in[r] = V::load(x + r * job.x_stride + at);
#pragma GCC unroll 4
            for (int o = 0; o != n_outputs; ++o) {
                const f weight = weights::load(w + o * job.weight_stride + at * weights::n_bytes);
#pragma GCC unroll 4
                for (int r = 0; r != n_rows; ++r)
                    acc[o][r].part[v] = V::fma(weight, in[r], acc[o][r].part[v]);
            }
        }
    }
    if (k != job.n) {
        const std::int64_t left = job.n - k;
        for (int o = 0; o != n_outputs; ++o) {
            std::byte last[16 * weights::n_bytes]{};
            const std::byte* from = w + o * job.weight_stride + k * weights::n_bytes;
            __builtin_memcpy(last, from, static_cast<std::size_t>(left) * weights::n_bytes);
            for (int v = 0; v != n_vectors; ++v) {
                const f weight = weights::load(last + v * V::lanes * weights::n_bytes);
                for (int r = 0; r != n_rows; ++r) {
                    const f in = load_some<V>(x + r * job.x_stride + k, v, left);
                    acc[o][r].part[v] = V::fma(weight, in, acc[o][r].part[v]);
                }
            }
        }
    }
    for (int r = 0; r != n_rows; ++r) {
        float* y = job.y_row(row + r) + output;
        for (int o = 0; o != n_outputs; ++o)
            y[o] = acc[o][r].total();
    }
}

template <class V, block_type type, int n_outputs>
void dense_outputs(const dense_job& job, std::int64_t output)
{
    std::int64_t row = job.first_row;
    const std::int64_t end = job.first_row + job.n_rows;
    for (; end - row >= V::dense_rows; row += V::dense_rows)
        dense_block<V, type, n_outputs, V::dense_rows>(job, output, row);
    for (; row != end; ++row)
        dense_block<V, type, n_outputs, 1>(job, output, row);
}

template <class V, block_type type>
void run_dense(const dense_job& job)
{
    std::int64_t output = 0;
    for (; job.n_outputs - output >= V::dense_outputs; output += V::dense_outputs)
        dense_outputs<V, type, V::dense_outputs>(job, output);
    for (; output != job.n_outputs; ++output)
        dense_outputs<V, type, 1>(job, output);
}

template <class V>
kernel_table::dense_function dense_function_of(block_type type)
{
    switch (type) {
    case block_type::f32:
        return run_dense<V, block_type::f32>;
    case block_type::f16:
        return run_dense<V, block_type::f16>;
    case block_type::bf16:
        return run_dense<V, block_type::bf16>;
    default:
        return nullptr;
    }
}

}  // namespace
}  // namespace modelpool::kernels

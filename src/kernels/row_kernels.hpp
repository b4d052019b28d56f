#pragma once

#include <cstdint>

#include "kernels/dense_kernel.hpp"
#include "kernels/kernel_table.hpp"

namespace modelpool::kernels {
namespace {

/// e^x within 2 ulp: 2^n · e^r with |r| <= ln 2 / 2 and a Taylor polynomial of degree 7. Below
/// -87.3 it stays at about 1e-38, above 88.3 at about 2e38; NaN stays NaN.
template <class V>
typename V::f exponential(typename V::f x)
{
    using f = typename V::f;
    x = V::max(V::set(-87.3F), V::min(V::set(88.3F), x));
    const f n = V::round(V::mul(x, V::set(1.44269504F)));
    f r = V::fma(n, V::set(-0.693359375F), x);  // ln 2 in two parts, the first one exact in n
    r = V::fma(n, V::set(2.12194440e-4F), r);
    f p = V::set(1.0F / 5040.0F);
    p = V::fma(p, r, V::set(1.0F / 720.0F));
    p = V::fma(p, r, V::set(1.0F / 120.0F));
    p = V::fma(p, r, V::set(1.0F / 24.0F));
    p = V::fma(p, r, V::set(1.0F / 6.0F));
    p = V::fma(p, r, V::set(0.5F));
    p = V::fma(p, r, V::set(1.0F));
    p = V::fma(p, r, V::set(1.0F));
    return V::add_exponent(p, n);
}

/// y[k] = f(k, n_lanes there) in vectors, `f` giving a vector from those that `load` gives.
template <class V, class F>
void for_vectors(std::int64_t n, F&& f)
{
    std::int64_t k = 0;
    for (; k + V::lanes <= n; k += V::lanes)
        f(k, std::int64_t{V::lanes});
    if (k != n) f(k, n - k);
}

template <class V>
typename V::f load_at(const float* from, std::int64_t k, std::int64_t n_lanes)
{
    return n_lanes == V::lanes ? V::load(from + k) : V::load_first(from + k, n_lanes);
}

template <class V>
void store_at(float* to, typename V::f a, std::int64_t k, std::int64_t n_lanes)
{
    if (n_lanes == V::lanes)
        V::store(to + k, a);
    else
        V::store_first(to + k, a, n_lanes);
}

/// The sum of f(vector of x) in 16 parts; `f` gives 0 where it is told that there is nothing.
template <class V, class F>
float sum_of(const float* x, std::int64_t n, F&& f)
{
    auto sum = sixteen<V>::zero();
    std::int64_t k = 0;
    for (; k + 16 <= n; k += 16) {
        for (int v = 0; v != sixteen<V>::n_vectors; ++v)
            sum.part[v] = f(V::load(x + k + v * V::lanes), sum.part[v]);
    }
    if (k != n) {
        for (int v = 0; v != sixteen<V>::n_vectors; ++v)
            sum.part[v] = f(load_some<V>(x + k, v, n - k), sum.part[v]);
    }
    return sum.total();
}

template <class V>
void row_rms_norm(const float* x, const float* weight, float eps, float* y, std::int64_t n)
{
    using f = typename V::f;
    const float squares = sum_of<V>(x, n, [](f a, f sum) { return V::fma(a, a, sum); });
    const float factor = 1.0F / __builtin_sqrtf(squares / static_cast<float>(n) + eps);
    for_vectors<V>(n, [&](std::int64_t k, std::int64_t lanes) {
        f a = V::mul(load_at<V>(x, k, lanes), V::set(factor));
        if (weight != nullptr) a = V::mul(a, load_at<V>(weight, k, lanes));
        store_at<V>(y, a, k, lanes);
    });
}

template <class V>
void row_layer_norm(
    const float* x, const float* weight, const float* bias, float eps, float* y, std::int64_t n)
{
    using f = typename V::f;
    const auto count = static_cast<float>(n);
    const float mean = sum_of<V>(x, n, [](f a, f sum) { return V::add(a, sum); }) / count;
    for_vectors<V>(n, [&](std::int64_t k, std::int64_t lanes) {
        store_at<V>(y, V::sub(load_at<V>(x, k, lanes), V::set(mean)), k, lanes);
    });
    const float squares = sum_of<V>(y, n, [](f a, f sum) { return V::fma(a, a, sum); });
    const float factor = 1.0F / __builtin_sqrtf(squares / count + eps);
    for_vectors<V>(n, [&](std::int64_t k, std::int64_t lanes) {
        f a = V::mul(load_at<V>(y, k, lanes), V::set(factor));
        if (weight != nullptr) a = V::mul(a, load_at<V>(weight, k, lanes));
        if (bias != nullptr) a = V::add(a, load_at<V>(bias, k, lanes));
        store_at<V>(y, a, k, lanes);
    });
}

template <class V>
typename V::f sigmoid_of(typename V::f x)
{
    const auto e = exponential<V>(V::sub(V::set(0.0F), x));
    return V::div(V::set(1.0F), V::add(V::set(1.0F), e));
}

template <class V>
void row_silu_mul(const float* gate, const float* up, float* y, std::int64_t n)
{
    for_vectors<V>(n, [&](std::int64_t k, std::int64_t lanes) {
        const auto g = load_at<V>(gate, k, lanes);
        const auto silu = V::mul(g, sigmoid_of<V>(g));
        store_at<V>(y, V::mul(silu, load_at<V>(up, k, lanes)), k, lanes);
    });
}

/// gelu by tanh: x/2·(1 + tanh u) = x·sigmoid(2u), u = sqrt(2/π)·(x + 0.044715·x³).
template <class V>
void row_gelu_mul(const float* gate, const float* up, float* y, std::int64_t n)
{
    for_vectors<V>(n, [&](std::int64_t k, std::int64_t lanes) {
        const auto g = load_at<V>(gate, k, lanes);
        const auto cubic = V::fma(V::mul(g, g), V::set(0.044715F), V::set(1.0F));
        const auto twice = V::mul(V::mul(g, V::set(1.59576912F)), cubic);
        const auto gelu = V::mul(g, sigmoid_of<V>(twice));
        store_at<V>(y, V::mul(gelu, load_at<V>(up, k, lanes)), k, lanes);
    });
}

template <class V>
void row_add(const float* a, const float* b, float* y, std::int64_t n)
{
    for_vectors<V>(n, [&](std::int64_t k, std::int64_t lanes) {
        store_at<V>(y, V::add(load_at<V>(a, k, lanes), load_at<V>(b, k, lanes)), k, lanes);
    });
}

template <class V>
void row_add_scaled(const float* x, float factor, float* y, std::int64_t n)
{
    for_vectors<V>(n, [&](std::int64_t k, std::int64_t lanes) {
        const auto sum = V::fma(load_at<V>(x, k, lanes), V::set(factor), load_at<V>(y, k, lanes));
        store_at<V>(y, sum, k, lanes);
    });
}

template <class V>
void row_sigmoid(const float* x, float* y, std::int64_t n)
{
    for_vectors<V>(n, [&](std::int64_t k, std::int64_t lanes) {
        store_at<V>(y, sigmoid_of<V>(load_at<V>(x, k, lanes)), k, lanes);
    });
}

/// y = exp(scale·x − greatest), not divided by their sum, which is returned. The greatest of
/// numbers does not depend on an order; NaN makes everything NaN.
template <class V>
float row_exponentials(const float* x, float scale, float* y, std::int64_t n)
{
    float greatest = -__builtin_inff();
    bool has_nan = false;
    for_vectors<V>(n, [&](std::int64_t k, std::int64_t lanes) {
        store_at<V>(y, V::mul(load_at<V>(x, k, lanes), V::set(scale)), k, lanes);
    });
    for (std::int64_t k = 0; k != n; ++k) {
        greatest = y[k] > greatest ? y[k] : greatest;
        has_nan |= y[k] != y[k];
    }
    if (has_nan) greatest = __builtin_nanf("");
    for_vectors<V>(n, [&](std::int64_t k, std::int64_t lanes) {
        const auto shifted = V::sub(load_at<V>(y, k, lanes), V::set(greatest));
        store_at<V>(y, exponential<V>(shifted), k, lanes);
    });
    using f = typename V::f;
    return sum_of<V>(y, n, [](f a, f sum) { return V::add(a, sum); });
}

template <class V>
void row_softmax(const float* x, float scale, float* y, std::int64_t n)
{
    const float inverse = 1.0F / row_exponentials<V>(x, scale, y, n);
    for_vectors<V>(n, [&](std::int64_t k, std::int64_t lanes) {
        store_at<V>(y, V::mul(load_at<V>(y, k, lanes), V::set(inverse)), k, lanes);
    });
}

template <class V>
void rotate_halves(float* x, const float* cosines, const float* sines, std::int64_t n)
{
    for_vectors<V>(n, [&](std::int64_t k, std::int64_t lanes) {
        const auto a = load_at<V>(x, k, lanes);
        const auto b = load_at<V>(x + n, k, lanes);
        const auto c = load_at<V>(cosines, k, lanes);
        const auto s = load_at<V>(sines, k, lanes);
        store_at<V>(x, V::sub(V::mul(a, c), V::mul(b, s)), k, lanes);
        store_at<V>(x + n, V::add(V::mul(a, s), V::mul(b, c)), k, lanes);
    });
}

// Each instruction set's unit has its own on purpose: it is compiled for that set.
[[maybe_unused]] inline void
rotate_neighbours(float* x, const float* cosines, const float* sines, std::int64_t n)
{
    for (std::int64_t i = 0; i != n; ++i) {
        const float a = x[2 * i];
        const float b = x[2 * i + 1];
        x[2 * i] = a * cosines[i] - b * sines[i];
        x[2 * i + 1] = a * sines[i] + b * cosines[i];
    }
}

}  // namespace
}  // namespace modelpool::kernels

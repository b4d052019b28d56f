#include "kernels/rows.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "kernels/kernel_table.hpp"
#include "kernels/row_parts.hpp"

namespace modelpool::kernels {

void rms_norm(
    const_matrix x, const float* weight, float eps, matrix y, thread_team& team, scratch& room)
{
    for_rows(x.n_rows, x.n, team, [&](std::int64_t r) {
        room.table().rms_norm(x.row(r), weight, eps, y.row(r), x.n);
    });
}

void layer_norm(
    const_matrix x,
    const float* weight,
    const float* bias,
    float eps,
    matrix y,
    thread_team& team,
    scratch& room)
{
    for_rows(x.n_rows, x.n, team, [&](std::int64_t r) {
        room.table().layer_norm(x.row(r), weight, bias, eps, y.row(r), x.n);
    });
}

void rope_angles::set(
    std::span<const std::int32_t> positions, const rope_options& options, thread_team& team)
{
    const auto n_rows = static_cast<std::int64_t>(positions.size());
    n_pairs_ = static_cast<std::int64_t>(options.frequencies.size());
    float* angles = room_.get_as<float>(2 * n_pairs_ * n_rows);
    constexpr std::int64_t worth_of_angle = 16;  // a cosine and a sine take as long as 16 numbers
    for_rows(n_rows, worth_of_angle * n_pairs_, team, [&](std::int64_t r) {
        float* cosines = angles + 2 * n_pairs_ * r;
        float* sines = cosines + n_pairs_;
        const double position = positions[static_cast<std::size_t>(r)];
        for (std::int64_t i = 0; i != n_pairs_; ++i) {
            const float frequency = options.frequencies[static_cast<std::size_t>(i)];
            const double angle = position * static_cast<double>(frequency);
            cosines[i] = static_cast<float>(std::cos(angle)) * options.magnitude;
            sines[i] = static_cast<float>(std::sin(angle)) * options.magnitude;
        }
    });
}

void rope(
    matrix x,
    const rope_angles& angles,
    const rope_options& options,
    thread_team& team,
    scratch& room)
{
    const bool is_neox = options.pairs == rope_pairs::neox;
    const auto rotate = is_neox ? room.table().rotate_halves : room.table().rotate_neighbours;
    for_rows(x.n_rows, x.n, team, [&](std::int64_t r) {
        for (int h = 0; h != options.n_heads; ++h) {
            float* head = x.row(r) + std::int64_t{h} * options.head_dim + options.first;
            rotate(head, angles.cosines(r), angles.sines(r), angles.n_pairs());
        }
    });
}

void rope(
    matrix x,
    std::span<const std::int32_t> positions,
    const rope_options& options,
    thread_team& team,
    scratch& room)
{
    rope_angles angles;
    angles.set(positions, options, team);
    rope(x, angles, options, team, room);
}

void silu_mul(const_matrix gate, const_matrix up, matrix y, thread_team& team, scratch& room)
{
    for_rows(gate.n_rows, gate.n, team, [&](std::int64_t r) {
        room.table().silu_mul(gate.row(r), up.row(r), y.row(r), gate.n);
    });
}

void gelu_mul(const_matrix gate, const_matrix up, matrix y, thread_team& team, scratch& room)
{
    for_rows(gate.n_rows, gate.n, team, [&](std::int64_t r) {
        room.table().gelu_mul(gate.row(r), up.row(r), y.row(r), gate.n);
    });
}

void add(const_matrix a, const_matrix b, matrix y, thread_team& team, scratch& room)
{
    for_rows(a.n_rows, a.n, team, [&](std::int64_t r) {
        room.table().add(a.row(r), b.row(r), y.row(r), a.n);
    });
}

void add_bias(const_matrix x, const float* bias, matrix y, thread_team& team, scratch& room)
{
    for_rows(x.n_rows, x.n, team, [&](std::int64_t r) {
        room.table().add(x.row(r), bias, y.row(r), x.n);
    });
}

void add_scaled(
    const_matrix x, std::span<const float> factors, matrix y, thread_team& team, scratch& room)
{
    for_rows(x.n_rows, x.n, team, [&](std::int64_t r) {
        room.table().add_scaled(x.row(r), factors[static_cast<std::size_t>(r)], y.row(r), x.n);
    });
}

void softmax(const_matrix x, float scale, matrix y, thread_team& team, scratch& room)
{
    for_rows(x.n_rows, x.n, team, [&](std::int64_t r) {
        room.table().softmax(x.row(r), scale, y.row(r), x.n);
    });
}

void sigmoid(const_matrix x, matrix y, thread_team& team, scratch& room)
{
    for_rows(x.n_rows, x.n, team, [&](std::int64_t r) {
        room.table().sigmoid(x.row(r), y.row(r), x.n);
    });
}

void top_k(std::span<const float> x, std::span<std::int32_t> indices)
{
    std::vector<std::int32_t> all(x.size());
    std::iota(all.begin(), all.end(), 0);
    const auto before = [x](std::int32_t a, std::int32_t b) {
        const float of_a = x[static_cast<std::size_t>(a)];
        const float of_b = x[static_cast<std::size_t>(b)];
        if (std::isnan(of_a) || std::isnan(of_b))
            return std::isnan(of_a) == std::isnan(of_b) ? a < b : std::isnan(of_b);
        return of_a != of_b ? of_a > of_b : a < b;
    };
    const auto n = static_cast<std::ptrdiff_t>(indices.size());
    std::partial_sort(all.begin(), all.begin() + n, all.end(), before);
    std::copy_n(all.begin(), n, indices.begin());
}

}  // namespace modelpool::kernels

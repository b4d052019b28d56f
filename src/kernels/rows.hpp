#pragma once

#include <cstdint>
#include <span>

#include "kernels/matrix.hpp"
#include "kernels/scratch.hpp"
#include "kernels/thread_team.hpp"

// Operations on each row by itself. In every one y may be x, and a row's numbers depend on that row
// alone. Sums run in 16 interleaved parts in f32. Preconditions: sizes fit.

namespace modelpool::kernels {

/// y = x / sqrt(mean(x²) + eps) · weight; `weight` [n], or null for none.
void rms_norm(
    const_matrix x, const float* weight, float eps, matrix y, thread_team& team, scratch& room);

/// y = (x − mean(x)) / sqrt(variance(x) + eps) · weight + bias; either may be null.
void layer_norm(
    const_matrix x,
    const float* weight,
    const float* bias,
    float eps,
    matrix y,
    thread_team& team,
    scratch& room);

/// How rotations pair up the dimensions of a head: neox rotates i with i + n_rot/2, interleaved
/// rotates 2i with 2i + 1.
enum class rope_pairs { neox, interleaved };

/// Rotary positions. The pair i turns by position · frequencies[i].
struct rope_options {
    rope_pairs pairs{rope_pairs::neox};
    int n_heads{0};
    int head_dim{0};                     ///< from one head to the next
    int first{0};                        ///< dimension of a head where the rotated ones begin
    std::span<const float> frequencies;  ///< [n_rot/2], of one radian a position
    float magnitude{1.0F};               ///< what YaRN multiplies sines and cosines with
};

/// Cosines and sines of some rows' positions, for every layer and for queries and keys alike.
/// Angles are computed in f64 and rounded once.
class rope_angles {
public:
    /// Row r gets the angles of positions[r]. What `options` says of heads does not matter here.
    void
    set(std::span<const std::int32_t> positions, const rope_options& options, thread_team& team);

    std::int64_t n_pairs() const noexcept { return n_pairs_; }
    const float* cosines(std::int64_t row) const noexcept
    {
        return room_.data_as<float>() + 2 * n_pairs_ * row;
    }
    const float* sines(std::int64_t row) const noexcept { return cosines(row) + n_pairs_; }

private:
    aligned_room room_;
    std::int64_t n_pairs_{0};
};

/// Rotates the heads of x [n_rows, n_heads·head_dim] in place, row r by the angles of row r.
/// Precondition: `angles` were set with the same frequencies, for as many rows.
void rope(
    matrix x,
    const rope_angles& angles,
    const rope_options& options,
    thread_team& team,
    scratch& room);

/// The same where nothing else has these positions.
void rope(
    matrix x,
    std::span<const std::int32_t> positions,
    const rope_options& options,
    thread_team& team,
    scratch& room);

/// y = silu(gate) · up, where silu(x) = x / (1 + exp(−x)).
void silu_mul(const_matrix gate, const_matrix up, matrix y, thread_team& team, scratch& room);
/// y = gelu(gate) · up, by the tanh approximation.
void gelu_mul(const_matrix gate, const_matrix up, matrix y, thread_team& team, scratch& room);
/// y = a + b.
void add(const_matrix a, const_matrix b, matrix y, thread_team& team, scratch& room);
/// y = x + bias, the same `bias` [n] for each row.
void add_bias(const_matrix x, const float* bias, matrix y, thread_team& team, scratch& room);
/// y = y + factor[r] · x. `factors` [n_rows].
void add_scaled(
    const_matrix x, std::span<const float> factors, matrix y, thread_team& team, scratch& room);
/// y = softmax(scale · x).
void softmax(const_matrix x, float scale, matrix y, thread_team& team, scratch& room);
/// y = 1 / (1 + exp(−x)).
void sigmoid(const_matrix x, matrix y, thread_team& team, scratch& room);

/// Indices of the `k` greatest numbers, the greatest first; of equals the one that comes first.
/// NaN counts as less than everything. Precondition: indices.size() == min(k, x.size()).
void top_k(std::span<const float> x, std::span<std::int32_t> indices);

}  // namespace modelpool::kernels

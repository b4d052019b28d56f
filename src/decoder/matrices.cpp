#include "decoder/matrices.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/rows.hpp"

namespace modelpool::decoder {

using kernels::linear;
using kernels::matrix;

namespace {

constexpr std::int64_t group = 32;  // numbers that share a scale in int8

// low = x - high, where int8 with the group's scale holds all of high
void split(const float* x, std::int64_t n, float* high, float* low)
{
    for (std::int64_t first = 0; first < n; first += group) {
        const std::int64_t end = std::min(n, first + group);
        float greatest = 0;
        for (std::int64_t k = first; k < end; ++k)
            greatest = std::max(greatest, std::abs(x[k]));
        const float scale = greatest / 127.0F;
        const float inverse = greatest < 1e-30F ? 0.0F : 127.0F / greatest;
        for (std::int64_t k = first; k < end; ++k) {
            high[k] = scale * std::nearbyint(x[k] * inverse);
            low[k] = x[k] - high[k];
        }
    }
}

void add_halves(const matrix& both, const matrix& y, machine& on)
{
    const matrix low{both.data + y.n_rows * both.stride, y.n_rows, both.n, both.stride};
    kernels::add({both.data, y.n_rows, both.n, both.stride}, low, y, on.team, on.room);
}

}  // namespace

void activations::set(matrix x, bool quantized, machine& on)
{
    n_rows_ = x.n_rows;
    is_split_ = quantized;
    if (!quantized) {
        input_.set(x, false, on.team, on.room);
        return;
    }
    const matrix both =
        rows_of(rows_, static_cast<std::size_t>(2 * x.n_rows), static_cast<std::size_t>(x.n));
    for (std::int64_t i = 0; i < x.n_rows; ++i)
        split(x.data + i * x.stride, x.n, both.data + i * x.n, both.data + (n_rows_ + i) * x.n);
    input_.set(both, true, on.team, on.room);
}

void apply(const linear& weights, const activations& x, matrix y, machine& on)
{
    if (!x.is_split()) {
        weights.apply(x.input(), y, on.team, on.room);
        return;
    }
    const matrix both =
        rows_of(on.halves, static_cast<std::size_t>(2 * y.n_rows), static_cast<std::size_t>(y.n));
    weights.apply(x.input(), both, on.team, on.room);
    add_halves(both, y, on);
}

void apply(const linear& weights, matrix x, matrix y, activations& by, machine& on)
{
    by.set(x, weights.takes_quantized(), on);
    apply(weights, by, y, on);
}

linear matrix_maker::make(const stored_matrix& from) const
{
    return make(from, 1);
}

linear matrix_maker::make(const stored_matrix& first, std::int64_t n_experts) const
{
    const auto how =
        layout_ == weight_layout::packed ? linear::layout::packed : linear::layout::stored;
    linear made{first.type, first.data, first.n_rows, first.n_columns, how, &team_, n_experts};
    if (!made.refers_to_bytes()) source_.release(first);
    return made;
}

expert_matrices::expert_matrices(
    const matrix_maker& maker, const std::vector<stored_matrix>& experts)
{
    bool together = true;
    for (std::size_t i = 1; i < experts.size(); ++i)
        together =
            together && experts[i].type == experts[0].type &&
            experts[i - 1].data.data() + experts[i - 1].data.size() == experts[i].data.data();
    if (together) {
        stored_matrix all = experts.front();
        all.data = {all.data.data(), all.data.size() * experts.size()};
        joined_ = maker.make(all, static_cast<std::int64_t>(experts.size()));
        return;
    }
    for (const stored_matrix& each : experts)
        single_.push_back(maker.make(each));
}

std::int64_t expert_matrices::n_out() const noexcept
{
    return single_.empty() ? joined_.n_out() : single_.front().n_out();
}

bool expert_matrices::takes_quantized() const noexcept
{
    if (single_.empty()) return joined_.takes_quantized();
    return std::any_of(
        single_.begin(), single_.end(), [](const linear& each) { return each.takes_quantized(); });
}

std::size_t expert_matrices::n_bytes() const noexcept
{
    std::size_t sum = joined_.n_bytes();
    for (const linear& each : single_)
        sum += each.n_bytes();
    return sum;
}

void expert_matrices::apply(
    const activations& x, std::span<const kernels::routed_row> routes, matrix y, machine& on) const
{
    if (!x.is_split()) {
        apply(x.input(), routes, y, on);
        return;
    }
    std::vector<kernels::routed_row> twice{routes.begin(), routes.end()};
    for (const kernels::routed_row& route : routes)
        twice.push_back({route.row + static_cast<std::int32_t>(x.n_rows()), route.expert});
    const matrix both =
        rows_of(on.halves, static_cast<std::size_t>(2 * y.n_rows), static_cast<std::size_t>(y.n));
    apply(x.input(), twice, both, on);
    add_halves(both, y, on);
}

void expert_matrices::apply(
    const kernels::linear_input& x,
    std::span<const kernels::routed_row> routes,
    kernels::matrix y,
    machine& on) const
{
    if (single_.empty()) {
        joined_.apply_routed(x, routes, y, on.team, on.room);
        return;
    }
    std::vector<float> gathered;
    std::vector<float> results;
    for (std::size_t expert = 0; expert < single_.size(); ++expert) {
        std::vector<std::int64_t> places;
        for (std::size_t i = 0; i < routes.size(); ++i)
            if (routes[i].expert == static_cast<std::int32_t>(expert))
                places.push_back(static_cast<std::int64_t>(i));
        if (places.empty()) continue;
        const kernels::matrix in =
            rows_of(gathered, places.size(), static_cast<std::size_t>(x.n()));
        const kernels::matrix out = rows_of(results, places.size(), static_cast<std::size_t>(y.n));
        for (std::size_t i = 0; i < places.size(); ++i) {
            const float* from = x.rows().row(routes[static_cast<std::size_t>(places[i])].row);
            std::copy(from, from + x.n(), in.row(static_cast<std::int64_t>(i)));
        }
        single_[expert].apply(in, out, on.team, on.room);
        for (std::size_t i = 0; i < places.size(); ++i) {
            const float* from = out.row(static_cast<std::int64_t>(i));
            std::copy(from, from + y.n, y.row(places[i]));
        }
    }
}

std::vector<float> widen(const stored_matrix& from)
{
    const auto n = static_cast<std::size_t>(from.n_columns);
    std::vector<float> made(static_cast<std::size_t>(from.n_rows) * n);
    for (std::int64_t i = 0; i < from.n_rows; ++i)
        kernels::lookup_row(
            from.type,
            from.data.data(),
            i,
            from.n_columns,
            made.data() + static_cast<std::size_t>(i) * n);
    return made;
}

kernels::matrix rows_of(std::vector<float>& room, std::size_t n_rows, std::size_t n)
{
    if (room.size() < n_rows * n) room.resize(n_rows * n);
    return {
        room.data(),
        static_cast<std::int64_t>(n_rows),
        static_cast<std::int64_t>(n),
        static_cast<std::int64_t>(n)};
}

kernels::matrix columns(kernels::matrix from, std::int64_t first, std::int64_t n)
{
    return {from.data + first, from.n_rows, n, from.stride};
}

}  // namespace modelpool::decoder

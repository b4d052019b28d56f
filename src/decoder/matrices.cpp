#include "decoder/matrices.hpp"

#include <modelpool/error.hpp>

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "kernels/quantized_linear.hpp"
#include "kernels/rows.hpp"
#include "support/printable.hpp"
#include "support/stop.hpp"

namespace modelpool::decoder {

using kernels::linear;
using kernels::matrix;

namespace {

bool all_of_type(std::span<const stored_matrix> all, kernels::block_type type)
{
    return std::ranges::all_of(all, [&](const stored_matrix& each) { return each.type == type; });
}

bool lie_together(std::span<const stored_matrix> all)
{
    for (std::size_t i = 1; i < all.size(); ++i) {
        const std::span<const std::byte> before = all[i - 1].data;
        if (before.data() + before.size() != all[i].data.data()) return false;
    }
    return all_of_type(all, all.front().type);
}

}  // namespace

void apply(const linear& weights, const kernels::linear_input& x, matrix y, machine& on)
{
    weights.apply(x, y, on.team, on.room);
}

void apply(const linear& weights, matrix x, matrix y, kernels::linear_input& by, machine& on)
{
    by.set(x, weights.takes_quantized(), on.team, on.room, on.first_fast);
    apply(weights, by, y, on);
}

linear matrix_maker::make(const stored_matrix& from, matrix_use use) const
{
    std::optional<linear> made = join({&from, 1}, use);
    return std::move(*made);
}

std::optional<linear>
matrix_maker::join(std::span<const stored_matrix> experts, matrix_use use) const
{
    support::end_if_stopped(watch_.stop, experts.front().name);
    const stored_matrix& first = experts.front();
    if (const auto to = quantized_type(layout_, use, first.type, first.n_columns))
        if (all_of_type(experts, first.type)) return round(experts, *to);
    if (!lie_together(experts)) return std::nullopt;
    stored_matrix all = first;
    all.data = {first.data.data(), first.data.size() * experts.size()};
    const auto how =
        layout_ == weight_layout::stored ? linear::layout::stored : linear::layout::packed;
    const auto n_experts = static_cast<std::int64_t>(experts.size());
    const kernels::bytes_read read = reader_of(all);
    linear made{all.type, all.data, all.n_rows, all.n_columns, how, &team_, n_experts, read};
    if (made.refers_to_bytes()) note(all.data.size());
    return made;
}

// Pages go as they are read, so that a matrix is never held twice.
kernels::bytes_read matrix_maker::reader_of(const stored_matrix& from) const
{
    return [this, from](std::span<const std::byte> part) {
        stored_matrix gone = from;
        gone.data = part;
        release(gone);
        note(part.size());
        support::end_if_stopped(watch_.stop, from.name);
    };
}

linear matrix_maker::round(std::span<const stored_matrix> from, kernels::block_type to) const
{
    const stored_matrix& first = from.front();
    std::vector<std::span<const std::byte>> experts;
    for (const stored_matrix& each : from)
        experts.push_back(each.data);
    try {
        return kernels::quantized_linear(
            to, {first.type, first.n_rows, first.n_columns, experts}, team_, reader_of(first));
    } catch (const std::domain_error& problem) {
        throw error{
            model_errc::bad_file,
            "the tensor " + support::in_quotes(first.name) +
                " cannot be quantised: " + problem.what()};
    }
}

void matrix_maker::release(const stored_matrix& from) const
{
    if (!from.in_source) return;
    source_.release(from);
    n_released_ += from.data.size();
}

void matrix_maker::note(std::size_t n_bytes) const
{
    n_done_ += n_bytes;
    const std::uint64_t total = source_.weight_bytes();
    if (!watch_.progress || n_done_ - n_told_ < total / 100) return;
    n_told_ = n_done_;
    watch_.progress(std::min(n_done_, total), total);
}

expert_matrices::expert_matrices(
    const matrix_maker& maker, const std::vector<stored_matrix>& experts, matrix_use use)
{
    if (std::optional<linear> all = maker.join(experts, use)) {
        joined_ = std::move(*all);
        return;
    }
    for (const stored_matrix& each : experts)
        single_.push_back(maker.make(each, use));
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

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "decoder/load_watch.hpp"
#include "decoder/quantization.hpp"
#include "decoder/weight_source.hpp"
#include "kernels/linear.hpp"
#include "kernels/scratch.hpp"
#include "kernels/thread_team.hpp"

namespace modelpool::decoder {

/// What one replica computes with: threads, and room that is kept from step to step.
struct machine {
    explicit machine(int n_threads)
        : team{n_threads}
    {}
    kernels::thread_team team;
    kernels::scratch room;
    /// Of the step in progress, the first row that may be computed fast: those after it may too.
    std::int64_t first_fast{kernels::linear_input::no_fast_row};
};

/// y = x W
void apply(
    const kernels::linear& weights, const kernels::linear_input& x, kernels::matrix y, machine& on);
/// The same for rows of the step that no other linear shares, through `by`.
void apply(
    const kernels::linear& weights,
    kernels::matrix x,
    kernels::matrix y,
    kernels::linear_input& by,
    machine& on);

/// Makes the matrices of a decoder from its source.
class matrix_maker {
public:
    matrix_maker(
        const weight_source& source,
        weight_layout layout,
        kernels::thread_team& team,
        const load_watch& watch)
        : source_{source}
        , layout_{layout}
        , team_{team}
        , watch_{watch}
    {}

    const weight_source& source() const noexcept { return source_; }
    /// Errors: those of the source; model_errc::bad_file for numbers that cannot be rounded to
    /// blocks; operation_aborted when asked to stop.
    kernels::linear make(const stored_matrix& from, matrix_use use) const;
    kernels::linear make(const std::string& name, std::int64_t n_rows, std::int64_t n_columns) const
    {
        return make(source_.matrix(name, n_rows, n_columns), use_of(name));
    }
    /// Several matrices of one shape and type, as one; empty where they lie apart and stay where
    /// they are. Errors: as above.
    std::optional<kernels::linear>
    join(std::span<const stored_matrix> experts, matrix_use use) const;

    /// What it was read from is not needed any more.
    void release(const stored_matrix& from) const;
    /// Bytes of the source that were given back.
    std::uint64_t n_released() const noexcept { return n_released_; }

private:
    kernels::linear round(std::span<const stored_matrix> from, kernels::block_type to) const;
    kernels::bytes_read reader_of(const stored_matrix& from) const;
    void note(std::size_t n_bytes) const;

    const weight_source& source_;
    weight_layout layout_;
    kernels::thread_team& team_;
    const load_watch& watch_;
    mutable std::uint64_t n_done_{0};
    mutable std::uint64_t n_released_{0};
    mutable std::uint64_t n_told_{0};
};

/// The matrices of a mixture's experts, however the file has them.
class expert_matrices {
public:
    expert_matrices() = default;
    expert_matrices(
        const matrix_maker& maker,
        const std::vector<stored_matrix>& experts,
        matrix_use use = matrix_use::layer);

    std::int64_t n_out() const noexcept;
    bool takes_quantized() const noexcept;
    std::size_t n_bytes() const noexcept;

    /// As kernels::linear::apply_routed.
    void apply(
        const kernels::linear_input& x,
        std::span<const kernels::routed_row> routes,
        kernels::matrix y,
        machine& on) const;

private:
    kernels::linear joined_;               // where they lie together,
    std::vector<kernels::linear> single_;  // or one by one
};

/// The numbers of a matrix, in f32.
std::vector<float> widen(const stored_matrix& from);

/// [n_rows, n] of the beginning of `room`, which grows as needed.
kernels::matrix rows_of(std::vector<float>& room, std::size_t n_rows, std::size_t n);
/// Columns [first, first + n) of a matrix.
kernels::matrix columns(kernels::matrix from, std::int64_t first, std::int64_t n);

}  // namespace modelpool::decoder

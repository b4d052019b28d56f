#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/block_type.hpp"
#include "kernels/linear.hpp"
#include "kernels/thread_team.hpp"

namespace modelpool::kernels {

/// What rows of `n` numbers are stored as where `wanted` is asked for: that, if they are whole
/// blocks of it, else a type of smaller blocks with at least as many bits (Q4_K: Q5_0; Q6_K: Q8_0),
/// else bf16. Precondition: can_quantize(wanted).
block_type fitting_type(block_type wanted, std::int64_t n) noexcept;

/// Dense matrices of one shape, as a checkpoint stores them: one, or one for each expert.
struct dense_weights {
    block_type type;  ///< f32, f16 or bf16
    std::int64_t n_out;
    std::int64_t n_in;
    std::span<const std::span<const std::byte>> experts;  ///< each is [n_out, n_in]
};

/// The packed linear of weights that are rounded to blocks of `to` on the way. Needs the blocks a
/// second time until it returns, and nothing of the size of the source; runs on all threads of the
/// team. The result does not depend on their number, nor on the instruction set.
/// Preconditions: is_dense(from.type), can_quantize(to), `to` is not dense, from.experts is not
/// empty. Errors: as linear's; std::domain_error where a number is not finite or above 65504, the
/// greatest of f16, in which blocks keep their scales.
linear quantized_linear(
    block_type to, const dense_weights& from, thread_team& team, const bytes_read& read = {});

/// The same of one matrix.
inline linear quantized_linear(
    block_type to,
    block_type type,
    std::span<const std::byte> bytes,
    std::int64_t n_out,
    std::int64_t n_in,
    thread_team& team)
{
    const dense_weights from{type, n_out, n_in, {&bytes, 1}};
    return quantized_linear(to, from, team);
}

}  // namespace modelpool::kernels

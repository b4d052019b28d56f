#include "torch/projection.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/gelu.h>

#include <algorithm>
#include <cstddef>
#include <span>

namespace modelpool::nn {
namespace {

using kernels::block_type;

constexpr auto f32 = c10::ScalarType::Float;
constexpr auto bf16 = c10::ScalarType::BFloat16;

// What rows of `width` numbers can become of what is wanted.
std::optional<block_type> fitting(std::optional<block_type> wanted, std::int64_t width)
{
    if (!wanted) return std::nullopt;
    if (width % kernels::shape_of(*wanted).n_elements == 0) return wanted;
    if (width % kernels::shape_of(block_type::q8_0).n_elements == 0) return block_type::q8_0;
    return std::nullopt;
}

// The bytes of a tensor whose rows are blocks already, in one piece.
std::span<const std::byte>
in_one_piece(const weights::stored_tensor& found, std::vector<std::byte>& room)
{
    if (found.pieces.size() == 1) return found.pieces.front();
    for (const std::span<const std::byte> piece : found.pieces)
        room.insert(room.end(), piece.begin(), piece.end());
    return room;
}

// Rows of dense numbers as blocks.
void quantize(const at::Tensor& rows, block_type type, std::vector<std::byte>& to)
{
    const std::int64_t width = rows.size(1);
    const auto row_bytes = static_cast<std::size_t>(kernels::row_bytes(type, width));
    constexpr std::int64_t n_together = 64;
    to.resize(static_cast<std::size_t>(rows.size(0)) * row_bytes);
    std::byte* place = to.data();
    for (std::int64_t first = 0; first < rows.size(0); first += n_together) {
        const std::int64_t n = std::min(n_together, rows.size(0) - first);
        const at::Tensor wide = rows.narrow(0, first, n).to(f32).contiguous();
        const float* from = wide.const_data_ptr<float>();
        for (std::int64_t row = 0; row < n; ++row, from += width, place += row_bytes)
            kernels::quantize_row(type, from, width, place);
    }
}

kernels::matrix matrix_of(const at::Tensor& x)
{
    return {x.mutable_data_ptr<float>(), x.size(0), x.size(1), x.stride(0)};
}

kernels::const_matrix const_matrix_of(const at::Tensor& x)
{
    return {x.const_data_ptr<float>(), x.size(0), x.size(1), x.stride(0)};
}

const std::uint16_t* bits_of(const at::Tensor& x)
{
    return static_cast<const std::uint16_t*>(x.const_data_ptr());
}

}  // namespace

void projection_room::use_threads(int n_threads)
{
    n_threads_ = std::max(1, n_threads);
    if (team_) team_->resize(n_threads_);
}

kernels::thread_team& projection_room::team()
{
    if (!team_) team_ = std::make_unique<kernels::thread_team>(n_threads_);
    return *team_;
}

projection projection::read(
    const weight_reader& reader,
    std::string_view module,
    std::pair<std::int64_t, std::int64_t> in_out,
    const weight_format& format,
    bias with)
{
    const auto [n_in, n_out] = in_out;
    const weight_reader scope = reader.in(module);
    const weights::stored_tensor found = scope.pieces("weight", {n_out, n_in});
    const bool dense = weights::is_dense(*found.type);
    const std::optional<block_type> wanted = fitting(format.blocks, n_in);
    projection result;
    if (dense && !wanted) {
        result.dense_ = stored_linear::read(reader, module, in_out, {format.compute, with});
        return result;
    }
    std::shared_ptr<blocks> made = read_blocks(scope, in_out, found, wanted);
    if (with == bias::stored) made->bias = scope.read("bias", {n_out}, f32);
    result.blocks_ = std::move(made);
    return result;
}

std::shared_ptr<projection::blocks> projection::read_blocks(
    const weight_reader& scope,
    std::pair<std::int64_t, std::int64_t> in_out,
    const weights::stored_tensor& found,
    std::optional<block_type> wanted)
{
    const auto [n_in, n_out] = in_out;
    auto made = std::make_shared<blocks>();
    std::vector<std::byte> room;
    std::span<const std::byte> bytes;
    auto type = static_cast<block_type>(*found.type);
    if (weights::is_dense(*found.type)) {
        type = *wanted;
        quantize(scope.stored("weight", {n_out, n_in}), type, room);
        bytes = room;
    } else {
        bytes = in_one_piece(found, room);
    }
    made->weights = kernels::linear{type, bytes, n_out, n_in, kernels::linear::layout::packed};
    if (made->weights.refers_to_bytes()) made->source = scope.source();
    weight_footprint bytes_of_it;
    bytes_of_it.copied_bytes = made->weights.n_bytes();
    scope.count(bytes_of_it);
    return made;
}

std::int64_t projection::n_out() const
{
    return blocks_ ? blocks_->weights.n_out() : dense_.n_out();
}

void projection::run(
    const projection_input& x, const at::Tensor& out, projection_room& room, function f) const
{
    if (takes_tiles(x.rows, out)) return run_tiles(x, out, room, f);
    if (blocks_)
        run_blocks(x.rows, out, room);
    else
        dense_.run(x.rows, out, room.widening_);
    at::Tensor result = out;
    if (f == function::gelu_tanh) at::gelu_(result, "tanh");
}

at::Tensor projection::run(const projection_input& x, projection_room& room, function f) const
{
    at::Tensor out = at::empty({x.rows.size(0), n_out()}, x.rows.options());
    run(x, out, room, f);
    return out;
}

// Rows of bf16 are multiplied in bf16 where there are so many that widening the weights pays.
bool projection::takes_tiles(const at::Tensor& x, const at::Tensor& out) const
{
    constexpr std::int64_t least_rows = 16;
    return blocks_ && x.scalar_type() == bf16 && x.size(0) >= least_rows && x.stride(1) == 1 &&
           out.scalar_type() == bf16 && out.stride(1) == 1 && kernels::fits_tiles(blocks_->weights);
}

void projection::run_tiles(
    const projection_input& x, const at::Tensor& out, projection_room& room, function f) const
{
    kernels::thread_team& team = room.team();
    kernels::tile_input& input = room.tiles_.input();
    const at::Tensor& rows = x.rows;
    if (room.in_tiles_ != x.number) {
        input.set({bits_of(rows), rows.size(0), rows.size(1), rows.stride(0)}, team);
        room.in_tiles_ = x.number;
    }
    const at::Tensor& offsets = blocks_->bias;
    const float* bias_numbers = offsets.defined() ? offsets.const_data_ptr<float>() : nullptr;
    const kernels::bf16_matrix y{
        static_cast<std::uint16_t*>(out.mutable_data_ptr()),
        out.size(0),
        out.size(1),
        out.stride(0)};
    kernels::multiply_in_tiles(input, blocks_->weights, bias_numbers, f, y, team, room.tiles_);
}

void projection::run_blocks(const at::Tensor& x, const at::Tensor& out, projection_room& room) const
{
    const at::Tensor input = x.to(f32).contiguous();
    const bool in_place = out.scalar_type() == f32 && out.stride(1) == 1;
    const at::Tensor result = in_place ? out : at::empty(out.sizes(), out.options().dtype(f32));
    blocks_->weights.apply(const_matrix_of(input), matrix_of(result), room.team(), room.scratch_);
    if (blocks_->bias.defined()) result.add_(blocks_->bias);
    if (!in_place) out.copy_(result);
}

}  // namespace modelpool::nn

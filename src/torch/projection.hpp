#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "kernels/linear.hpp"
#include "kernels/scratch.hpp"
#include "kernels/thread_team.hpp"
#include "kernels/tile_product.hpp"
#include "torch/stored_linear.hpp"
#include "torch/weight_reader.hpp"

namespace modelpool::nn {

/// How the weights of a network's linears are kept, and what they compute in.
struct weight_format {
    c10::ScalarType compute{c10::ScalarType::Float};
    /// What weights that are stored as dense numbers are made into when they are read; nothing: they
    /// stay what they are. Rows that are no multiple of a block become Q8_0 blocks, or stay too.
    std::optional<kernels::block_type> blocks;
};

/// Rows that several projections take, which then make them ready once.
struct projection_input {
    at::Tensor rows;  ///< [n, n_in]
    std::uint64_t number{0};
};

/// What one replica needs to run projections. Not thread-safe.
class projection_room {
public:
    /// How many threads compute on blocks.
    void use_threads(int n_threads);
    /// `rows` must stay as they are as long as the result is used with this room.
    projection_input input(at::Tensor rows) { return {std::move(rows), ++n_inputs_}; }

private:
    friend class projection;
    kernels::thread_team& team();

    widening_buffer widening_;
    std::unique_ptr<kernels::thread_team> team_;
    int n_threads_{1};
    kernels::scratch scratch_;
    kernels::tile_room tiles_;
    std::uint64_t n_inputs_{0};
    std::uint64_t in_tiles_{0};  // the input that lies in tiles_
};

/// x · weightᵀ + bias for models of gigabytes: on weights as a checkpoint has them, dense or in
/// blocks, or on blocks that are made of them once. Immutable; replicas share it.
class projection {
public:
    using bias = stored_linear::bias;
    using function = kernels::row_function;

    projection() = default;
    /// Reads "<module>.weight" [n_out, n_in] and, where asked for, "<module>.bias" [n_out].
    static projection read(
        const weight_reader& reader,
        std::string_view module,
        std::pair<std::int64_t, std::int64_t> in_out,
        const weight_format& format,
        bias with = bias::stored);

    std::int64_t n_out() const;

    /// out = f(x · weightᵀ + bias); x is [n, n_in] and out [n, n_out], both of the dtype computed
    /// in. `out` may be some columns of a wider matrix. `f` is none or gelu_tanh.
    void
    run(const projection_input& x,
        const at::Tensor& out,
        projection_room& room,
        function f = function::none) const;
    /// The same in a new tensor.
    at::Tensor
    run(const projection_input& x, projection_room& room, function f = function::none) const;
    at::Tensor run(const at::Tensor& x, projection_room& room, function f = function::none) const
    {
        return run(room.input(x), room, f);
    }

private:
    struct blocks {
        kernels::linear weights;
        std::shared_ptr<const weights::tensor_source> source;  // where the weights refer to it
        at::Tensor bias;                                       // [n_out] f32, or undefined
    };
    static std::shared_ptr<blocks> read_blocks(
        const weight_reader& scope,
        std::pair<std::int64_t, std::int64_t> in_out,
        const weights::stored_tensor& found,
        std::optional<kernels::block_type> wanted);
    void run_blocks(const at::Tensor& x, const at::Tensor& out, projection_room& room) const;
    bool takes_tiles(const at::Tensor& x, const at::Tensor& out) const;
    void run_tiles(
        const projection_input& x, const at::Tensor& out, projection_room& room, function f) const;

    stored_linear dense_;
    std::shared_ptr<const blocks> blocks_;  // null: dense_
};

}  // namespace modelpool::nn

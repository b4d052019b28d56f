#pragma once

#include <modelpool/capability/model.hpp>

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "weights/safetensors.hpp"
#include "weights/tensor_source.hpp"

namespace modelpool::nn {

/// Bytes that reading a checkpoint has taken so far.
struct weight_footprint {
    std::size_t mapped_bytes{0};  ///< used in place, inside the mapped files
    std::size_t copied_bytes{0};  ///< converted or repacked, in memory of their own
};

/// Walks a checkpoint by its own key names: a model asks for each module's tensors in the scope of
/// that module, with the shape it computes with.
///
/// A tensor that is stored as it is computed with, and aligned, is used in place: the tensor refers
/// to the mapping, which is read-only, and keeps the checkpoint alive. Others are converted once.
///
/// Errors of the reading functions: model_errc::missing_tensor, model_errc::shape_mismatch and
/// model_errc::dtype_mismatch, naming the file and the tensor; operation_aborted once `stop` asks.
/// Not thread-safe. Copies and scopes share one account of bytes.
class weight_reader {
public:
    weight_reader(std::shared_ptr<const weights::checkpoint> source, stop_flag stop);
    /// Of a source in which tensors may lie in pieces or be stored as blocks. Both are put together
    /// and widened, in a copy, for whoever does not ask for them as they are.
    weight_reader(std::shared_ptr<const weights::tensor_source> source, stop_flag stop);

    /// The same checkpoint, with names prefixed by "<module>."; an empty name is the same scope.
    weight_reader in(std::string_view module) const;

    /// Whether the scope holds a tensor of that name.
    bool has(std::string_view name) const;

    /// A tensor as it lies in the files, valid as long as `source()`; for layers that compute on
    /// blocks.
    weights::stored_tensor pieces(std::string_view name, at::IntArrayRef shape) const;
    const std::shared_ptr<const weights::tensor_source>& source() const noexcept;
    /// Counts what a layer made of `pieces`, or uses in place.
    void count(weight_footprint more) const noexcept;

    /// The number format in which a floating-point tensor is stored; of blocks, that in which they
    /// are read.
    c10::ScalarType stored_type(std::string_view name, at::IntArrayRef shape) const;
    /// A floating-point tensor in the number format it is stored in.
    at::Tensor stored(std::string_view name, at::IntArrayRef shape) const;
    /// A floating-point tensor as `dtype`.
    at::Tensor read(std::string_view name, at::IntArrayRef shape, c10::ScalarType dtype) const;
    /// Tensors of one shape stacked along their first dimension, in a copy.
    at::Tensor stacked(
        const std::vector<std::string>& names, at::IntArrayRef shape, c10::ScalarType dtype) const;
    /// Matrices of one shape [n_out, n_in] as one of shape [n_in, n_out * names.size()], in a copy.
    /// Products with few rows are up to twice as fast on this layout.
    at::Tensor stacked_transposed(
        const std::vector<std::string>& names, at::IntArrayRef shape, c10::ScalarType dtype) const;

    weight_footprint footprint() const noexcept;
    /// Lets the system drop the files' pages, after what was repacked has been read. What is used
    /// in place is paged in again when touched.
    void drop_pages() const noexcept;

private:
    struct state;
    weight_reader(std::shared_ptr<state> shared, std::string prefix);

    at::Tensor tensor(const weights::stored_tensor& found) const;

    std::shared_ptr<state> state_;
    std::string prefix_;
};

}  // namespace modelpool::nn

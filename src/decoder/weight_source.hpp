#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "decoder/hyperparameters.hpp"
#include "kernels/block_type.hpp"
#include "weights/gguf_checkpoint.hpp"
#include "weights/safetensors.hpp"

namespace modelpool::decoder {

/// A matrix as a file has it: `n_rows` outputs, each a row of `n_columns` numbers.
struct stored_matrix {
    kernels::block_type type{kernels::block_type::f32};
    std::int64_t n_rows{0};
    std::int64_t n_columns{0};
    std::span<const std::byte> data;
    std::string name{};    ///< for messages; may be empty
    bool in_source{true};  ///< false: made on the way
};

/// The tensors of a decoder, by the names that GGUF gives them ("blk.0.attn_q.weight"). Keeps the
/// files mapped.
class weight_source {
public:
    weight_source() = default;
    weight_source(const weight_source&) = delete;
    weight_source& operator=(const weight_source&) = delete;
    weight_source(weight_source&&) = delete;
    weight_source& operator=(weight_source&&) = delete;
    virtual ~weight_source() = default;

    virtual bool has(std::string_view name) const = 0;
    /// Errors: model_errc::missing_tensor, shape_mismatch, dtype_mismatch, unsupported.
    virtual stored_matrix
    matrix(const std::string& name, std::int64_t n_rows, std::int64_t n_columns) const = 0;
    /// One matrix for each expert. Errors: as `matrix`.
    virtual std::vector<stored_matrix> experts(
        const std::string& name,
        std::int64_t n_experts,
        std::int64_t n_rows,
        std::int64_t n_columns) const = 0;
    /// Errors: as `matrix`.
    virtual std::vector<float> numbers(const std::string& name, std::int64_t n) const = 0;
    /// What a matrix was read from is not needed soon: the system may drop its pages.
    virtual void release(const stored_matrix& matrix) const noexcept = 0;
    /// Names of tensors of layers that nothing asked for: parts of the model that would be left
    /// out. Empty where the source does not count.
    virtual std::vector<std::string> unused() const = 0;
    virtual std::size_t weight_bytes() const noexcept = 0;
};

std::unique_ptr<weight_source>
make_weight_source(std::shared_ptr<const weights::gguf_checkpoint> file);

/// Of a checkpoint as transformers writes it; `about` says which tensors it joins or splits.
std::unique_ptr<weight_source>
make_weight_source(std::shared_ptr<const weights::checkpoint> files, const hyperparameters& about);

}  // namespace modelpool::decoder

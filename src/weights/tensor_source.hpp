#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace modelpool::weights {

class checkpoint;

/// How the numbers of a tensor are stored, by the numbers of the GGUF format (ggml_type), of which
/// `kernels::block_type` is a part.
enum class number_type : std::uint32_t {
    f32 = 0,
    f16 = 1,
    q4_0 = 2,
    q4_1 = 3,
    q5_0 = 6,
    q5_1 = 7,
    q8_0 = 8,
    q2_k = 10,
    q3_k = 11,
    q4_k = 12,
    q5_k = 13,
    q6_k = 14,
    f64 = 28,
    bf16 = 30
};

/// f32, f16, bf16 and f64: numbers one by one. The others come in blocks along the last dimension.
bool is_dense(number_type type) noexcept;

/// A tensor that lies in mapped files, whole or in pieces.
struct stored_tensor {
    /// Nothing where the numbers are of a type that no model computes with, such as I64.
    std::optional<number_type> type;
    std::string_view type_name;       ///< as its format calls it, for messages
    std::vector<std::int64_t> shape;  ///< row-major, the contiguous dimension last
    /// One piece, or several that follow one another along the first dimension, each of whole rows:
    /// a part of a fused tensor is one piece of it, and a tensor whose halves are stored the other
    /// way round is two. Nothing aligns a piece. Valid as long as the source.
    std::vector<std::span<const std::byte>> pieces;
};

/// The tensors of one component of a model by the names that its reference implementation gives
/// them, whatever files they come from and whatever they are called there. Immutable and
/// thread-safe; keeps its files mapped.
class tensor_source {
public:
    tensor_source() = default;
    tensor_source(const tensor_source&) = delete;
    tensor_source& operator=(const tensor_source&) = delete;
    tensor_source(tensor_source&&) = delete;
    tensor_source& operator=(tensor_source&&) = delete;
    virtual ~tensor_source() = default;

    /// Nothing where there is no tensor of that name. Errors: model_errc::bad_file where the file's
    /// tensor cannot be divided as the name asks for.
    virtual std::optional<stored_tensor> find(std::string_view name) const = 0;
    /// The folder or file, for messages.
    virtual std::string where() const = 0;
    /// Lets the system drop the pages of the component's tensors; they are read again when touched.
    virtual void drop_pages() const noexcept = 0;
    /// Bytes of the component's tensors as they are stored.
    virtual std::size_t weight_bytes() const noexcept = 0;
};

/// A folder of safetensors files whose tensors have the names that are asked for.
std::shared_ptr<const tensor_source> make_tensor_source(std::shared_ptr<const checkpoint> files);

}  // namespace modelpool::weights

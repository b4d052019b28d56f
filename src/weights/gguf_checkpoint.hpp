#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "weights/gguf.hpp"

namespace modelpool::weights {

/// All parts of a GGUF model: one file, or the files "<name>-00001-of-000NN.gguf" of a split one.
/// The metadata is the first part's. Shared and immutable: replicas refer to it.
class gguf_checkpoint {
public:
    using tensor_map = std::map<std::string_view, const gguf_tensor*>;

    /// Opens a file, and with the first part of a split one all others, which lie beside it.
    /// Errors: those of `gguf_file::blocking_open`; model_errc::bad_file where the file is a later
    /// part, or is not named as a part is; where a part is missing, is not the part that its name
    /// says, or belongs to another number of parts; where two parts have the same tensor, or all
    /// together have another number of tensors than the first one promises.
    static std::shared_ptr<const gguf_checkpoint> blocking_open(const std::filesystem::path& path);

    const gguf_header& header() const noexcept { return files_.front()->header(); }
    const std::vector<std::shared_ptr<const gguf_file>>& files() const noexcept { return files_; }
    const tensor_map& tensors() const noexcept { return tensors_; }
    const std::string& name() const noexcept { return header().name(); }

    /// Null where there is no tensor of that name.
    const gguf_tensor* find(std::string_view name) const noexcept;
    /// A tensor of these dimensions, the contiguous one first; dimensions of 1 at the end may be
    /// left out on either side.
    /// Errors: model_errc::missing_tensor; model_errc::shape_mismatch; model_errc::unsupported for
    /// a type that is not computed on, by its name.
    const gguf_tensor& need(std::string_view name, std::initializer_list<std::int64_t> dims) const;

    /// Sum of the tensors' bytes, as far as their types are known.
    std::size_t weight_bytes() const noexcept;
    std::size_t file_bytes() const noexcept;
    /// Lets the system drop the pages that lie wholly inside a tensor's data; they are read again
    /// when touched.
    void drop_pages(const gguf_tensor& tensor) const noexcept;

private:
    gguf_checkpoint() = default;
    void add(std::shared_ptr<const gguf_file> file);
    void blocking_add_parts(std::int64_t n_parts);

    std::vector<std::shared_ptr<const gguf_file>> files_;
    tensor_map tensors_;  // the names and tensors lie in files_
};

}  // namespace modelpool::weights

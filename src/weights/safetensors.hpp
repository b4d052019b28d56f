#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "weights/mapped_file.hpp"

namespace modelpool::weights {

/// Element types of the safetensors format.
enum class element {
    f64,
    f32,
    f16,
    bf16,
    f8_e4m3,
    f8_e5m2,
    i64,
    i32,
    i16,
    i8,
    u64,
    u32,
    u16,
    u8,
    boolean
};

/// The format's own name: "BF16".
std::string_view to_string(element type) noexcept;
std::size_t size_of(element type) noexcept;

/// One tensor inside a mapped file. `data` stays valid as long as the file it came from.
struct tensor_view {
    element type{element::f32};
    std::vector<std::int64_t> shape;  ///< empty: a scalar
    /// Row-major, little-endian. Nothing in the format aligns it: the address may be odd whatever
    /// the type, so copy elements out, or check before treating it as an array of them.
    std::span<const std::byte> data;

    std::int64_t n_elements() const noexcept;
};

using tensor_map = std::map<std::string, tensor_view, std::less<>>;

/// "[2, 3]"
std::string shape_text(std::span<const std::int64_t> shape);

/// One .safetensors file, mapped read-only and never copied. Every field of its header is checked
/// before it is used: the header lies within the file, its JSON is well formed, and the tensors'
/// extents are as long as their shapes and types say and cover the data from its first byte to its
/// last, without gap or overlap.
/// Source of the format: https://github.com/huggingface/safetensors#format
///
/// The file must not shrink or be rewritten in place while it is mapped: reading a page that the
/// file no longer has ends the process with SIGBUS, and no check made here can prevent that.
/// Replace a checkpoint by renaming another file over it, which leaves the mapping of the old one
/// whole.
class safetensors_file {
public:
    /// The longest header, in bytes, that is read; the reference implementation has the same limit.
    static constexpr std::size_t max_header_bytes = 100'000'000;
    /// The most dimensions of a tensor; what computes on them takes no more either.
    static constexpr std::size_t max_rank = 64;

    /// Opens, maps and checks a file; no tensor is read.
    /// Errors: model_errc::bad_file, naming the file, the tensor, what was expected and found;
    /// model_errc::unsupported for an element type of the format that is not in `element`.
    static std::shared_ptr<const safetensors_file> blocking_open(const std::filesystem::path& path);

    /// Checks and reads a header over bytes that the caller keeps alive: what `blocking_open` does
    /// with the mapping, and what a fuzzer calls. `name` goes into error messages. Errors: as
    /// `blocking_open`.
    static tensor_map parse(std::span<const std::byte> bytes, const std::string& name);

    ~safetensors_file() = default;
    safetensors_file(const safetensors_file&) = delete;
    safetensors_file& operator=(const safetensors_file&) = delete;
    safetensors_file(safetensors_file&&) = delete;
    safetensors_file& operator=(safetensors_file&&) = delete;

    const std::filesystem::path& path() const noexcept { return path_; }
    const tensor_map& tensors() const noexcept { return tensors_; }
    std::size_t file_bytes() const noexcept { return mapping_.bytes().size(); }
    /// Lets the system drop the pages of the whole mapping; they are read again when touched.
    void drop_pages() const noexcept { mapping_.drop_pages(); }
    /// The same of the pages that lie wholly inside `part`; other bytes are left alone.
    void drop_pages(std::span<const std::byte> part) const noexcept { mapping_.drop_pages(part); }

private:
    safetensors_file() = default;
    std::filesystem::path path_;
    mapped_file mapping_;
    tensor_map tensors_;
};

/// All tensors of a checkpoint folder: `model.safetensors`, or else the shards that
/// `model.safetensors.index.json` names. Shared and immutable: replicas refer to it.
class checkpoint {
public:
    /// Opens a folder, one .safetensors file by its own name, or the shards that an index, a .json
    /// file, names.
    /// Errors: model_errc::bad_file: no weights (the sentence says what was looked for and found),
    /// a shard missing or its name outside the folder, a tensor that the index promises and the
    /// shard lacks, one tensor in two shards; and all of `safetensors_file::blocking_open`.
    static std::shared_ptr<const checkpoint> blocking_open(const std::filesystem::path& path);

    /// The tensors of a file of another format, by the names of this one. `owner` keeps alive what
    /// they view.
    static std::shared_ptr<const checkpoint>
    of_tensors(std::filesystem::path path, tensor_map tensors, std::shared_ptr<const void> owner);

    /// Null where there is no tensor of that name.
    const tensor_view* find(std::string_view name) const noexcept;
    const std::vector<std::shared_ptr<const safetensors_file>>& files() const noexcept
    {
        return files_;
    }
    /// Tensor names in order.
    std::vector<std::string> names() const;
    std::size_t n_tensors() const noexcept { return tensors_.size(); }
    /// Sum of the tensors' bytes.
    std::size_t weight_bytes() const noexcept;
    /// As safetensors_file::drop_pages, of a part of any of the files.
    void drop_pages(std::span<const std::byte> part) const noexcept;
    /// For messages: the folder or file the tensors came from.
    const std::filesystem::path& path() const noexcept { return path_; }

private:
    checkpoint() = default;
    void add(std::shared_ptr<const safetensors_file> file);
    void blocking_add_shards(const std::filesystem::path& index);

    std::filesystem::path path_;
    std::vector<std::shared_ptr<const safetensors_file>> files_;
    std::map<std::string_view, const tensor_view*> tensors_;  // the names lie in files_ or own_
    tensor_map own_;                                          // of another format
    std::shared_ptr<const void> owner_;
};

}  // namespace modelpool::weights

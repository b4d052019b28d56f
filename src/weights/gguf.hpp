#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "weights/mapped_file.hpp"

namespace modelpool::weights {

/// Kinds of metadata values, by the numbers of the format.
enum class gguf_kind : std::uint32_t {
    u8 = 0,
    i8,
    u16,
    i16,
    u32,
    i32,
    f32,
    boolean,
    string,
    array,
    u64,
    i64,
    f64
};

/// "u32", "array"
std::string_view to_string(gguf_kind kind) noexcept;

/// One metadata value: a view into the file it came from, and valid as long.
class gguf_value {
public:
    gguf_kind kind() const noexcept { return kind_; }

    /// The value as what is asked for; nullopt where it is of another kind, or too large.
    std::optional<std::int64_t> integer() const noexcept;
    /// Integers count as numbers too.
    std::optional<double> number() const noexcept;
    std::optional<bool> boolean() const noexcept;
    std::optional<std::string_view> string() const noexcept;

    /// Of an array: the kind of its items, and how many there are. Otherwise `kind()` and 0.
    gguf_kind item_kind() const noexcept { return item_kind_; }
    std::size_t size() const noexcept { return n_items_; }
    /// An item of an array; `index` must be below size().
    gguf_value item(std::size_t index) const;
    /// The items of an array of strings; empty for everything else.
    std::span<const std::string_view> strings() const noexcept { return strings_; }

    /// "17", "'llama'", "an array of 3 f32"
    std::string text() const;

private:
    friend class gguf_reader;
    gguf_kind kind_{gguf_kind::u8};
    gguf_kind item_kind_{gguf_kind::u8};
    std::size_t n_items_{0};
    std::span<const std::byte> bytes_;  // of a scalar, a string, or an array of scalars
    std::vector<std::string_view> strings_;
    std::vector<gguf_value> arrays_;
};

/// How a tensor's numbers are stored, by the numbers of the format (ggml_type). Only those that
/// are computed on; a file may have others.
enum class gguf_type : std::uint32_t {
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
    bf16 = 30
};

/// The unit in which numbers of a type are stored.
struct gguf_block {
    std::uint32_t n_elements;
    std::uint32_t n_bytes;
};

/// The block of a type; nullopt where the type is not in `gguf_type`.
std::optional<gguf_block> block_of(gguf_type type) noexcept;
/// "Q4_K"; "type 99" where the format's version has no such type.
std::string to_string(gguf_type type);

/// A tensor's place in the file.
struct gguf_tensor {
    gguf_type type{gguf_type::f32};
    /// The dimension that is contiguous in memory comes first.
    std::vector<std::int64_t> dims;
    std::uint64_t offset{0};  ///< from the start of the data
    /// Blocks in order, little-endian, aligned as the file says; empty where the type is none of
    /// `gguf_type`.
    std::span<const std::byte> data;

    std::int64_t n_elements() const noexcept;
};

/// What the header of a GGUF file says; a view into the file's bytes.
class gguf_header {
public:
    using metadata_map = std::map<std::string_view, gguf_value>;
    using tensor_map = std::map<std::string_view, gguf_tensor>;

    /// Checks and reads the header over bytes that the caller keeps alive. `name` goes into error
    /// messages. Errors: as `gguf_file::blocking_open`.
    static gguf_header parse(std::span<const std::byte> bytes, std::string name);

    std::uint32_t version() const noexcept { return version_; }
    std::size_t alignment() const noexcept { return alignment_; }
    const std::string& name() const noexcept { return name_; }
    const metadata_map& metadata() const noexcept { return metadata_; }
    const tensor_map& tensors() const noexcept { return tensors_; }

    /// A metadata value; null where there is none of that key.
    const gguf_value* find(std::string_view key) const noexcept;
    // The same as what it must be. Errors: model_errc::bad_file, with the key, what was expected
    // and what was found, where the value is of another kind or outside [lowest, highest].
    std::optional<std::int64_t>
    find_int(std::string_view key, std::int64_t lowest, std::int64_t highest) const;
    std::optional<double> find_number(std::string_view key) const;
    std::optional<bool> find_bool(std::string_view key) const;
    std::optional<std::string_view> find_string(std::string_view key) const;
    std::optional<std::span<const std::string_view>> find_strings(std::string_view key) const;
    std::optional<std::vector<std::int64_t>>
    find_ints(std::string_view key, std::int64_t lowest, std::int64_t highest) const;
    std::optional<std::vector<double>> find_numbers(std::string_view key) const;

    /// The same for what must be there.
    std::int64_t need_int(std::string_view key, std::int64_t lowest, std::int64_t highest) const;
    std::string_view need_string(std::string_view key) const;

    /// A tensor's data. Errors: model_errc::missing_tensor; model_errc::unsupported, with the name
    /// of the type, where it is none of `gguf_type`.
    std::span<const std::byte> data_of(std::string_view tensor) const;

    /// Throws model_errc::bad_file: "<name>: <sentence>".
    [[noreturn]] void fail(const std::string& sentence) const;

private:
    friend class gguf_reader;
    [[noreturn]] void
    fail(std::string_view key, const std::string& expected, const gguf_value& found) const;

    std::string name_;
    std::uint32_t version_{0};
    std::size_t alignment_{32};
    metadata_map metadata_;
    tensor_map tensors_;
};

/// One GGUF file (version 2 or 3, little-endian), mapped read-only and never copied. Every count
/// and offset of its header is checked against the size of the file before it is used, and what is
/// kept of a header takes a small multiple of the bytes it was read from.
/// Source of the format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
///
/// A part of a split file is opened like any other; `gguf_checkpoint` puts parts together.
class gguf_file {
public:
    /// Opens, maps and checks a file; no tensor is read.
    /// Errors: model_errc::bad_file, naming the file, the key or tensor, what was expected and
    /// found; model_errc::unsupported for another version of the format, or one in big-endian.
    static std::shared_ptr<const gguf_file> blocking_open(const std::filesystem::path& path);

    const std::filesystem::path& path() const noexcept { return path_; }
    const gguf_header& header() const noexcept { return header_; }
    std::size_t file_bytes() const noexcept { return mapping_.bytes().size(); }
    void drop_pages() const noexcept { mapping_.drop_pages(); }
    void drop_pages(std::span<const std::byte> part) const noexcept { mapping_.drop_pages(part); }

private:
    gguf_file() = default;
    std::filesystem::path path_;
    mapped_file mapping_;
    gguf_header header_;
};

}  // namespace modelpool::weights

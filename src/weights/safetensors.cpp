#include "weights/safetensors.hpp"

#include <array>
#include <bit>
#include <utility>

#include "support/printable.hpp"

namespace modelpool::weights {
namespace {

static_assert(
    std::endian::native == std::endian::little,
    "tensors are used in place, and the format is little-endian");

struct element_facts {
    std::string_view name;
    std::size_t n_bytes;
};

// In the order of `element`.
constexpr std::array<element_facts, 15> facts{
    {{"F64", 8},
     {"F32", 4},
     {"F16", 2},
     {"BF16", 2},
     {"F8_E4M3", 1},
     {"F8_E5M2", 1},
     {"I64", 8},
     {"I32", 4},
     {"I16", 2},
     {"I8", 1},
     {"U64", 8},
     {"U32", 4},
     {"U16", 2},
     {"U8", 1},
     {"BOOL", 1}}};

// A shard's name comes from a file.
std::string shown(const std::filesystem::path& path)
{
    return support::printable(path.native(), 4096);
}

}  // namespace

std::string_view to_string(element type) noexcept
{
    return facts[static_cast<std::size_t>(type)].name;
}

std::size_t size_of(element type) noexcept
{
    return facts[static_cast<std::size_t>(type)].n_bytes;
}

std::int64_t tensor_view::n_elements() const noexcept
{
    std::int64_t product = 1;
    for (const std::int64_t size : shape)
        product *= size;
    return product;
}

std::string shape_text(std::span<const std::int64_t> shape)
{
    std::string text = "[";
    for (const std::int64_t size : shape) {
        if (text.size() > 1) text += ", ";
        text += std::to_string(size);
    }
    return text + "]";
}

std::shared_ptr<const safetensors_file>
safetensors_file::blocking_open(const std::filesystem::path& path)
{
    mapped_file mapping = mapped_file::blocking_open(path);
    const std::shared_ptr<safetensors_file> file{new safetensors_file};
    file->mapping_ = std::move(mapping);
    file->path_ = path;
    file->tensors_ = parse(file->mapping_.bytes(), shown(path));
    return file;
}

}  // namespace modelpool::weights

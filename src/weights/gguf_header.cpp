// The header of a GGUF file: magic, version, counts, metadata, the table of tensors, then padding
// up to the data.

#include <modelpool/error.hpp>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <utility>

#include "support/printable.hpp"
#include "weights/gguf.hpp"

namespace modelpool::weights {
namespace {

static_assert(
    std::endian::native == std::endian::little,
    "values are used in place, and the format is little-endian");

using support::in_quotes;

constexpr std::string_view magic = "GGUF";
constexpr std::uint32_t lowest_version = 2;
constexpr std::uint32_t highest_version = 3;
constexpr std::size_t max_dims = 4;  // GGML_MAX_DIMS
constexpr int max_nesting = 16;      // of arrays in arrays; the reader recurses
constexpr std::size_t max_alignment = std::size_t{1} << 20U;

// The least bytes of an entry of the metadata (an empty key, a kind, a byte), and of the table of
// tensors (an empty name, no dimensions, a type, an offset).
constexpr std::uint64_t least_entry_bytes = 8 + 4 + 1;
constexpr std::uint64_t least_tensor_bytes = 8 + 4 + 4 + 8;

std::size_t size_of(gguf_kind kind)
{
    switch (kind) {
    case gguf_kind::u8:
    case gguf_kind::i8:
    case gguf_kind::boolean:
        return 1;
    case gguf_kind::u16:
    case gguf_kind::i16:
        return 2;
    case gguf_kind::u64:
    case gguf_kind::i64:
    case gguf_kind::f64:
        return 8;
    default:
        return 4;
    }
}

}  // namespace

// Reads a header from its first byte to its last. Every length is compared with the bytes that
// are left before anything is made of it.
class gguf_reader {
public:
    gguf_reader(std::span<const std::byte> bytes, std::string name)
        : bytes_{bytes}
    {
        made_.name_ = std::move(name);
    }

    gguf_header read()
    {
        read_magic();
        const std::uint64_t n_tensors = read_count("tensors", least_tensor_bytes);
        const std::uint64_t n_entries = read_count("metadata entries", least_entry_bytes);
        for (std::uint64_t i = 0; i < n_entries; ++i)
            read_entry();
        read_alignment();
        for (std::uint64_t i = 0; i < n_tensors; ++i)
            read_tensor();
        place_tensors();
        return std::move(made_);
    }

private:
    [[noreturn]] void fail(const std::string& sentence) const { made_.fail(sentence); }

    std::size_t n_left() const { return bytes_.size() - at_; }

    std::span<const std::byte> take(std::uint64_t n_bytes, std::string_view what)
    {
        if (n_bytes > n_left())
            fail(
                std::string{what} + " at byte " + std::to_string(at_) + " needs " +
                std::to_string(n_bytes) + " bytes, but the file has " + std::to_string(n_left()) +
                " more; fetch it again");
        const std::span<const std::byte> taken = bytes_.subspan(at_, n_bytes);
        at_ += n_bytes;
        return taken;
    }

    template <typename T>
    T read(std::string_view what)
    {
        T value{};
        std::memcpy(&value, take(sizeof value, what).data(), sizeof value);
        return value;
    }

    std::string_view read_string(std::string_view what)
    {
        const auto n_bytes = read<std::uint64_t>(what);
        const std::span<const std::byte> taken = take(n_bytes, what);
        return {reinterpret_cast<const char*>(taken.data()), taken.size()};
    }

    void read_magic()
    {
        if (n_left() < magic.size() || std::memcmp(bytes_.data(), magic.data(), magic.size()) != 0)
            fail("not a GGUF file: it does not begin with 'GGUF'");
        at_ = magic.size();
        const auto version = read<std::uint32_t>("the version");
        const auto refuse = [this](const std::string& sentence) {
            throw error{model_errc::unsupported, made_.name_ + ": " + sentence};
        };
        if (version != 0 && (version & 0xFFFFU) == 0)
            refuse("a big-endian GGUF file, which is not supported");
        if (version < lowest_version || version > highest_version)
            refuse(
                "version " + std::to_string(version) + " of GGUF is not supported, only 2 and 3");
        made_.version_ = version;
    }

    std::uint64_t read_count(const std::string& what, std::uint64_t least_bytes)
    {
        const auto count = read<std::uint64_t>("the number of " + what);
        if (count > n_left() / least_bytes)
            fail(
                "promises " + std::to_string(count) + " " + what + " in " +
                std::to_string(n_left()) + " bytes");
        return count;
    }

    gguf_kind read_kind(std::string_view key)
    {
        const auto number = read<std::uint32_t>("a kind of value");
        if (number > static_cast<std::uint32_t>(gguf_kind::f64))
            fail(
                "the key " + in_quotes(key) + " has a value of kind " + std::to_string(number) +
                ", expected one from 0 to 12");
        return static_cast<gguf_kind>(number);
    }

    void read_entry()
    {
        const std::string_view key = read_string("a key");
        gguf_value value = read_value(read_kind(key), key, 0);
        if (!made_.metadata_.try_emplace(key, std::move(value)).second)
            fail("has the key " + in_quotes(key) + " twice");
    }

    gguf_value read_value(gguf_kind kind, std::string_view key, int depth)
    {
        gguf_value value;
        value.kind_ = kind;
        value.item_kind_ = kind;
        if (kind == gguf_kind::string) {
            value.bytes_ = std::as_bytes(std::span{read_string("a string")});
        } else if (kind == gguf_kind::array) {
            read_array(value, key, depth);
        } else {
            value.bytes_ = take(size_of(kind), "a value");
            if (kind == gguf_kind::boolean) check_booleans(value.bytes_, key);
        }
        return value;
    }

    void check_booleans(std::span<const std::byte> bytes, std::string_view key) const
    {
        for (const std::byte byte : bytes)
            if (std::to_integer<unsigned>(byte) > 1)
                fail(
                    "the key " + in_quotes(key) + " has a bool of " +
                    std::to_string(std::to_integer<unsigned>(byte)) + ", expected 0 or 1");
    }

    void read_array(gguf_value& value, std::string_view key, int depth)
    {
        if (depth >= max_nesting)
            fail(
                "the key " + in_quotes(key) + " nests arrays more than " +
                std::to_string(max_nesting) + " deep");
        value.item_kind_ = read_kind(key);
        const auto n_items = read<std::uint64_t>("the length of an array");
        // A string has its length at least, an array its kind and its length.
        const std::size_t least_bytes = value.item_kind_ == gguf_kind::string ? 8
                                        : value.item_kind_ == gguf_kind::array
                                            ? 12
                                            : size_of(value.item_kind_);
        if (n_items > n_left() / least_bytes)
            fail(
                "the key " + in_quotes(key) + " promises " + std::to_string(n_items) +
                " items in " + std::to_string(n_left()) + " bytes");
        value.n_items_ = n_items;
        if (value.item_kind_ == gguf_kind::string) {
            value.strings_.reserve(n_items);
            for (std::uint64_t i = 0; i < n_items; ++i)
                value.strings_.push_back(read_string("a string of an array"));
        } else if (value.item_kind_ == gguf_kind::array) {
            for (std::uint64_t i = 0; i < n_items; ++i)
                value.arrays_.push_back(read_value(gguf_kind::array, key, depth + 1));
        } else {
            value.bytes_ = take(n_items * least_bytes, "an array");
            if (value.item_kind_ == gguf_kind::boolean) check_booleans(value.bytes_, key);
        }
    }

    void read_alignment()
    {
        const auto found = made_.find_int("general.alignment", 1, max_alignment);
        if (!found) return;
        made_.alignment_ = static_cast<std::size_t>(*found);
        if (!std::has_single_bit(made_.alignment_))
            fail(
                "the key 'general.alignment' must be a power of two, found " +
                std::to_string(*found));
    }

    void read_tensor()
    {
        const std::string_view name = read_string("the name of a tensor");
        const auto fail_tensor = [&](const std::string& sentence) {
            fail("the tensor " + in_quotes(name) + " " + sentence);
        };
        gguf_tensor tensor;
        const auto n_dims = read<std::uint32_t>("a number of dimensions");
        if (n_dims > max_dims)
            fail_tensor("has " + std::to_string(n_dims) + " dimensions, the most are 4");
        std::int64_t n_elements = 1;
        for (std::uint32_t i = 0; i < n_dims; ++i) {
            const auto size = read<std::uint64_t>("a dimension");
            const auto most = static_cast<std::uint64_t>(
                std::numeric_limits<std::int64_t>::max() / std::max<std::int64_t>(n_elements, 1));
            if (size > most) fail_tensor("has more elements than can be counted");
            tensor.dims.push_back(static_cast<std::int64_t>(size));
            n_elements *= tensor.dims.back();
        }
        tensor.type = static_cast<gguf_type>(read<std::uint32_t>("the type of a tensor"));
        tensor.offset = read<std::uint64_t>("the offset of a tensor");
        if (tensor.offset % made_.alignment_ != 0)
            fail_tensor(
                "begins at " + std::to_string(tensor.offset) + ", expected a multiple of " +
                std::to_string(made_.alignment_));
        const std::optional<gguf_block> block = block_of(tensor.type);
        const std::int64_t row = tensor.dims.empty() ? 1 : tensor.dims.front();
        if (block && row % block->n_elements != 0)
            fail_tensor(
                "has rows of " + std::to_string(row) + " elements, but " + to_string(tensor.type) +
                " comes in blocks of " + std::to_string(block->n_elements));
        if (!made_.tensors_.try_emplace(name, std::move(tensor)).second)
            fail("has the tensor " + in_quotes(name) + " twice");
    }

    // Gives each tensor its bytes, which must lie in the file and belong to no other tensor.
    void place_tensors()
    {
        if (made_.tensors_.empty()) return;
        const std::size_t n_padding =
            (made_.alignment_ - at_ % made_.alignment_) % made_.alignment_;
        take(n_padding, "the padding before the data");
        const std::span<const std::byte> data = bytes_.subspan(at_);
        std::vector<gguf_header::tensor_map::value_type*> placed;
        for (auto& each : made_.tensors_) {
            gguf_tensor& tensor = each.second;
            const auto fail_truncated = [&](const std::string& n_bytes) {
                fail(
                    "truncated: the tensor " + in_quotes(each.first) + " needs " + n_bytes +
                    " bytes at " + std::to_string(tensor.offset) + " of the data, which has " +
                    std::to_string(data.size()) + "; fetch the file again");
            };
            if (tensor.offset > data.size()) fail_truncated("its");
            const std::optional<gguf_block> block = block_of(tensor.type);
            if (!block) continue;
            const auto n_blocks =
                static_cast<std::uint64_t>(tensor.n_elements()) / block->n_elements;
            const std::size_t n_left_of_data = data.size() - tensor.offset;
            if (n_blocks > n_left_of_data / block->n_bytes)
                fail_truncated(std::to_string(n_blocks) + " x " + std::to_string(block->n_bytes));
            tensor.data = data.subspan(tensor.offset, n_blocks * block->n_bytes);
            if (!tensor.data.empty()) placed.push_back(&each);
        }
        check_overlap(placed);
    }

    void check_overlap(std::vector<gguf_header::tensor_map::value_type*>& placed) const
    {
        std::sort(placed.begin(), placed.end(), [](const auto* a, const auto* b) {
            return a->second.offset < b->second.offset;
        });
        for (std::size_t i = 1; i < placed.size(); ++i) {
            const gguf_tensor& before = placed[i - 1]->second;
            if (before.offset + before.data.size() > placed[i]->second.offset)
                fail(
                    "the tensors " + in_quotes(placed[i - 1]->first) + " and " +
                    in_quotes(placed[i]->first) + " overlap at " +
                    std::to_string(placed[i]->second.offset) + " of the data");
        }
    }

    std::span<const std::byte> bytes_;
    std::size_t at_{0};
    gguf_header made_;
};

gguf_header gguf_header::parse(std::span<const std::byte> bytes, std::string name)
{
    return gguf_reader{bytes, std::move(name)}.read();
}

}  // namespace modelpool::weights

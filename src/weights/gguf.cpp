#include "weights/gguf.hpp"

#include <modelpool/error.hpp>

#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "support/printable.hpp"

namespace modelpool::weights {
namespace {

using support::in_quotes;

constexpr std::array<std::string_view, 13> kind_names{
    "u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64", "f64"};

struct type_facts {
    gguf_type type;
    std::string_view name;
    gguf_block block;
};

constexpr std::array<type_facts, 13> known_types{
    {{gguf_type::f32, "F32", {1, 4}},
     {gguf_type::f16, "F16", {1, 2}},
     {gguf_type::q4_0, "Q4_0", {32, 18}},
     {gguf_type::q4_1, "Q4_1", {32, 20}},
     {gguf_type::q5_0, "Q5_0", {32, 22}},
     {gguf_type::q5_1, "Q5_1", {32, 24}},
     {gguf_type::q8_0, "Q8_0", {32, 34}},
     {gguf_type::q2_k, "Q2_K", {256, 84}},
     {gguf_type::q3_k, "Q3_K", {256, 110}},
     {gguf_type::q4_k, "Q4_K", {256, 144}},
     {gguf_type::q5_k, "Q5_K", {256, 176}},
     {gguf_type::q6_k, "Q6_K", {256, 210}},
     {gguf_type::bf16, "BF16", {1, 2}}}};

// Types that a file may have and nothing here computes on.
constexpr std::array<std::pair<std::uint32_t, std::string_view>, 21> other_types{
    {{9, "Q8_1"},    {15, "Q8_K"},  {16, "IQ2_XXS"}, {17, "IQ2_XS"}, {18, "IQ3_XXS"}, {19, "IQ1_S"},
     {20, "IQ4_NL"}, {21, "IQ3_S"}, {22, "IQ2_S"},   {23, "IQ4_XS"}, {24, "I8"},      {25, "I16"},
     {26, "I32"},    {27, "I64"},   {28, "F64"},     {29, "IQ1_M"},  {34, "TQ1_0"},   {35, "TQ2_0"},
     {39, "MXFP4"},  {40, "NVFP4"}, {41, "Q1_0"}}};

template <typename T>
T load(std::span<const std::byte> bytes) noexcept
{
    T value{};
    std::memcpy(&value, bytes.data(), sizeof value);
    return value;
}

}  // namespace

std::string_view to_string(gguf_kind kind) noexcept
{
    return kind_names[static_cast<std::size_t>(kind)];
}

std::optional<gguf_block> block_of(gguf_type type) noexcept
{
    for (const type_facts& each : known_types)
        if (each.type == type) return each.block;
    return std::nullopt;
}

std::string to_string(gguf_type type)
{
    for (const type_facts& each : known_types)
        if (each.type == type) return std::string{each.name};
    const auto number = static_cast<std::uint32_t>(type);
    for (const auto& [other, name] : other_types)
        if (other == number) return std::string{name};
    return "type " + std::to_string(number);
}

std::int64_t gguf_tensor::n_elements() const noexcept
{
    std::int64_t product = 1;
    for (const std::int64_t size : dims)
        product *= size;
    return product;
}

std::optional<std::int64_t> gguf_value::integer() const noexcept
{
    switch (kind_) {
    case gguf_kind::u8:
        return load<std::uint8_t>(bytes_);
    case gguf_kind::i8:
        return load<std::int8_t>(bytes_);
    case gguf_kind::u16:
        return load<std::uint16_t>(bytes_);
    case gguf_kind::i16:
        return load<std::int16_t>(bytes_);
    case gguf_kind::u32:
        return load<std::uint32_t>(bytes_);
    case gguf_kind::i32:
        return load<std::int32_t>(bytes_);
    case gguf_kind::i64:
        return load<std::int64_t>(bytes_);
    case gguf_kind::u64: {
        const auto value = load<std::uint64_t>(bytes_);
        if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
            return std::nullopt;
        return static_cast<std::int64_t>(value);
    }
    default:
        return std::nullopt;
    }
}

std::optional<double> gguf_value::number() const noexcept
{
    if (kind_ == gguf_kind::f32) return static_cast<double>(load<float>(bytes_));
    if (kind_ == gguf_kind::f64) return load<double>(bytes_);
    if (kind_ == gguf_kind::u64) return static_cast<double>(load<std::uint64_t>(bytes_));
    const std::optional<std::int64_t> whole = integer();
    return whole ? std::optional{static_cast<double>(*whole)} : std::nullopt;
}

std::optional<bool> gguf_value::boolean() const noexcept
{
    if (kind_ != gguf_kind::boolean) return std::nullopt;
    return load<std::uint8_t>(bytes_) != 0;
}

std::optional<std::string_view> gguf_value::string() const noexcept
{
    if (kind_ != gguf_kind::string) return std::nullopt;
    return std::string_view{reinterpret_cast<const char*>(bytes_.data()), bytes_.size()};
}

gguf_value gguf_value::item(std::size_t index) const
{
    if (item_kind_ == gguf_kind::array) return arrays_[index];
    gguf_value made;
    made.kind_ = item_kind_;
    made.item_kind_ = item_kind_;
    if (item_kind_ == gguf_kind::string) {
        made.bytes_ = std::as_bytes(std::span{strings_[index]});
    } else {
        const std::size_t n_bytes = bytes_.size() / n_items_;
        made.bytes_ = bytes_.subspan(index * n_bytes, n_bytes);
    }
    return made;
}

std::string gguf_value::text() const
{
    if (kind_ == gguf_kind::array)
        return "an array of " + std::to_string(n_items_) + " " + std::string{to_string(item_kind_)};
    if (const std::optional<std::string_view> value = string()) return in_quotes(*value);
    if (const std::optional<bool> value = boolean()) return *value ? "true" : "false";
    if (const std::optional<std::int64_t> value = integer()) return std::to_string(*value);
    return std::to_string(number().value_or(0.0));
}

void gguf_header::fail(const std::string& sentence) const
{
    throw error{model_errc::bad_file, name_ + ": " + sentence};
}

void gguf_header::fail(
    std::string_view key, const std::string& expected, const gguf_value& found) const
{
    fail("the key " + in_quotes(key) + " must be " + expected + ", found " + found.text());
}

const gguf_value* gguf_header::find(std::string_view key) const noexcept
{
    const auto place = metadata_.find(key);
    return place == metadata_.end() ? nullptr : &place->second;
}

std::optional<std::int64_t>
gguf_header::find_int(std::string_view key, std::int64_t lowest, std::int64_t highest) const
{
    const gguf_value* const found = find(key);
    if (found == nullptr) return std::nullopt;
    const std::optional<std::int64_t> value = found->integer();
    if (!value || *value < lowest || *value > highest)
        fail(
            key,
            "a whole number from " + std::to_string(lowest) + " to " + std::to_string(highest),
            *found);
    return value;
}

std::optional<double> gguf_header::find_number(std::string_view key) const
{
    const gguf_value* const found = find(key);
    if (found == nullptr) return std::nullopt;
    const std::optional<double> value = found->number();
    if (!value || !std::isfinite(*value)) fail(key, "a number", *found);
    return value;
}

std::optional<bool> gguf_header::find_bool(std::string_view key) const
{
    const gguf_value* const found = find(key);
    if (found == nullptr) return std::nullopt;
    const std::optional<bool> value = found->boolean();
    if (!value) fail(key, "true or false", *found);
    return value;
}

std::optional<std::string_view> gguf_header::find_string(std::string_view key) const
{
    const gguf_value* const found = find(key);
    if (found == nullptr) return std::nullopt;
    const std::optional<std::string_view> value = found->string();
    if (!value) fail(key, "a string", *found);
    return value;
}

std::optional<std::span<const std::string_view>>
gguf_header::find_strings(std::string_view key) const
{
    const gguf_value* const found = find(key);
    if (found == nullptr) return std::nullopt;
    if (found->kind() != gguf_kind::array ||
        (found->item_kind() != gguf_kind::string && found->size() > 0))
        fail(key, "an array of strings", *found);
    return found->strings();
}

std::optional<std::vector<std::int64_t>>
gguf_header::find_ints(std::string_view key, std::int64_t lowest, std::int64_t highest) const
{
    const gguf_value* const found = find(key);
    if (found == nullptr) return std::nullopt;
    const std::string expected = "an array of whole numbers from " + std::to_string(lowest) +
                                 " to " + std::to_string(highest);
    if (found->kind() != gguf_kind::array) fail(key, expected, *found);
    std::vector<std::int64_t> values;
    for (std::size_t i = 0; i < found->size(); ++i) {
        const gguf_value item = found->item(i);
        const std::optional<std::int64_t> value = item.integer();
        if (!value || *value < lowest || *value > highest)
            fail(key, expected + ": item " + std::to_string(i), item);
        values.push_back(*value);
    }
    return values;
}

std::optional<std::vector<double>> gguf_header::find_numbers(std::string_view key) const
{
    const gguf_value* const found = find(key);
    if (found == nullptr) return std::nullopt;
    if (found->kind() != gguf_kind::array) fail(key, "an array of numbers", *found);
    std::vector<double> values;
    for (std::size_t i = 0; i < found->size(); ++i) {
        const gguf_value item = found->item(i);
        const std::optional<double> value = item.number();
        if (!value) fail(key, "an array of numbers: item " + std::to_string(i), item);
        values.push_back(*value);
    }
    return values;
}

std::int64_t
gguf_header::need_int(std::string_view key, std::int64_t lowest, std::int64_t highest) const
{
    const std::optional<std::int64_t> value = find_int(key, lowest, highest);
    if (!value) fail("lacks the key " + in_quotes(key));
    return *value;
}

std::string_view gguf_header::need_string(std::string_view key) const
{
    const std::optional<std::string_view> value = find_string(key);
    if (!value) fail("lacks the key " + in_quotes(key));
    return *value;
}

std::span<const std::byte> gguf_header::data_of(std::string_view tensor) const
{
    const auto place = tensors_.find(tensor);
    if (place == tensors_.end())
        throw error{model_errc::missing_tensor, name_ + ": lacks the tensor " + in_quotes(tensor)};
    if (!block_of(place->second.type))
        throw error{
            model_errc::unsupported,
            name_ + ": the tensor " + in_quotes(tensor) + " is stored as " +
                to_string(place->second.type) +
                ", which is not supported; take a file of another quantisation"};
    return place->second.data;
}

std::shared_ptr<const gguf_file> gguf_file::blocking_open(const std::filesystem::path& path)
{
    const std::shared_ptr<gguf_file> file{new gguf_file};
    file->path_ = path;
    file->mapping_ = mapped_file::blocking_open(path);
    file->header_ =
        gguf_header::parse(file->mapping_.bytes(), support::printable(path.native(), 4096));
    return file;
}

}  // namespace modelpool::weights

// The header of a .safetensors file: a little-endian u64 length, then that many bytes of JSON, then
// the data.
//
// The JSON is read as a stream of events, so that nothing is held but the result: a hostile header
// cannot make the reader allocate more than a small multiple of its own length, or recurse.

#include <modelpool/error.hpp>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <optional>
#include <utility>

#include "support/json.hpp"
#include "support/printable.hpp"
#include "weights/safetensors.hpp"

namespace modelpool::weights {
namespace {

using support::in_quotes;

// Element types that the format has and `element` lacks.
constexpr std::array<std::string_view, 7> unsupported_types{
    "F4", "F6_E2M3", "F6_E3M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "C64"};

constexpr std::uint64_t max_extent = std::numeric_limits<std::int64_t>::max();

std::optional<element> element_of(std::string_view name)
{
    for (int i = 0; i <= static_cast<int>(element::boolean); ++i)
        if (name == to_string(static_cast<element>(i))) return static_cast<element>(i);
    return std::nullopt;
}

// A tensor and where its bytes lie, relative to the start of the data.
struct placed_tensor {
    tensor_map::value_type* tensor{nullptr};
    std::uint64_t begin{0};
    std::uint64_t end{0};

    const std::string& name() const { return tensor->first; }
};

std::string extent_text(std::uint64_t begin, std::uint64_t end)
{
    return "[" + std::to_string(begin) + ", " + std::to_string(end) + ")";
}

// Takes nlohmann's parse events, in the order of the text, and builds the tensors; the names of its
// public members are nlohmann's. `place_` is what the next event belongs to. Throws what `fail`
// throws.
class header_reader {
public:
    explicit header_reader(const std::string& file_name)
        : file_name_{file_name}
    {}

    bool null()
    {
        if (place_ != place::metadata) return other("null");
        place_ = place::names;
        return true;
    }

    bool boolean(bool) { return other("a boolean"); }
    bool number_integer(std::int64_t value) { return other(std::to_string(value)); }
    bool number_float(double, const std::string& text)
    {
        return other(support::printable(text, 40));
    }
    bool binary(nlohmann::json::binary_t&) { return other("binary data"); }

    bool number_unsigned(std::uint64_t value)
    {
        if (place_ == place::dimensions) {
            if (value > max_extent) return other(std::to_string(value));
            if (shape_.size() == safetensors_file::max_rank)
                fail("more than " + std::to_string(safetensors_file::max_rank) + " dimensions");
            shape_.push_back(static_cast<std::int64_t>(value));
            return true;
        }
        if (place_ == place::offset_pair && n_offsets_ < offsets_.size()) {
            offsets_[n_offsets_++] = value;
            return true;
        }
        return other(std::to_string(value));
    }

    bool string(std::string& value)
    {
        if (place_ == place::metadata_pairs) return true;
        if (place_ != place::dtype) return other("the string " + in_quotes(value, 40));
        type_ = element_of(value);
        if (!type_) refuse_type(value);
        place_ = place::fields;
        return true;
    }

    bool start_object(std::size_t)
    {
        switch (place_) {
        case place::document:
            place_ = place::names;
            return true;
        case place::metadata:
            place_ = place::metadata_pairs;
            return true;
        case place::info:
            place_ = place::fields;
            return true;
        case place::unknown:
            ++depth_;
            return true;
        default:
            return other("an object");
        }
    }

    bool start_array(std::size_t)
    {
        switch (place_) {
        case place::shape:
            place_ = place::dimensions;
            return true;
        case place::offsets:
            place_ = place::offset_pair;
            return true;
        case place::unknown:
            ++depth_;
            return true;
        default:
            return other("an array");
        }
    }

    bool key(std::string& name)
    {
        if (place_ == place::names)
            start_entry(name);
        else if (place_ == place::fields)
            start_field(name);
        return true;
    }

    bool end_object()
    {
        if (place_ == place::unknown)
            leave_unknown();
        else if (place_ == place::fields)
            end_tensor();
        else
            place_ = place_ == place::metadata_pairs ? place::names : place::end;
        return true;
    }

    bool end_array()
    {
        if (place_ == place::unknown) {
            leave_unknown();
            return true;
        }
        if (place_ == place::offset_pair && n_offsets_ != offsets_.size())
            return other("an array of " + std::to_string(n_offsets_));
        place_ = place::fields;
        return true;
    }

    [[noreturn]] bool
    parse_error(std::size_t, const std::string&, const nlohmann::json::exception& problem)
    {
        name_.reset();
        fail("the header is not valid JSON: " + support::json_problem(problem));
    }

    tensor_map take_tensors() { return std::move(tensors_); }
    std::vector<placed_tensor> take_places() { return std::move(places_); }

private:
    enum class place {
        document,        // the header's own value
        names,           // a key of the header
        metadata,        // the value of "__metadata__"
        metadata_pairs,  // a key or value in it
        info,            // the value of a tensor's name
        fields,          // a key of it
        dtype,           // the values of those keys, and what is inside them
        shape,
        dimensions,
        offsets,
        offset_pair,
        unknown,
        end,
    };

    [[noreturn]] void fail(const std::string& sentence) const
    {
        throw error{
            model_errc::bad_file,
            file_name_ + ": " + (name_ ? "tensor " + in_quotes(*name_) + ": " : "") + sentence};
    }

    std::string_view expected() const
    {
        switch (place_) {
        case place::metadata:
            return "'__metadata__' must be an object";
        case place::metadata_pairs:
            return "'__metadata__' must hold strings only";
        case place::info:
            return "its entry must be an object";
        case place::dtype:
            return "'dtype' must be a string";
        case place::shape:
        case place::dimensions:
            return "'shape' must be an array of integers in [0, 2^63)";
        default:
            return "'data_offsets' must be an array of two integers in [0, 2^64)";
        }
    }

    // A value that has no meaning where it stands: skipped in a field that is unknown, else
    // refused.
    bool other(const std::string& found)
    {
        if (place_ != place::unknown) fail(std::string{expected()} + ", found " + found);
        if (depth_ == 0) place_ = place::fields;
        return true;
    }

    void leave_unknown()
    {
        if (--depth_ == 0) place_ = place::fields;
    }

    void start_entry(const std::string& name)
    {
        if (name == "__metadata__") {
            if (std::exchange(has_metadata_, true)) fail("the header has '__metadata__' twice");
            place_ = place::metadata;
            return;
        }
        name_ = name;
        type_.reset();
        shape_.clear();
        n_offsets_ = 0;
        has_shape_ = false;
        has_offsets_ = false;
        place_ = place::info;
    }

    void start_field(const std::string& key)
    {
        const auto once = [&](bool seen) {
            if (seen) fail("the field '" + key + "' is there twice");
        };
        if (key == "dtype") {
            once(type_.has_value());
            place_ = place::dtype;
        } else if (key == "shape") {
            once(std::exchange(has_shape_, true));
            place_ = place::shape;
        } else if (key == "data_offsets") {
            once(std::exchange(has_offsets_, true));
            place_ = place::offsets;
        } else {
            // As the reference does: later versions of the format may add fields.
            place_ = place::unknown;
            depth_ = 0;
        }
    }

    [[noreturn]] void refuse_type(const std::string& type) const
    {
        if (std::find(unsupported_types.begin(), unsupported_types.end(), type) !=
            unsupported_types.end())
            throw error{
                model_errc::unsupported,
                file_name_ + ": tensor " + in_quotes(*name_) + ": the element type " + type +
                    " is not supported"};
        std::string known;
        for (int i = 0; i <= static_cast<int>(element::boolean); ++i)
            known.append(i == 0 ? "" : ", ").append(to_string(static_cast<element>(i)));
        fail("unknown 'dtype' " + in_quotes(type, 40) + "; known are " + known);
    }

    // The bytes that shape and type ask for. Zero sizes count as one here, so that a tensor without
    // elements has strides that fit too.
    std::uint64_t needed_bytes() const
    {
        std::uint64_t largest = size_of(*type_);
        bool is_empty = false;
        for (const std::int64_t size : shape_) {
            const auto factor = static_cast<std::uint64_t>(std::max<std::int64_t>(size, 1));
            if (largest > max_extent / factor)
                fail(
                    "the shape " + shape_text(shape_) + " of " + std::string{to_string(*type_)} +
                    " has more than 2^63 bytes");
            largest *= factor;
            is_empty = is_empty || size == 0;
        }
        return is_empty ? 0 : largest;
    }

    void end_tensor()
    {
        if (!type_ || !has_shape_ || !has_offsets_)
            fail(
                std::string{"its entry lacks "} + (!type_        ? "'dtype'"
                                                   : !has_shape_ ? "'shape'"
                                                                 : "'data_offsets'"));
        const auto [begin, end] = offsets_;
        const std::uint64_t needed = needed_bytes();
        if (begin > end || end > max_extent)
            fail("'data_offsets' " + extent_text(begin, end) + " must rise and stay below 2^63");
        if (end - begin != needed)
            fail(
                "'data_offsets' " + extent_text(begin, end) + " hold " +
                std::to_string(end - begin) + " bytes; " + std::string{to_string(*type_)} + " " +
                shape_text(shape_) + " needs " + std::to_string(needed));
        const auto [tensor, is_new] = tensors_.try_emplace(*name_);
        if (!is_new) fail("the header has this name twice");
        tensor->second.type = *type_;
        tensor->second.shape.assign(shape_.begin(), shape_.end());
        places_.push_back({&*tensor, begin, end});
        name_.reset();
        place_ = place::names;
    }

    const std::string& file_name_;
    place place_{place::document};
    std::size_t depth_{0};  // of open arrays and objects inside an unknown field
    bool has_metadata_{false};

    // The tensor being read.
    std::optional<std::string> name_;
    std::optional<element> type_;
    std::vector<std::int64_t> shape_;
    std::array<std::uint64_t, 2> offsets_{};
    std::size_t n_offsets_{0};
    bool has_shape_{false};
    bool has_offsets_{false};

    tensor_map tensors_;
    std::vector<placed_tensor> places_;
};

// The header's bytes, checked against the length of the file.
std::string_view header_text(std::span<const std::byte> bytes, const std::string& name)
{
    const auto fail = [&name](const std::string& sentence) {
        throw error{model_errc::bad_file, name + ": " + sentence};
    };
    std::uint64_t n_header_bytes = 0;
    constexpr std::size_t n_prefix_bytes = sizeof n_header_bytes;
    if (bytes.size() < n_prefix_bytes)
        fail(
            "not a safetensors file: expected 8 bytes of header length, found " +
            std::to_string(bytes.size()));
    std::memcpy(&n_header_bytes, bytes.data(), n_prefix_bytes);
    if (n_header_bytes > safetensors_file::max_header_bytes)
        fail(
            "not a safetensors file: its header would have " + std::to_string(n_header_bytes) +
            " bytes, the limit is " + std::to_string(safetensors_file::max_header_bytes));
    if (n_header_bytes > bytes.size() - n_prefix_bytes)
        fail(
            "truncated: the header alone needs a file of " +
            std::to_string(n_header_bytes + n_prefix_bytes) + " bytes, found " +
            std::to_string(bytes.size()) + "; fetch it again");
    const std::span<const std::byte> header = bytes.subspan(n_prefix_bytes, n_header_bytes);
    const std::string_view text{reinterpret_cast<const char*>(header.data()), header.size()};
    if (!text.starts_with('{')) fail("not a safetensors file: its header does not begin with '{'");
    // nlohmann takes NUL for the end of the text and would not look at what follows.
    if (const std::size_t nul = text.find('\0'); nul != std::string_view::npos)
        fail("the header is not valid JSON: a NUL byte at " + std::to_string(nul));
    return text;
}

// The tensors must cover the data exactly. Throws otherwise; `places` end up in the order of the
// data.
void check_layout(
    std::vector<placed_tensor>& places,
    std::uint64_t n_before_data,
    std::uint64_t n_data_bytes,
    const std::string& name)
{
    const auto fail = [&name](const std::string& sentence) {
        throw error{model_errc::bad_file, name + ": " + sentence};
    };
    std::sort(places.begin(), places.end(), [](const placed_tensor& a, const placed_tensor& b) {
        return std::pair{a.begin, a.end} < std::pair{b.begin, b.end};
    });
    std::uint64_t covered = 0;
    const placed_tensor* last = nullptr;
    for (const placed_tensor& place : places) {
        if (place.begin < covered)
            fail(
                "the tensors " + in_quotes(last->name()) + " at " +
                extent_text(last->begin, last->end) + " and " + in_quotes(place.name()) + " at " +
                extent_text(place.begin, place.end) + " overlap");
        if (place.begin > covered)
            fail(
                "the bytes " + extent_text(covered, place.begin) + " of the data, before tensor " +
                in_quotes(place.name()) + ", belong to no tensor");
        covered = place.end;
        last = &place;
    }
    if (covered > n_data_bytes)
        fail(
            "truncated: tensor " + in_quotes(last->name()) + " needs a file of " +
            std::to_string(n_before_data + covered) + " bytes, found " +
            std::to_string(n_before_data + n_data_bytes) + "; fetch it again");
    if (covered < n_data_bytes)
        fail(
            "expected a file of " + std::to_string(n_before_data + covered) + " bytes, found " +
            std::to_string(n_before_data + n_data_bytes) +
            ": what follows the last tensor belongs to none");
}

}  // namespace

tensor_map safetensors_file::parse(std::span<const std::byte> bytes, const std::string& name)
{
    const std::string_view text = header_text(bytes, name);
    header_reader reader{name};
    nlohmann::json::sax_parse(text.begin(), text.end(), &reader);
    tensor_map tensors = reader.take_tensors();
    std::vector<placed_tensor> places = reader.take_places();

    const std::size_t n_before_data = sizeof(std::uint64_t) + text.size();
    const std::span<const std::byte> data = bytes.subspan(n_before_data);
    check_layout(places, n_before_data, data.size(), name);
    for (const placed_tensor& place : places)
        place.tensor->second.data = data.subspan(place.begin, place.end - place.begin);
    return tensors;
}

}  // namespace modelpool::weights

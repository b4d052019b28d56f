#pragma once

#include <nlohmann/json.hpp>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace modelpool::testing {

/// The bytes of a .safetensors file, built tensor by tensor. Nothing is checked, so that a test can
/// also build what a reader must refuse.
class safetensors_builder {
public:
    /// A tensor of raw little-endian bytes; `dtype` is the format's own name, "F32".
    safetensors_builder&
    add(std::string_view name,
        std::string_view dtype,
        const std::vector<std::int64_t>& shape,
        std::string_view bytes)
    {
        const std::size_t begin = data_.size();
        data_.append(bytes);
        return entry(name, dtype, shape, {begin, data_.size()});
    }

    /// A tensor of numbers whose memory is the tensor's bytes: float for "F32", std::uint16_t for
    /// "BF16".
    template <class T>
    safetensors_builder& add_values(
        std::string_view name,
        std::string_view dtype,
        const std::vector<std::int64_t>& shape,
        const std::vector<T>& values)
    {
        static_assert(std::endian::native == std::endian::little);
        const std::span<const std::byte> bytes = std::as_bytes(std::span{values});
        std::string text(bytes.size(), '\0');
        for (std::size_t i = 0; i < bytes.size(); ++i)
            text[i] = static_cast<char>(std::to_integer<unsigned char>(bytes[i]));
        return add(name, dtype, shape, text);
    }

    safetensors_builder& add_f32(
        std::string_view name,
        const std::vector<std::int64_t>& shape,
        const std::vector<float>& values)
    {
        return add_values(name, "F32", shape, values);
    }

    /// A header entry with offsets of the caller's choice and no data of its own.
    safetensors_builder& entry(
        std::string_view name,
        std::string_view dtype,
        const std::vector<std::int64_t>& shape,
        std::pair<std::uint64_t, std::uint64_t> offsets)
    {
        nlohmann::ordered_json info;
        info["dtype"] = dtype;
        info["shape"] = shape;
        info["data_offsets"] = {offsets.first, offsets.second};
        return raw_entry(nlohmann::json(name).dump() + ":" + info.dump());
    }

    /// A header entry as it stands: `"name":{...}`.
    safetensors_builder& raw_entry(std::string_view text)
    {
        entries_ += entries_.empty() ? "" : ",";
        entries_ += text;
        return *this;
    }

    safetensors_builder& metadata(std::string_view key, std::string_view value)
    {
        const nlohmann::json map{{std::string{key}, std::string{value}}};
        return raw_entry("\"__metadata__\":" + map.dump());
    }

    /// Bytes of the data part that no entry speaks of.
    safetensors_builder& raw_data(std::string_view bytes)
    {
        data_.append(bytes);
        return *this;
    }

    /// Pads the header with spaces until it ends on a multiple of this; 8 unless told. 1: no
    /// padding.
    safetensors_builder& align_header(std::size_t n_bytes)
    {
        alignment_ = n_bytes;
        return *this;
    }

    std::string header() const
    {
        std::string text = "{" + entries_ + "}";
        while (text.size() % alignment_ != 0)
            text += ' ';
        return text;
    }

    /// The whole file.
    std::string str() const { return file(header(), data_); }

    /// A file of any header and data, with the header's true length before it.
    static std::string file(std::string_view header, std::string_view data)
    {
        return with_length(header.size(), header, data);
    }

    /// A file whose header claims to be `n_header_bytes` long.
    static std::string
    with_length(std::uint64_t n_header_bytes, std::string_view header, std::string_view data)
    {
        std::string bytes;
        for (unsigned shift = 0; shift < 64; shift += 8)
            bytes += static_cast<char>(static_cast<unsigned char>(n_header_bytes >> shift));
        bytes.append(header);
        bytes.append(data);
        return bytes;
    }

private:
    std::string entries_;
    std::string data_;
    std::size_t alignment_{8};
};

}  // namespace modelpool::testing

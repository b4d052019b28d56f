#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace modelpool::testing {

/// The bytes of a GGUF file, built piece by piece. Nothing is checked, so that a test can also
/// build what a reader must refuse.
class gguf_builder {
public:
    /// A number as the file has it.
    template <typename T>
    static std::string raw(T value)
    {
        static_assert(std::endian::native == std::endian::little);
        std::string bytes(sizeof value, '\0');
        std::memcpy(bytes.data(), &value, sizeof value);
        return bytes;
    }

    static std::string string(std::string_view text)
    {
        return raw(std::uint64_t{text.size()}).append(text);
    }

    gguf_builder& version(std::uint32_t value)
    {
        version_ = value;
        return *this;
    }

    /// A metadata entry: a kind by its number, and the bytes of the value.
    gguf_builder& entry(std::string_view key, std::uint32_t kind, std::string_view value)
    {
        entries_.append(string(key)).append(raw(kind)).append(value);
        ++n_entries_;
        return *this;
    }

    gguf_builder& text(std::string_view key, std::string_view value)
    {
        return entry(key, 8, string(value));
    }

    gguf_builder& u32(std::string_view key, std::uint32_t value)
    {
        return entry(key, 4, raw(value));
    }

    /// An array: the kind of its items, how many it promises, and their bytes.
    gguf_builder&
    array(std::string_view key, std::uint32_t kind, std::uint64_t n_items, std::string_view items)
    {
        return entry(key, 9, raw(kind).append(raw(n_items)).append(items));
    }

    gguf_builder& texts(std::string_view key, const std::vector<std::string>& values)
    {
        std::string items;
        for (const std::string& value : values)
            items += string(value);
        return array(key, 8, values.size(), items);
    }

    gguf_builder& tensor(
        std::string_view name,
        const std::vector<std::uint64_t>& dims,
        std::uint32_t type,
        std::uint64_t offset)
    {
        tensors_.append(string(name)).append(raw(static_cast<std::uint32_t>(dims.size())));
        for (const std::uint64_t size : dims)
            tensors_ += raw(size);
        tensors_.append(raw(type)).append(raw(offset));
        ++n_tensors_;
        return *this;
    }

    gguf_builder& data(std::string_view bytes)
    {
        data_.append(bytes);
        return *this;
    }

    gguf_builder& alignment(std::size_t n_bytes)
    {
        alignment_ = n_bytes;
        return *this;
    }

    /// What the file says it has, whatever it has.
    gguf_builder& counts(std::uint64_t n_tensors, std::uint64_t n_entries)
    {
        n_tensors_ = n_tensors;
        n_entries_ = n_entries;
        return *this;
    }

    std::string str() const
    {
        std::string bytes = "GGUF";
        bytes.append(raw(version_)).append(raw(n_tensors_)).append(raw(n_entries_));
        bytes.append(entries_).append(tensors_);
        if (!data_.empty() || !tensors_.empty())
            while (bytes.size() % alignment_ != 0)
                bytes += '\0';
        return bytes + data_;
    }

private:
    std::uint32_t version_{3};
    std::uint64_t n_tensors_{0};
    std::uint64_t n_entries_{0};
    std::size_t alignment_{32};
    std::string entries_;
    std::string tensors_;
    std::string data_;
};

}  // namespace modelpool::testing

#pragma once

#include <modelpool/assert.hpp>
#include <modelpool/capability/text_embedding.hpp>

#include <algorithm>
#include <cstring>

namespace modelpool {

MODELPOOL_DECL std::size_t row_bytes(embedding_dtype dtype, std::size_t dim) noexcept
{
    switch (dtype) {
    case embedding_dtype::f32:
        return dim * sizeof(float);
    case embedding_dtype::int8:
        return dim;
    case embedding_dtype::binary:
        return (dim + 7) / 8;
    }
    return 0;
}

MODELPOOL_DECL
embeddings::embeddings(std::size_t n_rows, std::size_t dim, embedding_dtype dtype, bool normalized)
    : n_rows_{n_rows}
    , dim_{dim}
    , dtype_{dtype}
    , normalized_{normalized}
{
    if (dtype == embedding_dtype::f32)
        floats_.resize(n_rows * dim);
    else
        packed_.resize(n_rows * row_bytes(dtype, dim));
    if (dtype == embedding_dtype::int8) scales_.resize(n_rows, 1.0F);
}

MODELPOOL_DECL std::span<const float> embeddings::operator[](std::size_t index) const
{
    MODELPOOL_ASSERT(dtype_ == embedding_dtype::f32 && index < n_rows_);
    return std::span{floats_}.subspan(index * dim_, dim_);
}

MODELPOOL_DECL std::span<const std::byte> embeddings::bytes(std::size_t index) const
{
    MODELPOOL_ASSERT(index < n_rows_);
    const std::size_t stride = row_bytes(dtype_, dim_);
    if (dtype_ == embedding_dtype::f32) return std::as_bytes((*this)[index]);
    return std::span{packed_}.subspan(index * stride, stride);
}

MODELPOOL_DECL float embeddings::scale(std::size_t index) const noexcept
{
    return dtype_ == embedding_dtype::int8 ? scales_[index] : 1.0F;
}

MODELPOOL_DECL std::vector<float> embeddings::to_f32(std::size_t index) const
{
    if (dtype_ == embedding_dtype::f32) return {(*this)[index].begin(), (*this)[index].end()};
    const std::span<const std::byte> row = bytes(index);
    std::vector<float> out(dim_);
    for (std::size_t i = 0; i < dim_; ++i) {
        if (dtype_ == embedding_dtype::int8)
            out[i] = scales_[index] * static_cast<float>(static_cast<std::int8_t>(row[i]));
        else
            out[i] =
                (std::to_integer<unsigned>(row[i / 8]) >> (7 - i % 8) & 1U) != 0 ? 1.0F : -1.0F;
    }
    return out;
}

MODELPOOL_DECL void embeddings::set_row(std::size_t index, std::span<const float> values)
{
    MODELPOOL_ASSERT(index < n_rows_ && values.size() == dim_);
    if (dtype_ == embedding_dtype::f32) {
        std::copy(
            values.begin(),
            values.end(),
            floats_.begin() + static_cast<std::ptrdiff_t>(index * dim_));
        return;
    }
    std::byte* row = packed_.data() + index * row_bytes(dtype_, dim_);
    if (dtype_ == embedding_dtype::binary) {
        std::fill_n(row, row_bytes(dtype_, dim_), std::byte{0});
        for (std::size_t i = 0; i < dim_; ++i)
            if (values[i] > 0) row[i / 8] |= std::byte{static_cast<unsigned char>(0x80U >> i % 8)};
        return;
    }
    float largest = 0;
    for (const float value : values)
        largest = std::max(largest, std::abs(value));
    // A row of the smallest numbers there are would have a scale of zero.
    const float step = largest / 127.0F;
    const float scale = step > 0 ? step : 1.0F;
    scales_[index] = scale;
    for (std::size_t i = 0; i < dim_; ++i) {
        const float steps = std::clamp(std::nearbyint(values[i] / scale), -127.0F, 127.0F);
        row[i] = static_cast<std::byte>(static_cast<std::int8_t>(steps));
    }
}

MODELPOOL_DECL double cosine(std::span<const float> a, std::span<const float> b)
{
    if (a.size() != b.size())
        throw error{
            errc::invalid_argument,
            "cosine of rows of different length: " + std::to_string(a.size()) + " and " +
                std::to_string(b.size())};
    double ab = 0;
    double aa = 0;
    double bb = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        ab += static_cast<double>(a[i]) * static_cast<double>(b[i]);
        aa += static_cast<double>(a[i]) * static_cast<double>(a[i]);
        bb += static_cast<double>(b[i]) * static_cast<double>(b[i]);
    }
    return aa > 0 && bb > 0 ? ab / std::sqrt(aa * bb) : 0.0;
}

}  // namespace modelpool

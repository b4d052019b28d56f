#include <modelpool/error.hpp>
#include <modelpool/models/latents.hpp>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <string_view>

#include "weights/safetensors.hpp"

namespace modelpool::models {
namespace {

constexpr std::string_view tensor_name = "latents";
// 16 channels of the largest image that is thought of, 8192 pixels a side, in f32.
constexpr std::uint64_t most_values = std::uint64_t{16} << 20U;

[[noreturn]] void refuse(const std::filesystem::path& path, const std::string& sentence)
{
    throw error{errc::invalid_argument, path.string() + ": " + sentence};
}

float from_half(std::uint16_t bits) noexcept
{
    const int exponent = (bits >> 10U) & 0x1F;
    const auto mantissa = static_cast<float>(bits & 0x3FFU);
    const float sign = (bits & 0x8000U) != 0 ? -1.0F : 1.0F;
    if (exponent == 0) return sign * std::ldexp(mantissa, -24);
    if (exponent == 31) return std::numeric_limits<float>::quiet_NaN();
    return sign * std::ldexp(1024.0F + mantissa, exponent - 25);
}

float value_at(const weights::tensor_view& tensor, std::size_t index) noexcept
{
    if (tensor.type == weights::element::f32) {
        float value = 0;
        std::memcpy(&value, tensor.data.data() + index * sizeof value, sizeof value);
        return value;
    }
    std::uint16_t bits = 0;
    std::memcpy(&bits, tensor.data.data() + index * sizeof bits, sizeof bits);
    if (tensor.type == weights::element::f16) return from_half(bits);
    return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16U);
}

std::shared_ptr<const weights::safetensors_file> blocking_open(const std::filesystem::path& path)
{
    try {
        return weights::safetensors_file::blocking_open(path);
    } catch (const error& problem) {
        throw error{errc::invalid_argument, problem.what()};
    }
}

}  // namespace

image_latents blocking_read_latents(const std::filesystem::path& path)
{
    const auto file = blocking_open(path);
    const auto place = file->tensors().find(tensor_name);
    if (place == file->tensors().end()) refuse(path, "holds no tensor 'latents'");
    const weights::tensor_view& tensor = place->second;
    const auto& shape = tensor.shape;
    const bool fits = shape.size() == 4 && shape[0] == 1 &&
                      std::ranges::all_of(shape, [](std::int64_t size) { return size > 0; });
    if (!fits)
        refuse(
            path,
            "'latents' has shape " + weights::shape_text(shape) +
                ", expected [1, channels, height / 8, width / 8]");
    if (tensor.type != weights::element::f32 && tensor.type != weights::element::f16 &&
        tensor.type != weights::element::bf16)
        refuse(
            path,
            "'latents' is of type " + std::string{weights::to_string(tensor.type)} +
                ", expected F32, F16 or BF16");
    const auto n_values = static_cast<std::uint64_t>(tensor.n_elements());
    if (n_values > most_values)
        refuse(path, "'latents' has more than " + std::to_string(most_values) + " numbers");
    image_latents result;
    result.n_channels = static_cast<std::size_t>(shape[1]);
    result.height = static_cast<std::size_t>(shape[2]);
    result.width = static_cast<std::size_t>(shape[3]);
    result.values.resize(n_values);
    for (std::size_t i = 0; i < n_values; ++i) {
        result.values[i] = value_at(tensor, i);
        if (!std::isfinite(result.values[i]))
            refuse(path, "'latents' has a number at " + std::to_string(i) + " that is not finite");
    }
    return result;
}

std::vector<std::byte> encode_latents(const image_latents& latents)
{
    static_assert(std::endian::native == std::endian::little);
    const std::size_t n_values = latents.n_channels * latents.height * latents.width;
    if (n_values == 0 || latents.values.size() != n_values)
        throw error{
            errc::invalid_argument,
            std::to_string(latents.values.size()) + " numbers of latents, expected " +
                std::to_string(n_values)};
    const std::size_t n_bytes = n_values * sizeof(float);
    std::string header = R"({"latents":{"dtype":"F32","shape":[1,)" +
                         std::to_string(latents.n_channels) + "," + std::to_string(latents.height) +
                         "," + std::to_string(latents.width) + R"(],"data_offsets":[0,)" +
                         std::to_string(n_bytes) + "]}}";
    header.resize((header.size() + 7) / 8 * 8, ' ');
    const std::uint64_t n_header = header.size();
    std::vector<std::byte> bytes(sizeof n_header + header.size() + n_bytes);
    std::memcpy(bytes.data(), &n_header, sizeof n_header);
    std::memcpy(bytes.data() + sizeof n_header, header.data(), header.size());
    std::memcpy(bytes.data() + sizeof n_header + header.size(), latents.values.data(), n_bytes);
    return bytes;
}

}  // namespace modelpool::models

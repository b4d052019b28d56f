#pragma once

#include <modelpool/error.hpp>

#include <charconv>
#include <string>
#include <string_view>
#include <system_error>

namespace modelpool {

/// Where a model computes: the CPU, or one CUDA device.
class device {
public:
    /// The CPU.
    device() = default;

    /// Reads "cpu", "cuda" (the same as "cuda:0") or "cuda:N".
    /// Errors: errc::invalid_argument for anything else.
    static device parse(std::string_view text);
    static device cuda(int index) { return device{index}; }

    bool is_cpu() const noexcept { return index_ < 0; }
    bool is_cuda() const noexcept { return index_ >= 0; }
    /// The CUDA device's number; -1 for the CPU.
    int index() const noexcept { return index_; }
    /// "cpu" or "cuda:N".
    std::string str() const { return is_cpu() ? "cpu" : "cuda:" + std::to_string(index_); }

    friend bool operator==(const device&, const device&) = default;

private:
    explicit device(int index)
        : index_{index}
    {}

    int index_{-1};
};

/// The number format a model computes in. `automatic` leaves it to the family: f32 on a CPU with
/// the weights kept as stored, the checkpoint's own on CUDA. A family refuses by name what it
/// lacks.
enum class dtype { automatic = 1, f32, bf16, f16, int8, q8_0, q4_k };

/// Reads "auto" (or "automatic"), "f32", "bf16", "f16", "int8", "q8_0" or "q4_k".
/// Errors: errc::invalid_argument for anything else.
dtype parse_dtype(std::string_view text);
std::string_view to_string(dtype value) noexcept;

inline device device::parse(std::string_view text)
{
    if (text == "cpu") return device{};
    if (text == "cuda") return device{0};
    constexpr std::string_view prefix = "cuda:";
    int index = 0;
    if (text.starts_with(prefix)) {
        const std::string_view digits = text.substr(prefix.size());
        const char* end = digits.data() + digits.size();
        const auto [last, problem] = std::from_chars(digits.data(), end, index);
        if (problem == std::errc{} && last == end && index >= 0 && index < 1024)
            return device{index};
    }
    throw error{
        errc::invalid_argument,
        "unknown device '" + std::string{text} + "': expected cpu, cuda or cuda:N"};
}

inline std::string_view to_string(dtype value) noexcept
{
    switch (value) {
    case dtype::automatic:
        return "auto";
    case dtype::f32:
        return "f32";
    case dtype::bf16:
        return "bf16";
    case dtype::f16:
        return "f16";
    case dtype::int8:
        return "int8";
    case dtype::q8_0:
        return "q8_0";
    case dtype::q4_k:
        return "q4_k";
    }
    return "unknown";
}

inline dtype parse_dtype(std::string_view text)
{
    if (text == "automatic") return dtype::automatic;
    for (const dtype value :
         {dtype::automatic,
          dtype::f32,
          dtype::bf16,
          dtype::f16,
          dtype::int8,
          dtype::q8_0,
          dtype::q4_k})
        if (text == to_string(value)) return value;
    throw error{
        errc::invalid_argument,
        "unknown dtype '" + std::string{text} +
            "': expected auto, f32, bf16, f16, int8, q8_0 or q4_k"};
}

}  // namespace modelpool

// The header of a .safetensors file: any bytes give tensors inside them or a typed error.

#include <modelpool/error.hpp>

#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>

#include "weights/safetensors.hpp"

namespace {

void parse(std::string_view file)
{
    using namespace modelpool;
    try {
        std::uint64_t sum = 0;
        for (const auto& [name, tensor] :
             weights::safetensors_file::parse(std::as_bytes(std::span{file}), "fuzz")) {
            const auto n_elements = static_cast<std::size_t>(tensor.n_elements());
            if (tensor.data.size() != n_elements * weights::size_of(tensor.type)) std::abort();
            for (const std::byte byte : tensor.data)
                sum += std::to_integer<unsigned>(byte);
        }
        // No byte belongs to two tensors. Reading them all is what the sanitizer watches.
        if (sum > std::uint64_t{255} * file.size()) std::abort();
    } catch (const error& problem) {
        if (problem.code() != model_errc::bad_file && problem.code() != model_errc::unsupported)
            std::abort();
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    const std::string_view input{reinterpret_cast<const char*>(data), size};
    parse(input);
    // Few mutations keep the length before the header right, so the same bytes are also tried with
    // the length that makes a header of what ends in the last brace.
    const std::uint64_t n_header_bytes = input.rfind('}') + 1;
    std::string file;
    for (unsigned shift = 0; shift < 64; shift += 8)
        file += static_cast<char>(static_cast<unsigned char>(n_header_bytes >> shift));
    parse(file.append(input));
    return 0;
}

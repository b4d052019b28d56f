// The header of a GGUF file and the tokenizer in it: any bytes give tensors inside them, values
// that can be read, and a tokenizer or a typed error.

#include <modelpool/assert.hpp>
#include <modelpool/error.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/gguf_tokenizer.hpp"
#include "weights/gguf.hpp"

namespace {

using namespace modelpool;

std::size_t read_all(const weights::gguf_value& value)
{
    std::size_t n_read = value.text().size();
    for (std::size_t i = 0; value.kind() == weights::gguf_kind::array && i < value.size(); ++i)
        n_read += value.item_kind() == weights::gguf_kind::array ? read_all(value.item(i))
                                                                 : value.item(i).text().size();
    return n_read;
}

void parse(std::span<const std::byte> bytes)
{
    try {
        const weights::gguf_header header = weights::gguf_header::parse(bytes, "fuzz.gguf");
        for (const auto& [key, value] : header.metadata())
            MODELPOOL_ASSERT(read_all(value) > 0);
        std::uint64_t n_bytes = 0;
        std::uint64_t sum = 0;
        for (const auto& [name, tensor] : header.tensors()) {
            n_bytes += tensor.data.size();
            for (const std::byte byte : tensor.data)
                sum += std::to_integer<unsigned>(byte);
        }
        // No byte belongs to two tensors. Reading them all is what the sanitizer watches.
        MODELPOOL_ASSERT(n_bytes <= bytes.size() && sum <= 255 * n_bytes);
        const text::tokenizer subject = models::gguf_tokenizer(header);
        const auto made = subject.encode("A b\u00e9\u4e16\r\n 12,3 \U0001f916");
        static_cast<void>(subject.decode(made.ids, false));
    } catch (const error& problem) {
        const bool is_typed =
            problem.code() == model_errc::bad_file || problem.code() == model_errc::unsupported ||
            problem.code() == text_errc::bad_file || problem.code() == text_errc::unsupported ||
            problem.code() == text_errc::too_long;
        MODELPOOL_ASSERT(is_typed);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    parse(std::as_bytes(std::span{data, size}));
    return 0;
}

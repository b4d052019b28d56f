#include <modelpool/error.hpp>
#include <modelpool/text/tokenizer.hpp>

#include <cstddef>
#include <cstdint>
#include <string_view>

// Any bytes as a tokenizer.json: either they make a tokenizer that encodes and decodes, or a typed
// error.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    const std::string_view json{reinterpret_cast<const char*>(data), size};
    try {
        const auto subject = modelpool::text::tokenizer::from_json(json, "tokenizer.json");
        const auto options = modelpool::text::encode_options{}.with_offsets(true);
        const auto made =
            subject.encode("A b\u00e9\u4e16 [SEP]\r\n 12,3 \U0001f916e\u0301", options);
        static_cast<void>(subject.decode(made.ids, false));
    } catch (const modelpool::error&) {
        return 0;
    }
    return 0;
}

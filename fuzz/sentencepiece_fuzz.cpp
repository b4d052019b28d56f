// A SentencePiece model: any bytes give a tokenizer that encodes and decodes, or a typed error. The
// first byte says as which class it is read.

#include <modelpool/assert.hpp>
#include <modelpool/error.hpp>
#include <modelpool/text/tokenizer.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "text/tokenizer_parts.hpp"
#include "text/vocabulary_files.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    using namespace modelpool;
    if (size == 0) return 0;
    constexpr std::array<std::string_view, 4> configs{
        "{}",
        R"({"tokenizer_class":"T5Tokenizer","extra_ids":2})",
        R"({"tokenizer_class":"LlamaTokenizer","legacy":true})",
        R"({"tokenizer_class":"LlamaTokenizer","add_bos_token":false,"add_prefix_space":false})"};
    const std::string_view bytes{reinterpret_cast<const char*>(data) + 1, size - 1};
    const std::string_view text = "A b\u00e9\u4e16  </s>\r\n 12,3 \U0001f916e\u0301 ";
    try {
        text::tokenizer_config config;
        config.read_config(configs[data[0] % configs.size()], "tokenizer_config.json");
        const text::tokenizer subject = text::tokenizer_maker::make(
            text::parse_sentencepiece(bytes, config, "tokenizer.model"));
        const auto full = subject.encode(text, text::encode_options{}.with_offsets(true));
        MODELPOOL_ASSERT(full.ids == subject.encode(text).ids);
        for (const auto& [begin, end] : full.offsets)
            MODELPOOL_ASSERT(begin <= end && end <= text.size());
        static_cast<void>(subject.decode(full.ids, true));
    } catch (const error& problem) {
        const bool is_typed = problem.code() == text_errc::bad_file ||
                              problem.code() == text_errc::unsupported ||
                              problem.code() == text_errc::too_long;
        MODELPOOL_ASSERT(is_typed);
    }
    return 0;
}

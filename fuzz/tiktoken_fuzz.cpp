// tiktoken's ranks, and the other vocabularies that are lines of text: any bytes give a tokenizer
// that encodes and decodes, or a typed error. The first byte says as which format they are read.

#include <modelpool/assert.hpp>
#include <modelpool/error.hpp>
#include <modelpool/text/tokenizer.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "text/tokenizer_parts.hpp"
#include "text/vocabulary_files.hpp"

namespace {

using namespace modelpool;

text::tokenizer_parts parse(std::uint8_t format, std::string_view bytes)
{
    text::tokenizer_config config;
    switch (format % 4) {
    case 0:
        config.read_config(R"({"tokenizer_class":"TikTokenTokenizer"})", "tokenizer_config.json");
        return text::parse_tiktoken(bytes, config, "tiktoken.model");
    case 1:
        return text::parse_vocab_txt(bytes, config, "vocab.txt");
    case 2: {
        config.read_config(R"({"tokenizer_class":"CLIPTokenizer"})", "tokenizer_config.json");
        const std::size_t cut = bytes.find("\n\n");
        const std::string_view merges =
            cut == std::string_view::npos ? std::string_view{} : bytes.substr(cut);
        return text::parse_bpe_files(
            {bytes.substr(0, cut), merges, "vocab.json", "merges.txt"}, config);
    }
    default:
        config.read_config(bytes, "tokenizer_config.json");
        return text::parse_bpe_files(
            {R"({"a":0,"b":1,"ab":2})", "a b\n", "vocab.json", "merges.txt"}, config);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    if (size == 0) return 0;
    const std::string_view bytes{reinterpret_cast<const char*>(data) + 1, size - 1};
    try {
        const text::tokenizer subject = text::tokenizer_maker::make(parse(data[0], bytes));
        const auto made = subject.encode("A b\u00e9\u4e16 [SEP]\r\n 12,3 \U0001f916e\u0301'LL");
        static_cast<void>(subject.decode(made.ids, false));
    } catch (const error& problem) {
        const bool is_typed =
            problem.code() == text_errc::bad_file || problem.code() == text_errc::unsupported;
        MODELPOOL_ASSERT(is_typed);
    }
    return 0;
}

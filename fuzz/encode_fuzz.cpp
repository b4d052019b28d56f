#include <modelpool/assert.hpp>
#include <modelpool/error.hpp>
#include <modelpool/text/tokenizer.hpp>

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace {

using modelpool::text::encode_options;
using modelpool::text::tokenizer;

// Small tokenizers that between them have most components.
std::vector<tokenizer> make_tokenizers()
{
    constexpr std::string_view bert = R"({"normalizer":{"type":"BertNormalizer","clean_text":true,
        "handle_chinese_chars":true,"strip_accents":null,"lowercase":true},
        "pre_tokenizer":{"type":"BertPreTokenizer"},"decoder":{"type":"WordPiece","prefix":"##","cleanup":true},
        "added_tokens":[{"id":9,"content":"[S]","special":true,"single_word":true,"lstrip":true,"rstrip":true,
        "normalized":false}],"model":{"type":"WordPiece","unk_token":"?","continuing_subword_prefix":"##",
        "max_input_chars_per_word":20,"vocab":{"?":0,"a":1,"##a":2,"##ab":3,"b":4,"##b":5}}})";
    constexpr std::string_view bpe =
        R"({"normalizer":{"type":"NFC"},"pre_tokenizer":{"type":"ByteLevel",
        "add_prefix_space":true,"trim_offsets":true,"use_regex":true},"decoder":{"type":"ByteLevel"},
        "post_processor":{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true},
        "model":{"type":"BPE","unk_token":"?","fuse_unk":true,"vocab":{"?":0,"a":1,"b":2,"ab":3,"aa":4,"aab":5},
        "merges":["a b","a a","aa b"]}})";
    constexpr std::string_view unigram =
        R"({"normalizer":{"type":"Sequence","normalizers":[{"type":"NFKD"},
        {"type":"StripAccents"},{"type":"Nmt"},{"type":"Lowercase"}]},"pre_tokenizer":{"type":"Metaspace",
        "replacement":"_","prepend_scheme":"first","split":true},"decoder":{"type":"Metaspace","replacement":"_",
        "prepend_scheme":"first"},"model":{"type":"Unigram","unk_id":0,"byte_fallback":true,
        "vocab":[["?",0],["a",-1.5],["b",-2],["ab",-2.5],["_",-1],["_a",-2],["<0x0A>",-3]]}})";
    std::vector<tokenizer> made;
    for (const std::string_view json : {bert, bpe, unigram})
        made.push_back(tokenizer::from_json(json, "tokenizer.json"));
    return made;
}

}  // namespace

// Any text: with and without offsets the tokens are the same, and offsets lie in the text; a pair
// is cut to its limit.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    static const std::vector<tokenizer> tokenizers = make_tokenizers();
    const std::string_view text{reinterpret_cast<const char*>(data), size};
    for (const tokenizer& subject : tokenizers) {
        try {
            const auto full = subject.encode(text, encode_options{}.with_offsets(true));
            MODELPOOL_ASSERT(full.ids == subject.encode(text).ids);
            MODELPOOL_ASSERT(full.offsets.size() == full.ids.size());
            for (const auto& [begin, end] : full.offsets)
                MODELPOOL_ASSERT(begin <= end && end <= size);
            static_cast<void>(subject.decode(full.ids, true));
            const auto pair =
                subject.encode_pair(text, text, encode_options{}.with_types(true).max_tokens(9));
            MODELPOOL_ASSERT(pair.type_ids.size() == pair.ids.size());
            MODELPOOL_ASSERT(pair.truncated == (2 * full.ids.size() > 9));
        } catch (const modelpool::error& problem) {
            MODELPOOL_ASSERT(problem.code() == modelpool::text_errc::not_utf8);
            return 0;
        }
    }
    return 0;
}

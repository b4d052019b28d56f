// What GGUF files mean by tokenizer.ggml.pre: the patterns of the tokenizer.json files that those
// names stand for.
// Source of the names: https://github.com/ggml-org/llama.cpp, src/llama-vocab.cpp

#include <algorithm>
#include <array>
#include <utility>

#include "text/gguf_vocabulary.hpp"
#include "text/tiktoken.hpp"

namespace modelpool::text {
namespace {

#define MODELPOOL_CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define MODELPOOL_GPT2_WORDS                                                                       \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)"
#define MODELPOOL_CASED_WORDS(ending)                                                              \
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"     \
    "+" ending "|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{"   \
    "Lo}\\p{M}]*" ending

constexpr std::string_view gpt2_words = MODELPOOL_GPT2_WORDS "|\\s+";
constexpr std::string_view llama3_words = MODELPOOL_CONTRACTIONS
    "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
    "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
constexpr std::string_view qwen2_words =
    MODELPOOL_CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
                           "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
constexpr std::string_view gpt4o_words =
    MODELPOOL_CASED_WORDS(MODELPOOL_CONTRACTIONS "?") "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*"
                                                      "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
constexpr std::string_view tekken_words = MODELPOOL_CASED_WORDS(
    "") "|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
constexpr std::string_view deepseek3_words =
    "[!\"#$%&'()*+,\\-./"
    ":;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
    "| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
// Punctuation, as DeepSeek-LLM's own file lists it.
constexpr std::string_view deepseek_marks =
    "\\s?[!-/"
    ":-~\\x{FF01}-\\x{FF0F}\\x{FF1A}-\\x{FF5E}\\x{2018}-\\x{201F}\\x{3000}-\\x{3002}]+";
// The letters of cased scripts, as DeepSeek-LLM's own file lists them.
constexpr std::string_view deepseek_letters =
    "\\s?[A-Za-z\\x{B5}\\x{C0}-\\x{D6}\\x{D8}-\\x{F6}\\x{F8}-\\x{1BA}\\x{1BC}-\\x{1BF}"
    "\\x{1C4}-\\x{293}\\x{295}-\\x{2AF}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37B}-\\x{37D}\\x{37F}"
    "\\x{386}\\x{388}-\\x{38A}\\x{38C}\\x{38E}-\\x{3A1}\\x{3A3}-\\x{3F5}\\x{3F7}-\\x{481}"
    "\\x{48A}-\\x{52F}\\x{531}-\\x{556}\\x{10A0}-\\x{10C5}\\x{13A0}-\\x{13F5}\\x{13F8}-\\x{13FD}"
    "\\x{1C90}-\\x{1CBA}\\x{1CBD}-\\x{1CBF}\\x{1D00}-\\x{1D2B}\\x{1D6B}-\\x{1D77}"
    "\\x{1D79}-\\x{1D9A}\\x{1E00}-\\x{1F15}\\x{1F18}-\\x{1F1D}\\x{1F20}-\\x{1F45}"
    "\\x{1F48}-\\x{1F4D}\\x{1F50}-\\x{1F57}\\x{1F59}\\x{1F5B}\\x{1F5D}\\x{1F5F}-\\x{1F7D}"
    "\\x{1F80}-\\x{1FB4}\\x{1FB6}-\\x{1FBC}\\x{1FBE}\\x{1FC2}-\\x{1FC4}\\x{1FC6}-\\x{1FCC}"
    "\\x{1FD0}-\\x{1FD3}\\x{1FD6}-\\x{1FDB}\\x{1FE0}-\\x{1FEC}\\x{1FF2}-\\x{1FF4}"
    "\\x{1FF6}-\\x{1FFC}\\x{2102}\\x{2107}\\x{210A}-\\x{2113}\\x{2115}\\x{2119}-\\x{211D}"
    "\\x{2124}\\x{2126}\\x{2128}\\x{212A}-\\x{212D}\\x{212F}-\\x{2134}\\x{2139}"
    "\\x{213C}-\\x{213F}\\x{2145}-\\x{2149}\\x{214E}\\x{2183}\\x{2184}\\x{2C00}-\\x{2C7B}"
    "\\x{2C7E}-\\x{2CE4}\\x{2CEB}-\\x{2CEE}\\x{2CF2}\\x{2CF3}\\x{A640}-\\x{A66D}"
    "\\x{A680}-\\x{A69B}\\x{A722}-\\x{A76F}\\x{A771}-\\x{A787}\\x{A78B}-\\x{A78E}"
    "\\x{AB70}-\\x{ABBF}\\x{FB00}-\\x{FB06}\\x{FB13}-\\x{FB17}\\x{FF21}-\\x{FF3A}"
    "\\x{FF41}-\\x{FF5A}\\x{10400}-\\x{1044F}\\x{104B0}-\\x{104D3}\\x{104D8}-\\x{104FB}"
    "\\x{10C80}-\\x{10CB2}\\x{10CC0}-\\x{10CF2}\\x{118A0}-\\x{118DF}\\x{1E900}-\\x{1E943}]+";

#undef MODELPOOL_CONTRACTIONS
#undef MODELPOOL_GPT2_WORDS
#undef MODELPOOL_CASED_WORDS

struct named_style {
    std::vector<std::string_view> names;
    bpe_style style;
};

std::vector<named_style> make_styles()
{
    const bpe_style llama3{{llama3_words}, false, true, true};
    return {
        {{"", "default"},
         {{"[\\p{P}\\$\\+<=>\\^~\\|]+", gpt2_words, "\\p{N}+", "[0-9][0-9][0-9]"}}},
        {{"llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral"}, llama3},
        {{"gpt-2", "phi-2", "mpt", "olmo", "jais", "gigachat", "mellum"}, {{gpt2_words}}},
        {{"dbrx", "smaug-bpe", "chatglm-bpe", "glm4"}, {{llama3_words}}},
        {{"qwen2", "deepseek-r1-qwen"}, {{qwen2_words}, true}},
        {{"stablelm2", "megrez", "hunyuan", "grok-2"}, {{qwen2_words}}},
        {{"gpt-4o", "llama4"}, {{gpt4o_words}}},
        {{"tekken"}, {{tekken_words}, false, true, true}},
        {{"kimi-k2"}, {{kimi_pattern()}, false, true}},
        {{"deepseek-llm"},
         {{"[\\r\\n]",
           deepseek_letters,
           deepseek_marks,
           "\\s+$",
           "[\\x{4E00}-\\x{9FA5}\\x{800}-\\x{4E00}\\x{AC00}-\\x{D7FF}]+",
           "\\p{N}+"}}},
        {{"deepseek-coder"},
         {{"[\\r\\n]",
           "\\s?\\p{L}+",
           "\\s?\\p{P}+",
           "[\\x{4E00}-\\x{9FA5}\\x{800}-\\x{4E00}\\x{AC00}-\\x{D7FF}]+",
           "\\p{N}"}}},
        {{"deepseek-v3", "hunyuan-dense"},
         {{"\\p{N}{1,3}", "[\\x{4E00}-\\x{9FA5}\\x{3040}-\\x{30FF}]+", deepseek3_words}}},
        {{"falcon"}, {{"[\\p{P}\\$\\+<=>\\^~\\|`]+", gpt2_words, "[0-9][0-9][0-9]"}}},
        {{"starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b"},
         {{"\\p{N}", gpt2_words}}}};
}

}  // namespace

const bpe_style* find_bpe_style(std::string_view pre)
{
    static const std::vector<named_style> styles = make_styles();
    for (const named_style& each : styles)
        if (std::find(each.names.begin(), each.names.end(), pre) != each.names.end())
            return &each.style;
    return nullptr;
}

}  // namespace modelpool::text

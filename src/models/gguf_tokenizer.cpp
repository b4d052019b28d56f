#include "models/gguf_tokenizer.hpp"

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/gguf_vocabulary.hpp"

namespace modelpool::models {
namespace {

constexpr std::int64_t highest_id = std::numeric_limits<text::token_id>::max() - 1;

std::vector<std::string_view> strings_of(const weights::gguf_header& file, std::string_view key)
{
    const auto found = file.find_strings(key);
    if (!found) return {};
    return {found->begin(), found->end()};
}

// An array of single bytes, which lie side by side in the file, as a string.
std::string bytes_of(const weights::gguf_header& file, std::string_view key)
{
    const auto found = file.find_ints(key, -128, 255);
    std::string bytes;
    if (found)
        for (const std::int64_t value : *found)
            bytes.push_back(static_cast<char>(value));
    return bytes;
}

}  // namespace

text::tokenizer gguf_tokenizer(const weights::gguf_header& file)
{
    text::gguf_vocabulary words;
    words.file = file.name();
    words.model_name = file.find_string("general.name").value_or("");
    words.model = file.need_string("tokenizer.ggml.model");
    words.pre = file.find_string("tokenizer.ggml.pre").value_or("");
    words.tokens = strings_of(file, "tokenizer.ggml.tokens");
    words.merges = strings_of(file, "tokenizer.ggml.merges");
    if (const auto scores = file.find_numbers("tokenizer.ggml.scores"))
        for (const double score : *scores)
            words.scores.push_back(static_cast<float>(score));
    if (const auto types = file.find_ints("tokenizer.ggml.token_type", 0, 6))
        for (const std::int64_t type : *types)
            words.types.push_back(static_cast<std::int32_t>(type));
    const std::string charsmap = bytes_of(file, "tokenizer.ggml.precompiled_charsmap");
    words.charsmap = charsmap;
    const auto id = [&file](std::string_view key) { return file.find_int(key, 0, highest_id); };
    words.bos_id = id("tokenizer.ggml.bos_token_id");
    if (!words.bos_id) words.bos_id = id("tokenizer.ggml.cls_token_id");
    words.eos_id = id("tokenizer.ggml.eos_token_id");
    words.unknown_id = id("tokenizer.ggml.unknown_token_id");
    // The format has the word misspelt.
    words.separator_id = id("tokenizer.ggml.seperator_token_id");
    words.add_bos = file.find_bool("tokenizer.ggml.add_bos_token");
    words.add_eos = file.find_bool("tokenizer.ggml.add_eos_token");
    words.add_space_prefix = file.find_bool("tokenizer.ggml.add_space_prefix");
    words.remove_extra_whitespaces = file.find_bool("tokenizer.ggml.remove_extra_whitespaces");
    return words.make_tokenizer();
}

}  // namespace modelpool::models

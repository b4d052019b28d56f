// A SentencePiece model as a tokenizer: plain text goes the way of SentencePiece itself. Its
// control pieces, and the tokens that tokenizer_config.json adds, are found in text beside it, as
// transformers does.
// Source: https://github.com/huggingface/transformers, src/transformers/convert_slow_tokenizer.py

#include <modelpool/error.hpp>

#include <algorithm>
#include <array>
#include <stdexcept>
#include <unordered_set>
#include <utility>

#include "support/printable.hpp"
#include "text/sentencepiece.hpp"
#include "text/tokenizer_assembly.hpp"
#include "text/vocabulary_files.hpp"

namespace modelpool::text {
namespace {

using kind = sentencepiece_vocabulary::kind;

// Other classes give the pieces other ids, or add tokens of their own.
constexpr std::array<std::string_view, 5> known_classes{
    "", "LlamaTokenizer", "GemmaTokenizer", "T5Tokenizer", "PreTrainedTokenizer"};
// T5 has at most so many sentinels behind its pieces; 100 unless told.
constexpr std::int64_t max_extra_ids = 100'000;

void set_defaults(const sentencepiece_vocabulary& words, tokenizer_config& config)
{
    const auto set = [&](const char* key, std::int64_t id) {
        if (id >= 0 && static_cast<std::size_t>(id) < words.pieces.size())
            config.set_default(key, words.pieces[static_cast<std::size_t>(id)].text);
    };
    set("bos_token", words.bos_id);
    set("eos_token", words.eos_id);
    set("pad_token", words.pad_id);
    for (std::size_t i = 0; i < words.pieces.size(); ++i)
        if (words.pieces[i].type == kind::unknown) set("unk_token", static_cast<std::int64_t>(i));
}

std::vector<added_token> all_added(
    const sentencepiece_vocabulary& words,
    const tokenizer_config& config,
    const model& vocab,
    const std::string& name)
{
    std::vector<added_token> tokens = config.tokens_for(vocab);
    std::unordered_set<std::string> seen;
    for (const added_token& token : tokens)
        seen.insert(token.content);
    const auto add = [&](const std::string& content, std::int64_t id) {
        if (!seen.insert(content).second) return;
        added_token token;
        token.content = content;
        token.id = static_cast<token_id>(id);
        token.special = true;
        tokens.push_back(std::move(token));
    };
    for (std::size_t i = 0; i < words.pieces.size(); ++i)
        if (words.pieces[i].type == kind::control)
            add(words.pieces[i].text, static_cast<std::int64_t>(i));
    if (config.tokenizer_class() != "T5Tokenizer") return tokens;
    const std::int64_t n_extra = config.number("extra_ids", 100);
    if (n_extra < 0 || n_extra > max_extra_ids)
        fail_file(name, "extra_ids is " + std::to_string(n_extra) + ", expected 0 to 100000");
    const auto n_pieces = static_cast<std::int64_t>(words.pieces.size());
    for (std::int64_t i = 0; i < n_extra; ++i)
        add("<extra_id_" + std::to_string(i) + ">", n_pieces + n_extra - 1 - i);
    return tokens;
}

}  // namespace

tokenizer_parts
parse_sentencepiece(std::string_view bytes, tokenizer_config config, const std::string& name)
{
    const std::string kind_of = config.tokenizer_class();
    if (std::find(known_classes.begin(), known_classes.end(), kind_of) == known_classes.end())
        throw error{
            text_errc::unsupported,
            name + ": a SentencePiece model of the class " + support::in_quotes(kind_of) +
                " is not supported, only of LlamaTokenizer, GemmaTokenizer and T5Tokenizer"};
    sentencepiece_vocabulary words = sentencepiece_vocabulary::parse(bytes, name);
    const bool is_t5 = kind_of == "T5Tokenizer";
    const bool adds_bos = kind_of == "LlamaTokenizer" || kind_of == "GemmaTokenizer";
    if (kind_of == "LlamaTokenizer" && !config.flag("add_prefix_space", true))
        words.add_dummy_prefix = false;
    set_defaults(words, config);

    tokenizer_parts parts;
    const bool every_stretch = is_t5 || config.flag("legacy", false);
    try {
        parts.normal_form = std::make_unique<sentence_normalizer>(
            words,
            every_stretch ? sentence_normalizer::prefix::every_stretch
                          : sentence_normalizer::prefix::text_begin);
        parts.vocab = words.make_model();
    } catch (const std::invalid_argument& reason) {
        fail_file(name, reason.what());
    }
    parts.back = make_piece_decoder(words.add_dummy_prefix ? 1 : 0);
    set_added(parts, all_added(words, config, *parts.vocab, name), name);

    std::vector<post_processor::part> completed;
    if (config.flag("add_bos_token", adds_bos))
        completed.push_back(token_part(parts, config, "bos_token", name));
    completed.push_back(text_part());
    if (config.flag("add_eos_token", is_t5))
        completed.push_back(token_part(parts, config, "eos_token", name));
    // T5 does not number its texts.
    const std::uint32_t second_type_id = is_t5 ? 0 : 1;
    if (completed.size() > 1)
        parts.completion.set_template_of_each(std::move(completed), second_type_id);
    return parts;
}

}  // namespace modelpool::text

// The vocabularies of GGUF files as tokenizers. Where llama.cpp's own tokenizers simplify what the
// models were made with (normal forms, caseless contractions), this follows the models' own.
// Source: https://github.com/ggml-org/llama.cpp, src/llama-vocab.cpp

#include "text/gguf_vocabulary.hpp"

#include <modelpool/error.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <utility>

#include "support/printable.hpp"
#include "text/bert_normalizer.hpp"
#include "text/bert_pre_tokenizer.hpp"
#include "text/bpe.hpp"
#include "text/normal_form.hpp"
#include "text/pre_tokenizers.hpp"
#include "text/sentencepiece.hpp"
#include "text/tokenizer_assembly.hpp"
#include "text/utf8.hpp"
#include "text/wordpiece.hpp"

namespace modelpool::text {
namespace {

using kind = sentencepiece_vocabulary::kind;

constexpr std::string_view word_start = "\xE2\x96\x81";

class gguf_assembly {
public:
    explicit gguf_assembly(const gguf_vocabulary& words)
        : words_{words}
    {
        check_sizes();
        check_texts(words_.tokens, "tokens");
        check_texts(words_.merges, "merges");
    }

    tokenizer_parts make()
    {
        if (words_.model == "gpt2") return make_bpe();
        if (words_.model == "llama") return make_pieces(sentencepiece_vocabulary::algorithm::bpe);
        if (words_.model == "t5") return make_pieces(sentencepiece_vocabulary::algorithm::unigram);
        if (words_.model == "bert") return make_wordpiece();
        refuse("the key 'tokenizer.ggml.model' is", words_.model, "llama, gpt2, bert and t5");
    }

private:
    [[noreturn]] void fail(const std::string& sentence) const { fail_file(words_.file, sentence); }

    [[noreturn]] void
    refuse(const std::string& what, std::string_view value, const std::string& known) const
    {
        throw error{
            text_errc::unsupported,
            words_.file + ": " + what + " " + support::in_quotes(value) +
                ", which is not supported, only " + known};
    }

    void check_sizes() const
    {
        const auto check = [this](std::size_t size, const std::string& key, bool is_needed) {
            if (size == words_.tokens.size() || (size == 0 && !is_needed)) return;
            fail(
                "the key 'tokenizer.ggml." + key + "' has " + std::to_string(size) +
                " items, but there are " + std::to_string(words_.tokens.size()) + " tokens");
        };
        if (words_.tokens.empty()) fail("the key 'tokenizer.ggml.tokens' names no token");
        if (words_.tokens.size() >= static_cast<std::size_t>(std::numeric_limits<token_id>::max()))
            fail("the key 'tokenizer.ggml.tokens' has more tokens than ids can count");
        check(words_.types.size(), "token_type", false);
        check(words_.scores.size(), "scores", words_.model == "llama" || words_.model == "t5");
    }

    void check_texts(const std::vector<std::string_view>& texts, const std::string& key) const
    {
        for (std::size_t i = 0; i < texts.size(); ++i)
            if (find_bad_utf8(texts[i]) != std::string_view::npos)
                fail(
                    "the key 'tokenizer.ggml." + key + "' has the item " + std::to_string(i) +
                    ", " + support::in_quotes(texts[i]) + ", which is not UTF-8");
    }

    kind type_of(std::size_t index) const
    {
        const std::int32_t type = words_.types.empty() ? 1 : words_.types[index];
        if (type < 0 || type > 6)
            fail(
                "the key 'tokenizer.ggml.token_type' gives the token " + std::to_string(index) +
                " the type " + std::to_string(type) + ", expected one from 1 to 6");
        return type == 0 ? kind::normal : static_cast<kind>(type);
    }

    // What is looked for in text before the model sees it.
    std::vector<added_token> added() const
    {
        std::string name = words_.model_name;
        std::transform(name.begin(), name.end(), name.begin(), [](char c) {
            return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
        });
        // The tokens of these swallow the white space after them; no key says so.
        const bool is_phi3 =
            name.find("phi-3") != std::string::npos || name.find("phi3") != std::string::npos;
        constexpr std::array<std::string_view, 3> not_stripping{"<unk>", "<s>", "<|endoftext|>"};
        std::vector<added_token> tokens;
        for (std::size_t i = 0; i < words_.tokens.size(); ++i) {
            const kind type = type_of(i);
            const bool is_special = type == kind::control || type == kind::unknown;
            if ((!is_special && type != kind::user_defined) || words_.tokens[i].empty()) continue;
            added_token token;
            token.content = words_.tokens[i];
            token.id = static_cast<token_id>(i);
            token.special = is_special;
            token.rstrip =
                is_phi3 && std::find(not_stripping.begin(), not_stripping.end(), token.content) ==
                               not_stripping.end();
            tokens.push_back(std::move(token));
        }
        return tokens;
    }

    // Puts the tokens around a text that the file asks for, or that its kind has.
    void set_ends(tokenizer_parts& parts, bool adds_bos, bool adds_eos) const
    {
        std::vector<post_processor::part> completed;
        const auto add = [&](bool is_wanted, std::optional<std::int64_t> id, const char* key) {
            if (!is_wanted) return;
            if (!id) fail(std::string{"adds its "} + key + " to every text, but does not name it");
            completed.push_back(token_part(parts, *id, words_.file));
        };
        add(words_.add_bos.value_or(adds_bos), words_.bos_id, "bos_token_id");
        completed.push_back(text_part());
        add(words_.add_eos.value_or(adds_eos), words_.eos_id, "eos_token_id");
        // T5 does not number its texts.
        const std::uint32_t second_type_id = words_.model == "t5" ? 0 : 1;
        if (completed.size() > 1)
            parts.completion.set_template_of_each(std::move(completed), second_type_id);
    }

    vocabulary all_words() const
    {
        vocabulary::builder made;
        for (std::size_t i = 0; i < words_.tokens.size(); ++i)
            made.set(words_.tokens[i], static_cast<token_id>(i));
        return made.finish();
    }

    bpe::merge_table read_merges(const vocabulary& known) const
    {
        if (words_.merges.empty()) fail("lacks the key 'tokenizer.ggml.merges'");
        bpe::merge_table merges{words_.merges.size()};
        for (std::size_t i = 0; i < words_.merges.size(); ++i) {
            const std::string_view line = words_.merges[i];
            const std::size_t space = line.find(' ', 1);
            try {
                if (space == std::string_view::npos)
                    throw std::invalid_argument{"must be two tokens with one space between"};
                merges.add(
                    known,
                    {line.substr(0, space), line.substr(space + 1)},
                    0,
                    static_cast<std::uint32_t>(i));
            } catch (const std::invalid_argument& reason) {
                fail(
                    "the key 'tokenizer.ggml.merges' item " + std::to_string(i) + " " +
                    reason.what());
            }
        }
        return merges;
    }

    tokenizer_parts make_bpe() const
    {
        const bpe_style* const style = find_bpe_style(words_.pre);
        if (style == nullptr)
            refuse(
                "the key 'tokenizer.ggml.pre' is",
                words_.pre,
                "default, gpt-2, llama-bpe, qwen2, dbrx, deepseek-v3, kimi-k2 and some others");
        tokenizer_parts parts;
        if (style->normalizes)
            parts.normal_form = std::make_unique<normal_form>(normal_form::kind::nfc);
        std::vector<std::unique_ptr<const pre_tokenizer>> steps;
        steps.reserve(style->patterns.size() + 1);
        for (const std::string_view pattern : style->patterns)
            steps.push_back(std::make_unique<pattern_splitter>(
                regex::from_pattern(pattern),
                pattern_splitter::cuts_at::matches,
                delimiter::isolated));
        steps.push_back(std::make_unique<byte_level_pre_tokenizer>(false, false));
        parts.cutter = std::make_unique<pre_tokenizer_sequence>(std::move(steps));
        vocabulary known = all_words();
        bpe::merge_table merges = read_merges(known);
        parts.vocab = std::make_unique<bpe>(
            std::move(known),
            std::move(merges),
            bpe::options{}.ignore_merges(style->ignores_merges));
        parts.back = std::make_unique<byte_level_decoder>();
        set_added(parts, added(), words_.file);
        set_ends(parts, style->adds_bos, false);
        return parts;
    }

    tokenizer_parts make_pieces(sentencepiece_vocabulary::algorithm how) const
    {
        const bool is_bpe = how == sentencepiece_vocabulary::algorithm::bpe;
        sentencepiece_vocabulary made;
        made.how = how;
        made.charsmap = is_bpe ? std::string_view{} : words_.charsmap;
        made.add_dummy_prefix = words_.add_space_prefix.value_or(is_bpe);
        made.remove_extra_whitespaces = words_.remove_extra_whitespaces.value_or(false);
        made.pieces.reserve(words_.tokens.size());
        for (std::size_t i = 0; i < words_.tokens.size(); ++i) {
            if (!std::isfinite(words_.scores[i]))
                fail("the key 'tokenizer.ggml.scores' item " + std::to_string(i) + " is no number");
            const kind type = type_of(i);
            made.byte_fallback = made.byte_fallback || type == kind::byte;
            made.pieces.push_back({std::string{words_.tokens[i]}, words_.scores[i], type});
        }
        if (words_.unknown_id && *words_.unknown_id >= 0 &&
            *words_.unknown_id < static_cast<std::int64_t>(made.pieces.size()))
            made.pieces[static_cast<std::size_t>(*words_.unknown_id)].type = kind::unknown;
        tokenizer_parts parts;
        try {
            parts.normal_form = std::make_unique<sentence_normalizer>(
                made, sentence_normalizer::prefix::every_stretch);
            parts.vocab = made.make_model();
        } catch (const std::invalid_argument& reason) {
            fail(std::string{"its vocabulary "} + reason.what());
        }
        parts.back = make_piece_decoder(made.add_dummy_prefix ? 1 : 0);
        set_added(parts, added(), words_.file);
        set_ends(parts, is_bpe, !is_bpe);
        return parts;
    }

    // The file marks the beginning of a word where BERT marks what continues one.
    static std::string bert_token(std::string_view token)
    {
        if (token.starts_with(word_start)) return std::string{token.substr(word_start.size())};
        if (token.starts_with('[') && token.ends_with(']')) return std::string{token};
        return std::string{"##"}.append(token);
    }

    tokenizer_parts make_wordpiece() const
    {
        vocabulary::builder made;
        for (std::size_t i = 0; i < words_.tokens.size(); ++i)
            if (!words_.tokens[i].empty())
                made.set(bert_token(words_.tokens[i]), static_cast<token_id>(i));
        vocabulary known = made.finish();
        std::optional<std::int64_t> unknown = words_.unknown_id;
        if (!unknown) unknown = known.id_of("[UNK]");
        if (!unknown || *unknown < 0 || *unknown >= static_cast<std::int64_t>(words_.tokens.size()))
            fail("names no token for what is unknown");
        tokenizer_parts parts;
        parts.normal_form = std::make_unique<bert_normalizer>(bert_normalizer::options{});
        parts.cutter = std::make_unique<bert_pre_tokenizer>();
        parts.vocab = std::make_unique<wordpiece>(
            std::move(known), wordpiece::options{}.unknown(static_cast<token_id>(*unknown)));
        parts.back = std::make_unique<wordpiece_decoder>("##", true);
        set_added(parts, added(), words_.file);
        std::optional<std::int64_t> first = words_.bos_id;
        if (!first) first = parts.vocab->id_of("[CLS]");
        std::optional<std::int64_t> last =
            words_.separator_id ? words_.separator_id : words_.eos_id;
        if (!last) last = parts.vocab->id_of("[SEP]");
        if (!first || !last) fail("names no token for the ends of a text");
        parts.completion.set_ends(
            token_part(parts, *first, words_.file), token_part(parts, *last, words_.file), false);
        return parts;
    }

    const gguf_vocabulary& words_;
};

}  // namespace

tokenizer gguf_vocabulary::make_tokenizer() const
{
    return tokenizer_maker::make(gguf_assembly{*this}.make());
}

}  // namespace modelpool::text

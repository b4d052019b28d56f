// The formats that are plain lists of tokens: vocab.txt, and vocab.json with merges.txt. What is
// done to text around such a list stands in no file: it follows from the class of the reference
// implementation that tokenizer_config.json names. Source:
// https://github.com/huggingface/transformers, src/transformers/models.

#include "text/vocabulary_files.hpp"

#include <modelpool/error.hpp>

#include <algorithm>
#include <limits>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "support/printable.hpp"
#include "text/bert_normalizer.hpp"
#include "text/bert_pre_tokenizer.hpp"
#include "text/bpe.hpp"
#include "text/component_json.hpp"
#include "text/normal_form.hpp"
#include "text/normalizers.hpp"
#include "text/pre_tokenizers.hpp"
#include "text/tokenizer_assembly.hpp"
#include "text/unicode.hpp"
#include "text/utf8.hpp"
#include "text/wordpiece.hpp"

namespace modelpool::text {
namespace {

constexpr std::string_view qwen2_pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view clip_pattern =
    R"(<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+)";

// Takes the next line off `text`; the end of the line goes.
std::string_view take_line(std::string_view& text)
{
    const std::size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    return line;
}

std::string_view without_trailing_space(std::string_view line)
{
    while (!line.empty()) {
        const utf8_char last = utf8_before(line, line.size());
        if (!is_white_space(last.code_point)) break;
        line.remove_suffix(last.n_bytes);
    }
    return line;
}

void check_utf8(std::string_view text, const std::string& name)
{
    const std::size_t bad = find_bad_utf8(text);
    if (bad != std::string_view::npos)
        fail_file(name, "not valid UTF-8: byte " + std::to_string(bad) + " is wrong");
}

// CLIP's way back: the mark at the end of a word becomes a space, and white space goes at both ends
// of the text, with the separators of ASCII, which Python counts to it.
class word_end_decoder final : public decoder {
public:
    explicit word_end_decoder(std::string_view mark)
        : mark_{mark}
    {}

    std::unique_ptr<token_sink> start(token_sink& next) const override
    {
        return std::make_unique<run>(*this, next);
    }

private:
    static bool is_stripped(utf8_char c)
    {
        return is_white_space(c.code_point) || (c.code_point >= 0x1C && c.code_point <= 0x1F);
    }

    // What comes after the letters have become text: all of it is one token.
    class ends final : public token_sink {
    public:
        ends(const std::string& mark, token_sink& next)
            : mark_{mark}
            , next_{next}
        {}

        void push(std::string_view text, bool) override
        {
            held_ += text;
            std::size_t done = 0;
            for (std::size_t at = held_.find(mark_); at != std::string::npos;
                 at = held_.find(mark_, done)) {
                give(std::string_view{held_}.substr(done, at - done));
                give(" ");
                done = at + mark_.size();
            }
            const std::size_t kept = std::max(done, held_.size() - begun_bytes());
            give(std::string_view{held_}.substr(done, kept - done));
            held_.erase(0, kept);
        }
        void finish() override
        {
            give(held_);
            next_.push({}, true);
            next_.finish();
        }

    private:
        // How many bytes at the end a mark may begin with.
        std::size_t begun_bytes() const
        {
            std::size_t n = std::min(mark_.size() - 1, held_.size());
            while (!std::string_view{held_}.ends_with(std::string_view{mark_}.substr(0, n)))
                --n;
            return n;
        }

        void give(std::string_view text)
        {
            while (!is_begun_ && !text.empty() && is_stripped(utf8_at(text, 0)))
                text.remove_prefix(utf8_at(text, 0).n_bytes);
            std::string_view kept = text;
            while (!kept.empty() && is_stripped(utf8_before(kept, kept.size())))
                kept.remove_suffix(utf8_before(kept, kept.size()).n_bytes);
            if (!kept.empty()) {
                next_.push(blanks_, false);
                next_.push(kept, false);
                blanks_.clear();
                is_begun_ = true;
            }
            blanks_ += text.substr(kept.size());
        }

        const std::string& mark_;
        token_sink& next_;
        std::string held_;    // that a mark may begin with
        std::string blanks_;  // that may end the text
        bool is_begun_{false};
    };

    class run final : public token_sink {
    public:
        run(const word_end_decoder& owner, token_sink& next)
            : ends_{owner.mark_, next}
            , letters_{owner.letters_.start(ends_)}
        {}
        void push(std::string_view text, bool is_whole) override { letters_->push(text, is_whole); }
        void finish() override { letters_->finish(); }

    private:
        ends ends_;
        std::unique_ptr<token_sink> letters_;
    };

    byte_level_decoder letters_;
    std::string mark_;
};

vocabulary read_vocab_json(const bpe_files& files)
{
    simdjson::dom::parser parser;
    simdjson::dom::element document;
    const simdjson::error_code problem =
        parser.parse(simdjson::padded_string{files.vocab}).get(document);
    if (problem == simdjson::MEMALLOC) throw std::bad_alloc{};
    if (problem != simdjson::SUCCESS)
        fail_file(
            files.vocab_name, std::string{"not valid JSON: "} + simdjson::error_message(problem));
    return read_vocabulary(json_value{document, files.vocab_name, ""});
}

bpe::merge_table read_merges_txt(const bpe_files& files, const vocabulary& words)
{
    check_utf8(files.merges, files.merges_name);
    std::size_t n_lines = 1;
    for (const char byte : files.merges)
        n_lines += byte == '\n' ? 1U : 0U;
    bpe::merge_table merges{n_lines};
    std::uint32_t rank = 0;
    std::size_t number = 0;
    for (std::string_view rest = files.merges; !rest.empty();) {
        const std::string_view line = take_line(rest);
        ++number;
        if (line.empty() || line.starts_with("#version")) continue;
        const std::size_t space = line.find(' ');
        const bool is_pair =
            space != std::string_view::npos && line.find(' ', space + 1) == std::string_view::npos;
        try {
            if (!is_pair) throw std::invalid_argument{"must be two tokens with one space between"};
            merges.add(words, {line.substr(0, space), line.substr(space + 1)}, 0, rank++);
        } catch (const std::invalid_argument& reason) {
            fail_file(files.merges_name, "line " + std::to_string(number) + " " + reason.what());
        }
    }
    return merges;
}

std::unique_ptr<const pre_tokenizer>
in_turn(std::unique_ptr<const pre_tokenizer> first, std::unique_ptr<const pre_tokenizer> second)
{
    std::vector<std::unique_ptr<const pre_tokenizer>> steps;
    steps.push_back(std::move(first));
    steps.push_back(std::move(second));
    return std::make_unique<pre_tokenizer_sequence>(std::move(steps));
}

void set_clip_steps(tokenizer_parts& parts)
{
    std::vector<std::unique_ptr<const normalizer>> steps;
    steps.push_back(std::make_unique<normal_form>(normal_form::kind::nfc));
    steps.push_back(std::make_unique<replace_normalizer>(regex::from_pattern(R"(\s+)"), " "));
    steps.push_back(std::make_unique<lowercase_normalizer>());
    parts.normal_form = std::make_unique<normalizer_sequence>(std::move(steps));
    // The second step cuts as GPT-2 does: what the first leaves whole may still fall apart.
    parts.cutter = in_turn(
        std::make_unique<pattern_splitter>(
            regex::from_pattern(clip_pattern), pattern_splitter::cuts_at::gaps, delimiter::removed),
        std::make_unique<byte_level_pre_tokenizer>(false, true));
    parts.back = std::make_unique<word_end_decoder>("</w>");
}

void set_bpe_defaults(const std::string& kind, tokenizer_config& config)
{
    const bool is_roberta = kind == "RobertaTokenizer" || kind == "BartTokenizer";
    const char* const end_of_text = is_roberta ? "</s>" : "<|endoftext|>";
    config.set_default("eos_token", end_of_text);
    config.set_default("unk_token", is_roberta ? "<unk>" : end_of_text);
    if (kind == "CLIPTokenizer") config.set_default("bos_token", "<|startoftext|>");
    if (kind == "GPT2Tokenizer") config.set_default("bos_token", end_of_text);
    if (kind == "CLIPTokenizer" || kind == "Qwen2Tokenizer")
        config.set_default("pad_token", end_of_text);
    if (!is_roberta) return;
    for (const auto& [key, content] : std::initializer_list<std::pair<const char*, const char*>>{
             {"bos_token", "<s>"},
             {"sep_token", "</s>"},
             {"cls_token", "<s>"},
             {"pad_token", "<pad>"},
             {"mask_token", "<mask>"}})
        config.set_default(key, content);
}

}  // namespace

tokenizer_parts
parse_vocab_txt(std::string_view text, tokenizer_config config, const std::string& name)
{
    const std::string& kind = config.tokenizer_class();
    if (!kind.empty() && kind != "BertTokenizer" && kind != "DistilBertTokenizer")
        throw error{
            text_errc::unsupported,
            name + ": a vocab.txt of the class " + support::in_quotes(kind) +
                " is not supported, only of BertTokenizer"};
    check_utf8(text, name);
    for (const auto& [key, content] : std::initializer_list<std::pair<const char*, const char*>>{
             {"unk_token", "[UNK]"},
             {"sep_token", "[SEP]"},
             {"pad_token", "[PAD]"},
             {"cls_token", "[CLS]"},
             {"mask_token", "[MASK]"}})
        config.set_default(key, content);

    vocabulary::builder made;
    token_id id = 0;
    for (std::string_view rest = text; !rest.empty(); ++id) {
        const std::string_view token = without_trailing_space(take_line(rest));
        if (!token.empty()) made.set(token, id);
    }
    vocabulary words = made.finish();
    const added_token* const unknown = config.named("unk_token");
    const std::optional<token_id> unknown_id =
        unknown == nullptr ? std::nullopt : words.id_of(unknown->content);
    if (!unknown_id)
        fail_file(
            name,
            "lacks the token " + support::in_quotes(unknown ? unknown->content : "[UNK]") +
                " for what is unknown");

    tokenizer_parts parts;
    const bool lowercase = config.flag("do_lower_case", true);
    parts.normal_form = std::make_unique<bert_normalizer>(
        bert_normalizer::options{}
            .clean_text(true)
            .handle_chinese_chars(config.flag("tokenize_chinese_chars", true))
            .strip_accents(config.flag("strip_accents", lowercase))
            .lowercase(lowercase));
    parts.cutter = std::make_unique<bert_pre_tokenizer>();
    parts.vocab =
        std::make_unique<wordpiece>(std::move(words), wordpiece::options{}.unknown(*unknown_id));
    parts.back = std::make_unique<wordpiece_decoder>("##", true);
    set_added(parts, config, name);
    parts.completion.set_ends(
        token_part(parts, config, "cls_token", name),
        token_part(parts, config, "sep_token", name),
        false);
    return parts;
}

tokenizer_parts parse_bpe_files(const bpe_files& files, tokenizer_config config)
{
    const std::string& name = files.vocab_name;
    const std::string kind = config.tokenizer_class();
    const bool is_clip = kind == "CLIPTokenizer";
    const bool is_roberta = kind == "RobertaTokenizer" || kind == "BartTokenizer";
    const bool is_qwen = kind == "Qwen2Tokenizer";
    if (kind.empty())
        fail_file(
            name,
            "no tokenizer_config.json with a tokenizer_class lies beside it, so what is done to "
            "text before it is looked up is not known");
    if (!is_clip && !is_roberta && !is_qwen && kind != "GPT2Tokenizer")
        throw error{
            text_errc::unsupported,
            name + ": a vocab.json of the class " + support::in_quotes(kind) +
                " is not supported, only of GPT2Tokenizer, RobertaTokenizer, BartTokenizer, "
                "CLIPTokenizer and Qwen2Tokenizer"};

    set_bpe_defaults(kind, config);

    bpe::options chosen;
    if (is_clip) {
        chosen.word_suffix("</w>");
        if (const added_token* const unknown = config.named("unk_token"))
            chosen.unknown(unknown->content);
    }
    tokenizer_parts parts;
    vocabulary words = read_vocab_json(files);
    bpe::merge_table merges = read_merges_txt(files, words);
    parts.vocab = std::make_unique<bpe>(std::move(words), std::move(merges), std::move(chosen));
    parts.back = std::make_unique<byte_level_decoder>();
    const bool add_prefix_space = config.flag("add_prefix_space", false);
    if (is_clip) {
        set_clip_steps(parts);
    } else if (is_qwen) {
        parts.normal_form = std::make_unique<normal_form>(normal_form::kind::nfc);
        parts.cutter = in_turn(
            std::make_unique<pattern_splitter>(
                regex::from_pattern(qwen2_pattern),
                pattern_splitter::cuts_at::matches,
                delimiter::isolated),
            std::make_unique<byte_level_pre_tokenizer>(add_prefix_space, false));
    } else {
        parts.cutter = std::make_unique<byte_level_pre_tokenizer>(add_prefix_space, true);
    }
    set_added(parts, config, name);

    if (is_roberta && config.flag("trim_offsets", true))
        parts.completion.add_trimming(add_prefix_space);
    if (is_clip || is_roberta) {
        parts.completion.set_ends(
            token_part(parts, config, is_roberta ? "cls_token" : "bos_token", name),
            token_part(parts, config, is_roberta ? "sep_token" : "eos_token", name),
            true);
        return parts;
    }
    std::vector<post_processor::part> completed;
    const auto add = [&](bool wanted, const char* key) {
        if (wanted) completed.push_back(token_part(parts, config, key, name));
    };
    add(config.flag("add_bos_token", false), "bos_token");
    completed.push_back(text_part());
    add(config.flag("add_eos_token", false), "eos_token");
    if (completed.size() > 1) parts.completion.set_template_of_each(std::move(completed), 1);
    return parts;
}

}  // namespace modelpool::text

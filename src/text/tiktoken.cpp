// tiktoken's files: ranks of byte strings. The reference joins, again and again, the two neighbours
// that make the string of the lowest rank, whatever the two are, and looks a whole piece up first.
// Sources: https://github.com/openai/tiktoken, src/lib.rs and tiktoken/load.py; for the pattern and
// the special tokens https://huggingface.co/moonshotai/Kimi-K2-Instruct, tokenization_kimi.py.

#include "text/tiktoken.hpp"

#include <modelpool/error.hpp>

#include <charconv>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <unordered_map>
#include <utility>
#include <vector>

#include "support/printable.hpp"
#include "text/base64.hpp"
#include "text/bpe.hpp"
#include "text/byte_level.hpp"
#include "text/pre_tokenizers.hpp"
#include "text/vocabulary_files.hpp"

namespace modelpool::text {
namespace {

// Tokens are short; the ways to cut a long one would take memory out of proportion to the file.
constexpr std::size_t max_token_bytes = 512;
// How many ids behind the ranks the class of Kimi keeps for special tokens.
constexpr token_id n_reserved = 256;

[[noreturn]] void fail(const std::string& name, std::size_t line, const std::string& sentence)
{
    throw error{text_errc::bad_file, name + ": line " + std::to_string(line) + " " + sentence};
}

std::string letters_of(std::string_view bytes, const byte_alphabet& alphabet)
{
    std::string letters;
    for (const char byte : bytes)
        letters.append(alphabet.letter(byte));
    return letters;
}

tiktoken_vocabulary::entry
read_line(std::string_view line, std::size_t number, const std::string& name)
{
    const std::size_t space = line.find(' ');
    if (space == std::string_view::npos)
        fail(name, number, "must be a token in base64 and its rank");
    tiktoken_vocabulary::entry made;
    try {
        made.bytes = decode_base64(line.substr(0, space));
    } catch (const std::invalid_argument& reason) {
        fail(name, number, std::string{"has a token that "} + reason.what());
    }
    const std::string_view rank = line.substr(space + 1);
    const auto [end, problem] = std::from_chars(rank.data(), rank.data() + rank.size(), made.id);
    if (problem != std::errc{} || end != rank.data() + rank.size() || made.id < 0 ||
        made.id > std::numeric_limits<token_id>::max() - n_reserved - 1)
        fail(
            name,
            number,
            "has the rank " + support::in_quotes(rank, 40) + ", expected a whole number");
    if (made.bytes.empty() || made.bytes.size() > max_token_bytes)
        fail(
            name,
            number,
            "has a token of " + std::to_string(made.bytes.size()) + " bytes, expected 1 to " +
                std::to_string(max_token_bytes));
    return made;
}

// The pattern, and how many special tokens there are, stand in the code of the class alone.
void check_class(const std::string& kind, const std::string& name)
{
    if (kind != "TikTokenTokenizer")
        throw error{
            text_errc::unsupported,
            name + ": tiktoken's ranks of the class " + support::in_quotes(kind) +
                " are not supported, only of TikTokenTokenizer (Kimi)"};
}

std::vector<added_token>
reserved_tokens(const tokenizer_config& config, token_id end_of_ranks, const model& vocab)
{
    std::vector<added_token> tokens;
    for (added_token& token : config.tokens_for(vocab))
        if (token.id >= end_of_ranks) tokens.push_back(std::move(token));
    for (token_id id = end_of_ranks; id < end_of_ranks + n_reserved; ++id) {
        if (config.with_id().contains(id)) continue;
        added_token token;
        token.content = "<|reserved_token_" + std::to_string(id) + "|>";
        token.id = id;
        token.special = true;
        tokens.push_back(std::move(token));
    }
    // tiktoken looks for the text of these as it is.
    for (added_token& token : tokens) {
        token.normalized = false;
        token.single_word = false;
        token.lstrip = false;
        token.rstrip = false;
    }
    return tokens;
}

}  // namespace

std::string_view kimi_pattern() noexcept
{
    return R"([\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*)"
           R"([\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
           R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+)"
           R"([\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
           R"(\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
}

tiktoken_vocabulary tiktoken_vocabulary::parse(std::string_view text, const std::string& name)
{
    tiktoken_vocabulary made;
    std::size_t number = 0;
    while (!text.empty()) {
        const std::size_t end = text.find('\n');
        std::string_view line = text.substr(0, end);
        text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
        if (line.ends_with('\r')) line.remove_suffix(1);
        ++number;
        if (!line.empty()) made.entries.push_back(read_line(line, number, name));
    }
    if (made.entries.empty()) throw error{text_errc::bad_file, name + ": holds no token"};
    return made;
}

std::unique_ptr<const model> tiktoken_vocabulary::make_model(const std::string& name) const
{
    const byte_alphabet alphabet;
    std::unordered_map<std::string_view, token_id> id_of;
    std::unordered_map<token_id, std::string_view> bytes_of;
    vocabulary::builder words;
    for (const entry& each : entries) {
        if (!id_of.emplace(each.bytes, each.id).second ||
            !bytes_of.emplace(each.id, each.bytes).second)
            throw error{
                text_errc::bad_file,
                name + ": has the token or the rank of " + support::in_quotes(each.bytes) +
                    " twice"};
        words.set(letters_of(each.bytes, alphabet), each.id);
    }
    struct cut {
        token_id left;
        token_id right;
        token_id whole;
    };
    std::vector<cut> cuts;
    for (const entry& each : entries) {
        const std::string_view whole = each.bytes;
        for (std::size_t at = 1; at < whole.size(); ++at) {
            const auto left = id_of.find(whole.substr(0, at));
            if (left == id_of.end()) continue;
            const auto right = id_of.find(whole.substr(at));
            if (right != id_of.end()) cuts.push_back({left->second, right->second, each.id});
        }
    }
    bpe::merge_table merges{cuts.size()};
    for (const cut& each : cuts)
        merges.set(each.left, each.right, {static_cast<std::uint32_t>(each.whole), each.whole});
    return std::make_unique<bpe>(
        words.finish(), std::move(merges), bpe::options{}.ignore_merges(true));
}

tokenizer_parts
parse_tiktoken(std::string_view text, tokenizer_config config, const std::string& name)
{
    check_class(config.tokenizer_class(), name);
    const tiktoken_vocabulary ranks = tiktoken_vocabulary::parse(text, name);
    tokenizer_parts parts;
    parts.vocab = ranks.make_model(name);
    std::vector<std::unique_ptr<const pre_tokenizer>> steps;
    steps.push_back(std::make_unique<pattern_splitter>(
        regex::from_pattern(kimi_pattern()),
        pattern_splitter::cuts_at::matches,
        delimiter::isolated));
    steps.push_back(std::make_unique<byte_level_pre_tokenizer>(false, false));
    parts.cutter = std::make_unique<pre_tokenizer_sequence>(std::move(steps));
    parts.back = std::make_unique<byte_level_decoder>();
    parts.added = added_tokens{
        reserved_tokens(config, static_cast<token_id>(parts.vocab->end_id()), *parts.vocab),
        nullptr};
    return parts;
}

}  // namespace modelpool::text

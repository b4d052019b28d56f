#include "text/unigram.hpp"

#include <modelpool/error.hpp>

#include <algorithm>
#include <limits>

#include "support/printable.hpp"
#include "text/byte_level.hpp"
#include "text/utf8.hpp"

namespace modelpool::text {
namespace {

// What an unknown character costs beyond the worst token.
constexpr double unknown_penalty = 10.0;

std::vector<byte_trie::entry> trie_entries(const vocabulary& words)
{
    std::vector<byte_trie::entry> entries;
    entries.reserve(words.size());
    for (std::size_t i = 0; i < words.size(); ++i)
        entries.emplace_back(words.token_at(i), words.id_at(i));
    return entries;
}

[[noreturn]] void fail_unknown(std::string_view text)
{
    throw error{
        text_errc::bad_file,
        "the tokenizer has no token for " + support::in_quotes(text) + " and no unknown token"};
}

}  // namespace

unigram::unigram(const std::vector<entry>& entries, std::optional<token_id> unknown, fallback how)
    : unknown_{unknown}
{
    vocabulary::builder words;
    double lowest = std::numeric_limits<double>::infinity();
    for (std::size_t i = 0; i < entries.size(); ++i) {
        words.set(entries[i].token, static_cast<token_id>(i));
        scores_.push_back(entries[i].score);
        lowest = std::min(lowest, entries[i].score);
    }
    unknown_score_ = lowest - unknown_penalty;
    words_ = words.finish();
    for (std::size_t i = 0; words_.size() < entries.size() && i < entries.size(); ++i)
        if (words_.id_of(entries[i].token) != static_cast<token_id>(i))
            earlier_.emplace_back(static_cast<token_id>(i), entries[i].token);
    trie_ = byte_trie{trie_entries(words_)};
    if (how == fallback::bytes) {
        byte_tokens_.emplace();
        for (unsigned byte = 0; byte < byte_tokens_->size(); ++byte)
            (*byte_tokens_)[byte] = words_.id_of(byte_token(static_cast<char>(byte))).value_or(-1);
    }
}

std::optional<std::string_view> unigram::token_of(token_id id) const
{
    for (const auto& [earlier_id, token] : earlier_)
        if (earlier_id == id) return token;
    return words_.token_of(id);
}

std::string unigram::shown(token_id id, std::string_view text) const
{
    // A byte token is shown by its name, everything else as the text it covers.
    const bool is_byte = byte_tokens_ && id != unknown_ && words_.id_of(text) != id;
    return is_byte ? model::shown(id, text) : std::string{text};
}

std::vector<unigram::step> unigram::find_best(std::string_view text) const
{
    std::vector<step> best(text.size() + 1, step{0.0, no_step, 0});
    const auto offer = [&](std::size_t end, step candidate) {
        step& held = best[end];
        if (held.begin == no_step || candidate.score > held.score) held = candidate;
    };
    for (std::size_t begin = 0; begin < text.size();) {
        const double so_far = best[begin].score;
        const std::uint32_t n_bytes = utf8_at(text, begin).n_bytes;
        bool is_covered = false;
        std::uint32_t node = byte_trie::root;
        for (std::size_t at = begin; at < text.size(); ++at) {
            node = trie_.child(node, text[at]);
            if (node == byte_trie::no_node) break;
            const token_id id = trie_.value(node);
            if (id == byte_trie::no_value) continue;
            const double score = scores_[static_cast<std::size_t>(id)];
            offer(at + 1, {score + so_far, static_cast<std::uint32_t>(begin), id});
            is_covered = is_covered || at + 1 - begin == n_bytes;
        }
        if (!is_covered) {
            if (!unknown_) fail_unknown(text.substr(begin, n_bytes));
            offer(
                begin + n_bytes,
                {unknown_score_ + so_far, static_cast<std::uint32_t>(begin), *unknown_});
        }
        begin += n_bytes;
    }
    return best;
}

void unigram::add_piece(
    std::string_view whole, token_list::span span, std::size_t base, token_list& out) const
{
    const std::string_view text = whole.substr(span.begin, span.end - span.begin);
    const auto add = [&](token_id id) { out.add(id, base + span.begin, base + span.end); };
    if (const std::optional<token_id> id = words_.id_of(text)) return add(*id);
    const auto byte_id = [this](char byte) {
        return (*byte_tokens_)[static_cast<unsigned char>(byte)];
    };
    if (byte_tokens_ &&
        std::all_of(text.begin(), text.end(), [&](char byte) { return byte_id(byte) >= 0; })) {
        for (const char byte : text)
            add(byte_id(byte));
        return;
    }
    if (!unknown_) fail_unknown(text);
    add(*unknown_);
}

void unigram::tokenize(std::string_view text, std::size_t base, token_list& out) const
{
    const std::vector<step> best = find_best(text);
    std::vector<token_list::span> spans;  // from the end
    bool was_unknown = false;
    for (auto end = static_cast<std::uint32_t>(text.size()); end > 0; end = best[end].begin) {
        const bool is_unknown = unknown_ == best[end].id;
        if (is_unknown && was_unknown)
            spans.back().begin = best[end].begin;
        else
            spans.push_back({best[end].begin, end});
        was_unknown = is_unknown;
    }
    for (auto span = spans.rbegin(); span != spans.rend(); ++span)
        add_piece(text, *span, base, out);
}

void wordlevel::tokenize(std::string_view text, std::size_t base, token_list& out) const
{
    const std::optional<token_id> known = words_.id_of(text);
    if (!known && !unknown_id_)
        throw error{
            text_errc::bad_file,
            "the tokenizer has no token for " + support::in_quotes(text) + ", and its unk_token " +
                support::in_quotes(unknown_) + " is not in its vocabulary"};
    out.add(known ? *known : *unknown_id_, base, base + text.size());
}

}  // namespace modelpool::text

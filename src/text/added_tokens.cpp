#include "text/added_tokens.hpp"

#include <algorithm>
#include <stdexcept>

#include "text/utf8.hpp"

namespace modelpool::text {
namespace {

std::string normal_form_of(const added_token& token, const normalizer* normal_form)
{
    if (!token.normalized || normal_form == nullptr) return token.content;
    workspace work;
    work.text.assign(token.content, 0);
    normal_form->apply(work);
    return std::string{work.text.bytes()};
}

std::size_t white_space_after(std::string_view text, std::size_t at)
{
    while (at < text.size()) {
        const utf8_char next = utf8_at(text, at);
        if (!is_white_space(next.code_point)) break;
        at += next.n_bytes;
    }
    return at;
}

std::size_t white_space_before(std::string_view text, std::size_t at, std::size_t lowest)
{
    while (at > lowest) {
        const utf8_char previous = utf8_before(text, at);
        if (!is_white_space(previous.code_point)) break;
        at -= previous.n_bytes;
    }
    return at;
}

}  // namespace

added_tokens::added_tokens(std::vector<added_token> tokens, const normalizer* normal_form)
    : tokens_{std::move(tokens)}
{
    decoded_.reserve(tokens_.size());
    for (std::size_t i = 0; i < tokens_.size(); ++i) {
        const added_token& token = tokens_[i];
        decoded_.push_back(normal_form_of(token, normal_form));
        index_of_id_[token.id] = i;
        index_of_content_[token.content] = i;
        if (token.special) special_[token.content] = true;
        end_id_ = std::max(end_id_, static_cast<std::size_t>(token.id) + 1);
    }
    std::vector<byte_trie::entry> raw;
    std::vector<byte_trie::entry> normalized;
    for (const auto& [id, index] : index_of_id_)
        (tokens_[index].normalized ? normalized : raw)
            .emplace_back(decoded_[index], static_cast<std::int32_t>(index));
    raw_ = make_set(std::move(raw));
    normalized_ = make_set(std::move(normalized));
}

added_tokens::pattern_set added_tokens::make_set(std::vector<byte_trie::entry> patterns)
{
    // Of tokens that look the same, the first is found.
    std::sort(patterns.begin(), patterns.end());
    const auto same = [](const byte_trie::entry& a, const byte_trie::entry& b) {
        return a.first == b.first;
    };
    patterns.erase(std::unique(patterns.begin(), patterns.end(), same), patterns.end());
    pattern_set set;
    for (const auto& [pattern, token] : patterns) {
        if (pattern.empty()) throw std::invalid_argument{"a token has an empty normal form"};
        set.starts[static_cast<unsigned char>(pattern.front())] = true;
        set.empty = false;
    }
    set.trie = byte_trie{std::move(patterns)};
    return set;
}

std::optional<added_tokens::match>
added_tokens::find(const pattern_set& set, std::string_view text, std::size_t from)
{
    for (std::size_t begin = from; begin < text.size(); ++begin) {
        if (!set.starts[static_cast<unsigned char>(text[begin])]) continue;
        std::optional<match> longest;
        std::uint32_t node = byte_trie::root;
        for (std::size_t at = begin; at < text.size(); ++at) {
            node = set.trie.child(node, text[at]);
            if (node == byte_trie::no_node) break;
            if (set.trie.value(node) != byte_trie::no_value)
                longest = match{begin, at + 1, static_cast<std::size_t>(set.trie.value(node))};
        }
        if (longest) return longest;
    }
    return std::nullopt;
}

bool added_tokens::stands_alone(std::string_view text, const match& found) const
{
    const bool joined_left =
        found.begin > 0 && is_word_char(utf8_before(text, found.begin).code_point);
    const bool joined_right =
        found.end < text.size() && is_word_char(utf8_at(text, found.end).code_point);
    return !joined_left && !joined_right;
}

void added_tokens::split(
    const pattern_set& set, std::string_view text, std::vector<stretch>& out) const
{
    const auto add = [&out](std::size_t begin, std::size_t end, token_id id) {
        if (begin < end)
            out.push_back({static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(end), id});
    };
    std::size_t done = 0;
    if (!set.empty) {
        for (std::optional<match> found = find(set, text, 0); found;
             found = find(set, text, found->end)) {
            const added_token& token = tokens_[found->token];
            if (token.single_word && !stands_alone(text, *found)) continue;
            std::size_t begin = found->begin;
            std::size_t end = found->end;
            // What an earlier token has taken stays with it.
            if (token.lstrip) begin = std::max(white_space_before(text, begin, 0), done);
            if (token.rstrip) end = white_space_after(text, end);
            add(done, begin, piece::no_token);
            add(begin, end, token.id);
            done = end;
        }
    }
    add(done, text.size(), piece::no_token);
}

std::optional<token_id> added_tokens::id_of(std::string_view token) const
{
    const auto found = index_of_content_.find(std::string{token});
    if (found == index_of_content_.end()) return std::nullopt;
    return tokens_[found->second].id;
}

std::optional<std::string_view> added_tokens::token_of(token_id id) const
{
    const auto found = index_of_id_.find(id);
    if (found == index_of_id_.end()) return std::nullopt;
    return decoded_[found->second];
}

bool added_tokens::is_special(std::string_view token) const
{
    return special_.find(std::string{token}) != special_.end();
}

}  // namespace modelpool::text

#include "text/wordpiece.hpp"

#include "text/utf8.hpp"

namespace modelpool::text {
namespace {

byte_trie make_trie(const vocabulary& words)
{
    std::vector<byte_trie::entry> entries;
    entries.reserve(words.size());
    for (std::size_t i = 0; i < words.size(); ++i)
        entries.emplace_back(words.token_at(i), words.id_at(i));
    return byte_trie{std::move(entries)};
}

}  // namespace

wordpiece::wordpiece(vocabulary words, const options& chosen)
    : words_{std::move(words)}
    , trie_{make_trie(words_)}
    , continuation_{trie_.walk(byte_trie::root, chosen.continuing_prefix())}
    , max_chars_{chosen.max_chars()}
    , unknown_{chosen.unknown()}
{}

void wordpiece::tokenize(std::string_view text, std::size_t base, token_list& out) const
{
    const std::size_t n_before = out.size();
    const auto unknown = [&] {
        out.shrink(n_before);
        out.add(unknown_, base, base + text.size());
    };
    if (text.size() > max_chars_ && count_utf8(text) > max_chars_) return unknown();
    for (std::size_t begin = 0; begin < text.size();) {
        std::uint32_t node = begin == 0 ? byte_trie::root : continuation_;
        std::size_t end = begin;
        token_id longest = 0;
        for (std::size_t at = begin; at < text.size() && node != byte_trie::no_node; ++at) {
            node = trie_.child(node, text[at]);
            // Tokens are valid UTF-8, so one that matches ends where a character does.
            if (node != byte_trie::no_node && trie_.value(node) != byte_trie::no_value) {
                longest = trie_.value(node);
                end = at + 1;
            }
        }
        if (end == begin) return unknown();
        out.add(longest, base + begin, base + end);
        begin = end;
    }
}

}  // namespace modelpool::text

#include <modelpool/error.hpp>

#include <limits>
#include <utility>
#include <vector>

#include "text/sentencepiece.hpp"
#include "text/utf8.hpp"

namespace modelpool::text {
namespace {

// Positions are counted in 32 bits.
constexpr std::size_t max_normalized_bytes = std::numeric_limits<std::uint32_t>::max() / 2;
constexpr std::string_view escaped_space = "\xE2\x96\x81";

}  // namespace

user_pieces::user_pieces(const sentencepiece_vocabulary& words)
{
    std::vector<byte_trie::entry> entries;
    for (const sentencepiece_vocabulary::piece& each : words.pieces)
        if (each.type == sentencepiece_vocabulary::kind::user_defined)
            entries.emplace_back(each.text, 0);
    is_empty_ = entries.empty();
    trie_ = byte_trie{std::move(entries)};
}

std::size_t user_pieces::match(std::string_view text) const noexcept
{
    if (is_empty_) return 0;
    std::size_t longest = 0;
    std::uint32_t node = byte_trie::root;
    for (std::size_t at = 0; at < text.size(); ++at) {
        node = trie_.child(node, text[at]);
        if (node == byte_trie::no_node) break;
        if (trie_.value(node) != byte_trie::no_value) longest = at + 1;
    }
    return longest;
}

sentence_normalizer::sentence_normalizer(const sentencepiece_vocabulary& words, prefix where)
    : user_{words}
    , where_{where}
    , add_dummy_prefix_{words.add_dummy_prefix}
    , remove_extra_whitespaces_{words.remove_extra_whitespaces}
    , as_suffix_{words.whitespace_as_suffix}
    , space_{words.escape_whitespaces ? escaped_space : std::string_view{" "}}
{
    if (!words.charsmap.empty()) map_.emplace(words.charsmap);
}

sentence_normalizer::rewritten sentence_normalizer::next(std::string_view text) const
{
    if (const std::size_t n_bytes = user_.match(text); n_bytes > 0)
        return {text.substr(0, n_bytes), n_bytes};
    if (map_)
        if (const std::optional<char_map::entry> found = map_->find_longest(text))
            return {found->with, found->n_bytes};
    const std::size_t n_bytes = utf8_at(text, 0).n_bytes;
    return {text.substr(0, n_bytes), n_bytes};
}

// The new text of one call. White space at its end may still go, so it reaches the workspace last.
class sentence_normalizer::writing {
public:
    writing(workspace& work, std::string_view space)
        : work_{work}
        , space_{space}
    {}

    // Appends text that comes from `n_bytes` of the source at byte `at`, with its spaces written
    // anew.
    void add(std::string_view text, std::size_t at, std::size_t n_bytes)
    {
        source_range from{0, 0};
        if (work_.text.tracked() && n_bytes > 0) from = work_.text.source(at, at + n_bytes);
        if (work_.text.tracked() && n_bytes == 0) from = end_before(at);
        for (const char byte : text) {
            if (byte == ' ')
                bytes_.append(space_);
            else
                bytes_.push_back(byte);
            if (work_.text.tracked()) sources_.resize(bytes_.size(), from);
        }
        if (bytes_.size() > max_normalized_bytes)
            throw error{
                text_errc::too_long,
                "the normalized text would have more than " + std::to_string(max_normalized_bytes) +
                    " bytes"};
    }

    void drop_trailing_spaces()
    {
        while (bytes_.ends_with(space_))
            bytes_.resize(bytes_.size() - space_.size());
    }

    void finish()
    {
        work_.begin_text();
        if (work_.text.tracked()) {
            for (std::size_t i = 0; i < bytes_.size(); ++i)
                work_.spare_text.append(std::string_view{bytes_}.substr(i, 1), sources_[i]);
        } else {
            work_.spare_text.append(bytes_, {0, 0});
        }
        work_.end_text();
    }

private:
    // What is put in between two characters has no width of its own.
    source_range end_before(std::size_t at) const
    {
        const std::uint32_t place =
            at < work_.text.size() ? work_.text.source(at).begin : work_.text.source(at - 1).end;
        return {place, place};
    }

    workspace& work_;
    std::string_view space_;
    std::string bytes_;
    std::vector<source_range> sources_;
};

void sentence_normalizer::apply(workspace& work) const
{
    const std::string_view text = work.text.bytes();
    std::size_t at = 0;
    if (remove_extra_whitespaces_) {
        while (at < text.size()) {
            const rewritten first = next(text.substr(at));
            if (first.text != " ") break;
            at += first.n_bytes;
        }
    }
    if (text.empty()) return;
    writing made{work, space_};
    const bool has_prefix =
        add_dummy_prefix_ && (where_ == prefix::every_stretch || work.base == 0);
    const bool is_all_space = at == text.size();
    if (has_prefix && !as_suffix_ && !is_all_space) made.add(" ", at, 0);
    bool was_space = remove_extra_whitespaces_;
    while (at < text.size()) {
        const rewritten found = next(text.substr(at));
        std::string_view kept = found.text;
        while (was_space && kept.starts_with(' '))
            kept.remove_prefix(1);
        made.add(kept, at, found.n_bytes);
        if (!kept.empty()) was_space = kept.ends_with(' ');
        if (!remove_extra_whitespaces_) was_space = false;
        at += found.n_bytes;
    }
    if (remove_extra_whitespaces_) made.drop_trailing_spaces();
    if (has_prefix && as_suffix_ && !is_all_space) made.add(" ", text.size(), 0);
    made.finish();
}

}  // namespace modelpool::text

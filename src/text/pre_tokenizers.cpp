#include "text/pre_tokenizers.hpp"

#include <algorithm>

#include "text/utf8.hpp"

namespace modelpool::text {
namespace {

// The pattern of GPT-2, which ByteLevel cuts with.
constexpr std::string_view gpt2_pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

void push(std::vector<piece>& out, std::size_t begin, std::size_t end)
{
    if (begin < end)
        out.push_back({static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(end)});
}

// Joins each delimiter to the piece before it; of several in a row only the first.
void merge_with_previous(
    const std::vector<found_range>& found, std::uint32_t base, std::vector<piece>& out)
{
    const std::size_t n_before = out.size();
    bool was_delimiter = false;
    for (const found_range& each : found) {
        const bool joins = each.is_match && !was_delimiter && out.size() > n_before;
        if (joins)
            out.back().end = base + static_cast<std::uint32_t>(each.end);
        else
            push(out, base + each.begin, base + each.end);
        was_delimiter = each.is_match;
    }
}

// Joins each delimiter to the piece after it; of several in a row only the last.
void merge_with_next(
    const std::vector<found_range>& found, std::uint32_t base, std::vector<piece>& out)
{
    for (std::size_t i = 0; i < found.size(); ++i) {
        const bool joins = found[i].is_match && i + 1 < found.size() && !found[i + 1].is_match;
        push(out, base + found[i].begin, base + found[i + joins].end);
        i += joins ? 1U : 0U;
    }
}

void merge_alike(const std::vector<found_range>& found, std::uint32_t base, std::vector<piece>& out)
{
    for (std::size_t i = 0; i < found.size();) {
        std::size_t last = i;
        while (last + 1 < found.size() && found[last + 1].is_match == found[i].is_match)
            ++last;
        push(out, base + found[i].begin, base + found[last].end);
        i = last + 1;
    }
}

// The pieces of a text that lies at byte `base`; a match of `found` is a delimiter.
void cut(
    const std::vector<found_range>& found,
    delimiter behavior,
    std::uint32_t base,
    std::vector<piece>& out)
{
    switch (behavior) {
    case delimiter::removed:
    case delimiter::isolated:
        for (const found_range& each : found)
            if (behavior == delimiter::isolated || !each.is_match)
                push(out, base + each.begin, base + each.end);
        return;
    case delimiter::merged_with_previous:
        return merge_with_previous(found, base, out);
    case delimiter::merged_with_next:
        return merge_with_next(found, base, out);
    case delimiter::contiguous:
        return merge_alike(found, base, out);
    }
}

// Cuts every piece that is not a token by what `find` finds in it.
template <typename Find>
void cut_all(workspace& work, delimiter behavior, const Find& find)
{
    std::vector<found_range> found;
    work.begin_pieces();
    for (const piece& each : work.pieces) {
        if (each.token != piece::no_token) {
            work.spare_pieces.push_back(each);
            continue;
        }
        find(work.text.bytes(each.begin, each.end), found);
        cut(found, behavior, each.begin, work.spare_pieces);
    }
    work.end_pieces();
}

}  // namespace

void pre_tokenizer_sequence::apply(workspace& work) const
{
    for (const auto& step : steps_)
        step->apply(work);
}

bool pre_tokenizer_sequence::needs_sources() const
{
    return std::any_of(
        steps_.begin(), steps_.end(), [](const auto& step) { return step->needs_sources(); });
}

void pattern_splitter::apply(workspace& work) const
{
    cut_all(work, behavior_, [this](std::string_view text, std::vector<found_range>& found) {
        what_.find_all(text, found);
        if (where_ == cuts_at::gaps)
            for (found_range& each : found)
                each.is_match = !each.is_match;
    });
}

void char_splitter::apply(workspace& work) const
{
    cut_all(work, behavior_, [this](std::string_view text, std::vector<found_range>& found) {
        found.clear();
        std::size_t done = 0;
        for (std::size_t at = 0; at < text.size();) {
            const utf8_char next = utf8_at(text, at);
            const std::size_t after = at + next.n_bytes;
            if (what_.contains(next.code_point)) {
                if (done < at) found.push_back({done, at, false});
                found.push_back({at, after, true});
                done = after;
            }
            at = after;
        }
        if (done < text.size()) found.push_back({done, text.size(), false});
    });
}

word_splitter::word_splitter()
    : words_{is_word_char}
{}

void word_splitter::apply(workspace& work) const
{
    enum class kind { space, word, other };
    cut_all(
        work, delimiter::removed, [this](std::string_view text, std::vector<found_range>& found) {
            found.clear();
            kind last = kind::space;
            for (std::size_t at = 0; at < text.size();) {
                const utf8_char next = utf8_at(text, at);
                const std::size_t after = at + next.n_bytes;
                const kind now = is_white_space(next.code_point)    ? kind::space
                                 : words_.contains(next.code_point) ? kind::word
                                                                    : kind::other;
                if (now != kind::space && now == last)
                    found.back().end = after;
                else if (now != kind::space)
                    found.push_back({at, after, false});
                last = now;
                at = after;
            }
        });
}

byte_level_pre_tokenizer::byte_level_pre_tokenizer(bool add_prefix_space, bool use_regex)
    : add_prefix_space_{add_prefix_space}
{
    if (use_regex)
        words_.emplace(
            regex::from_pattern(gpt2_pattern),
            pattern_splitter::cuts_at::matches,
            delimiter::isolated);
}

void byte_level_pre_tokenizer::prefix_spaces(workspace& work) const
{
    work.begin_text();
    work.begin_pieces();
    for (const piece& each : work.pieces) {
        const auto begin = static_cast<std::uint32_t>(work.spare_text.size());
        const bool is_word = each.token == piece::no_token && work.text.bytes()[each.begin] != ' ';
        if (is_word) work.spare_text.append(" ", work.text.source(each.begin));
        work.spare_text.append(work.text, each.begin, each.end);
        work.spare_pieces.push_back(
            {begin, static_cast<std::uint32_t>(work.spare_text.size()), each.token});
    }
    work.end_pieces();
    work.end_text();
}

void byte_level_pre_tokenizer::apply(workspace& work) const
{
    if (add_prefix_space_) prefix_spaces(work);
    if (words_) words_->apply(work);
    work.begin_text();
    for (piece& each : work.pieces) {
        const auto begin = static_cast<std::uint32_t>(work.spare_text.size());
        if (each.token != piece::no_token) {
            work.spare_text.append(work.text, each.begin, each.end);
        } else {
            const std::string_view text = work.text.bytes();
            for (std::size_t at = each.begin; at < each.end; ++at)
                work.spare_text.append(alphabet_.letter(text[at]), work.text.source(at));
        }
        each.begin = begin;
        each.end = static_cast<std::uint32_t>(work.spare_text.size());
    }
    work.end_text();
}

}  // namespace modelpool::text

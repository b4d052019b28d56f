#include "text/bert_pre_tokenizer.hpp"

#include "text/unicode.hpp"
#include "text/utf8.hpp"

namespace modelpool::text {

bert_pre_tokenizer::bert_pre_tokenizer()
    : kinds_(n_table)
{
    for (char32_t c = 0; c < n_table; ++c)
        kinds_[c] = find_kind(c);
}

bert_pre_tokenizer::kind bert_pre_tokenizer::find_kind(char32_t code_point)
{
    if (is_white_space(code_point)) return kind::space;
    return is_bert_punctuation(code_point) ? kind::mark : kind::word;
}

void bert_pre_tokenizer::cut(const piece& whole, workspace& work) const
{
    const std::string_view text = work.text.bytes();
    std::uint32_t begin = whole.begin;
    const auto end_word = [&](std::uint32_t end) {
        if (begin < end) work.spare_pieces.push_back({begin, end});
    };
    for (std::uint32_t at = whole.begin; at < whole.end;) {
        const utf8_char next = utf8_at(text, at);
        const kind found =
            next.code_point < n_table ? kinds_[next.code_point] : find_kind(next.code_point);
        const std::uint32_t after = at + next.n_bytes;
        if (found != kind::word) {
            end_word(at);
            if (found == kind::mark) work.spare_pieces.push_back({at, after});
            begin = after;
        }
        at = after;
    }
    end_word(whole.end);
}

void bert_pre_tokenizer::apply(workspace& work) const
{
    work.begin_pieces();
    for (const piece& each : work.pieces) {
        if (each.token != piece::no_token)
            work.spare_pieces.push_back(each);
        else
            cut(each, work);
    }
    work.end_pieces();
}

}  // namespace modelpool::text

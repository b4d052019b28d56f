#include "text/normalizers.hpp"

#include <modelpool/error.hpp>

#include <limits>

#include "text/utf8.hpp"

namespace modelpool::text {
namespace {

// Positions are counted in 32 bits.
constexpr std::size_t max_normalized_bytes = std::numeric_limits<std::uint32_t>::max() / 2;

void check_size(const normalized_text& text, std::size_t n_more)
{
    if (n_more > max_normalized_bytes || text.size() > max_normalized_bytes - n_more)
        throw error{
            text_errc::too_long,
            "the normalized text would have more than " + std::to_string(max_normalized_bytes) +
                " bytes"};
}

}  // namespace

void normalizer_sequence::apply(workspace& work) const
{
    for (const auto& step : steps_)
        step->apply(work);
}

void lowercase_normalizer::apply(workspace& work) const
{
    work.begin_text();
    const std::string_view text = work.text.bytes();
    std::u32string lowered;
    for (std::size_t at = 0; at < text.size();) {
        const char byte = text[at];
        if (is_ascii(byte)) {
            const bool is_upper = byte >= 'A' && byte <= 'Z';
            work.spare_text.append(
                static_cast<char32_t>(is_upper ? byte - 'A' + 'a' : byte), work.text.source(at));
            ++at;
            continue;
        }
        const utf8_char next = utf8_at(text, at);
        lowered.clear();
        append_lower(next.code_point, lowered);
        for (const char32_t part : lowered)
            work.spare_text.append(part, work.text.source(at));
        at += next.n_bytes;
    }
    work.end_text();
}

void strip_normalizer::apply(workspace& work) const
{
    const std::string_view text = work.text.bytes();
    std::size_t begin = 0;
    std::size_t end = text.size();
    if (where_ == side::left || where_ == side::both) {
        while (begin < end) {
            const utf8_char next = utf8_at(text, begin);
            if (!is_white_space(next.code_point)) break;
            begin += next.n_bytes;
        }
    }
    if (where_ == side::right || where_ == side::both) {
        while (end > begin) {
            const utf8_char previous = utf8_before(text, end);
            if (!is_white_space(previous.code_point)) break;
            end -= previous.n_bytes;
        }
    }
    if (begin == 0 && end == text.size()) return;
    work.begin_text();
    work.spare_text.append(work.text, begin, end);
    work.end_text();
}

strip_accents_normalizer::strip_accents_normalizer()
    : marks_{is_combining_mark}
{}

void strip_accents_normalizer::apply(workspace& work) const
{
    const std::string_view text = work.text.bytes();
    work.begin_text();
    std::size_t kept = 0;  // all before is dealt with
    for (std::size_t at = 0; at < text.size();) {
        const utf8_char next = utf8_at(text, at);
        const std::size_t after = at + next.n_bytes;
        if (next.n_bytes > 1 && marks_.contains(next.code_point)) {
            work.spare_text.append(work.text, kept, at);
            kept = after;
        }
        at = after;
    }
    work.spare_text.append(work.text, kept, text.size());
    work.end_text();
}

void nmt_normalizer::apply(workspace& work) const
{
    const auto is_dropped = [](char32_t c) {
        return (c >= 0x1 && c <= 0x8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F ||
               c == 0x8F || c == 0x9F;
    };
    const auto is_blank = [](char32_t c) {
        return c == 0x9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 ||
               (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
               c == 0xFEFF || c == 0xFFFD;
    };
    const std::string_view text = work.text.bytes();
    work.begin_text();
    for (std::size_t at = 0; at < text.size();) {
        const utf8_char next = utf8_at(text, at);
        if (!is_dropped(next.code_point))
            work.spare_text.append(
                is_blank(next.code_point) ? U' ' : next.code_point, work.text.source(at));
        at += next.n_bytes;
    }
    work.end_text();
}

void replace_normalizer::apply(workspace& work) const
{
    std::vector<found_range> found;
    what_.find_all(work.text.bytes(), found);
    if (found.empty() || (found.size() == 1 && !found.front().is_match)) return;
    work.begin_text();
    for (const found_range& each : found) {
        if (!each.is_match) {
            work.spare_text.append(work.text, each.begin, each.end);
            continue;
        }
        // What is put in has the source of the character before the end of the match.
        check_size(work.spare_text, with_.size());
        const source_range from =
            each.end == 0 ? source_range{work.text.source(0).begin, work.text.source(0).begin}
                          : work.text.source(each.end - 1);
        work.spare_text.append(with_, from);
    }
    work.end_text();
}

void prepend_normalizer::apply(workspace& work) const
{
    if (work.text.size() == 0) return;
    check_size(work.text, what_.size());
    work.begin_text();
    work.spare_text.append(what_, work.text.source(0));
    work.spare_text.append(work.text, 0, work.text.size());
    work.end_text();
}

}  // namespace modelpool::text

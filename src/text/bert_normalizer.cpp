#include "text/bert_normalizer.hpp"

#include <modelpool/assert.hpp>

#include <limits>

#include "text/normal_form.hpp"
#include "text/unicode.hpp"

namespace modelpool::text {

bert_normalizer::bert_normalizer(options chosen)
    : options_{chosen}
{
    fill_tables();
}

void bert_normalizer::fill_tables()
{
    std::string becomes;
    for (char32_t c = 0; c < ascii_.size(); ++c) {
        const outcome found = find_outcome(c, becomes);
        MODELPOOL_ASSERT(found == gone || becomes.size() == 1);
        ascii_[c] = found == gone ? ascii_gone : static_cast<std::int16_t>(becomes[0]);
    }
    outcomes_.resize(n_table);
    for (char32_t c = 0x80; c < n_table; ++c) {
        if (c == 0xD800) c = 0xE000;  // surrogates are no characters
        const outcome found = find_outcome(c, becomes);
        outcomes_[c] = found;
        if (found != changed) continue;
        MODELPOOL_ASSERT(changed + changes_.size() <= std::numeric_limits<std::uint16_t>::max());
        outcomes_[c] = static_cast<std::uint16_t>(changed + changes_.size());
        changes_.push_back(static_cast<std::uint32_t>(changed_text_.size()));
        changed_text_ += becomes;
    }
    changes_.push_back(static_cast<std::uint32_t>(changed_text_.size()));
}

bool bert_normalizer::is_cleaned_away(char32_t code_point) const
{
    if (!options_.clean_text() || code_point == U'\t' || code_point == U'\n' || code_point == U'\r')
        return false;
    return code_point == 0xFFFD || is_control_or_format(code_point);
}

bert_normalizer::outcome
bert_normalizer::find_outcome(char32_t code_point, std::string& becomes) const
{
    becomes.clear();
    if (is_cleaned_away(code_point)) return gone;
    if (options_.clean_text() && is_white_space(code_point)) {
        becomes.push_back(' ');
        return blank;
    }
    std::u32string parts;
    if (options_.strip_accents())
        append_decomposed(code_point, parts);
    else
        parts.push_back(code_point);
    const bool is_ideograph = options_.handle_chinese_chars() && is_bert_ideograph(code_point);
    if (is_ideograph && parts == std::u32string(1, code_point)) return spaced;

    std::u32string kept;
    if (is_ideograph) kept.push_back(U' ');
    for (const char32_t part : parts) {
        if (options_.strip_accents() && is_nonspacing_mark(part)) continue;
        if (options_.strip_accents() && combining_class(part) != 0) return ordered;
        if (options_.lowercase())
            append_lower(part, kept);
        else
            kept.push_back(part);
    }
    if (is_ideograph) kept.push_back(U' ');
    for (const char32_t part : kept)
        append_utf8(part, becomes);
    if (kept.empty()) return gone;
    return becomes == to_utf8(code_point) ? same : changed;
}

void bert_normalizer::append_ascii(workspace& work, std::size_t begin, std::size_t end) const
{
    const std::string_view run = work.text.bytes(begin, end);
    if (work.text.tracked()) {
        for (std::size_t i = 0; i < run.size(); ++i) {
            const std::int16_t becomes = ascii_[static_cast<unsigned char>(run[i])];
            if (becomes != ascii_gone)
                work.spare_text.append(static_cast<char32_t>(becomes), work.text.source(begin + i));
        }
        return;
    }
    std::string& out = work.spare_text.mutable_bytes();
    const std::size_t old_size = out.size();
    out.resize(old_size + run.size());
    char* to = out.data() + old_size;
    for (const char byte : run) {
        const std::int16_t becomes = ascii_[static_cast<unsigned char>(byte)];
        *to = static_cast<char>(becomes);
        to += becomes == ascii_gone ? 0 : 1;
    }
    out.resize(static_cast<std::size_t>(to - out.data()));
}

// False where the character's place depends on its neighbours.
bool bert_normalizer::append_other(workspace& work, std::size_t at, utf8_char next) const
{
    const std::string_view bytes = work.text.bytes(at, at + next.n_bytes);
    const source_range from = work.text.source(at);
    std::string becomes;
    const auto found = next.code_point < n_table
                           ? outcomes_[next.code_point]
                           : std::uint16_t{find_outcome(next.code_point, becomes)};
    switch (found) {
    case same:
        work.spare_text.append(bytes, from);
        return true;
    case gone:
        return true;
    case blank:
        work.spare_text.append(" ", from);
        return true;
    case spaced:
        work.spare_text.append(" ", from);
        work.spare_text.append(bytes, from);
        work.spare_text.append(" ", from);
        return true;
    case ordered:
        return false;
    default:
        break;
    }
    if (next.code_point >= n_table) {
        work.spare_text.append(becomes, from);
        return true;
    }
    const std::size_t which = found - std::size_t{changed};
    const std::string_view text{changed_text_};
    work.spare_text.append(
        text.substr(changes_[which], changes_[which + 1] - changes_[which]), from);
    return true;
}

void bert_normalizer::apply(workspace& work) const
{
    work.begin_text();
    const std::string_view text = work.text.bytes();
    for (std::size_t at = 0; at < text.size();) {
        std::size_t end = at;
        while (end < text.size() && is_ascii(text[end]))
            ++end;
        append_ascii(work, at, end);
        at = end;
        while (at < text.size() && !is_ascii(text[at])) {
            const utf8_char next = utf8_at(text, at);
            if (!append_other(work, at, next)) {
                apply_in_order(work);
                return;
            }
            at += next.n_bytes;
        }
    }
    work.end_text();
}

// The steps one after another over the whole text. Only reached with accents stripped: nothing else
// reorders.
void bert_normalizer::apply_in_order(workspace& work) const
{
    std::vector<sourced_char> chars;
    for (const sourced_char& each : chars_of(work.text)) {
        if (is_cleaned_away(each.code_point)) continue;
        const bool is_blank = options_.clean_text() && is_white_space(each.code_point);
        const bool is_spaced =
            options_.handle_chinese_chars() && is_bert_ideograph(each.code_point);
        if (is_spaced) chars.push_back({U' ', each.from});
        chars.push_back({is_blank ? U' ' : each.code_point, each.from});
        if (is_spaced) chars.push_back({U' ', each.from});
    }
    decompose(chars);
    work.begin_text();
    std::u32string lowered;
    for (const sourced_char& each : chars) {
        if (is_nonspacing_mark(each.code_point)) continue;
        lowered.clear();
        if (options_.lowercase())
            append_lower(each.code_point, lowered);
        else
            lowered.push_back(each.code_point);
        for (const char32_t part : lowered)
            work.spare_text.append(part, each.from);
    }
    work.end_text();
}

}  // namespace modelpool::text

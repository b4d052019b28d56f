#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace modelpool::text {

// Character properties as the reference tokenizers know them. Where those use an older or newer
// edition of Unicode than ICU has, the difference is made up here, so that a character means the
// same as when the vocabulary was made.

/// The property White_Space.
bool is_white_space(char32_t code_point);
/// The general categories Cc, Cf and Co of Unicode 8.
bool is_control_or_format(char32_t code_point);
/// The general category P of Unicode 8, and all ASCII punctuation.
bool is_bert_punctuation(char32_t code_point);
/// The general category Mn of Unicode 8.
bool is_nonspacing_mark(char32_t code_point);
/// The general category M of Unicode 9.
bool is_combining_mark(char32_t code_point);
/// The general category N.
bool is_numeric(char32_t code_point);
/// A character of the CJK ideograph blocks that BERT puts spaces around.
bool is_bert_ideograph(char32_t code_point);
/// What `\w` matches in UTS 18: alphabetic, mark, decimal digit, connector punctuation, join
/// control.
bool is_word_char(char32_t code_point);

/// The full, unconditional lower-case mapping, one or two characters.
void append_lower(char32_t code_point, std::u32string& out);

/// The canonical decomposition in full; the character itself where it has none.
void append_decomposed(char32_t code_point, std::u32string& out);
/// The same for the compatibility decomposition.
void append_compatibility_decomposed(char32_t code_point, std::u32string& out);
/// The character that two compose to canonically; 0 where they do not.
char32_t compose_pair(char32_t first, char32_t second);
// Whether the normal form may change the character, alone or after another one. True for some that
// it leaves alone.
bool may_change_in_nfc(char32_t code_point);
bool may_change_in_nfd(char32_t code_point);
bool may_change_in_nfkc(char32_t code_point);
bool may_change_in_nfkd(char32_t code_point);
/// The canonical combining class: 0 for a starter.
std::uint8_t combining_class(char32_t code_point);

/// A property of characters, answered by a table for the basic plane and by the given function
/// above it.
class char_set {
public:
    using predicate = bool (*)(char32_t);
    explicit char_set(predicate has);

    bool contains(char32_t code_point) const
    {
        if (code_point >= n_table) return has_(code_point);
        return ((bits_[code_point >> 6U] >> (code_point & 63U)) & 1U) != 0;
    }

private:
    static constexpr char32_t n_table = 0x10000;
    std::vector<std::uint64_t> bits_;
    predicate has_;
};

}  // namespace modelpool::text

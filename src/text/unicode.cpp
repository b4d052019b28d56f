#include "text/unicode.hpp"

#include <modelpool/assert.hpp>

#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>

#include <algorithm>
#include <array>

#include "text/new_characters.hpp"

namespace modelpool::text {
namespace {

UChar32 icu(char32_t code_point)
{
    return static_cast<UChar32>(code_point);
}

bool is_older_than(char32_t code_point, std::uint8_t edition)
{
    UVersionInfo age{};
    u_charAge(icu(code_point), static_cast<std::uint8_t*>(age));
    return age[0] != 0 && age[0] < edition;
}

bool has_category(char32_t code_point, std::uint32_t mask)
{
    return (U_GET_GC_MASK(icu(code_point)) & mask) != 0;
}

// The crates behind the reference's BERT parts know the characters of Unicode 8.
constexpr std::uint8_t bert_edition = 9;
// The crate behind its normal forms knows those of Unicode 9.
constexpr std::uint8_t normal_form_edition = 10;

const icu::Normalizer2& checked(const icu::Normalizer2* instance, UErrorCode status)
{
    MODELPOOL_ASSERT(U_SUCCESS(status));
    return *instance;
}

const icu::Normalizer2& canonical()
{
    UErrorCode status = U_ZERO_ERROR;
    return checked(icu::Normalizer2::getNFDInstance(status), status);
}

const icu::Normalizer2& compatibility()
{
    UErrorCode status = U_ZERO_ERROR;
    return checked(icu::Normalizer2::getNFKDInstance(status), status);
}

const icu::Normalizer2& composition()
{
    UErrorCode status = U_ZERO_ERROR;
    return checked(icu::Normalizer2::getNFCInstance(status), status);
}

// Combining characters may have to change places.
bool may_change(char32_t code_point, UProperty quick_check)
{
    return u_getIntPropertyValue(icu(code_point), quick_check) != UNORM_YES ||
           u_getCombiningClass(icu(code_point)) != 0;
}

void append_by(const icu::Normalizer2& form, char32_t code_point, std::u32string& out)
{
    icu::UnicodeString parts;
    if (code_point < 0xA0 || !form.getDecomposition(icu(code_point), parts) ||
        !is_older_than(code_point, normal_form_edition)) {
        out.push_back(code_point);
        return;
    }
    for (std::int32_t i = 0; i < parts.length(); i = parts.moveIndex32(i, 1))
        out.push_back(static_cast<char32_t>(parts.char32At(i)));
}

// Case pairs of Unicode 16 and 17, whose lower-case letter lies at a fixed distance.
struct case_range {
    char32_t first;
    char32_t last;
    std::int32_t to_lower;
};
constexpr std::array<case_range, 10> new_case_pairs{{
    {0x1C89, 0x1C89, 1},
    {0xA7CB, 0xA7CB, 0x264 - 0xA7CB},
    {0xA7CC, 0xA7CC, 1},
    {0xA7CE, 0xA7CE, 1},
    {0xA7D2, 0xA7D2, 1},
    {0xA7D4, 0xA7D4, 1},
    {0xA7DA, 0xA7DA, 1},
    {0xA7DC, 0xA7DC, 0x19B - 0xA7DC},
    {0x10D50, 0x10D65, 0x20},
    {0x16EA0, 0x16EB8, 0x1B},
}};

// Word characters of Unicode 15.1 and 16.
struct char_range {
    char32_t first;
    char32_t last;
};
constexpr std::array<char_range, 32> new_word_chars{{
    {0x897, 0x897},     {0x1C89, 0x1C8A},   {0xA7CB, 0xA7CD},   {0xA7DA, 0xA7DC},
    {0x105C0, 0x105F3}, {0x10D40, 0x10D65}, {0x10D69, 0x10D6D}, {0x10D6F, 0x10D85},
    {0x10EC2, 0x10EC4}, {0x10EFC, 0x10EFC}, {0x11380, 0x11389}, {0x1138B, 0x1138B},
    {0x1138E, 0x1138E}, {0x11390, 0x113B5}, {0x113B7, 0x113C0}, {0x113C2, 0x113C2},
    {0x113C5, 0x113C5}, {0x113C7, 0x113CA}, {0x113CC, 0x113D3}, {0x113E1, 0x113E2},
    {0x116D0, 0x116E3}, {0x11BC0, 0x11BE0}, {0x11BF0, 0x11BF9}, {0x11F5A, 0x11F5A},
    {0x13460, 0x143FA}, {0x16100, 0x16139}, {0x16D40, 0x16D6C}, {0x16D70, 0x16D79},
    {0x18CFF, 0x18CFF}, {0x1CCF0, 0x1CCF9}, {0x1E5D0, 0x1E5FA}, {0x2EBF0, 0x2EE5D},
}};

}  // namespace

bool is_white_space(char32_t code_point)
{
    return u_isUWhiteSpace(icu(code_point)) != 0;
}

bool is_control_or_format(char32_t code_point)
{
    if (has_category(code_point, U_GC_CC_MASK | U_GC_CO_MASK)) return true;
    return has_category(code_point, U_GC_CF_MASK) && is_older_than(code_point, bert_edition);
}

bool is_bert_punctuation(char32_t code_point)
{
    if (code_point < 0x80) return has_category(code_point, U_GC_P_MASK | U_GC_S_MASK);
    // Punctuation in Unicode 8, since then a symbol and a mark.
    if (code_point == 0x166D || code_point == 0x111C9) return true;
    return has_category(code_point, U_GC_P_MASK) && is_older_than(code_point, bert_edition);
}

bool is_nonspacing_mark(char32_t code_point)
{
    switch (code_point) {
    case 0x1734:  // nonspacing in Unicode 8
        return true;
    case 0x1885:  // nonspacing since Unicode 9, 9, 12 and 11
    case 0x1886:
    case 0xA9BD:
    case 0x111C9:
        return false;
    default:
        return has_category(code_point, U_GC_MN_MASK) && is_older_than(code_point, bert_edition);
    }
}

bool is_combining_mark(char32_t code_point)
{
    switch (code_point) {
    case 0x1CF2:  // letters since Unicode 12
    case 0x1CF3:
        return true;
    case 0x111C9:  // a mark since Unicode 11
        return false;
    default:
        return has_category(code_point, U_GC_M_MASK) &&
               is_older_than(code_point, normal_form_edition);
    }
}

bool is_numeric(char32_t code_point)
{
    const auto holds = [code_point](const new_characters& range) {
        return range.first <= code_point && code_point <= range.last &&
               range.category.starts_with("N");
    };
    // Numbers of Unicode 17.
    if ((code_point >= 0x11DE0 && code_point <= 0x11DE9) ||
        (code_point >= 0x16FF4 && code_point <= 0x16FF6))
        return true;
    const std::span<const new_characters> added = all_new_characters();
    return has_category(code_point, U_GC_N_MASK) || std::any_of(added.begin(), added.end(), holds);
}

bool is_bert_ideograph(char32_t code_point)
{
    const auto within = [code_point](char32_t first, char32_t last) {
        return first <= code_point && code_point <= last;
    };
    return within(0x4E00, 0x9FFF) || within(0x3400, 0x4DBF) || within(0x20000, 0x2A6DF) ||
           within(0x2A700, 0x2B73F) || within(0x2B740, 0x2B81F) || within(0x2B920, 0x2CEAF) ||
           within(0xF900, 0xFAFF) || within(0x2F800, 0x2FA1F);
}

bool is_word_char(char32_t code_point)
{
    const auto holds = [code_point](const char_range& range) {
        return range.first <= code_point && code_point <= range.last;
    };
    if (std::any_of(new_word_chars.begin(), new_word_chars.end(), holds)) return true;
    return u_hasBinaryProperty(icu(code_point), UCHAR_ALPHABETIC) != 0 ||
           u_hasBinaryProperty(icu(code_point), UCHAR_JOIN_CONTROL) != 0 ||
           has_category(code_point, U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK);
}

void append_lower(char32_t code_point, std::u32string& out)
{
    if (code_point == 0x130) {  // the only letter whose unconditional mapping has two characters
        out.append(U"i\u0307");
        return;
    }
    for (const case_range& range : new_case_pairs) {
        if (range.first <= code_point && code_point <= range.last) {
            out.push_back(
                static_cast<char32_t>(static_cast<std::int32_t>(code_point) + range.to_lower));
            return;
        }
    }
    out.push_back(static_cast<char32_t>(u_tolower(icu(code_point))));
}

void append_decomposed(char32_t code_point, std::u32string& out)
{
    append_by(canonical(), code_point, out);
}

void append_compatibility_decomposed(char32_t code_point, std::u32string& out)
{
    append_by(compatibility(), code_point, out);
}

char32_t compose_pair(char32_t first, char32_t second)
{
    const UChar32 whole = composition().composePair(icu(first), icu(second));
    if (whole < 0 || !is_older_than(static_cast<char32_t>(whole), normal_form_edition)) return 0;
    return static_cast<char32_t>(whole);
}

bool may_change_in_nfc(char32_t code_point)
{
    return may_change(code_point, UCHAR_NFC_QUICK_CHECK);
}

bool may_change_in_nfd(char32_t code_point)
{
    return may_change(code_point, UCHAR_NFD_QUICK_CHECK);
}

bool may_change_in_nfkc(char32_t code_point)
{
    return may_change(code_point, UCHAR_NFKC_QUICK_CHECK);
}

bool may_change_in_nfkd(char32_t code_point)
{
    return may_change(code_point, UCHAR_NFKD_QUICK_CHECK);
}

std::uint8_t combining_class(char32_t code_point)
{
    if (code_point < 0x300 || !is_older_than(code_point, normal_form_edition)) return 0;
    return u_getCombiningClass(icu(code_point));
}

char_set::char_set(predicate has)
    : bits_(n_table / 64)
    , has_{has}
{
    for (char32_t code_point = 0; code_point < n_table; ++code_point)
        if (has(code_point)) bits_[code_point >> 6U] |= std::uint64_t{1} << (code_point & 63U);
}

}  // namespace modelpool::text

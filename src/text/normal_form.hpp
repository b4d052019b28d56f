#pragma once

#include <vector>

#include "text/normalizer.hpp"
#include "text/unicode.hpp"

namespace modelpool::text {

/// A character and where it came from.
struct sourced_char {
    char32_t code_point;
    source_range from;
};

/// A character of a new text and how it comes from the old one: 0 replaces the next old character,
/// -n replaces it and drops the n after it, 1 is put in after what was taken last.
struct changed_char {
    char32_t code_point;
    int change;
};

/// The characters of `text` from byte 0 on.
std::vector<sourced_char> chars_of(const normalized_text& text);

/// The sources of `to`, counted off along the changes as the reference does it.
std::vector<sourced_char>
with_sources(const std::vector<changed_char>& to, const std::vector<sourced_char>& old);

/// Brings characters into normal form D.
void decompose(std::vector<sourced_char>& chars);

/// NFC, NFD, NFKC or NFKD.
class normal_form final : public normalizer {
public:
    enum class kind { nfc, nfd, nfkc, nfkd };
    explicit normal_form(kind form);
    void apply(workspace& work) const override;

private:
    kind form_;
    char_set touched_;  // what the form may change, alone or after another character
};

}  // namespace modelpool::text

#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/normalizer.hpp"
#include "text/utf8.hpp"

namespace modelpool::text {

/// BertNormalizer: drops control characters and makes white space plain, puts spaces around
/// ideographs, strips accents and lowers, each where asked for.
class bert_normalizer final : public normalizer {
public:
    class options {
    public:
        options& clean_text(bool value) { return set(clean_text_, value); }
        options& handle_chinese_chars(bool value) { return set(handle_chinese_chars_, value); }
        options& strip_accents(bool value) { return set(strip_accents_, value); }
        options& lowercase(bool value) { return set(lowercase_, value); }

        bool clean_text() const noexcept { return clean_text_; }
        bool handle_chinese_chars() const noexcept { return handle_chinese_chars_; }
        bool strip_accents() const noexcept { return strip_accents_; }
        bool lowercase() const noexcept { return lowercase_; }

    private:
        options& set(bool& field, bool value)
        {
            field = value;
            return *this;
        }
        bool clean_text_{true};
        bool handle_chinese_chars_{true};
        bool strip_accents_{true};
        bool lowercase_{true};
    };

    explicit bert_normalizer(options chosen);
    void apply(workspace& work) const override;

private:
    // What becomes of a character.
    enum outcome : std::uint16_t {
        same,
        gone,
        blank,
        spaced,   // an ideograph, with a space on both sides
        ordered,  // a combining character stays of it, whose place depends on those around it
        changed,  // to the text that `changes_[value - changed]` ends
    };
    static constexpr char32_t n_table = 0x10000;
    static constexpr std::int16_t ascii_gone = -1;

    bool is_cleaned_away(char32_t code_point) const;
    outcome find_outcome(char32_t code_point, std::string& becomes) const;
    void fill_tables();
    void append_ascii(workspace& work, std::size_t begin, std::size_t end) const;
    bool append_other(workspace& work, std::size_t at, utf8_char next) const;
    void apply_in_order(workspace& work) const;

    options options_;
    std::array<std::int16_t, 128> ascii_{};  // the character it becomes, or ascii_gone
    std::vector<std::uint16_t> outcomes_;    // of the basic plane
    std::string changed_text_;
    std::vector<std::uint32_t>
        changes_;  // where each change begins in `changed_text_`, and the end of all
};

}  // namespace modelpool::text

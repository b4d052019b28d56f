#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "text/byte_level.hpp"
#include "text/pre_tokenizer.hpp"
#include "text/regex.hpp"
#include "text/unicode.hpp"

namespace modelpool::text {

/// What becomes of the delimiters that a text is cut at.
enum class delimiter { removed, isolated, merged_with_previous, merged_with_next, contiguous };

/// Sequence: one pre-tokenizer after another.
class pre_tokenizer_sequence final : public pre_tokenizer {
public:
    explicit pre_tokenizer_sequence(std::vector<std::unique_ptr<const pre_tokenizer>> steps)
        : steps_{std::move(steps)}
    {}
    void apply(workspace& work) const override;
    bool needs_sources() const override;

private:
    std::vector<std::unique_ptr<const pre_tokenizer>> steps_;
};

/// Split: cuts where a pattern matches, or, inverted, where it does not.
class pattern_splitter final : public pre_tokenizer {
public:
    enum class cuts_at { matches, gaps };
    pattern_splitter(regex what, cuts_at where, delimiter behavior)
        : what_{std::move(what)}
        , where_{where}
        , behavior_{behavior}
    {}
    void apply(workspace& work) const override;

private:
    regex what_;
    cuts_at where_;
    delimiter behavior_;
};

/// Whitespace: runs of word characters, and runs of what is neither that nor white space; white
/// space goes.
class word_splitter final : public pre_tokenizer {
public:
    word_splitter();
    void apply(workspace& work) const override;

private:
    char_set words_;
};

/// WhitespaceSplit, Punctuation, Digits: cuts at the characters of a set.
class char_splitter final : public pre_tokenizer {
public:
    char_splitter(char_set::predicate what, delimiter behavior)
        : what_{what}
        , behavior_{behavior}
    {}
    void apply(workspace& work) const override;

private:
    char_set what_;
    delimiter behavior_;
};

/// ByteLevel: writes every byte as a letter of the byte-level alphabet, after cutting with a
/// pattern where asked.
class byte_level_pre_tokenizer final : public pre_tokenizer {
public:
    byte_level_pre_tokenizer(bool add_prefix_space, bool use_regex);
    void apply(workspace& work) const override;

private:
    void prefix_spaces(workspace& work) const;

    byte_alphabet alphabet_;
    bool add_prefix_space_;
    std::optional<pattern_splitter> words_;
};

}  // namespace modelpool::text

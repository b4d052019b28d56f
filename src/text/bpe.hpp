#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "text/model.hpp"
#include "text/vocabulary.hpp"

namespace modelpool::text {

/// Byte pair encoding: starts from single characters and joins, again and again, the pair of
/// neighbours that comes first in a list of merges.
class bpe final : public model {
public:
    class options {
    public:
        options& unknown(std::optional<std::string> value)
        {
            unknown_ = std::move(value);
            return *this;
        }
        options& continuing_prefix(std::string value)
        {
            continuing_prefix_ = std::move(value);
            return *this;
        }
        options& word_suffix(std::string value)
        {
            word_suffix_ = std::move(value);
            return *this;
        }
        options& fuse_unknown(bool value) { return set(fuse_unknown_, value); }
        options& byte_fallback(bool value) { return set(byte_fallback_, value); }
        options& ignore_merges(bool value) { return set(ignore_merges_, value); }

        const std::optional<std::string>& unknown() const noexcept { return unknown_; }
        const std::string& continuing_prefix() const noexcept { return continuing_prefix_; }
        const std::string& word_suffix() const noexcept { return word_suffix_; }
        bool fuse_unknown() const noexcept { return fuse_unknown_; }
        bool byte_fallback() const noexcept { return byte_fallback_; }
        bool ignore_merges() const noexcept { return ignore_merges_; }

    private:
        options& set(bool& field, bool value)
        {
            field = value;
            return *this;
        }
        std::optional<std::string> unknown_;
        std::string continuing_prefix_;
        std::string word_suffix_;
        bool fuse_unknown_{false};
        bool byte_fallback_{false};
        bool ignore_merges_{false};
    };

    /// The merges of a model, first ones first.
    class merge_table {
    public:
        struct merge {
            std::uint32_t rank;
            token_id whole;
        };
        static constexpr std::uint32_t no_rank = 0xFFFFFFFF;

        explicit merge_table(std::size_t n_merges);
        /// Adds the merge of two tokens of `words`; the second loses the bytes of the prefix that
        /// marks it as a continuation. Errors: std::invalid_argument, where a token is not in
        /// `words`.
        void
        add(const vocabulary& words,
            std::pair<std::string_view, std::string_view> sides,
            std::size_t n_prefix_bytes,
            std::uint32_t rank);
        /// Adds a merge; of the same pair the last rank counts.
        void set(token_id left, token_id right, merge what);
        /// The merge of a pair; its rank is `no_rank` where there is none.
        merge find(token_id left, token_id right) const noexcept;
        /// Whether `holds` is true of the two tokens of every merge.
        template <typename Predicate>
        bool all_of(const Predicate& holds) const
        {
            return std::all_of(slots_.begin(), slots_.end(), [&](const slot& each) {
                return each.pair == no_pair || holds(
                                                   static_cast<token_id>(each.pair >> 32U),
                                                   static_cast<token_id>(each.pair & 0xFFFFFFFF));
            });
        }

    private:
        static constexpr std::uint64_t no_pair = 0xFFFFFFFFFFFFFFFF;
        struct slot {
            std::uint64_t pair;
            merge what;
        };
        std::size_t place_of(std::uint64_t pair) const noexcept;
        std::vector<slot> slots_;  // their number is a power of two
    };

    bpe(vocabulary words, merge_table merges, options chosen);

    void tokenize(std::string_view text, std::size_t base, token_list& out) const override;
    std::optional<token_id> id_of(std::string_view token) const override
    {
        return words_.id_of(token);
    }
    std::optional<std::string_view> token_of(token_id id) const override
    {
        return words_.token_of(id);
    }
    std::size_t size() const override { return words_.size(); }
    std::size_t end_id() const override { return words_.end_id(); }

private:
    // A character of a word, or what stands for it.
    struct symbol {
        token_id id;
        std::uint32_t n_bytes;
    };
    // What several of them in a row became.
    struct part {
        token_id id;
        std::uint32_t n_bytes;
        std::uint32_t n_symbols;
    };
    class symbol_reader;
    class window;
    class window_merger;
    class heap_merger;

    bool keeps_words_apart() const;
    void add_word(std::string_view text, std::size_t base, token_list& out) const;
    void merge(const std::vector<symbol>& symbols, std::vector<part>& out) const;

    vocabulary words_;
    merge_table merges_;
    options options_;
    std::vector<std::int32_t> id_of_letter_;  // of the single characters below U+0250; -1: no token
    // Whether a word that is a token becomes that token: found out when it first comes up. Any
    // thread may write what any other would.
    enum whole_state : std::uint8_t { not_known, is_whole, is_parts };
    std::unique_ptr<std::atomic<std::uint8_t>[]> whole_states_;
    bool cuts_at_marks_;  // whether the words of a text can be looked at one by one
};

}  // namespace modelpool::text

#pragma once

#include <array>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "text/byte_trie.hpp"
#include "text/model.hpp"
#include "text/vocabulary.hpp"

namespace modelpool::text {

/// Unigram: of all ways to cover a text with tokens, takes the one with the highest sum of scores;
/// neighbouring characters that no token covers become one unknown token.
class unigram final : public model {
public:
    struct entry {
        std::string token;
        double score;
    };
    enum class fallback { none, bytes };

    /// The id of an entry is its place. `unknown` must be the place of one, where it is given.
    unigram(const std::vector<entry>& entries, std::optional<token_id> unknown, fallback how);

    /// Errors: text_errc::bad_file where an unknown token is needed and there is none.
    void tokenize(std::string_view text, std::size_t base, token_list& out) const override;
    std::string shown(token_id id, std::string_view text) const override;
    std::optional<token_id> id_of(std::string_view token) const override
    {
        return words_.id_of(token);
    }
    std::optional<std::string_view> token_of(token_id id) const override;
    std::size_t size() const override { return scores_.size(); }
    std::size_t end_id() const override { return scores_.size(); }

private:
    // The best way to reach a place in the text: by the token that ends there.
    struct step {
        double score;
        std::uint32_t begin;
        token_id id;
    };
    static constexpr std::uint32_t no_step = 0xFFFFFFFF;

    std::vector<step> find_best(std::string_view text) const;
    void add_piece(
        std::string_view whole, token_list::span span, std::size_t base, token_list& out) const;

    vocabulary words_;
    byte_trie trie_;
    std::vector<double> scores_;
    // Tokens that come again under a later id.
    std::vector<std::pair<token_id, std::string>> earlier_;
    std::optional<token_id> unknown_;
    std::optional<std::array<token_id, 256>> byte_tokens_;
    double unknown_score_;
};

/// WordLevel: a text is one token, or the unknown one.
class wordlevel final : public model {
public:
    wordlevel(vocabulary words, std::string unknown)
        : words_{std::move(words)}
        , unknown_{std::move(unknown)}
        , unknown_id_{words_.id_of(unknown_)}
    {}

    /// Errors: text_errc::bad_file where the unknown token is needed and is not in the vocabulary.
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
    vocabulary words_;
    std::string unknown_;
    std::optional<token_id> unknown_id_;
};

}  // namespace modelpool::text

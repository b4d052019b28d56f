#pragma once

#include <string>

#include "text/byte_trie.hpp"
#include "text/model.hpp"
#include "text/vocabulary.hpp"

namespace modelpool::text {

/// WordPiece: takes the longest token that a word starts with, then the longest continuation, and
/// so on; a word that cannot be covered, or is too long, is one unknown token.
class wordpiece final : public model {
public:
    class options {
    public:
        options& unknown(token_id value)
        {
            unknown_ = value;
            return *this;
        }
        options& continuing_prefix(std::string value)
        {
            continuing_prefix_ = std::move(value);
            return *this;
        }
        options& max_chars(std::size_t value)
        {
            max_chars_ = value;
            return *this;
        }
        token_id unknown() const noexcept { return unknown_; }
        const std::string& continuing_prefix() const noexcept { return continuing_prefix_; }
        std::size_t max_chars() const noexcept { return max_chars_; }

    private:
        std::string continuing_prefix_{"##"};
        std::size_t max_chars_{100};
        token_id unknown_{0};
    };

    wordpiece(vocabulary words, const options& chosen);

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
    byte_trie trie_;
    std::uint32_t continuation_;  // the node that the continuing prefix leads to
    std::size_t max_chars_;
    token_id unknown_;
};

}  // namespace modelpool::text

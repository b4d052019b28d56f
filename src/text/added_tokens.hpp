#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/byte_trie.hpp"
#include "text/model.hpp"
#include "text/normalizer.hpp"
#include "text/unicode.hpp"

namespace modelpool::text {

/// A token that is looked for in the text before the model sees it.
struct added_token {
    std::string content;
    token_id id{0};
    bool special{false};
    bool single_word{false};
    bool lstrip{false};
    bool rstrip{false};
    bool normalized{false};
};

/// The added tokens of a tokenizer: finding them in text, and what they decode to.
class added_tokens {
public:
    /// Where a stretch of text lies, and which added token it is, if any.
    using stretch = piece;

    added_tokens() = default;
    /// `tokens` have their final ids. Those that are `normalized` are looked for in their normal
    /// form. Errors: std::invalid_argument with a sentence, where the normal form of a token is
    /// empty.
    added_tokens(std::vector<added_token> tokens, const normalizer* normal_form);

    /// Cuts text as it came at the tokens that are not `normalized`; the stretches cover it without
    /// gaps.
    void split_raw(std::string_view text, std::vector<stretch>& out) const
    {
        split(raw_, text, out);
    }
    /// The same for normalized text and the tokens that are.
    void split_normalized(std::string_view text, std::vector<stretch>& out) const
    {
        split(normalized_, text, out);
    }

    std::optional<token_id> id_of(std::string_view token) const;
    /// What an added token decodes to, and is counted special by; nullopt where no added token has
    /// the id.
    std::optional<std::string_view> token_of(token_id id) const;
    bool is_special(std::string_view token) const;
    /// One more than the largest id; 0 without tokens.
    std::size_t end_id() const noexcept { return end_id_; }

private:
    struct pattern_set {
        byte_trie trie;  // of the patterns; the value is an index into `tokens_`
        std::array<bool, 256> starts{};
        bool empty{true};
    };
    struct match {
        std::size_t begin;
        std::size_t end;
        std::size_t token;
    };

    static pattern_set make_set(std::vector<byte_trie::entry> patterns);
    static std::optional<match>
    find(const pattern_set& set, std::string_view text, std::size_t from);
    void split(const pattern_set& set, std::string_view text, std::vector<stretch>& out) const;
    bool stands_alone(std::string_view text, const match& found) const;

    std::vector<added_token> tokens_;
    std::vector<std::string> decoded_;  // of each token: its normal form where it has one
    std::unordered_map<token_id, std::size_t> index_of_id_;
    std::unordered_map<std::string, std::size_t> index_of_content_;
    std::unordered_map<std::string, bool> special_;
    pattern_set raw_;
    pattern_set normalized_;
    std::size_t end_id_{0};
};

}  // namespace modelpool::text

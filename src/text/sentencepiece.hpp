#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/byte_trie.hpp"
#include "text/char_map.hpp"
#include "text/model.hpp"
#include "text/normalizer.hpp"
#include "text/vocabulary.hpp"

namespace modelpool::text {

/// What a SentencePiece model holds.
/// Source: https://github.com/google/sentencepiece, src/sentencepiece_model.proto
struct sentencepiece_vocabulary {
    /// By the numbers of the format.
    enum class kind : std::uint8_t { normal = 1, unknown, control, user_defined, unused, byte };
    enum class algorithm : std::uint8_t { unigram = 1, bpe };
    struct piece {
        std::string text;
        float score{0};
        kind type{kind::normal};
    };

    std::vector<piece> pieces;  ///< the id of a piece is its place
    algorithm how{algorithm::unigram};
    bool byte_fallback{false};
    std::string charsmap;  ///< of the normalizer; empty: none
    bool add_dummy_prefix{true};
    bool remove_extra_whitespaces{true};
    bool escape_whitespaces{true};
    bool whitespace_as_suffix{false};
    std::int64_t bos_id{1};  ///< negative: none; the same for the next two
    std::int64_t eos_id{2};
    std::int64_t pad_id{-1};

    /// Reads a model file. `name` goes into messages. Errors: text_errc::bad_file, with the byte;
    /// text_errc::unsupported for another algorithm.
    static sentencepiece_vocabulary parse(std::string_view bytes, const std::string& name);

    /// The pieces as a model. Errors: std::invalid_argument, with what is wrong with the pieces.
    std::unique_ptr<const model> make_model() const;
};

/// Finds the user-defined pieces that a text begins with.
class user_pieces {
public:
    explicit user_pieces(const sentencepiece_vocabulary& words);
    /// The bytes of the longest such piece; 0 where there is none.
    std::size_t match(std::string_view text) const noexcept;

private:
    byte_trie trie_;
    bool is_empty_{true};
};

/// SentencePiece's normalizer: applies the longest rule of the character map at each place, drops
/// white space that is too much, writes spaces as U+2581 and puts one in front. User-defined pieces
/// stay as they are.
class sentence_normalizer final : public normalizer {
public:
    /// Whether every stretch of a text gets the mark in front, or only the one that the text begins
    /// with.
    enum class prefix { every_stretch, text_begin };

    /// Errors: std::invalid_argument, where the character map is malformed.
    sentence_normalizer(const sentencepiece_vocabulary& words, prefix where);
    void apply(workspace& work) const override;

private:
    class writing;
    struct rewritten {
        std::string_view text;
        std::size_t n_bytes;  // of the source
    };

    rewritten next(std::string_view text) const;

    user_pieces user_;
    std::optional<char_map> map_;
    prefix where_;
    bool add_dummy_prefix_;
    bool remove_extra_whitespaces_;
    bool as_suffix_;
    std::string_view space_;
};

/// What both of SentencePiece's algorithms share: the pieces, and what becomes of text that none of
/// them covers.
class piece_model : public model {
public:
    std::optional<token_id> id_of(std::string_view token) const override;
    std::optional<std::string_view> token_of(token_id id) const override;
    std::string shown(token_id id, std::string_view text) const override;
    std::size_t size() const override { return pieces_.size(); }
    std::size_t end_id() const override { return pieces_.size(); }

protected:
    using kind = sentencepiece_vocabulary::kind;
    /// Errors: std::invalid_argument.
    explicit piece_model(const sentencepiece_vocabulary& words);

    const vocabulary& matched() const noexcept { return matched_; }
    float score(token_id id) const noexcept { return pieces_[static_cast<std::size_t>(id)].score; }
    kind type(token_id id) const noexcept { return pieces_[static_cast<std::size_t>(id)].type; }
    token_id unknown() const noexcept { return unknown_; }
    bool has_unused() const noexcept { return has_unused_; }

    // Writes tokens, in order: an unknown one becomes its bytes, or joins the unknown one before
    // it.
    class writer;

private:
    std::vector<sentencepiece_vocabulary::piece> pieces_;
    vocabulary matched_;   // the pieces that text is looked up in
    vocabulary reserved_;  // the others
    std::array<token_id, 256> byte_ids_{};
    token_id unknown_{0};
    bool byte_fallback_{false};
    bool has_unused_{false};
};

/// SentencePiece's BPE: joins the two neighbours that make the piece of the highest score, the
/// leftmost of several.
class piece_bpe final : public piece_model {
public:
    explicit piece_bpe(const sentencepiece_vocabulary& words);
    void tokenize(std::string_view text, std::size_t base, token_list& out) const override;

private:
    class run;
    user_pieces user_;
};

/// SentencePiece's unigram model: of all ways to cover a text with pieces, the one with the highest
/// sum of scores, in single precision as the reference counts.
class piece_unigram final : public piece_model {
public:
    explicit piece_unigram(const sentencepiece_vocabulary& words);
    void tokenize(std::string_view text, std::size_t base, token_list& out) const override;

private:
    struct step {
        float score{0};
        std::int32_t begin{-1};
        token_id id{0};
    };
    std::vector<step> find_best(std::string_view text) const;

    byte_trie trie_;
    float lowest_;
    float highest_;
};

}  // namespace modelpool::text

#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/byte_level.hpp"
#include "text/regex.hpp"

namespace modelpool::text {

/// A step from tokens back to text. Immutable and thread-safe.
class decoder {
public:
    decoder() = default;
    decoder(const decoder&) = delete;
    decoder& operator=(const decoder&) = delete;
    decoder(decoder&&) = delete;
    decoder& operator=(decoder&&) = delete;
    virtual ~decoder() = default;

    /// Rewrites tokens, which may become more or fewer; in the end they are joined without a
    /// separator.
    virtual void apply(std::vector<std::string>& tokens) const = 0;
};

/// The decoder WordPiece: joins continuations to what they continue and puts spaces between words;
/// `cleanup` takes back the space before punctuation and English contractions.
class wordpiece_decoder final : public decoder {
public:
    wordpiece_decoder(std::string continuing_prefix, bool cleanup);
    void apply(std::vector<std::string>& tokens) const override;

private:
    std::string continuing_prefix_;
    bool cleanup_;
};

/// Sequence: one decoder after another.
class decoder_sequence final : public decoder {
public:
    explicit decoder_sequence(std::vector<std::unique_ptr<const decoder>> steps)
        : steps_{std::move(steps)}
    {}
    void apply(std::vector<std::string>& tokens) const override;

private:
    std::vector<std::unique_ptr<const decoder>> steps_;
};

/// ByteLevel: letters of the byte-level alphabet become bytes, and bytes that are not UTF-8 become
/// U+FFFD. A token with another character in it stands for itself.
class byte_level_decoder final : public decoder {
public:
    void apply(std::vector<std::string>& tokens) const override;

private:
    byte_alphabet alphabet_;
};

/// ByteFallback: runs of tokens like "<0x61>" become the bytes they name, or U+FFFD each where
/// those are not UTF-8.
class byte_fallback_decoder final : public decoder {
public:
    void apply(std::vector<std::string>& tokens) const override;
};

/// Fuse: makes one token of all.
class fuse_decoder final : public decoder {
public:
    void apply(std::vector<std::string>& tokens) const override;
};

/// Strip: drops up to so many of one character at the ends of every token.
class strip_decoder final : public decoder {
public:
    strip_decoder(std::string what, std::size_t n_start, std::size_t n_stop)
        : what_{std::move(what)}
        , n_start_{n_start}
        , n_stop_{n_stop}
    {}
    void apply(std::vector<std::string>& tokens) const override;

private:
    std::string what_;
    std::size_t n_start_;
    std::size_t n_stop_;
};

/// Replace: puts a text in the place of every match in a token.
class replace_decoder final : public decoder {
public:
    replace_decoder(regex what, std::string with)
        : what_{std::move(what)}
        , with_{std::move(with)}
    {}
    void apply(std::vector<std::string>& tokens) const override;

private:
    regex what_;
    std::string with_;
};

/// Metaspace: the mark becomes a space, but in the first token it goes where one was put in.
class metaspace_decoder final : public decoder {
public:
    metaspace_decoder(std::string mark, bool was_prepended)
        : mark_{std::move(mark)}
        , was_prepended_{was_prepended}
    {}
    void apply(std::vector<std::string>& tokens) const override;

private:
    std::string mark_;
    bool was_prepended_;
};

/// BPEDecoder: the suffix of a word's last token becomes a space, and nothing in the last token of
/// all.
class bpe_decoder final : public decoder {
public:
    explicit bpe_decoder(std::string suffix)
        : suffix_{std::move(suffix)}
    {}
    void apply(std::vector<std::string>& tokens) const override;

private:
    std::string suffix_;
};

/// CTC: joins equal neighbours, drops the padding, and makes the word delimiter a space.
class ctc_decoder final : public decoder {
public:
    ctc_decoder(std::string pad, std::string word_delimiter, bool cleanup)
        : pad_{std::move(pad)}
        , word_delimiter_{std::move(word_delimiter)}
        , cleanup_{cleanup}
    {}
    void apply(std::vector<std::string>& tokens) const override;

private:
    std::string pad_;
    std::string word_delimiter_;
    bool cleanup_;
};

}  // namespace modelpool::text

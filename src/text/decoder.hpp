#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/byte_level.hpp"
#include "text/regex.hpp"

namespace modelpool::text {

/// Takes tokens in order, each in one part or several.
class token_sink {
public:
    token_sink() = default;
    token_sink(const token_sink&) = delete;
    token_sink& operator=(const token_sink&) = delete;
    token_sink(token_sink&&) = delete;
    token_sink& operator=(token_sink&&) = delete;
    virtual ~token_sink() = default;

    /// The token goes on with `text`, whole UTF-8; `ends` says whether that was all of it.
    virtual void push(std::string_view text, bool ends) = 0;
    /// That was the last token.
    virtual void finish() = 0;
};

/// A step from tokens back to text. Immutable and thread-safe.
class decoder {
public:
    decoder() = default;
    decoder(const decoder&) = delete;
    decoder& operator=(const decoder&) = delete;
    decoder(decoder&&) = delete;
    decoder& operator=(decoder&&) = delete;
    virtual ~decoder() = default;

    /// Begins to decode: what is pushed into the result is rewritten and goes on to `next` as soon
    /// as no later token can change it. Tokens may become more or fewer; in the end they are joined
    /// without a separator. The step and `next` must outlive the result.
    virtual std::unique_ptr<token_sink> start(token_sink& next) const = 0;

    /// The bytes that `token` alone stands for, which need not be whole characters; nullopt where
    /// the step gives no bytes for it but text that depends on its neighbours.
    virtual std::optional<std::string> bytes_of(std::string_view) const { return std::nullopt; }
};

/// The decoder WordPiece: joins continuations to what they continue and puts spaces between words;
/// `cleanup` takes back the space before punctuation and English contractions.
class wordpiece_decoder final : public decoder {
public:
    wordpiece_decoder(std::string continuing_prefix, bool cleanup);
    std::unique_ptr<token_sink> start(token_sink& next) const override;

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
    std::unique_ptr<token_sink> start(token_sink& next) const override;
    std::optional<std::string> bytes_of(std::string_view token) const override;

private:
    class run;
    std::vector<std::unique_ptr<const decoder>> steps_;
};

/// ByteLevel: letters of the byte-level alphabet become bytes, and bytes that are not UTF-8 become
/// U+FFFD. A token with another character in it stands for itself.
class byte_level_decoder final : public decoder {
public:
    std::unique_ptr<token_sink> start(token_sink& next) const override;
    std::optional<std::string> bytes_of(std::string_view token) const override;

private:
    class run;
    byte_alphabet alphabet_;
};

/// ByteFallback: runs of tokens like "<0x61>" become the bytes they name, or U+FFFD each where
/// those are not UTF-8. A run is held back until it ends, since one bad byte spoils all of it.
class byte_fallback_decoder final : public decoder {
public:
    std::unique_ptr<token_sink> start(token_sink& next) const override;
    std::optional<std::string> bytes_of(std::string_view token) const override;

private:
    class run;
};

/// Fuse: makes one token of all.
class fuse_decoder final : public decoder {
public:
    std::unique_ptr<token_sink> start(token_sink& next) const override;

private:
    class run;
};

/// Strip: drops up to so many of one character at the ends of every token.
class strip_decoder final : public decoder {
public:
    strip_decoder(std::string what, std::size_t n_start, std::size_t n_stop)
        : what_{std::move(what)}
        , n_start_{n_start}
        , n_stop_{n_stop}
    {}
    std::unique_ptr<token_sink> start(token_sink& next) const override;

private:
    class run;
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
    std::unique_ptr<token_sink> start(token_sink& next) const override;

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
    std::unique_ptr<token_sink> start(token_sink& next) const override;

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
    std::unique_ptr<token_sink> start(token_sink& next) const override;

private:
    class run;
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
    std::unique_ptr<token_sink> start(token_sink& next) const override;

private:
    class run;
    std::string pad_;
    std::string word_delimiter_;
    bool cleanup_;
};

}  // namespace modelpool::text

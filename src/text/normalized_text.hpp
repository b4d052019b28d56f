#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace modelpool::text {

/// A range of bytes of the text that is being encoded.
struct source_range {
    std::uint32_t begin;
    std::uint32_t end;
};

/// Text on its way through the normalizers: its bytes (valid UTF-8) and, where offsets are wanted,
/// the source of each byte. Sources never run backwards.
class normalized_text {
public:
    /// An empty text; `tracked` says whether sources are kept.
    void reset(bool tracked)
    {
        bytes_.clear();
        source_.clear();
        tracked_ = tracked;
    }

    /// Takes over `text`, which lies at byte `base` of the whole: each character is its own source.
    void assign(std::string_view text, std::uint32_t base);

    bool tracked() const noexcept { return tracked_; }
    std::size_t size() const noexcept { return bytes_.size(); }
    std::string_view bytes() const noexcept { return bytes_; }
    std::string_view bytes(std::size_t begin, std::size_t end) const
    {
        return std::string_view{bytes_}.substr(begin, end - begin);
    }

    /// The source of byte `at`; meaningless where sources are not tracked.
    source_range source(std::size_t at) const
    {
        return tracked_ ? source_[at] : source_range{0, 0};
    }
    /// The source of a range that is not empty.
    source_range source(std::size_t begin, std::size_t end) const
    {
        return {source_[begin].begin, source_[end - 1].end};
    }

    /// Appends text, all of it from one source.
    void append(std::string_view text, source_range from)
    {
        bytes_.append(text);
        if (tracked_) source_.resize(bytes_.size(), from);
    }
    void append(char32_t code_point, source_range from);
    /// Appends a range of `other`, with its sources.
    void append(const normalized_text& other, std::size_t begin, std::size_t end);

    /// The bytes, for a change that keeps every character's length: sources stay as they are.
    std::string& mutable_bytes() noexcept { return bytes_; }

private:
    std::string bytes_;
    std::vector<source_range> source_;
    bool tracked_{false};
};

/// A part of a normalized text that the model tokenizes on its own, or that is one added token
/// already.
struct piece {
    static constexpr std::int32_t no_token = -1;

    std::uint32_t begin;
    std::uint32_t end;
    std::int32_t token{no_token};
};

/// What one stretch of text goes through: a text, its pieces, and room for the next state of both.
/// A step reads `text` and `pieces`, writes the spare ones, and swaps them in.
struct workspace {
    normalized_text text;
    normalized_text spare_text;
    std::vector<piece> pieces;
    std::vector<piece> spare_pieces;
    /// Where in the whole the stretch begins.
    std::uint32_t base{0};

    /// Where the character at byte `at` comes from. A guess where sources are not tracked: a
    /// pre-tokenizer that needs to know says so.
    std::uint32_t source_begin(std::size_t at) const
    {
        return text.tracked() ? text.source(at).begin : base + static_cast<std::uint32_t>(at);
    }

    void begin_text() { spare_text.reset(text.tracked()); }
    void end_text() { std::swap(text, spare_text); }
    void begin_pieces() { spare_pieces.clear(); }
    void end_pieces() { std::swap(pieces, spare_pieces); }
};

}  // namespace modelpool::text

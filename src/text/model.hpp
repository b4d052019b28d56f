#pragma once

#include <modelpool/text/tokenizer.hpp>

#include <cstddef>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/normalized_text.hpp"

namespace modelpool::text {

/// The tokens of one stretch of text, in order.
class token_list {
public:
    struct span {
        std::uint32_t begin;
        std::uint32_t end;
    };

    /// Forgets all tokens; `tracked` says whether their spans are kept.
    void reset(bool tracked)
    {
        ids_.clear();
        spans_.clear();
        tracked_ = tracked;
    }

    void add(token_id id, std::size_t begin, std::size_t end)
    {
        ids_.push_back(id);
        if (tracked_)
            spans_.push_back({static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(end)});
    }

    /// Drops what came after the first `n` tokens.
    void shrink(std::size_t n)
    {
        ids_.resize(n);
        if (tracked_) spans_.resize(n);
    }

    std::size_t size() const noexcept { return ids_.size(); }
    const std::vector<token_id>& ids() const noexcept { return ids_; }
    /// Bytes of the normalized text; empty where not tracked.
    const std::vector<span>& spans() const noexcept { return spans_; }

private:
    std::vector<token_id> ids_;
    std::vector<span> spans_;
    bool tracked_{false};
};

/// The step that turns pieces of text into tokens of a vocabulary. Immutable and thread-safe.
class model {
public:
    model() = default;
    model(const model&) = delete;
    model& operator=(const model&) = delete;
    model(model&&) = delete;
    model& operator=(model&&) = delete;
    virtual ~model() = default;

    /// Appends the tokens of `text`, which is not empty and lies at byte `base` of the normalized
    /// text.
    virtual void tokenize(std::string_view text, std::size_t base, token_list& out) const = 0;

    /// The token as it is shown for the part of a text that it stands for.
    virtual std::string shown(token_id id, std::string_view) const
    {
        return std::string{token_of(id).value_or(std::string_view{})};
    }

    virtual std::optional<token_id> id_of(std::string_view token) const = 0;
    virtual std::optional<std::string_view> token_of(token_id id) const = 0;
    /// How many tokens there are, and one more than the largest id.
    virtual std::size_t size() const = 0;
    virtual std::size_t end_id() const = 0;
};

}  // namespace modelpool::text

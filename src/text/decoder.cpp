#include "text/decoder.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <utility>

#include "text/utf8.hpp"

namespace modelpool::text {
namespace {

void replace_all(std::string& text, std::string_view from, std::string_view to)
{
    std::size_t at = from.empty() ? std::string::npos : text.find(from);
    if (at == std::string::npos) return;
    std::string replaced;
    std::size_t done = 0;
    for (; at != std::string::npos; at = text.find(from, done)) {
        replaced.append(text, done, at - done).append(to);
        done = at + from.size();
    }
    text = replaced.append(text, done, std::string::npos);
}

// In this order: each works on what those before have left.
constexpr std::array<std::pair<std::string_view, std::string_view>, 11> cleanups{{
    {" .", "."},
    {" ?", "?"},
    {" !", "!"},
    {" ,", ","},
    {" ' ", "'"},
    {" n't", "n't"},
    {" 'm", "'m"},
    {" do not", " don't"},
    {" 's", "'s"},
    {" 've", "'ve"},
    {" 're", "'re"},
}};

void clean_up(std::string& token)
{
    for (const auto& [from, to] : cleanups)
        replace_all(token, from, to);
}

// The byte that a token like "<0x61>" names.
std::optional<char> named_byte(std::string_view token)
{
    if (token.size() != 6 || !token.starts_with("<0x") || !token.ends_with(">"))
        return std::nullopt;
    unsigned value = 0;
    for (const char digit : token.substr(3, 2)) {
        value *= 16;
        if (digit >= '0' && digit <= '9')
            value += static_cast<unsigned>(digit - '0');
        else if (digit >= 'a' && digit <= 'f')
            value += static_cast<unsigned>(digit - 'a') + 10;
        else if (digit >= 'A' && digit <= 'F')
            value += static_cast<unsigned>(digit - 'A') + 10;
        else
            return std::nullopt;
    }
    return static_cast<char>(value);
}

// Passes on whole tokens.
class whole_tokens : public token_sink {
public:
    explicit whole_tokens(token_sink& next)
        : next_{next}
    {}
    void push(std::string_view text, bool ends) override
    {
        held_ += text;
        if (!ends) return;
        take(held_);
        held_.clear();
    }
    void finish() override { next_.finish(); }

protected:
    /// A token, which may be changed or moved from.
    virtual void take(std::string& token) = 0;
    token_sink& next() noexcept { return next_; }

private:
    token_sink& next_;
    std::string held_;
};

// Rewrites each token on its own; `Rewrite` takes it, and whether it is the first one.
template <typename Rewrite>
class each_token final : public whole_tokens {
public:
    each_token(token_sink& next, Rewrite rewrite)
        : whole_tokens{next}
        , rewrite_{std::move(rewrite)}
    {}

private:
    void take(std::string& token) override
    {
        rewrite_(token, std::exchange(is_first_, false));
        next().push(token, true);
    }

    Rewrite rewrite_;
    bool is_first_{true};
};

template <typename Rewrite>
std::unique_ptr<token_sink> rewrite_each(token_sink& next, Rewrite rewrite)
{
    return std::make_unique<each_token<Rewrite>>(next, std::move(rewrite));
}

}  // namespace

wordpiece_decoder::wordpiece_decoder(std::string continuing_prefix, bool cleanup)
    : continuing_prefix_{std::move(continuing_prefix)}
    , cleanup_{cleanup}
{}

std::unique_ptr<token_sink> wordpiece_decoder::start(token_sink& next) const
{
    return rewrite_each(next, [this](std::string& token, bool is_first) {
        if (!is_first) {
            if (token.starts_with(continuing_prefix_))
                token.erase(0, continuing_prefix_.size());
            else
                token.insert(0, 1, ' ');
        }
        if (cleanup_) clean_up(token);
    });
}

class decoder_sequence::run final : public token_sink {
public:
    run(const decoder_sequence& owner, token_sink& next)
        : first_{&next}
    {
        for (auto step = owner.steps_.rbegin(); step != owner.steps_.rend(); ++step) {
            runs_.push_back((*step)->start(*first_));
            first_ = runs_.back().get();
        }
    }
    void push(std::string_view text, bool ends) override { first_->push(text, ends); }
    void finish() override { first_->finish(); }

private:
    std::vector<std::unique_ptr<token_sink>> runs_;  // the last step's first
    token_sink* first_;
};

std::unique_ptr<token_sink> decoder_sequence::start(token_sink& next) const
{
    return std::make_unique<run>(*this, next);
}

std::optional<std::string> decoder_sequence::bytes_of(std::string_view token) const
{
    for (const auto& step : steps_)
        if (std::optional<std::string> bytes = step->bytes_of(token)) return bytes;
    return std::nullopt;
}

std::optional<std::string> byte_level_decoder::bytes_of(std::string_view token) const
{
    std::optional<std::string> bytes = alphabet_.bytes_of(token);
    return bytes ? std::move(bytes) : std::string{token};
}

std::optional<std::string> byte_fallback_decoder::bytes_of(std::string_view token) const
{
    const std::optional<char> byte = named_byte(token);
    return byte ? std::optional{std::string(1, *byte)} : std::nullopt;
}

class byte_level_decoder::run final : public whole_tokens {
public:
    run(const byte_alphabet& alphabet, token_sink& next)
        : whole_tokens{next}
        , alphabet_{alphabet}
    {}
    void finish() override
    {
        next().push(to_valid_utf8(bytes_), true);
        next().finish();
    }

private:
    void take(std::string& token) override
    {
        bytes_ += alphabet_.bytes_of(token).value_or(token);
        const std::size_t n_whole = bytes_.size() - unfinished_utf8_bytes(bytes_);
        if (n_whole == 0) return;
        next().push(to_valid_utf8(std::string_view{bytes_}.substr(0, n_whole)), false);
        bytes_.erase(0, n_whole);
    }

    const byte_alphabet& alphabet_;
    std::string bytes_;  // that a character may begin with
};

std::unique_ptr<token_sink> byte_level_decoder::start(token_sink& next) const
{
    return std::make_unique<run>(alphabet_, next);
}

class byte_fallback_decoder::run final : public whole_tokens {
public:
    using whole_tokens::whole_tokens;
    void finish() override
    {
        flush();
        next().finish();
    }

private:
    void take(std::string& token) override
    {
        if (const std::optional<char> byte = named_byte(token)) {
            bytes_.push_back(*byte);
            return;
        }
        flush();
        next().push(token, true);
    }

    void flush()
    {
        if (bytes_.empty()) return;
        if (find_bad_utf8(bytes_) == std::string_view::npos)
            next().push(bytes_, true);
        else
            for (std::size_t i = 0; i < bytes_.size(); ++i)
                next().push("\xEF\xBF\xBD", true);
        bytes_.clear();
    }

    std::string bytes_;
};

std::unique_ptr<token_sink> byte_fallback_decoder::start(token_sink& next) const
{
    return std::make_unique<run>(next);
}

class fuse_decoder::run final : public token_sink {
public:
    explicit run(token_sink& next)
        : next_{next}
    {}
    void push(std::string_view text, bool) override
    {
        if (!text.empty()) next_.push(text, false);
    }
    void finish() override
    {
        next_.push({}, true);
        next_.finish();
    }

private:
    token_sink& next_;
};

std::unique_ptr<token_sink> fuse_decoder::start(token_sink& next) const
{
    return std::make_unique<run>(next);
}

class strip_decoder::run final : public token_sink {
public:
    run(const strip_decoder& owner, token_sink& next)
        : owner_{owner}
        , next_{next}
        , n_left_{owner.n_start_}
    {}

    void push(std::string_view text, bool ends) override
    {
        while (n_left_ > 0 && text.starts_with(owner_.what_)) {
            text.remove_prefix(owner_.what_.size());
            --n_left_;
        }
        if (!text.empty()) n_left_ = 0;
        std::string_view kept = text;
        std::size_t n_trailing = 0;
        for (; kept.ends_with(owner_.what_); ++n_trailing)
            kept.remove_suffix(owner_.what_.size());
        if (!kept.empty()) {
            give(n_held_);
            n_held_ = 0;
            next_.push(kept, false);
        }
        n_held_ += n_trailing;
        const std::size_t n_stop = owner_.n_stop_;
        if (n_held_ > n_stop) {
            give(n_held_ - n_stop);
            n_held_ = n_stop;
        }
        if (!ends) return;
        next_.push({}, true);
        n_held_ = 0;
        n_left_ = owner_.n_start_;
    }
    void finish() override { next_.finish(); }

private:
    void give(std::size_t n)
    {
        for (std::size_t i = 0; i < n; ++i)
            next_.push(owner_.what_, false);
    }

    const strip_decoder& owner_;
    token_sink& next_;
    std::size_t n_left_;     // that the begin of the token may still lose
    std::size_t n_held_{0};  // that its end may lose
};

std::unique_ptr<token_sink> strip_decoder::start(token_sink& next) const
{
    return std::make_unique<run>(*this, next);
}

std::unique_ptr<token_sink> replace_decoder::start(token_sink& next) const
{
    return rewrite_each(
        next, [this, found = std::vector<found_range>{}](std::string& token, bool) mutable {
            what_.find_all(token, found);
            std::string replaced;
            for (const found_range& each : found)
                replaced += each.is_match ? with_ : token.substr(each.begin, each.end - each.begin);
            token = std::move(replaced);
        });
}

std::unique_ptr<token_sink> metaspace_decoder::start(token_sink& next) const
{
    return rewrite_each(next, [this](std::string& token, bool is_first) {
        replace_all(token, mark_, is_first && was_prepended_ ? "" : " ");
    });
}

class bpe_decoder::run final : public whole_tokens {
public:
    run(const std::string& suffix, token_sink& next)
        : whole_tokens{next}
        , suffix_{suffix}
    {}
    void finish() override
    {
        give("");
        next().finish();
    }

private:
    void take(std::string& token) override
    {
        give(" ");
        last_ = std::move(token);
    }

    void give(std::string_view separator)
    {
        if (!last_) return;
        replace_all(*last_, suffix_, separator);
        next().push(*last_, true);
        last_.reset();
    }

    const std::string& suffix_;
    std::optional<std::string> last_;
};

std::unique_ptr<token_sink> bpe_decoder::start(token_sink& next) const
{
    return std::make_unique<run>(suffix_, next);
}

class ctc_decoder::run final : public whole_tokens {
public:
    run(const ctc_decoder& owner, token_sink& next)
        : whole_tokens{next}
        , owner_{owner}
    {}

private:
    void take(std::string& token) override
    {
        if (last_ == token) return;
        last_ = token;
        replace_all(token, owner_.pad_, "");
        if (owner_.cleanup_) {
            clean_up(token);
            replace_all(token, owner_.word_delimiter_, " ");
        }
        if (!token.empty()) next().push(token, true);
    }

    const ctc_decoder& owner_;
    std::optional<std::string> last_;
};

std::unique_ptr<token_sink> ctc_decoder::start(token_sink& next) const
{
    return std::make_unique<run>(*this, next);
}

}  // namespace modelpool::text

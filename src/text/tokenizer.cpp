#include <modelpool/error.hpp>
#include <modelpool/text/tokenizer.hpp>

#include <algorithm>
#include <limits>

#include "text/tokenizer_parts.hpp"
#include "text/utf8.hpp"
#include "text/vocabulary_files.hpp"

namespace modelpool::text {
namespace {

// Positions are counted in 32 bits, and normal forms make text longer.
constexpr std::size_t max_text_bytes = std::size_t{256} << 20U;

void check_text(std::string_view text)
{
    if (text.size() > max_text_bytes)
        throw error{
            text_errc::too_long,
            "the text has " + std::to_string(text.size()) +
                " bytes, the most that can be tokenized is " + std::to_string(max_text_bytes)};
    const std::size_t bad = find_bad_utf8(text);
    if (bad != std::string_view::npos)
        throw error{
            text_errc::not_utf8,
            "the text is not valid UTF-8: byte " + std::to_string(bad) + " is wrong"};
}

// One text on its way through the steps of a tokenizer, up to its own tokens.
class encoding_run {
public:
    encoding_run(const tokenizer_parts& parts, std::string_view text, const encode_options& options)
        : parts_{parts}
        , text_{text}
        , tracked_{options.with_offsets()}
        // Without a normalizer a piece begins in the whole text where it begins in the stretch.
        , needs_sources_{parts.cutter && parts.normal_form && parts.cutter->needs_sources()}
    {
        if (options.max_tokens() == 0) return;
        const std::size_t n_added = options.add_special_tokens() ? parts.completion.n_added() : 0;
        limit_ = options.max_tokens() - std::min(options.max_tokens(), n_added);
    }

    encoding run()
    {
        parts_.added.split_raw(text_, stretches_);
        for (const added_tokens::stretch& each : stretches_) {
            if (is_full()) break;
            if (each.token == piece::no_token)
                add_stretch(each.begin, each.end);
            else
                add_raw_token(each);
        }
        if (is_full()) {
            made_.truncated = true;
            made_.ids.resize(limit_);
            if (tracked_) {
                made_.tokens.resize(limit_);
                made_.offsets.resize(limit_);
            }
        }
        if (tracked_) count_in_code_points();
        return std::move(made_);
    }

private:
    // One token more than wanted shows that there was something to cut.
    bool is_full() const { return made_.ids.size() > limit_; }

    void add_raw_token(const added_tokens::stretch& found)
    {
        made_.ids.push_back(found.token);
        if (tracked_) {
            made_.tokens.emplace_back(text_.substr(found.begin, found.end - found.begin));
            made_.offsets.emplace_back(found.begin, found.end);
        }
    }

    void add_stretch(std::uint32_t begin, std::uint32_t end)
    {
        work_.text.reset(tracked_ || needs_sources_);
        work_.base = begin;
        work_.text.assign(text_.substr(begin, end - begin), begin);
        if (parts_.normal_form) parts_.normal_form->apply(work_);
        work_.pieces.clear();
        parts_.added.split_normalized(work_.text.bytes(), work_.pieces);
        if (parts_.cutter) parts_.cutter->apply(work_);
        tokens_.reset(tracked_);
        for (const piece& each : work_.pieces) {
            if (each.token == piece::no_token)
                parts_.vocab->tokenize(work_.text.bytes(each.begin, each.end), each.begin, tokens_);
            else
                tokens_.add(each.token, each.begin, each.end);
            if (made_.ids.size() + tokens_.size() > limit_) break;
        }
        take_tokens();
    }

    void take_tokens()
    {
        made_.ids.insert(made_.ids.end(), tokens_.ids().begin(), tokens_.ids().end());
        for (std::size_t i = 0; i < tokens_.spans().size(); ++i) {
            const token_list::span span = tokens_.spans()[i];
            const source_range from = work_.text.source(span.begin, span.end);
            const std::string_view shown = work_.text.bytes(span.begin, span.end);
            made_.offsets.emplace_back(from.begin, from.end);
            made_.tokens.push_back(
                is_added(span) ? std::string{shown} : parts_.vocab->shown(tokens_.ids()[i], shown));
        }
    }

    // Pieces are in order, and so are spans: an added token has exactly the span of its piece.
    bool is_added(token_list::span span) const
    {
        const auto found = std::lower_bound(
            work_.pieces.begin(),
            work_.pieces.end(),
            span.begin,
            [](const piece& each, std::uint32_t begin) { return each.begin < begin; });
        return found != work_.pieces.end() && found->begin == span.begin &&
               found->token != piece::no_token;
    }

    void count_in_code_points()
    {
        std::vector<std::uint32_t> n_before(text_.size() + 1);
        std::uint32_t n_chars = 0;
        for (std::size_t i = 0; i < text_.size(); ++i) {
            n_before[i] = n_chars;
            const bool ends_char = i + 1 == text_.size() || !is_utf8_tail(text_[i + 1]);
            n_chars += ends_char ? 1U : 0U;
        }
        n_before[text_.size()] = n_chars;
        for (auto& [begin, end] : made_.offsets) {
            begin = n_before[begin];
            end = n_before[end];
        }
    }

    const tokenizer_parts& parts_;
    std::string_view text_;
    bool tracked_;
    bool needs_sources_;
    std::size_t limit_{std::numeric_limits<std::size_t>::max()};
    encoding made_;
    std::vector<added_tokens::stretch> stretches_;
    workspace work_;
    token_list tokens_;
};

}  // namespace

class tokenizer::impl {
public:
    explicit impl(tokenizer_parts parts)
        : parts_{std::move(parts)}
    {}

    const tokenizer_parts& parts() const noexcept { return parts_; }

    std::size_t end_id() const noexcept
    {
        return std::max(parts_.vocab->end_id(), parts_.added.end_id());
    }

    std::optional<std::string_view> token_of(token_id id) const
    {
        if (const std::optional<std::string_view> added = parts_.added.token_of(id)) return added;
        return parts_.vocab->token_of(id);
    }

private:
    tokenizer_parts parts_;
};

tokenizer::tokenizer(std::shared_ptr<const impl> self)
    : self_{std::move(self)}
{}

tokenizer tokenizer::from_json(std::string_view json, const std::string& name)
{
    return tokenizer_maker::make(parse_tokenizer_json(json, name));
}

tokenizer tokenizer::blocking_load(const std::filesystem::path& path)
{
    return tokenizer_maker::make(blocking_read_tokenizer(path));
}

tokenizer tokenizer_maker::make(tokenizer_parts parts)
{
    return tokenizer{std::make_shared<const tokenizer::impl>(std::move(parts))};
}

encoding tokenizer::encode(std::string_view text, const encode_options& options) const
{
    check_text(text);
    encoding made = encoding_run{self_->parts(), text, options}.run();
    self_->parts().completion.apply(made, options);
    return made;
}

std::string tokenizer::decode(std::span<const token_id> ids, bool skip_special) const
{
    std::vector<std::string> tokens;
    for (const token_id id : ids) {
        if (id < 0 || static_cast<std::size_t>(id) >= self_->end_id())
            throw error{
                text_errc::bad_id,
                "token id " + std::to_string(id) + " lies outside the vocabulary of " +
                    std::to_string(self_->end_id())};
        // An id that no token has stands for nothing: some vocabularies have such gaps.
        const std::optional<std::string_view> token = self_->token_of(id);
        if (token && !(skip_special && self_->parts().added.is_special(*token)))
            tokens.emplace_back(*token);
    }
    const char* separator = " ";
    if (self_->parts().back) {
        self_->parts().back->apply(tokens);
        separator = "";
    }
    std::string text;
    for (std::size_t i = 0; i < tokens.size(); ++i)
        text.append(i > 0 ? separator : "").append(tokens[i]);
    return text;
}

std::optional<token_id> tokenizer::id_of(std::string_view token) const
{
    if (const std::optional<token_id> added = self_->parts().added.id_of(token)) return added;
    return self_->parts().vocab->id_of(token);
}

std::size_t tokenizer::vocab_size() const noexcept
{
    return self_->end_id();
}

std::size_t tokenizer::n_special_added() const noexcept
{
    return self_->parts().completion.n_added();
}

}  // namespace modelpool::text

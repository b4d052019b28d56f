#include <modelpool/error.hpp>
#include <modelpool/text/tokenizer.hpp>

#include <algorithm>
#include <array>
#include <iterator>
#include <limits>
#include <utility>

#include "text/lengths.hpp"
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

constexpr std::size_t no_limit = std::numeric_limits<std::size_t>::max();

// How many tokens the texts may have, besides the special tokens that are added.
std::size_t limit_of(const encode_options& options, std::size_t n_added)
{
    if (!options.truncation()) return no_limit;
    const std::size_t limit = options.truncation()->max_tokens();
    return limit - std::min(limit, options.add_special_tokens() ? n_added : 0);
}

void cut(encoding& of, std::size_t limit)
{
    if (of.ids.size() <= limit) return;
    of.truncated = true;
    of.ids.resize(limit);
    if (of.tokens.size() > limit) of.tokens.resize(limit);
    if (of.offsets.size() > limit) of.offsets.resize(limit);
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
    {}

    // The first `limit` tokens.
    encoding run(std::size_t limit)
    {
        limit_ = limit;
        parts_.added.split_raw(text_, stretches_);
        for (const added_tokens::stretch& each : stretches_) {
            if (is_full()) break;
            if (each.token == piece::no_token)
                add_stretch(each.begin, each.end);
            else
                add_raw_token(each);
        }
        cut(made_, limit_);
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
    std::size_t limit_{no_limit};
    encoding made_;
    std::vector<added_tokens::stretch> stretches_;
    workspace work_;
    token_list tokens_;
};

// Where a decoding ends: joins what comes out of it.
class joined_text final : public token_sink {
public:
    explicit joined_text(std::string_view separator)
        : separator_{separator}
    {}
    void push(std::string_view part, bool ends) override
    {
        if (!is_inside_ && !std::exchange(is_first_, false)) out_->append(separator_);
        out_->append(part);
        is_inside_ = !ends;
    }
    void finish() override {}
    void write_to(std::string& out) noexcept { out_ = &out; }

private:
    std::string_view separator_;
    std::string* out_{nullptr};
    bool is_first_{true};
    bool is_inside_{false};
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

class stream_decoder::run {
public:
    run(std::shared_ptr<const tokenizer::impl> of, bool skip_special)
        : of_{std::move(of)}
        , skip_special_{skip_special}
        , out_{of_->parts().back ? "" : " "}
    {
        if (of_->parts().back) steps_ = of_->parts().back->start(out_);
    }

    void push(token_id id, std::string& text)
    {
        if (id < 0 || static_cast<std::size_t>(id) >= of_->end_id())
            throw error{
                text_errc::bad_id,
                "token id " + std::to_string(id) + " lies outside the vocabulary of " +
                    std::to_string(of_->end_id())};
        // An id that no token has stands for nothing: some vocabularies have such gaps.
        const std::optional<std::string_view> token = of_->token_of(id);
        if (!token || (skip_special_ && of_->parts().added.is_special(*token))) return;
        out_.write_to(text);
        first().push(*token, true);
    }

    void finish(std::string& text)
    {
        out_.write_to(text);
        first().finish();
    }

private:
    token_sink& first() noexcept { return steps_ ? *steps_ : out_; }

    std::shared_ptr<const tokenizer::impl> of_;
    bool skip_special_;
    joined_text out_;
    std::unique_ptr<token_sink> steps_;
};

stream_decoder::stream_decoder(const tokenizer& of, bool skip_special)
    : run_{std::make_unique<run>(of.self_, skip_special)}
{}

stream_decoder::stream_decoder(stream_decoder&& other) noexcept = default;
stream_decoder& stream_decoder::operator=(stream_decoder&& other) noexcept = default;
stream_decoder::~stream_decoder() = default;

void stream_decoder::push(token_id id, std::string& text)
{
    run_->push(id, text);
}

void stream_decoder::finish(std::string& text)
{
    run_->finish(text);
}

tokenizer::tokenizer(std::shared_ptr<const impl> self)
    : self_{std::move(self)}
{}

tokenizer tokenizer::from_json(std::string_view json, const std::string& name)
{
    return tokenizer_maker::make(parse_tokenizer_json(json, nullptr, name));
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
    encoding made = encode_unpadded(text, options);
    if (options.padding()) pad({&made, 1}, *options.padding(), options);
    return made;
}

encoding tokenizer::encode_unpadded(std::string_view text, const encode_options& options) const
{
    check_text(text);
    const post_processor& completion = self_->parts().completion;
    const std::size_t limit = limit_of(options, completion.n_added());
    const truncation_options how = options.truncation().value_or(truncation_options{});
    if (!how.keeps_overflow() && how.from() == text_side::right) {
        encoding made = encoding_run{self_->parts(), text, options}.run(limit);
        completion.apply(made, options);
        return made;
    }
    std::vector<encoding> parts =
        cut_into_parts(encoding_run{self_->parts(), text, options}.run(no_limit), limit, how);
    for (encoding& each : parts)
        completion.apply(each, options);
    encoding made = std::move(parts.front());
    made.overflow.assign(
        std::make_move_iterator(parts.begin() + 1), std::make_move_iterator(parts.end()));
    return made;
}

encoding tokenizer::encode_pair(
    std::string_view first, std::string_view second, const encode_options& options) const
{
    check_text(first);
    check_text(second);
    const post_processor& completion = self_->parts().completion;
    const truncation_options how = options.truncation().value_or(truncation_options{});
    encoding left = encoding_run{self_->parts(), first, options}.run(no_limit);
    encoding right = encoding_run{self_->parts(), second, options}.run(no_limit);
    const auto [n_left, n_right] = shares_of_pair(
        left.ids.size(),
        right.ids.size(),
        limit_of(options, completion.n_added_to_pair()),
        how.order());
    const std::vector<encoding> lefts = cut_into_parts(std::move(left), n_left, how);
    const std::vector<encoding> rights = cut_into_parts(std::move(right), n_right, how);
    encoding made = completion.join(lefts.front(), rights.front(), options);
    // In the order of the reference: the rest of the first text with all of the second, then its
    // first part with the rest of the second.
    for (std::size_t i = 1; i < lefts.size(); ++i)
        for (const encoding& each : rights)
            made.overflow.push_back(completion.join(lefts[i], each, options));
    for (std::size_t i = 1; i < rights.size(); ++i)
        made.overflow.push_back(completion.join(lefts.front(), rights[i], options));
    if (options.padding()) pad({&made, 1}, *options.padding(), options);
    return made;
}

std::vector<encoding>
tokenizer::encode_batch(std::span<const std::string> texts, const encode_options& options) const
{
    std::vector<encoding> made;
    made.reserve(texts.size());
    for (const std::string& text : texts)
        made.push_back(encode_unpadded(text, options));
    if (options.padding()) pad(made, *options.padding(), options);
    return made;
}

std::string tokenizer::decode(std::span<const token_id> ids, bool skip_special) const
{
    stream_decoder::run decoding{self_, skip_special};
    std::string text;
    for (const token_id id : ids)
        decoding.push(id, text);
    decoding.finish(text);
    return text;
}

std::string tokenizer::piece(token_id id) const
{
    if (id < 0 || static_cast<std::size_t>(id) >= vocab_size()) return decode({&id, 1}, true);
    const std::optional<std::string_view> token = self_->token_of(id);
    const tokenizer_parts& parts = self_->parts();
    if (!token || parts.added.is_special(*token)) return {};
    if (!parts.back) return std::string{*token};
    if (std::optional<std::string> bytes = parts.back->bytes_of(*token)) return std::move(*bytes);
    // What a step does to the first token, it does not do to this one: the token goes before itself.
    const std::array<token_id, 2> twice{id, id};
    const std::string once = decode({twice.data(), 1}, true);
    const std::string both = decode(twice, true);
    return both.substr(std::min(once.size(), both.size()));
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

const std::optional<truncation_options>& tokenizer::truncation() const noexcept
{
    return self_->parts().truncation;
}

const std::optional<padding_options>& tokenizer::padding() const noexcept
{
    return self_->parts().padding;
}

std::size_t tokenizer::n_special_added() const noexcept
{
    return self_->parts().completion.n_added();
}

}  // namespace modelpool::text

#include "text/bpe.hpp"

#include <modelpool/error.hpp>

#include <algorithm>
#include <array>
#include <queue>
#include <stdexcept>

#include "support/printable.hpp"
#include "text/byte_level.hpp"
#include "text/utf8.hpp"

namespace modelpool::text {
namespace {

constexpr char32_t n_letters = 0x250;
// A word of more symbols is merged in windows of so many.
constexpr std::size_t n_window = 40;
// Up to here looking at every pair for each merge costs less than a heap.
constexpr std::size_t max_window = 256;
// What stands for a space where texts are not cut into words before.
constexpr std::string_view mark = "\xE2\x96\x81";

std::uint64_t pair_of(token_id left, token_id right)
{
    return (std::uint64_t{static_cast<std::uint32_t>(left)} << 32U) |
           static_cast<std::uint32_t>(right);
}

}  // namespace

bpe::merge_table::merge_table(std::size_t n_merges)
{
    std::size_t n_slots = 16;
    while (n_slots < 2 * n_merges)
        n_slots *= 2;
    slots_.assign(n_slots, slot{no_pair, {no_rank, 0}});
}

std::size_t bpe::merge_table::place_of(std::uint64_t pair) const noexcept
{
    const std::size_t mask = slots_.size() - 1;
    std::uint64_t hash = pair * 0x9E3779B97F4A7C15;  // 2^64 / golden ratio
    hash ^= hash >> 32U;
    std::size_t at = hash & mask;
    while (slots_[at].pair != pair && slots_[at].pair != no_pair)
        at = (at + 1) & mask;
    return at;
}

void bpe::merge_table::set(token_id left, token_id right, merge what)
{
    slot& place = slots_[place_of(pair_of(left, right))];
    place = {pair_of(left, right), what};
}

void bpe::merge_table::add(
    const vocabulary& words,
    std::pair<std::string_view, std::string_view> sides,
    std::size_t n_prefix_bytes,
    std::uint32_t rank)
{
    const auto need = [&words](std::string_view token) {
        const std::optional<token_id> id = words.id_of(token);
        if (!id)
            throw std::invalid_argument{
                "needs the token " + support::in_quotes(token) + ", which the vocabulary lacks"};
        return *id;
    };
    const auto [left, right] = sides;
    if (right.size() < n_prefix_bytes)
        throw std::invalid_argument{"has a second token shorter than the continuing prefix"};
    const std::string whole = std::string{left}.append(right.substr(n_prefix_bytes));
    const token_id left_id = need(left);
    const token_id right_id = need(right);
    set(left_id, right_id, {rank, need(whole)});
}

bpe::merge_table::merge bpe::merge_table::find(token_id left, token_id right) const noexcept
{
    return slots_[place_of(pair_of(left, right))].what;
}

// Turns the characters of a word into its first symbols.
class bpe::symbol_reader {
public:
    symbol_reader(const bpe& owner, std::vector<symbol>& out)
        : owner_{owner}
        , out_{out}
    {}

    void read(std::string_view word)
    {
        const options& chosen = owner_.options_;
        for (std::size_t at = 0; at < word.size();) {
            const utf8_char next = utf8_at(word, at);
            const std::size_t after = at + next.n_bytes;
            const bool has_prefix = at > 0 && !chosen.continuing_prefix().empty();
            const bool has_suffix = after == word.size() && !chosen.word_suffix().empty();
            std::string_view name = word.substr(at, next.n_bytes);
            if (has_prefix || has_suffix) {
                name_.assign(has_prefix ? chosen.continuing_prefix() : "").append(name);
                name_.append(has_suffix ? chosen.word_suffix() : "");
                name = name_;
            }
            const bool is_letter = !has_prefix && !has_suffix && next.code_point < n_letters;
            const std::int32_t id = is_letter ? owner_.id_of_letter_[next.code_point]
                                              : owner_.words_.id_of(name).value_or(-1);
            if (id >= 0) {
                flush();
                add(id, next.n_bytes);
            } else {
                add_unknown(name, next.n_bytes);
            }
            at = after;
        }
        flush();
    }

private:
    void add(token_id id, std::uint32_t n_bytes) { out_.push_back({id, n_bytes}); }

    // What is unknown waits, so that more can be joined to it.
    void flush()
    {
        if (n_unknown_bytes_ > 0) add(unknown_id_, n_unknown_bytes_);
        n_unknown_bytes_ = 0;
    }

    bool add_bytes(std::string_view name)
    {
        std::vector<token_id> ids;
        for (const char byte : name) {
            const std::optional<token_id> id = owner_.words_.id_of(byte_token(byte));
            if (!id) return false;
            ids.push_back(*id);
        }
        // As in the reference, an unknown character that waits comes after these.
        for (const token_id id : ids)
            add(id, 1);
        return true;
    }

    void add_unknown(std::string_view name, std::uint32_t n_bytes)
    {
        const options& chosen = owner_.options_;
        if (chosen.byte_fallback() && add_bytes(name)) return;
        if (!chosen.unknown()) return;  // the reference leaves it out
        const std::optional<token_id> id = owner_.words_.id_of(*chosen.unknown());
        if (!id)
            throw error{
                text_errc::bad_file,
                "the tokenizer has no token for " + support::in_quotes(name) +
                    ", and its unk_token " + support::in_quotes(*chosen.unknown()) +
                    " is not in its vocabulary"};
        if (!chosen.fuse_unknown()) flush();
        unknown_id_ = *id;
        n_unknown_bytes_ += n_bytes;
    }

    const bpe& owner_;
    std::vector<symbol>& out_;
    std::string name_;
    token_id unknown_id_{0};
    std::uint32_t n_unknown_bytes_{0};
};

bpe::bpe(vocabulary words, merge_table merges, options chosen)
    : words_{std::move(words)}
    , merges_{std::move(merges)}
    , options_{std::move(chosen)}
    , id_of_letter_(n_letters, -1)
    , whole_states_{std::make_unique<std::atomic<std::uint8_t>[]>(words_.size())}
    , cuts_at_marks_{false}
{
    for (char32_t letter = 0; letter < n_letters; ++letter)
        id_of_letter_[letter] = words_.id_of(to_utf8(letter)).value_or(-1);
    cuts_at_marks_ = keeps_words_apart();
}

// Whether no merge joins a mark to a character before it that is no mark: then what lies between
// such places does not change what becomes of the rest.
bool bpe::keeps_words_apart() const
{
    // Without an unknown token what has no token is left out, and later offsets count without it.
    if (!options_.unknown() || options_.ignore_merges() || !options_.continuing_prefix().empty() ||
        !options_.word_suffix().empty() || !words_.id_of(mark))
        return false;
    return merges_.all_of([this](token_id left, token_id right) {
        const std::string_view before = words_.token_of(left).value_or(std::string_view{});
        const std::string_view after = words_.token_of(right).value_or(std::string_view{});
        return !after.starts_with(mark) || before.ends_with(mark);
    });
}

// A few symbols, which it merges by looking at every pair for each merge.
class bpe::window {
public:
    explicit window(const merge_table& merges)
        : merges_{merges}
    {}

    // At most max_window symbols, and at least one.
    void merge(std::span<const symbol> symbols)
    {
        n_ = 0;
        for (const symbol& each : symbols)
            parts_[n_++] = {each.id, each.n_bytes, 1};
        for (std::size_t i = 0; i < n_; ++i)
            rank(i);
        for (;;) {
            const auto end = ranks_.begin() + static_cast<std::ptrdiff_t>(n_);
            const auto best = std::min_element(ranks_.begin(), end);
            if (*best == merge_table::no_rank) return;
            join(static_cast<std::size_t>(best - ranks_.begin()));
        }
    }

    std::span<const part> parts() const noexcept { return {parts_.data(), n_}; }

private:
    void rank(std::size_t at)
    {
        ranks_[at] = merge_table::no_rank;
        if (at + 1 == n_) return;
        const merge_table::merge found = merges_.find(parts_[at].id, parts_[at + 1].id);
        ranks_[at] = found.rank;
        wholes_[at] = found.whole;
    }

    void join(std::size_t at)
    {
        parts_[at].id = wholes_[at];
        parts_[at].n_bytes += parts_[at + 1].n_bytes;
        parts_[at].n_symbols += parts_[at + 1].n_symbols;
        --n_;
        for (std::size_t i = at + 1; i < n_; ++i) {
            parts_[i] = parts_[i + 1];
            ranks_[i] = ranks_[i + 1];
            wholes_[i] = wholes_[i + 1];
        }
        rank(at);
        if (at > 0) rank(at - 1);
    }

    const merge_table& merges_;
    std::size_t n_{0};
    std::array<part, max_window> parts_;
    std::array<std::uint32_t, max_window> ranks_;  // of the merge with the next part
    std::array<token_id, max_window> wholes_;      // what that merge makes
};

// Merges a long word in windows, each of which begins where the one before has become certain. That
// gives what merging the whole at once gives: parts are the result of their symbols if each is so
// alone, and each two neighbours are so together. For if some merge went across a border, the first
// such merge would have been the next one due among its two neighbours as well.
class bpe::window_merger {
public:
    window_merger(const merge_table& merges, std::span<const symbol> symbols)
        : symbols_{symbols}
        , window_{merges}
        , n_steps_left_{symbols.size() * 8 * n_window}
    {}

    // False where windows are of no use.
    bool run(std::vector<part>& out)
    {
        std::size_t at = 0;
        std::size_t end = n_window;
        std::size_t n_back = 1;
        while (at < symbols_.size()) {
            end = std::min(end, symbols_.size());
            if (!merge(at, end)) return false;
            next_.assign(window_.parts().begin(), window_.parts().end());
            if (!out.empty() && !fits(out.back(), at)) {
                if (n_steps_left_ == 0) return false;
                for (std::size_t i = 0; i < n_back && !out.empty(); ++i) {
                    at -= out.back().n_symbols;
                    out.pop_back();
                }
                n_back *= 2;
                continue;
            }
            n_back = 1;
            // What ends the window may still change with what follows.
            if (end < symbols_.size() && next_.size() > 1) {
                end -= next_.back().n_symbols;
                next_.pop_back();
            }
            out.insert(out.end(), next_.begin(), next_.end());
            at = end;
            end += n_window;
        }
        return true;
    }

private:
    bool merge(std::size_t begin, std::size_t end)
    {
        const std::size_t n = end - begin;
        const std::size_t n_steps = n * n;
        if (n > max_window || n_steps > n_steps_left_) return false;
        n_steps_left_ -= n_steps;
        window_.merge(symbols_.subspan(begin, n));
        return true;
    }

    // Whether the part that ends at `at` and the first one of the next parts stay two.
    bool fits(const part& last, std::size_t at)
    {
        if (!merge(at - last.n_symbols, at + next_.front().n_symbols)) {
            n_steps_left_ = 0;
            return false;
        }
        return window_.parts().size() == 2 && window_.parts()[0].n_symbols == last.n_symbols;
    }

    std::span<const symbol> symbols_;
    window window_;
    std::vector<part> next_;
    std::size_t n_steps_left_;
};

// Merges any word in time that is bounded by n log n.
class bpe::heap_merger {
public:
    heap_merger(const merge_table& merges, std::span<const symbol> symbols)
        : merges_{merges}
    {
        links_.reserve(symbols.size());
        for (const symbol& each : symbols) {
            const auto at = static_cast<std::int32_t>(links_.size());
            links_.push_back({{each.id, each.n_bytes, 1}, merge_table::no_rank, at - 1, at + 1});
        }
        links_.back().next = -1;
    }

    void run(std::vector<part>& out)
    {
        for (std::size_t i = 0; i < links_.size(); ++i)
            rank(i);
        while (!waiting_.empty()) {
            const auto [rank_then, at] = waiting_.top();
            waiting_.pop();
            if (links_[at].rank == rank_then) join(at);  // else the pair has changed since
        }
        for (const link& each : links_)
            if (each.made.n_symbols > 0) out.push_back(each.made);
    }

private:
    // Those that were merged into the one before have no symbols.
    struct link {
        part made;
        std::uint32_t rank;  // of the merge with the next one
        std::int32_t previous;
        std::int32_t next;
    };

    void rank(std::size_t at)
    {
        link& left = links_[at];
        left.rank = merge_table::no_rank;
        if (left.next < 0) return;
        const link& right = links_[static_cast<std::size_t>(left.next)];
        left.rank = merges_.find(left.made.id, right.made.id).rank;
        if (left.rank != merge_table::no_rank) waiting_.emplace(left.rank, at);
    }

    void join(std::size_t at)
    {
        link& left = links_[at];
        link& right = links_[static_cast<std::size_t>(left.next)];
        left.made.id = merges_.find(left.made.id, right.made.id).whole;
        left.made.n_bytes += right.made.n_bytes;
        left.made.n_symbols += right.made.n_symbols;
        left.next = right.next;
        right.made.n_symbols = 0;
        right.rank = merge_table::no_rank;
        if (left.next >= 0)
            links_[static_cast<std::size_t>(left.next)].previous = static_cast<std::int32_t>(at);
        rank(at);
        if (left.previous >= 0) rank(static_cast<std::size_t>(left.previous));
    }

    using candidate = std::pair<std::uint32_t, std::size_t>;  // rank and place
    const merge_table& merges_;
    std::vector<link> links_;
    std::priority_queue<candidate, std::vector<candidate>, std::greater<>> waiting_;
};

void bpe::merge(const std::vector<symbol>& symbols, std::vector<part>& out) const
{
    if (symbols.empty()) return;
    if (symbols.size() <= n_window) {
        window all{merges_};
        all.merge(symbols);
        out.assign(all.parts().begin(), all.parts().end());
        return;
    }
    if (window_merger{merges_, symbols}.run(out)) return;
    out.clear();
    heap_merger{merges_, symbols}.run(out);
}

void bpe::tokenize(std::string_view text, std::size_t base, token_list& out) const
{
    std::size_t begin = 0;
    std::size_t at = cuts_at_marks_ ? text.find(mark) : std::string_view::npos;
    for (; at != std::string_view::npos; at = text.find(mark, at + mark.size())) {
        if (at == 0 || text.substr(0, at).ends_with(mark)) continue;
        add_word(text.substr(begin, at - begin), base + begin, out);
        begin = at;
    }
    add_word(text.substr(begin), base + begin, out);
}

void bpe::add_word(std::string_view text, std::size_t base, token_list& out) const
{
    const std::optional<std::size_t> index = words_.index_of(text);
    std::uint8_t state = not_known;
    if (index) {
        state = options_.ignore_merges() ? std::uint8_t{is_whole}
                                         : whole_states_[*index].load(std::memory_order_relaxed);
        if (state == is_whole) {
            out.add(words_.id_at(*index), base, base + text.size());
            return;
        }
    }
    std::vector<symbol> symbols;
    symbols.reserve(text.size());
    symbol_reader{*this, symbols}.read(text);
    std::vector<part> parts;
    merge(symbols, parts);
    std::size_t begin = 0;
    std::size_t n_tokens = 0;
    for (const part& each : parts) {
        // Characters that have no token at all are missing from the count of bytes.
        const std::size_t end = begin + each.n_bytes;
        out.add(
            each.id, base + std::min(begin, text.size() - 1), base + std::min(end, text.size()));
        begin = end;
        ++n_tokens;
    }
    if (index && state == not_known) {
        const bool whole = n_tokens == 1 && out.ids().back() == words_.id_at(*index);
        whole_states_[*index].store(whole ? is_whole : is_parts, std::memory_order_relaxed);
    }
}

}  // namespace modelpool::text

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
// Up to here looking at every pair for each merge costs less than a heap.
constexpr std::size_t max_short = 48;
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
    void add(token_id id, std::uint32_t n_bytes)
    {
        const auto at = static_cast<std::int32_t>(out_.size());
        if (!out_.empty()) out_.back().next = at;
        out_.push_back({id, n_bytes, merge_table::no_rank, at - 1, -1});
    }

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

std::uint32_t bpe::rank_of(const std::vector<symbol>& symbols, std::size_t at) const
{
    if (symbols[at].next < 0) return merge_table::no_rank;
    return merges_.find(symbols[at].id, symbols[static_cast<std::size_t>(symbols[at].next)].id)
        .rank;
}

// Joins the symbol to the next one, and ranks the pairs that are new.
void bpe::merge_at(std::vector<symbol>& symbols, std::size_t at) const
{
    symbol& left = symbols[at];
    symbol& right = symbols[static_cast<std::size_t>(left.next)];
    left.id = merges_.find(left.id, right.id).whole;
    left.n_bytes += right.n_bytes;
    left.next = right.next;
    right.n_bytes = 0;
    right.rank = merge_table::no_rank;
    if (left.next >= 0)
        symbols[static_cast<std::size_t>(left.next)].previous = static_cast<std::int32_t>(at);
    left.rank = rank_of(symbols, at);
    if (left.previous >= 0) {
        const auto before = static_cast<std::size_t>(left.previous);
        symbols[before].rank = rank_of(symbols, before);
    }
}

void bpe::merge_short(std::vector<symbol>& symbols) const
{
    for (;;) {
        std::size_t best = 0;
        for (std::size_t i = 1; i < symbols.size(); ++i)
            if (symbols[i].rank < symbols[best].rank) best = i;
        if (symbols[best].rank == merge_table::no_rank) return;
        merge_at(symbols, best);
    }
}

void bpe::merge_long(std::vector<symbol>& symbols) const
{
    using candidate = std::pair<std::uint32_t, std::size_t>;  // rank and place
    std::priority_queue<candidate, std::vector<candidate>, std::greater<>> waiting;
    const auto push = [&](std::size_t at) {
        if (symbols[at].rank != merge_table::no_rank) waiting.emplace(symbols[at].rank, at);
    };
    for (std::size_t i = 0; i < symbols.size(); ++i)
        push(i);
    while (!waiting.empty()) {
        const auto [rank, at] = waiting.top();
        waiting.pop();
        if (symbols[at].rank != rank) continue;  // the pair has changed since
        merge_at(symbols, at);
        push(at);
        if (symbols[at].previous >= 0) push(static_cast<std::size_t>(symbols[at].previous));
    }
}

void bpe::merge_all(std::string_view text, std::vector<symbol>& symbols) const
{
    symbol_reader{*this, symbols}.read(text);
    if (symbols.empty()) return;
    for (std::size_t i = 0; i < symbols.size(); ++i)
        symbols[i].rank = rank_of(symbols, i);
    if (symbols.size() <= max_short)
        merge_short(symbols);
    else
        merge_long(symbols);
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
    merge_all(text, symbols);
    std::size_t begin = 0;
    std::size_t n_tokens = 0;
    for (const symbol& each : symbols) {
        if (each.n_bytes == 0) continue;
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

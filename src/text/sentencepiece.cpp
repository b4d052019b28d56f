// SentencePiece's two algorithms.
// Source: https://github.com/google/sentencepiece, src/bpe_model.cc, src/unigram_model.cc,
// src/sentencepiece_processor.cc (what becomes of unknown pieces)

#include "text/sentencepiece.hpp"

#include <algorithm>
#include <limits>
#include <queue>
#include <stdexcept>
#include <unordered_map>
#include <utility>

#include "support/printable.hpp"
#include "text/byte_level.hpp"
#include "text/utf8.hpp"

namespace modelpool::text {
namespace {

// What an unknown character costs beyond the worst piece.
constexpr float unknown_penalty = 10.0F;

}  // namespace

piece_model::piece_model(const sentencepiece_vocabulary& words)
    : pieces_{words.pieces}
    , byte_fallback_{words.byte_fallback}
{
    if (pieces_.size() >= static_cast<std::size_t>(std::numeric_limits<token_id>::max()))
        throw std::invalid_argument{"has more pieces than ids can count"};
    std::optional<token_id> unknown_id;
    vocabulary::builder matched;
    vocabulary::builder reserved;
    for (std::size_t i = 0; i < pieces_.size(); ++i) {
        const sentencepiece_vocabulary::piece& each = pieces_[i];
        const auto id = static_cast<token_id>(i);
        const bool is_matched = each.type == kind::normal || each.type == kind::user_defined ||
                                each.type == kind::unused;
        (is_matched ? matched : reserved).set(each.text, id);
        has_unused_ = has_unused_ || each.type == kind::unused;
        if (each.type == kind::unknown && !unknown_id) unknown_id = id;
    }
    matched_ = matched.finish();
    reserved_ = reserved.finish();
    if (!unknown_id) throw std::invalid_argument{"has no unknown piece"};
    unknown_ = *unknown_id;
    if (!byte_fallback_) return;
    for (unsigned byte = 0; byte < byte_ids_.size(); ++byte) {
        const std::string name = byte_token(static_cast<char>(byte));
        const std::optional<token_id> id = reserved_.id_of(name);
        if (!id || type(*id) != kind::byte)
            throw std::invalid_argument{
                "falls back to bytes, but lacks the piece " + support::in_quotes(name)};
        byte_ids_[byte] = *id;
    }
}

std::optional<token_id> piece_model::id_of(std::string_view token) const
{
    if (const std::optional<token_id> found = reserved_.id_of(token)) return found;
    return matched_.id_of(token);
}

std::optional<std::string_view> piece_model::token_of(token_id id) const
{
    if (id < 0 || static_cast<std::size_t>(id) >= pieces_.size()) return std::nullopt;
    return pieces_[static_cast<std::size_t>(id)].text;
}

std::string piece_model::shown(token_id id, std::string_view text) const
{
    return id == unknown_ ? std::string{text} : model::shown(id, text);
}

class piece_model::writer {
public:
    writer(const piece_model& owner, std::string_view text, std::size_t base, token_list& out)
        : owner_{owner}
        , text_{text}
        , base_{base}
        , out_{out}
    {}

    void add(std::size_t begin, std::size_t end, token_id id)
    {
        const bool is_unknown = id == owner_.unknown_;
        if (is_unknown && owner_.byte_fallback_) {
            for (const char byte : text_.substr(begin, end - begin))
                out_.add(
                    owner_.byte_ids_[static_cast<unsigned char>(byte)], base_ + begin, base_ + end);
        } else if (is_unknown && was_unknown_) {
            out_.shrink(out_.size() - 1);
            out_.add(id, base_ + unknown_begin_, base_ + end);
        } else {
            if (is_unknown) unknown_begin_ = begin;
            out_.add(id, base_ + begin, base_ + end);
        }
        was_unknown_ = is_unknown;
    }

private:
    const piece_model& owner_;
    std::string_view text_;
    std::size_t base_;
    token_list& out_;
    std::size_t unknown_begin_{0};
    bool was_unknown_{false};
};

piece_bpe::piece_bpe(const sentencepiece_vocabulary& words)
    : piece_model{words}
    , user_{words}
{}

// The pieces of one text in the making.
class piece_bpe::run {
public:
    run(const piece_bpe& owner, std::string_view text)
        : owner_{owner}
        , text_{text}
    {}

    void merge()
    {
        split();
        for (std::size_t i = 1; i < symbols_.size(); ++i)
            offer(static_cast<std::int32_t>(i) - 1, static_cast<std::int32_t>(i));
        while (!open_.empty()) {
            const candidate best = open_.top();
            open_.pop();
            symbol& left = at(best.left);
            symbol& right = at(best.right);
            // One of the two may have been joined to another meanwhile.
            if (left.n_bytes == 0 || right.n_bytes == 0 ||
                left.n_bytes + right.n_bytes != best.n_bytes)
                continue;
            left.n_bytes = best.n_bytes;
            left.next = right.next;
            if (right.next >= 0) at(right.next).previous = best.left;
            right.n_bytes = 0;
            if (left.previous >= 0) offer(left.previous, best.left);
            if (left.next >= 0) offer(best.left, left.next);
        }
    }

    void write(writer& out) const
    {
        for (const symbol& each : symbols_)
            if (each.n_bytes > 0) write(each.begin, each.n_bytes, out);
    }

private:
    struct symbol {
        std::uint32_t begin;
        std::uint32_t n_bytes;  // 0: joined to one before
        std::int32_t previous;
        std::int32_t next;
        bool is_frozen;
    };
    struct candidate {
        float score;
        std::int32_t left;
        std::int32_t right;
        std::uint32_t n_bytes;

        bool operator<(const candidate& other) const
        {
            return score < other.score || (score == other.score && left > other.left);
        }
    };

    symbol& at(std::int32_t index) { return symbols_[static_cast<std::size_t>(index)]; }

    void split()
    {
        for (std::size_t begin = 0; begin < text_.size();) {
            const std::size_t n_user = owner_.user_.match(text_.substr(begin));
            const std::size_t n_bytes = n_user > 0 ? n_user : utf8_at(text_, begin).n_bytes;
            const auto index = static_cast<std::int32_t>(symbols_.size());
            const bool is_last = begin + n_bytes == text_.size();
            symbols_.push_back(
                {static_cast<std::uint32_t>(begin),
                 static_cast<std::uint32_t>(n_bytes),
                 index - 1,
                 is_last ? -1 : index + 1,
                 n_user > 0});
            begin += n_bytes;
        }
    }

    void offer(std::int32_t left, std::int32_t right)
    {
        const symbol& first = at(left);
        const symbol& second = at(right);
        if (first.is_frozen || second.is_frozen) return;
        const std::string_view whole = text_.substr(first.begin, first.n_bytes + second.n_bytes);
        const std::optional<token_id> id = owner_.matched().id_of(whole);
        if (!id) return;
        open_.push({owner_.score(*id), left, right, first.n_bytes + second.n_bytes});
        if (owner_.type(*id) == kind::unused) n_left_bytes_[whole] = first.n_bytes;
    }

    // A piece that is not used falls apart into the two it was made of.
    void write(std::size_t begin, std::size_t n_bytes, writer& out) const
    {
        std::vector<std::pair<std::size_t, std::size_t>> open{{begin, n_bytes}};
        while (!open.empty()) {
            const auto [from, length] = open.back();
            open.pop_back();
            const std::string_view part = text_.substr(from, length);
            const token_id id = owner_.id_of(part).value_or(owner_.unknown());
            if (owner_.type(id) == kind::unused) {
                if (const auto found = n_left_bytes_.find(part); found != n_left_bytes_.end()) {
                    open.emplace_back(from + found->second, length - found->second);
                    open.emplace_back(from, found->second);
                    continue;
                }
            }
            out.add(from, from + length, id);
        }
    }

    const piece_bpe& owner_;
    std::string_view text_;
    std::vector<symbol> symbols_;
    std::priority_queue<candidate> open_;
    std::unordered_map<std::string_view, std::size_t> n_left_bytes_;
};

void piece_bpe::tokenize(std::string_view text, std::size_t base, token_list& out) const
{
    run joined{*this, text};
    joined.merge();
    writer to{*this, text, base, out};
    joined.write(to);
}

piece_unigram::piece_unigram(const sentencepiece_vocabulary& words)
    : piece_model{words}
    , lowest_{std::numeric_limits<float>::max()}
    // The reference begins here too, so that without a positive score the bonus is that of nothing.
    , highest_{std::numeric_limits<float>::min()}
{
    std::vector<byte_trie::entry> entries;
    for (std::size_t i = 0; i < matched().size(); ++i)
        entries.emplace_back(matched().token_at(i), matched().id_at(i));
    trie_ = byte_trie{std::move(entries)};
    for (const sentencepiece_vocabulary::piece& each : words.pieces) {
        if (each.type != kind::normal) continue;
        lowest_ = std::min(lowest_, each.score);
        highest_ = std::max(highest_, each.score);
    }
}

std::vector<piece_unigram::step> piece_unigram::find_best(std::string_view text) const
{
    std::vector<step> best(text.size() + 1);
    const auto offer = [&best](std::size_t begin, std::size_t end, double score, token_id id) {
        step& held = best[end];
        if (held.begin >= 0 && score <= static_cast<double>(held.score)) return;
        held = {static_cast<float>(score), static_cast<std::int32_t>(begin), id};
    };
    const float unknown_score = lowest_ - unknown_penalty;
    for (std::size_t begin = 0; begin < text.size();) {
        const float so_far = best[begin].score;
        const std::size_t n_char_bytes = utf8_at(text, begin).n_bytes;
        bool is_covered = false;
        std::uint32_t node = byte_trie::root;
        for (std::size_t at = begin; at < text.size(); ++at) {
            node = trie_.child(node, text[at]);
            if (node == byte_trie::no_node) break;
            const token_id id = trie_.value(node);
            if (id == byte_trie::no_value || type(id) == kind::unused) continue;
            const std::size_t length = at + 1 - begin;
            // The reference adds in double precision and keeps the sum in single.
            const double gain =
                type(id) == kind::user_defined
                    ? static_cast<double>(static_cast<float>(length) * highest_) - 0.1
                    : static_cast<double>(score(id));
            const double total = gain + static_cast<double>(so_far);
            offer(begin, at + 1, total, id);
            is_covered = is_covered || length == n_char_bytes;
        }
        if (!is_covered)
            offer(
                begin,
                begin + n_char_bytes,
                static_cast<double>(unknown_score + so_far),
                unknown());
        begin += n_char_bytes;
    }
    return best;
}

void piece_unigram::tokenize(std::string_view text, std::size_t base, token_list& out) const
{
    const std::vector<step> best = find_best(text);
    std::vector<std::size_t> ends;  // from the last
    for (std::size_t end = text.size(); end > 0; end = static_cast<std::size_t>(best[end].begin))
        ends.push_back(end);
    writer to{*this, text, base, out};
    for (auto end = ends.rbegin(); end != ends.rend(); ++end)
        to.add(static_cast<std::size_t>(best[*end].begin), *end, best[*end].id);
}

std::unique_ptr<const model> sentencepiece_vocabulary::make_model() const
{
    if (how == algorithm::bpe) return std::make_unique<piece_bpe>(*this);
    return std::make_unique<piece_unigram>(*this);
}

}  // namespace modelpool::text

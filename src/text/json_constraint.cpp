#include <modelpool/error.hpp>
#include <modelpool/text/json_constraint.hpp>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "text/json_matcher.hpp"
#include "text/json_schema.hpp"
#include "text/token_trie.hpp"

namespace modelpool::text {
namespace {

using mask = std::vector<std::uint64_t>;
using state_id = json_matcher::state_id;

// Tokens above this length stand in a trie of their own: they are few, and the limits of strings
// and arrays concern them from farther away.
constexpr std::size_t max_short_bytes = 24;
// Longer ones are never part of a constrained text.
constexpr std::size_t max_token_bytes = 1024;
// Of a mask's making, in places looked at: beyond, the schema costs more than an answer may.
constexpr std::uint64_t max_work = 50'000'000;
constexpr std::size_t max_kept_bytes = std::size_t{24} << 20U;
// A state of more places than this is walked as a whole, not place by place.
constexpr std::size_t max_separate_places = 8;

constexpr std::string_view thoughts_begin = "<think>";
constexpr std::string_view thoughts_end = "</think>";

void set_bit(mask& in, std::int32_t id)
{
    in[static_cast<std::size_t>(id) / 64] |= std::uint64_t{1}
                                             << (static_cast<std::size_t>(id) % 64);
}

bool has_bit(const mask& in, std::int32_t id)
{
    return ((in[static_cast<std::size_t>(id) / 64] >> (static_cast<std::size_t>(id) % 64)) & 1U) !=
           0;
}

}  // namespace

// --- grammars ------------------------------------------------------------------------------------

json_grammar::json_grammar(std::shared_ptr<const json_grammar_graph> graph)
    : graph_{std::move(graph)}
{}

json_grammar json_grammar::from_schema(std::string_view schema)
{
    return json_grammar{std::make_shared<const json_grammar_graph>(compile_json_schema(schema))};
}

bool json_grammar::accepts(std::string_view text) const
{
    json_matcher matcher{graph_};
    return matcher.complete(matcher.walk(matcher.start(), text));
}

bool json_grammar::begins(std::string_view text) const
{
    json_matcher matcher{graph_};
    return matcher.walk(matcher.start(), text) != json_matcher::dead;
}

// --- tokens --------------------------------------------------------------------------------------

class token_table::impl {
public:
    impl(
        std::size_t vocab_size,
        const std::function<std::string(std::int32_t)>& piece,
        std::vector<std::int32_t> ends)
        : ends_{std::move(ends)}
    {
        begins_.reserve(vocab_size + 1);
        for (std::size_t id = 0; id < vocab_size; ++id) {
            begins_.push_back(bytes_.size());
            const auto token = static_cast<std::int32_t>(id);
            if (std::ranges::find(ends_, token) == ends_.end()) bytes_ += piece(token);
        }
        begins_.push_back(bytes_.size());
        std::array<std::vector<std::pair<std::string_view, std::int32_t>>, 2> parts;
        for (std::size_t id = 0; id < vocab_size; ++id) {
            const auto token = static_cast<std::int32_t>(id);
            const std::string_view text = bytes(token);
            if (!text.empty() && text.size() <= max_token_bytes)
                parts[text.size() > max_short_bytes ? 1 : 0].emplace_back(text, token);
        }
        for (auto& part : parts)
            tries_.emplace_back(std::move(part));
    }

    std::size_t vocab_size() const noexcept { return begins_.size() - 1; }
    std::string_view bytes(std::int32_t id) const
    {
        const auto at = static_cast<std::size_t>(id);
        return std::string_view{bytes_}.substr(begins_[at], begins_[at + 1] - begins_[at]);
    }
    const std::vector<std::int32_t>& ends() const noexcept { return ends_; }
    const std::vector<token_trie>& tries() const noexcept { return tries_; }

private:
    std::vector<std::int32_t> ends_;
    std::string bytes_;
    std::vector<std::size_t> begins_;
    std::vector<token_trie> tries_;
};

token_table::token_table(
    std::size_t vocab_size,
    const std::function<std::string(std::int32_t)>& piece,
    std::vector<std::int32_t> ends)
    : self_{std::make_unique<const impl>(vocab_size, piece, std::move(ends))}
{}

token_table::~token_table() = default;

std::size_t token_table::vocab_size() const noexcept
{
    return self_->vocab_size();
}

std::string_view token_table::bytes(std::int32_t id) const
{
    return self_->bytes(id);
}

std::span<const std::int32_t> token_table::ends() const noexcept
{
    return self_->ends();
}

// --- masks ---------------------------------------------------------------------------------------

// The tokens that may come in a state are those that may come in any of its places. Which ones stay
// within the rule of a place, or end it in mid-token, does not depend on who called the rule: that
// is found once for a place and kept; only the rest of tokens that end the rule is looked at for
// each state.
class json_token_masks::impl {
public:
    impl(std::shared_ptr<const json_grammar_graph> graph, std::shared_ptr<const token_table> tokens)
        : tokens_{std::move(tokens)}
        , table_{*tokens_->self_}
        , matcher_{std::move(graph)}
        , n_words_{(table_.vocab_size() + 63) / 64}
    {}

    json_matcher& matcher() noexcept { return matcher_; }
    const token_table::impl& table() const noexcept { return table_; }
    std::size_t n_words() const noexcept { return n_words_; }

    /// A constraint's state keeps its meaning, whatever is forgotten, while it is known here.
    void enter(state_id& state) { states_.push_back(&state); }
    void leave(state_id& state) { std::erase(states_, &state); }

    state_id advance(state_id from, std::string_view bytes)
    {
        for (const char byte : bytes) {
            if (from == json_matcher::dead) break;
            path_.assign(1, from);
            make_room();
            from = matcher_.next(path_.front(), static_cast<std::uint8_t>(byte));
        }
        return from;
    }

    /// The mask of a state that was entered. Valid until the next call.
    const mask& of(state_id& state)
    {
        path_.clear();
        make_room();
        forget_masks();
        const auto found = masks_.find(state);
        if (found != masks_.end()) return found->second;
        if (kept_bytes() > max_kept_bytes) {
            masks_.clear();
            parts_.clear();
            parts_bytes_ = 0;
        }
        work_limit_ = matcher_.work() + max_work;
        made_.assign(n_words_, 0);
        make(state);
        for (const token_trie& trie : table_.tries())
            for (const auto& [first, other] : trie.same())
                if (has_bit(made_, first)) set_bit(made_, other);
        if (matcher_.complete(state))
            for (const std::int32_t end : table_.ends())
                set_bit(made_, end);
        forget_masks();
        return masks_.insert_or_assign(state, made_).first->second;
    }

    /// All tokens but those that end a text.
    const mask& of_thoughts()
    {
        if (thoughts_.empty()) {
            thoughts_.assign(n_words_, 0);
            for (std::size_t id = 0; id < table_.vocab_size(); ++id)
                if (!table_.bytes(static_cast<std::int32_t>(id)).empty())
                    set_bit(thoughts_, static_cast<std::int32_t>(id));
        }
        return thoughts_;
    }

private:
    // What is known of a place whatever called its rule.
    struct part {
        std::vector<std::int32_t> tokens;  // where they are few
        mask many;
        std::vector<std::uint32_t> ends;  // nodes of the trie behind whose bytes the rule ends
    };
    // A trie, a node of the grammar, and its count as far as that matters.
    using part_key = std::tuple<std::size_t, node_id, std::uint32_t>;

    std::size_t kept_bytes() const noexcept
    {
        return masks_.size() * n_words_ * sizeof(std::uint64_t) + parts_bytes_;
    }

    // States get new numbers where there are too many: those of constraints, of the walk, and one
    // that is held.
    void make_room()
    {
        if (!matcher_.crowded()) return;
        const std::size_t n_path = path_.size();
        path_.push_back(held_);
        for (const state_id* const state : states_)
            path_.push_back(*state);
        matcher_.forget_but(path_);
        held_ = path_[n_path];
        for (std::size_t i = 0; i < states_.size(); ++i)
            *states_[i] = path_[n_path + 1 + i];
        path_.resize(n_path);
    }

    void forget_masks()
    {
        if (generation_ == matcher_.generation()) return;
        generation_ = matcher_.generation();
        masks_.clear();
    }

    void check_work() const
    {
        if (matcher_.work() > work_limit_)
            throw error{
                errc::unsupported,
                "the JSON schema takes too long: it leaves too many ways open at once"};
    }

    void make(const state_id& state)
    {
        // Where states were forgotten, the places of this one may have another order.
        std::uint64_t begun_in = 0;
        do {
            begun_in = matcher_.generation();
            check_work();
            const std::size_t n_places = matcher_.places(state).size();
            for (std::size_t i = 0; i < table_.tries().size(); ++i) {
                const token_trie& trie = table_.tries()[i];
                if (n_places > max_separate_places) {
                    walk(trie, 0, trie.nodes().size(), state, [&](auto, const auto& node, auto) {
                        if (node.token >= 0) set_bit(made_, node.token);
                    });
                    continue;
                }
                for (std::size_t place = 0; place < n_places; ++place)
                    if (begun_in == matcher_.generation()) add_place(i, state, place);
            }
        } while (begun_in != matcher_.generation());
    }

    // The nodes [first, last) of a trie, all below one node, from the state there; `visit` gets
    // those that are reached and the states there.
    template <class Visit>
    void
    walk(const token_trie& trie, std::size_t first, std::size_t last, state_id from, Visit visit)
    {
        if (first >= last) return;
        const std::size_t above = trie.nodes()[first].depth - 1U;
        path_.assign(1, from);
        for (std::size_t i = first; i < last;) {
            const token_trie::node& node = trie.nodes()[i];
            path_.resize(node.depth - above);
            if (matcher_.crowded()) {
                make_room();
                check_work();
            }
            const state_id next = matcher_.next(path_.back(), node.byte);
            if (next == json_matcher::dead) {
                i = node.end;
                continue;
            }
            visit(i, node, next);
            path_.push_back(next);
            ++i;
        }
        path_.clear();
        check_work();
    }

    // Counts far from their limits are all alike to tokens that cannot reach these.
    std::uint32_t count_that_matters(const grammar_place& place, std::size_t reach) const
    {
        const grammar_count& limits = matcher_.graph().rule_of(place.node).count;
        if (place.count < limits.least) return limits.least - place.count > reach ? 0 : place.count;
        if (limits.most == grammar_count::any || limits.most - place.count > reach)
            return limits.least;
        return place.count;
    }

    void add_place(std::size_t index, const state_id& state, std::size_t number)
    {
        const token_trie& trie = table_.tries()[index];
        const grammar_place place = matcher_.places(state)[number];
        const part_key key{index, place.node, count_that_matters(place, trie.height())};
        auto found = parts_.find(key);
        if (found == parts_.end()) {
            const std::uint64_t before = matcher_.generation();
            found = parts_.emplace(key, part_of(trie, place, std::get<2>(key))).first;
            const part& made = found->second;
            parts_bytes_ += 64 + 4 * (made.tokens.size() + made.ends.size()) + 8 * made.many.size();
            if (before != matcher_.generation()) return;
        }
        const part& known = found->second;
        for (const std::int32_t token : known.tokens)
            set_bit(made_, token);
        for (std::size_t i = 0; i < known.many.size(); ++i)
            made_[i] |= known.many[i];
        if (known.ends.empty()) return;
        held_ = matcher_.after_call(place.calls);
        for (const std::uint32_t end : known.ends) {
            if (held_ == json_matcher::dead) break;
            walk(trie, end + 1U, trie.nodes()[end].end, held_, [&](auto, const auto& node, auto) {
                if (node.token >= 0) set_bit(made_, node.token);
            });
        }
        held_ = json_matcher::dead;
    }

    part part_of(const token_trie& trie, const grammar_place& place, std::uint32_t count)
    {
        part made;
        mask all(n_words_, 0);
        std::size_t n_tokens = 0;
        const state_id from = matcher_.state_of({place.node, count, json_matcher::unknown_caller});
        walk(
            trie,
            0,
            trie.nodes().size(),
            from,
            [&](std::size_t i, const token_trie::node& node, state_id next) {
                if (node.token >= 0) {
                    set_bit(all, node.token);
                    if (++n_tokens <= max_few) made.tokens.push_back(node.token);
                }
                if (matcher_.returns(next) && node.end > i + 1)
                    made.ends.push_back(static_cast<std::uint32_t>(i));
            });
        if (n_tokens > max_few) {
            made.tokens.clear();
            made.many = std::move(all);
        }
        made.tokens.shrink_to_fit();
        return made;
    }

    static constexpr std::size_t max_few = 512;

    std::shared_ptr<const token_table> tokens_;
    const token_table::impl& table_;
    json_matcher matcher_;
    std::size_t n_words_;
    std::uint64_t generation_{0};
    std::uint64_t work_limit_{0};
    mask made_;
    mask thoughts_;
    std::vector<state_id*> states_;  // of constraints
    std::vector<state_id> path_;     // of the walk
    state_id held_{json_matcher::dead};
    std::unordered_map<state_id, mask> masks_;
    std::map<part_key, part> parts_;
    std::size_t parts_bytes_{0};
};

json_token_masks::json_token_masks(
    const json_grammar& grammar, std::shared_ptr<const token_table> tokens)
    : self_{std::make_unique<impl>(grammar.graph_, std::move(tokens))}
{}

json_token_masks::~json_token_masks() = default;

// --- constraints ---------------------------------------------------------------------------------

class json_constraint::impl {
public:
    impl(std::shared_ptr<json_token_masks> masks, constraint_start start)
        : owner_{std::move(masks)}
        , masks_{*owner_->self_}
        , state_{masks_.matcher().start()}
    {
        masks_.enter(state_);
        if (start == constraint_start::after_thoughts) phase_ = phase::thoughts;
        if (start != constraint_start::thoughts_if_begun) return;
        const token_table::impl& table = masks_.table();
        for (std::size_t id = 0; id < table.vocab_size() && !opening_; ++id)
            if (table.bytes(static_cast<std::int32_t>(id)) == thoughts_begin)
                opening_ = static_cast<std::int32_t>(id);
    }
    ~impl() { masks_.leave(state_); }
    impl(const impl&) = delete;
    impl& operator=(const impl&) = delete;
    impl(impl&&) = delete;
    impl& operator=(impl&&) = delete;

    std::span<const std::uint64_t> allowed()
    {
        switch (phase_) {
        case phase::thoughts:
            return masks_.of_thoughts();
        case phase::broken:
            throw error{
                errc::invalid_argument,
                "the answer was made to hold token " + std::to_string(breaking_) +
                    ", which the JSON schema bars there"};
        case phase::ended:
            mask_.assign(masks_.n_words(), 0);
            for (const std::int32_t end : masks_.table().ends())
                set_bit(mask_, end);
            return mask_;
        case phase::text:
            break;
        }
        const mask& made = masks_.of(state_);
        if (!opening_) return made;
        mask_ = made;
        set_bit(mask_, *opening_);
        return mask_;
    }

    void accept(std::int32_t token)
    {
        const bool opens = opening_ == token;
        opening_.reset();
        const token_table::impl& table = masks_.table();
        const auto& ends = table.ends();
        const bool is_end = std::ranges::find(ends, token) != ends.end();
        if (opens) {
            phase_ = phase::thoughts;
        } else if (phase_ == phase::thoughts && !is_end) {
            think(table.bytes(token), token);
        } else if (phase_ == phase::text && !is_end) {
            go_on(table.bytes(token), token);
        } else if (phase_ == phase::text && masks_.matcher().complete(state_)) {
            phase_ = phase::ended;
        } else if (phase_ != phase::broken) {
            break_at(token);
        }
    }

private:
    enum class phase { text = 1, thoughts, ended, broken };

    void break_at(std::int32_t token)
    {
        phase_ = phase::broken;
        breaking_ = token;
    }

    void go_on(std::string_view bytes, std::int32_t token)
    {
        const state_id next = masks_.advance(state_, bytes);
        if (next == json_matcher::dead || bytes.empty())
            break_at(token);
        else
            state_ = next;
    }

    void think(std::string_view bytes, std::int32_t token)
    {
        tail_ += bytes;
        const std::size_t end = tail_.find(thoughts_end);
        if (end == std::string::npos) {
            tail_.erase(0, tail_.size() - std::min(tail_.size(), thoughts_end.size() - 1));
            return;
        }
        phase_ = phase::text;
        const std::string rest = tail_.substr(end + thoughts_end.size());
        if (!rest.empty()) go_on(rest, token);
    }

    std::shared_ptr<json_token_masks> owner_;
    json_token_masks::impl& masks_;
    state_id state_;
    phase phase_{phase::text};
    std::optional<std::int32_t> opening_;
    std::string tail_;
    std::int32_t breaking_{0};
    mask mask_;
};

json_constraint::json_constraint(std::shared_ptr<json_token_masks> masks, constraint_start start)
    : self_{std::make_unique<impl>(std::move(masks), start)}
{}

json_constraint::~json_constraint() = default;

std::span<const std::uint64_t> json_constraint::allowed()
{
    return self_->allowed();
}

void json_constraint::accept(std::int32_t token)
{
    self_->accept(token);
}

}  // namespace modelpool::text

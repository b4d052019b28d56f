#include "text/json_matcher.hpp"

#include <modelpool/error.hpp>

#include <algorithm>
#include <string>
#include <tuple>
#include <utility>

namespace modelpool::text {
namespace {

std::uint64_t mixed(std::uint64_t seed, std::uint64_t value) noexcept
{
    // The finalizer of splitmix64, https://prng.di.unimi.it/splitmix64.c
    value += seed * 0x9E3779B97F4A7C15U + 0x9E3779B97F4A7C15U;
    value = (value ^ (value >> 30U)) * 0xBF58476D1CE4E5B9U;
    value = (value ^ (value >> 27U)) * 0x94D049BB133111EBU;
    return value ^ (value >> 31U);
}

std::uint64_t
hash_of(std::uint64_t seed, std::uint32_t a, std::uint32_t b, std::uint32_t c) noexcept
{
    return mixed(mixed(seed, (std::uint64_t{a} << 32U) | b), c);
}

}  // namespace

json_matcher::json_matcher(std::shared_ptr<const json_grammar_graph> graph)
    : graph_{std::move(graph)}
    , n_classes_{graph_->n_classes()}
{
    reset();
}

void json_matcher::reset()
{
    frames_.assign(2, frame{});
    frame_ids_.clear();
    states_.assign(1, state{});
    places_.clear();
    steps_.assign(n_classes_, dead);
    state_ids_.clear();
}

json_matcher::state_id json_matcher::start()
{
    open_.clear();
    open_ids_.clear();
    const json_grammar_graph::rule& root = graph_->at(graph_->root());
    open({root.start, 0, bottom});
    bool complete = false;
    bool returns = false;
    close(complete, returns);
    return intern(complete, returns);
}

json_matcher::state_id json_matcher::walk(state_id from, std::string_view bytes)
{
    for (const char byte : bytes) {
        if (from == dead) break;
        if (crowded()) forget_but({&from, 1});
        from = next(from, static_cast<std::uint8_t>(byte));
    }
    return from;
}

json_matcher::state_id json_matcher::state_of(const grammar_place& place)
{
    kept_.assign(1, place);
    return intern(false, false);
}

json_matcher::state_id json_matcher::after_call(std::uint32_t id)
{
    if (id <= unknown_caller) return dead;
    open_.clear();
    open_ids_.clear();
    const frame top = frames_[id];
    open({top.node, top.count, top.calls});
    bool complete = false;
    bool returns = false;
    close(complete, returns);
    return intern(complete, returns);
}

json_matcher::state_id json_matcher::make_step(state_id from, std::uint8_t byte)
{
    open_.clear();
    open_ids_.clear();
    const state source = states_[from];
    for (std::uint32_t i = 0; i < source.n; ++i) {
        const grammar_place place = places_[source.first + i];
        for (const grammar_edge& edge : graph_->edges(place.node)) {
            ++work_;
            if (edge.kind != edge_kind::bytes || byte < edge.first || byte > edge.last) continue;
            std::uint32_t count = place.count;
            if (take_edge(place, edge, count)) open({edge.target, count, place.calls});
        }
    }
    bool complete = false;
    bool returns = false;
    close(complete, returns);
    const state_id made = intern(complete, returns);
    steps_[from * n_classes_ + graph_->class_of(byte)] = made;
    return made;
}

bool json_matcher::take_edge(
    const grammar_place& from, const grammar_edge& edge, std::uint32_t& count) const
{
    if (!edge.needs_room && !edge.needs_enough && !edge.counts) return true;
    const grammar_count& limits = graph_->rule_of(from.node).count;
    if (edge.needs_room && count >= limits.most) return false;
    if (edge.needs_enough && count < limits.least) return false;
    // Without a most, counts beyond the least are all alike.
    if (edge.counts && (limits.most != grammar_count::any || count < limits.least)) ++count;
    return true;
}

// One more place to be looked at, where it is new.
void json_matcher::open(const grammar_place& place)
{
    const std::uint64_t hash = hash_of(1, place.node, place.count, place.calls);
    const auto [begin, end] = open_ids_.equal_range(hash);
    for (auto each = begin; each != end; ++each)
        if (open_[each->second] == place) return;
    if (open_.size() >= max_places)
        throw error{
            errc::unsupported,
            "the JSON schema leaves more than " + std::to_string(max_places) +
                " ways open at once: give its alternatives different beginnings"};
    open_ids_.emplace(hash, static_cast<std::uint32_t>(open_.size()));
    open_.push_back(place);
}

void json_matcher::follow(const grammar_place& from, const grammar_edge& edge)
{
    std::uint32_t count = from.count;
    if (edge.kind == edge_kind::bytes || !take_edge(from, edge, count)) return;
    if (edge.kind == edge_kind::none) {
        open({edge.target, count, from.calls});
        return;
    }
    const std::uint32_t calls = push({edge.target, count, from.calls});
    open({graph_->at(edge.callee).start, 0, calls});
}

// Follows calls and returns from the open places, and keeps those with bytes to come.
void json_matcher::close(bool& complete, bool& returns)
{
    kept_.clear();
    for (std::size_t i = 0; i < open_.size(); ++i) {
        const grammar_place place = open_[i];
        bool has_bytes = false;
        for (const grammar_edge& edge : graph_->edges(place.node)) {
            ++work_;
            has_bytes = has_bytes || edge.kind == edge_kind::bytes;
            follow(place, edge);
        }
        if (has_bytes) kept_.push_back(place);
        if (place.node != graph_->rule_of(place.node).end) continue;
        if (place.calls == bottom) {
            complete = true;
        } else if (place.calls == unknown_caller) {
            returns = true;
        } else {
            const frame top = frames_[place.calls];
            open({top.node, top.count, top.calls});
        }
    }
}

json_matcher::state_id json_matcher::intern(bool complete, bool returns)
{
    if (kept_.empty() && !complete && !returns) return dead;
    std::sort(kept_.begin(), kept_.end(), [](const grammar_place& a, const grammar_place& b) {
        return std::tie(a.node, a.count, a.calls) < std::tie(b.node, b.count, b.calls);
    });
    std::uint64_t hash = (complete ? 2U : 0U) + (returns ? 1U : 0U);
    for (const grammar_place& place : kept_)
        hash = hash_of(hash, place.node, place.count, place.calls);
    const auto [begin, end] = state_ids_.equal_range(hash);
    for (auto each = begin; each != end; ++each) {
        const state& known = states_[each->second];
        const auto found = places(each->second);
        if (known.complete == complete && known.returns == returns &&
            std::equal(found.begin(), found.end(), kept_.begin(), kept_.end()))
            return each->second;
    }
    const auto id = static_cast<state_id>(states_.size());
    states_.push_back(
        {static_cast<std::uint32_t>(places_.size()),
         static_cast<std::uint32_t>(kept_.size()),
         complete,
         returns});
    places_.insert(places_.end(), kept_.begin(), kept_.end());
    steps_.resize(steps_.size() + n_classes_, unmade);
    state_ids_.emplace(hash, id);
    return id;
}

std::uint32_t json_matcher::push(const frame& made)
{
    const std::uint64_t hash = hash_of(2, made.node, made.count, made.calls);
    const auto [begin, end] = frame_ids_.equal_range(hash);
    for (auto each = begin; each != end; ++each) {
        const frame& known = frames_[each->second];
        if (known.node == made.node && known.count == made.count && known.calls == made.calls)
            return each->second;
    }
    const auto id = static_cast<std::uint32_t>(frames_.size());
    frames_.push_back(made);
    frame_ids_.emplace(hash, id);
    return id;
}

std::uint32_t json_matcher::copy_frame(
    const std::vector<frame>& old, std::uint32_t id, std::vector<std::uint32_t>& renamed)
{
    // From the innermost call that is known already outwards: calls may be nested very deeply.
    std::vector<std::uint32_t> chain;
    while (renamed[id] == unmade) {
        chain.push_back(id);
        id = old[id].calls;
    }
    std::uint32_t made = renamed[id];
    for (auto each = chain.rbegin(); each != chain.rend(); ++each) {
        made = push({old[*each].node, old[*each].count, made});
        renamed[*each] = made;
    }
    return made;
}

void json_matcher::forget_but(std::span<state_id> kept)
{
    ++generation_;
    const std::vector<frame> old_frames = std::move(frames_);
    const std::vector<state> old_states = std::move(states_);
    const std::vector<grammar_place> old_places = std::move(places_);
    reset();
    std::vector<std::uint32_t> renamed(old_frames.size(), unmade);
    renamed[bottom] = bottom;
    renamed[unknown_caller] = unknown_caller;
    for (state_id& each : kept) {
        const state& old = old_states[each];
        kept_.clear();
        for (std::uint32_t i = 0; i < old.n; ++i) {
            grammar_place place = old_places[old.first + i];
            place.calls = copy_frame(old_frames, place.calls, renamed);
            kept_.push_back(place);
        }
        each = intern(old.complete, old.returns);
    }
}

}  // namespace modelpool::text

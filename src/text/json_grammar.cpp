#include "text/json_grammar.hpp"

#include <modelpool/error.hpp>

#include <algorithm>
#include <string>
#include <utility>

namespace modelpool::text {

rule_id json_grammar_graph::add_rule()
{
    const auto id = static_cast<rule_id>(rules_.size());
    rules_.emplace_back();
    const node_id start = add_node(id);
    rules_[id].start = start;
    rules_[id].end = add_node(id);
    return id;
}

node_id json_grammar_graph::add_node(rule_id of)
{
    if (edges_.size() >= max_nodes_)
        throw error{
            errc::invalid_argument,
            "the JSON schema is too large: it takes more than " + std::to_string(max_nodes_) +
                " states"};
    edges_.emplace_back();
    owners_.push_back(of);
    return static_cast<node_id>(edges_.size() - 1);
}

void json_grammar_graph::add_edge(node_id from, grammar_edge edge)
{
    if (++n_edges_ > 8 * max_nodes_)
        throw error{
            errc::invalid_argument,
            "the JSON schema is too large: it takes more than " + std::to_string(8 * max_nodes_) +
                " transitions"};
    edges_[from].push_back(edge);
}

void json_grammar_graph::bytes(node_id from, node_id to, char first, char last)
{
    grammar_edge edge{to};
    edge.kind = edge_kind::bytes;
    edge.first = static_cast<std::uint8_t>(first);
    edge.last = static_cast<std::uint8_t>(last);
    add_edge(from, edge);
}

void json_grammar_graph::call(node_id from, node_id to, rule_id callee)
{
    grammar_edge edge{to};
    edge.kind = edge_kind::call;
    edge.callee = callee;
    add_edge(from, edge);
}

node_id json_grammar_graph::literal(node_id from, std::string_view text)
{
    for (const char each : text) {
        const node_id next = add_node(owners_[from]);
        byte(from, next, each);
        from = next;
    }
    return from;
}

void json_grammar_graph::literal(node_id from, node_id to, std::string_view text)
{
    const node_id before = literal(from, text.substr(0, text.size() - 1));
    byte(before, to, text.back());
}

bool json_grammar_graph::usable(const rule& in, const grammar_edge& edge, bool has_counted) const
{
    if (edge.kind == edge_kind::call && !rules_[edge.callee].productive) return false;
    if (edge.needs_room && in.count.most == 0) return false;
    return !edge.needs_enough || in.count.least == 0 || has_counted;
}

// The nodes that the rule's start leads to, by edges that can be taken.
std::vector<node_id> json_grammar_graph::reach(rule_id id)
{
    const rule& in = rules_[id];
    std::vector<node_id> found;
    marks_.resize(edges_.size(), 0);
    bool has_counted = in.count.least == 0;
    for (bool again = true; again;) {
        ++mark_;
        found.assign(1, in.start);
        marks_[in.start] = mark_;
        const bool counted_before = has_counted;
        for (std::size_t i = 0; i < found.size(); ++i) {
            for (const grammar_edge& edge : edges_[found[i]]) {
                if (!usable(in, edge, counted_before)) continue;
                has_counted = has_counted || edge.counts;
                if (marks_[edge.target] == mark_) continue;
                marks_[edge.target] = mark_;
                found.push_back(edge.target);
            }
        }
        again = has_counted != counted_before;
    }
    return found;
}

// Callees mostly have later numbers than their callers, so a sweep or two from the end finds all.
void json_grammar_graph::find_productive()
{
    std::vector<std::vector<rule_id>> callers(rules_.size());
    for (node_id node = 0; node < edges_.size(); ++node)
        for (const grammar_edge& edge : edges_[node])
            if (edge.kind == edge_kind::call) callers[edge.callee].push_back(owners_[node]);
    std::vector<bool> waiting(rules_.size(), true);
    for (bool again = true; again;) {
        again = false;
        for (rule_id id = static_cast<rule_id>(rules_.size()); id-- > 0;) {
            if (!waiting[id]) continue;
            waiting[id] = false;
            reach(id);
            rules_[id].productive = marks_[rules_[id].end] == mark_;
            if (!rules_[id].productive) continue;
            for (const rule_id caller : callers[id]) {
                if (rules_[caller].productive) continue;
                waiting[caller] = true;
                again = true;
            }
        }
    }
}

void json_grammar_graph::trim()
{
    std::vector<bool> alive(edges_.size(), false);
    for (rule_id id = 0; id < rules_.size(); ++id)
        if (rules_[id].productive)
            for (const node_id node : reach(id))
                alive[node] = true;
    // Backwards from the ends, over edges that can be taken.
    std::vector<std::vector<node_id>> sources(edges_.size());
    std::vector<node_id> open;
    std::vector<bool> useful(edges_.size(), false);
    for (node_id node = 0; node < edges_.size(); ++node) {
        if (!alive[node]) {
            edges_[node].clear();
            continue;
        }
        const rule& in = rules_[owners_[node]];
        std::erase_if(edges_[node], [&](const grammar_edge& edge) {
            return !alive[edge.target] || !usable(in, edge, true);
        });
        for (const grammar_edge& edge : edges_[node])
            sources[edge.target].push_back(node);
        if (node == in.end) open.push_back(node);
    }
    while (!open.empty()) {
        const node_id node = open.back();
        open.pop_back();
        if (useful[node]) continue;
        useful[node] = true;
        open.insert(open.end(), sources[node].begin(), sources[node].end());
    }
    for (std::vector<grammar_edge>& all : edges_)
        std::erase_if(all, [&](const grammar_edge& edge) { return !useful[edge.target]; });
}

// A rule that calls itself before its first byte would never begin.
void json_grammar_graph::check_beginnings() const
{
    std::vector<std::vector<rule_id>> first_calls(rules_.size());
    std::vector<bool> seen(edges_.size(), false);
    std::vector<node_id> open;
    for (rule_id id = 0; id < rules_.size(); ++id) {
        open.assign(1, rules_[id].start);
        while (!open.empty()) {
            const node_id node = open.back();
            open.pop_back();
            if (seen[node]) continue;
            seen[node] = true;
            for (const grammar_edge& edge : edges_[node]) {
                if (edge.kind == edge_kind::none) open.push_back(edge.target);
                if (edge.kind == edge_kind::call) first_calls[id].push_back(edge.callee);
            }
        }
    }
    // Rules without a beginning that is left, over and over: what remains is a ring.
    std::vector<std::size_t> n_left(rules_.size(), 0);
    std::vector<std::vector<rule_id>> callers(rules_.size());
    std::vector<rule_id> free;
    for (rule_id id = 0; id < rules_.size(); ++id) {
        n_left[id] = first_calls[id].size();
        for (const rule_id callee : first_calls[id])
            callers[callee].push_back(id);
        if (n_left[id] == 0) free.push_back(id);
    }
    std::size_t n_free = 0;
    while (!free.empty()) {
        const rule_id id = free.back();
        free.pop_back();
        ++n_free;
        for (const rule_id caller : callers[id])
            if (--n_left[caller] == 0) free.push_back(caller);
    }
    if (n_free != rules_.size())
        throw error{
            errc::invalid_argument,
            "the JSON schema refers to itself without anything between: such a reference never "
            "ends"};
}

void json_grammar_graph::find_classes()
{
    std::array<bool, 257> begins{};
    begins[0] = true;
    for (const std::vector<grammar_edge>& all : edges_) {
        for (const grammar_edge& edge : all) {
            if (edge.kind != edge_kind::bytes) continue;
            begins[edge.first] = true;
            begins[edge.last + 1U] = true;
        }
    }
    std::size_t n = 0;
    for (std::size_t i = 0; i < 256; ++i) {
        if (begins[i]) ++n;
        classes_[i] = static_cast<std::uint8_t>(n - 1);
    }
    n_classes_ = n;
}

void json_grammar_graph::finish(rule_id root)
{
    root_ = root;
    find_productive();
    if (!rules_[root].productive)
        throw error{errc::invalid_argument, "no JSON value satisfies the schema"};
    trim();
    check_beginnings();
    find_classes();
}

}  // namespace modelpool::text

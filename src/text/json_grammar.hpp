#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>
#include <vector>

namespace modelpool::text {

using node_id = std::uint32_t;
using rule_id = std::uint32_t;

/// What an edge of a grammar stands for.
enum class edge_kind : std::uint8_t { none, bytes, call };

/// An edge from a node to the next one: nothing, one byte of a range, or what another rule matches.
struct grammar_edge {
    node_id target{0};
    rule_id callee{0};
    edge_kind kind{edge_kind::none};
    std::uint8_t first{0};  ///< of bytes: the range, both ends included
    std::uint8_t last{0};
    bool needs_room{false};    ///< may be taken while the count is below the rule's most
    bool needs_enough{false};  ///< may be taken once the count is at the rule's least
    bool counts{false};        ///< adds one to the count
};

/// How often edges of a rule that count may be taken.
struct grammar_count {
    static constexpr std::uint32_t any = std::numeric_limits<std::uint32_t>::max();
    std::uint32_t least{0};
    std::uint32_t most{any};
};

/// A pushdown automaton over bytes: rules that call one another, each a graph of nodes with one
/// end. Each rule matches at least one byte. While it is made, every way into a node that leads nowhere
/// is still there; `finish` takes them out.
class json_grammar_graph {
public:
    struct rule {
        node_id start{0};
        node_id end{0};
        grammar_count count;
        bool productive{false};
    };

    /// Throws errc::invalid_argument where the grammar would have more nodes or edges than that.
    explicit json_grammar_graph(std::size_t max_nodes)
        : max_nodes_{max_nodes}
    {}

    rule_id add_rule();
    node_id add_node(rule_id of);
    void add_edge(node_id from, grammar_edge edge);
    void skip(node_id from, node_id to) { add_edge(from, {to}); }
    void byte(node_id from, node_id to, char value) { bytes(from, to, value, value); }
    void bytes(node_id from, node_id to, char first, char last);
    void call(node_id from, node_id to, rule_id callee);
    /// A chain of bytes from `from`; gives its last node.
    node_id literal(node_id from, std::string_view text);
    void literal(node_id from, node_id to, std::string_view text);

    rule& at(rule_id id) { return rules_[id]; }
    const rule& at(rule_id id) const { return rules_[id]; }
    const rule& rule_of(node_id id) const { return rules_[owners_[id]]; }
    const std::vector<grammar_edge>& edges(node_id id) const { return edges_[id]; }
    std::size_t n_nodes() const noexcept { return edges_.size(); }
    std::size_t n_rules() const noexcept { return rules_.size(); }
    rule_id root() const noexcept { return root_; }

    /// The byte's class: bytes of a class are alike for all nodes.
    std::uint8_t class_of(std::uint8_t byte) const noexcept { return classes_[byte]; }
    std::size_t n_classes() const noexcept { return n_classes_; }

    /// Completes the grammar, whose root is that rule: takes out what leads nowhere. Throws
    /// errc::invalid_argument where nothing matches, and where a rule begins with itself.
    void finish(rule_id root);
    /// Whether the rule matches anything; valid after `finish`.
    bool productive(rule_id id) const { return rules_[id].productive; }

private:
    bool usable(const rule& in, const grammar_edge& edge, bool has_counted) const;
    std::vector<node_id> reach(rule_id id);
    void find_productive();
    void trim();
    void check_beginnings() const;
    void find_classes();

    std::size_t max_nodes_;
    std::size_t n_edges_{0};
    std::vector<rule> rules_;
    std::vector<std::vector<grammar_edge>> edges_;
    std::vector<rule_id> owners_;
    std::vector<std::uint32_t> marks_;  // of nodes: the last search that met them
    std::uint32_t mark_{0};
    std::array<std::uint8_t, 256> classes_{};
    std::size_t n_classes_{1};
    rule_id root_{0};
};

}  // namespace modelpool::text

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/json_grammar.hpp"

namespace modelpool::text {

class work_budget;

/// A set of texts as an automaton over characters.
class char_graph {
public:
    struct edge {
        char32_t first{1};  ///< a range, both ends included; nothing where first > last
        char32_t last{0};
        std::uint32_t target{0};

        bool is_skip() const noexcept { return first > last; }
    };
    static constexpr char32_t last_char = 0x10FFFF;
    static constexpr std::size_t max_nodes = 20'000;

    char_graph();

    std::uint32_t start() const noexcept { return 0; }
    std::uint32_t end() const noexcept { return 1; }
    std::size_t n_nodes() const noexcept { return edges_.size(); }
    const std::vector<edge>& edges(std::uint32_t node) const { return edges_[node]; }

    /// Throws errc::invalid_argument where there are too many.
    std::uint32_t add_node();
    void add_edge(std::uint32_t from, edge made);
    void skip(std::uint32_t from, std::uint32_t to) { add_edge(from, {1, 0, to}); }

    /// Whether no text is in the set. Valid after `trim`.
    bool empty() const { return edges_[start()].empty(); }
    /// Errors: those of the budget.
    bool matches(std::string_view text, work_budget& budget) const;
    /// Takes out what does not lead to the end.
    void trim();

private:
    std::size_t n_edges_{0};
    std::vector<std::vector<edge>> edges_;
};

/// How much a compilation may still look at, which bounds the time that a hostile schema takes.
class work_budget {
public:
    explicit work_budget(std::uint64_t n_looks)
        : left_{n_looks}
    {}
    /// Throws errc::invalid_argument where that is more than there is left.
    void spend(std::uint64_t n_looks);

private:
    std::uint64_t left_;
};

/// The texts that a regular expression of JSON Schema (ECMA-262) finds something in. Lookaround,
/// back references, word borders, Unicode properties, and anchors inside are not offered.
/// Errors: errc::unsupported for those, by name; errc::invalid_argument for a malformed pattern, or
/// one that is too large.
char_graph parse_pattern(std::string_view pattern);
/// Texts of so many characters.
char_graph texts_of_length(std::uint32_t least, std::uint32_t most);
/// All texts but these.
char_graph texts_but(std::span<const std::string> names);
/// The texts that are in both sets.
/// Errors: those of the budget; errc::invalid_argument where it takes too many states.
char_graph both(const char_graph& a, const char_graph& b, work_budget& budget);

/// Adds paths for the set's texts, as they stand inside a JSON string, each character in one way:
/// itself, or where JSON asks for it, escaped.
void write_chars(
    const char_graph& set, json_grammar_graph& into, rule_id rule, node_id from, node_id to);

/// The pattern of a format: of those offered. Null for a format that asserts nothing.
/// Errors: errc::unsupported for formats of JSON Schema that are not offered, by name.
std::optional<std::string_view> pattern_of_format(std::string_view format);

}  // namespace modelpool::text

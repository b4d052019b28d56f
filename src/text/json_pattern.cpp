#include "text/json_pattern.hpp"

#include <modelpool/error.hpp>

#include <algorithm>
#include <array>
#include <map>
#include <unordered_map>
#include <utility>

#include "support/printable.hpp"
#include "text/utf8.hpp"

namespace modelpool::text {

char_graph::char_graph()
    : edges_(2)
{}

std::uint32_t char_graph::add_node()
{
    if (edges_.size() >= max_nodes)
        throw error{
            errc::invalid_argument,
            "JSON schema: a pattern, with its limits of length, is too large: it takes more than " +
                std::to_string(max_nodes) + " states"};
    edges_.emplace_back();
    return static_cast<std::uint32_t>(edges_.size() - 1);
}

void char_graph::add_edge(std::uint32_t from, edge made)
{
    if (++n_edges_ > 8 * max_nodes)
        throw error{
            errc::invalid_argument, "JSON schema: a pattern is too large: simplify its classes"};
    edges_[from].push_back(made);
}

void char_graph::trim()
{
    std::vector<std::vector<std::uint32_t>> sources(edges_.size());
    for (std::uint32_t node = 0; node < edges_.size(); ++node)
        for (const edge& each : edges_[node])
            sources[each.target].push_back(node);
    std::vector<bool> useful(edges_.size(), false);
    std::vector<std::uint32_t> open{end()};
    while (!open.empty()) {
        const std::uint32_t node = open.back();
        open.pop_back();
        if (useful[node]) continue;
        useful[node] = true;
        open.insert(open.end(), sources[node].begin(), sources[node].end());
    }
    for (std::vector<edge>& all : edges_)
        std::erase_if(all, [&](const edge& each) { return !useful[each.target]; });
}

bool char_graph::matches(std::string_view text, work_budget& budget) const
{
    std::vector<std::uint32_t> now{start()};
    std::vector<std::size_t> seen(edges_.size(), 0);
    std::size_t round = 0;
    const auto close = [&] {
        ++round;
        for (std::size_t i = 0; i < now.size(); ++i) {
            if (seen[now[i]] == round) continue;
            seen[now[i]] = round;
            budget.spend(1 + edges_[now[i]].size());
            for (const edge& each : edges_[now[i]])
                if (each.is_skip()) now.push_back(each.target);
        }
    };
    close();
    for (std::size_t at = 0; at < text.size();) {
        const utf8_char one = utf8_at(text, at);
        at += one.n_bytes;
        std::vector<std::uint32_t> next;
        std::ranges::sort(now);
        now.erase(std::unique(now.begin(), now.end()), now.end());
        for (const std::uint32_t node : now)
            for (const edge& each : edges_[node])
                if (one.code_point >= each.first && one.code_point <= each.last)
                    next.push_back(each.target);
        now = std::move(next);
        close();
    }
    return seen[end()] == round;
}

char_graph texts_of_length(std::uint32_t least, std::uint32_t most)
{
    char_graph made;
    std::uint32_t node = made.start();
    const bool bounded = most != grammar_count::any;
    const std::uint32_t n = bounded ? most : least;
    for (std::uint32_t i = 0; i < n; ++i) {
        if (i >= least) made.skip(node, made.end());
        const std::uint32_t next = made.add_node();
        made.add_edge(node, {0, char_graph::last_char, next});
        node = next;
    }
    if (!bounded) made.add_edge(node, {0, char_graph::last_char, node});
    made.skip(node, made.end());
    return made;
}

char_graph texts_but(std::span<const std::string> names)
{
    char_graph made;
    const std::uint32_t other = made.add_node();
    made.add_edge(other, {0, char_graph::last_char, other});
    made.skip(other, made.end());
    std::map<std::pair<std::uint32_t, char32_t>, std::uint32_t> children;
    std::vector<bool> is_name(2, false);
    std::vector<std::uint32_t> nodes{made.start()};
    for (const std::string& name : names) {
        std::uint32_t node = made.start();
        for (std::size_t at = 0; at < name.size();) {
            const utf8_char one = utf8_at(name, at);
            at += one.n_bytes;
            const auto [place, added] = children.try_emplace({node, one.code_point}, 0);
            if (added) {
                place->second = made.add_node();
                nodes.push_back(place->second);
            }
            node = place->second;
        }
        is_name.resize(made.n_nodes(), false);
        is_name[node] = true;
    }
    is_name.resize(made.n_nodes(), false);
    for (const std::uint32_t node : nodes) {
        char32_t from = 0;
        for (auto each = children.lower_bound({node, 0});
             each != children.end() && each->first.first == node;
             ++each) {
            const char32_t one = each->first.second;
            if (one > from) made.add_edge(node, {from, one - 1, other});
            made.add_edge(node, {one, one, each->second});
            from = one + 1;
        }
        if (from <= char_graph::last_char)
            made.add_edge(node, {from, char_graph::last_char, other});
        if (!is_name[node]) made.skip(node, made.end());
    }
    return made;
}

namespace {

// Pairs of nodes that two automata can be in together.
class product {
public:
    product(const char_graph& a, const char_graph& b, work_budget& budget)
        : a_{a}
        , b_{b}
        , budget_{budget}
    {}

    char_graph make()
    {
        node_of(a_.start(), b_.start());
        for (std::size_t i = 0; i < pairs_.size(); ++i)
            expand(pairs_[i].first, pairs_[i].second, nodes_[i]);
        made_.trim();
        return std::move(made_);
    }

private:
    std::uint32_t node_of(std::uint32_t a, std::uint32_t b)
    {
        const std::uint64_t key = (std::uint64_t{a} << 32U) | b;
        const auto [place, added] = ids_.try_emplace(key, 0);
        if (added) {
            if (a == a_.start() && b == b_.start())
                place->second = made_.start();
            else if (a == a_.end() && b == b_.end())
                place->second = made_.end();
            else
                place->second = made_.add_node();
            pairs_.emplace_back(a, b);
            nodes_.push_back(place->second);
        }
        return place->second;
    }

    void expand(std::uint32_t a, std::uint32_t b, std::uint32_t from)
    {
        budget_.spend((1 + a_.edges(a).size()) * (1 + b_.edges(b).size()));
        for (const char_graph::edge& left : a_.edges(a)) {
            if (left.is_skip()) {
                made_.skip(from, node_of(left.target, b));
                continue;
            }
            for (const char_graph::edge& right : b_.edges(b)) {
                if (right.is_skip()) continue;
                const char32_t first = std::max(left.first, right.first);
                const char32_t last = std::min(left.last, right.last);
                if (first <= last)
                    made_.add_edge(from, {first, last, node_of(left.target, right.target)});
            }
        }
        for (const char_graph::edge& right : b_.edges(b))
            if (right.is_skip()) made_.skip(from, node_of(a, right.target));
    }

    const char_graph& a_;
    const char_graph& b_;
    work_budget& budget_;
    char_graph made_;
    std::unordered_map<std::uint64_t, std::uint32_t> ids_;
    std::vector<std::pair<std::uint32_t, std::uint32_t>> pairs_;
    std::vector<std::uint32_t> nodes_;
};

// Writes characters as bytes of a JSON string.
class byte_writer {
public:
    byte_writer(json_grammar_graph& into, rule_id rule)
        : into_{into}
        , rule_{rule}
    {}

    void write(node_id from, node_id to, char32_t first, char32_t last)
    {
        if (first < 0x20) write_controls(from, to, first, std::min<char32_t>(last, 0x1F));
        static constexpr std::array<std::pair<char32_t, char32_t>, 3> plain{
            {{0x20, 0x21}, {0x23, 0x5B}, {0x5D, 0x7F}}};
        for (const auto& [begin, end] : plain) {
            const char32_t low = std::max(first, begin);
            const char32_t high = std::min(last, end);
            if (low <= high) into_.bytes(from, to, static_cast<char>(low), static_cast<char>(high));
        }
        for (const char special : {'"', '\\'}) {
            const auto code = static_cast<char32_t>(special);
            if (first <= code && code <= last) into_.byte(escape(from), to, special);
        }
        static constexpr std::array<std::pair<char32_t, char32_t>, 4> wide{
            {{0x80, 0x7FF}, {0x800, 0xD7FF}, {0xE000, 0xFFFF}, {0x10000, 0x10FFFF}}};
        for (const auto& [begin, end] : wide) {
            const char32_t low = std::max(first, begin);
            const char32_t high = std::min(last, end);
            if (low <= high) write_wide(from, to, to_utf8(low), to_utf8(high));
        }
    }

private:
    node_id escape(node_id from)
    {
        const node_id made = into_.add_node(rule_);
        into_.byte(from, made, '\\');
        return made;
    }

    void write_controls(node_id from, node_id to, char32_t first, char32_t last)
    {
        const node_id escaped = escape(from);
        const node_id zeros = into_.literal(escaped, "u00");
        for (char32_t code = first; code <= last; ++code) {
            static constexpr std::string_view shorts = "\b\f\n\r\t";
            static constexpr std::string_view letters = "bfnrt";
            const std::size_t known = shorts.find(static_cast<char>(code));
            if (known != std::string_view::npos) into_.byte(escaped, to, letters[known]);
            const node_id high = into_.literal(zeros, code < 0x10 ? "0" : "1");
            const auto low = static_cast<char>(code % 16);
            if (low < 10) {
                into_.byte(high, to, static_cast<char>('0' + low));
            } else {
                into_.byte(high, to, static_cast<char>('a' + low - 10));
                into_.byte(high, to, static_cast<char>('A' + low - 10));
            }
        }
    }

    // All characters from `low` to `high`, which have as many bytes: split where the bytes after
    // the first do not run over all their values.
    void write_wide(node_id from, node_id to, std::string_view low, std::string_view high)
    {
        if (low.size() == 1) {
            into_.bytes(from, to, low.front(), high.front());
            return;
        }
        const std::size_t n_tail = low.size() - 1;
        const std::string least(n_tail, '\x80');
        const std::string most(n_tail, '\xBF');
        if (low.front() == high.front()) {
            write_wide(into_.literal(from, low.substr(0, 1)), to, low.substr(1), high.substr(1));
            return;
        }
        auto first = static_cast<unsigned char>(low.front());
        auto last = static_cast<unsigned char>(high.front());
        if (low.substr(1) != least) {
            write_wide(into_.literal(from, low.substr(0, 1)), to, low.substr(1), most);
            ++first;
        }
        if (high.substr(1) != most) {
            write_wide(into_.literal(from, high.substr(0, 1)), to, least, high.substr(1));
            --last;
        }
        if (first > last) return;
        const node_id next = into_.add_node(rule_);
        into_.bytes(from, next, static_cast<char>(first), static_cast<char>(last));
        write_wide(next, to, least, most);
    }

    json_grammar_graph& into_;
    rule_id rule_;
};

}  // namespace

char_graph both(const char_graph& a, const char_graph& b, work_budget& budget)
{
    return product{a, b, budget}.make();
}

void work_budget::spend(std::uint64_t n_looks)
{
    if (n_looks > left_)
        throw error{
            errc::invalid_argument,
            "the JSON schema takes too long to read: it has too many or too large patterns"};
    left_ -= n_looks;
}

void write_chars(
    const char_graph& set, json_grammar_graph& into, rule_id rule, node_id from, node_id to)
{
    std::vector<node_id> nodes(set.n_nodes());
    for (std::uint32_t i = 0; i < set.n_nodes(); ++i) {
        nodes[i] = into.add_node(rule);
    }
    into.skip(from, nodes[set.start()]);
    into.skip(nodes[set.end()], to);
    byte_writer writer{into, rule};
    for (std::uint32_t i = 0; i < set.n_nodes(); ++i) {
        for (const char_graph::edge& each : set.edges(i)) {
            if (each.is_skip())
                into.skip(nodes[i], nodes[each.target]);
            else
                writer.write(nodes[i], nodes[each.target], each.first, each.last);
        }
    }
}

}  // namespace modelpool::text

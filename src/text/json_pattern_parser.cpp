#include <modelpool/error.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <map>
#include <string>
#include <utility>

#include "support/printable.hpp"
#include "text/json_pattern.hpp"
#include "text/utf8.hpp"

namespace modelpool::text {
namespace {

using char_range = std::pair<char32_t, char32_t>;
using char_set = std::vector<char_range>;

// Sorted, without overlaps.
char_set tidy(char_set set)
{
    std::ranges::sort(set);
    char_set made;
    for (const char_range& each : set) {
        if (!made.empty() && each.first <= made.back().second + 1)
            made.back().second = std::max(made.back().second, each.second);
        else
            made.push_back(each);
    }
    return made;
}

char_set all_but(const char_set& set)
{
    char_set made;
    char32_t from = 0;
    for (const char_range& each : tidy(set)) {
        if (each.first > from) made.emplace_back(from, each.first - 1);
        from = each.second + 1;
    }
    if (from <= char_graph::last_char) made.emplace_back(from, char_graph::last_char);
    return made;
}

const char_set digits{{'0', '9'}};
const char_set word_chars{{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
// ECMA-262, WhiteSpace and LineTerminator.
const char_set spaces{
    {0x09, 0x0D},
    {0x20, 0x20},
    {0xA0, 0xA0},
    {0x1680, 0x1680},
    {0x2000, 0x200A},
    {0x2028, 0x2029},
    {0x202F, 0x202F},
    {0x205F, 0x205F},
    {0x3000, 0x3000},
    {0xFEFF, 0xFEFF}};
const char_set line_ends{{0x0A, 0x0A}, {0x0D, 0x0D}, {0x2028, 0x2029}};

enum class node_kind { chars, sequence, choice, repeat, line_begin, line_end };

struct pattern_node {
    node_kind kind{node_kind::sequence};
    char_set chars;
    std::vector<pattern_node> parts;
    std::uint32_t least{0};
    std::uint32_t most{0};
};

class pattern_parser {
public:
    explicit pattern_parser(std::string_view pattern)
        : pattern_{pattern}
    {}

    pattern_node parse()
    {
        pattern_node made = choice();
        if (at_ < pattern_.size()) fail("has a ')' too many");
        return made;
    }

    [[noreturn]] void fail(const std::string& sentence) const
    {
        throw error{
            errc::invalid_argument,
            "JSON schema: pattern " + support::in_quotes(pattern_) + " " + sentence};
    }
    [[noreturn]] void refuse(const std::string& what) const
    {
        throw error{
            errc::unsupported,
            "JSON schema: pattern " + support::in_quotes(pattern_) + " has " + what +
                ", which is not supported"};
    }

private:
    static constexpr std::uint32_t max_repeat = 4096;
    static constexpr std::size_t max_depth = 64;

    bool done() const { return at_ >= pattern_.size(); }
    bool take(std::string_view text)
    {
        if (pattern_.substr(at_, text.size()) != text) return false;
        at_ += text.size();
        return true;
    }
    char32_t take_char()
    {
        if (done()) fail("ends too early");
        const utf8_char one = utf8_at(pattern_, at_);
        at_ += one.n_bytes;
        return one.code_point;
    }

    pattern_node choice()
    {
        if (++depth_ > max_depth) refuse("groups nested too deeply");
        pattern_node made;
        made.kind = node_kind::choice;
        do
            made.parts.push_back(sequence());
        while (take("|"));
        --depth_;
        return made;
    }

    pattern_node sequence()
    {
        pattern_node made;
        while (!done() && pattern_[at_] != '|' && pattern_[at_] != ')')
            made.parts.push_back(quantified());
        return made;
    }

    pattern_node quantified()
    {
        pattern_node one = atom();
        std::uint32_t least = 0;
        std::uint32_t most = 0;
        if (!quantifier(least, most)) return one;
        if (one.kind == node_kind::line_begin || one.kind == node_kind::line_end)
            fail("repeats an anchor");
        take("?");  // a lazy quantifier matches the same texts
        pattern_node made;
        made.kind = node_kind::repeat;
        made.least = least;
        made.most = most;
        made.parts.push_back(std::move(one));
        return made;
    }

    bool quantifier(std::uint32_t& least, std::uint32_t& most)
    {
        if (take("*")) return least = 0, most = grammar_count::any, true;
        if (take("+")) return least = 1, most = grammar_count::any, true;
        if (take("?")) return least = 0, most = 1, true;
        const std::size_t before = at_;
        if (!take("{")) return false;
        if (!number(least)) {
            at_ = before;
            fail("has a '{' that begins no quantifier: write \\{");
        }
        most = least;
        if (take(",") && !number(most)) most = grammar_count::any;
        if (!take("}")) fail("has a quantifier without its '}'");
        if (most < least) fail("has a quantifier whose bounds are out of order");
        if (least > max_repeat || (most != grammar_count::any && most > max_repeat))
            refuse("a quantifier above " + std::to_string(max_repeat));
        return true;
    }

    bool number(std::uint32_t& value)
    {
        const std::size_t before = at_;
        value = 0;
        for (; !done() && pattern_[at_] >= '0' && pattern_[at_] <= '9'; ++at_) {
            value = 10 * value + static_cast<std::uint32_t>(pattern_[at_] - '0');
            if (value > 1'000'000) refuse("a quantifier above " + std::to_string(max_repeat));
        }
        return at_ > before;
    }

    static pattern_node of(char_set chars)
    {
        pattern_node made;
        made.kind = node_kind::chars;
        made.chars = tidy(std::move(chars));
        return made;
    }

    pattern_node atom()
    {
        pattern_node anchor;
        if (take("^")) return anchor.kind = node_kind::line_begin, anchor;
        if (take("$")) return anchor.kind = node_kind::line_end, anchor;
        if (take(".")) return of(all_but(line_ends));
        if (take("[")) return of(set());
        if (take("(")) return group();
        if (take("\\")) return of(escape(false));
        const char32_t one = take_char();
        if (one == '*' || one == '+' || one == '?' || one == '{') fail("repeats nothing");
        return of({{one, one}});
    }

    pattern_node group()
    {
        for (const std::string_view look : {"?=", "?!", "?<=", "?<!"})
            if (take(look)) refuse("lookaround");
        if (take("?<")) {
            while (!done() && pattern_[at_] != '>')
                take_char();
            if (!take(">")) fail("has a group name without its '>'");
        } else if (!take("?:") && !done() && pattern_[at_] == '?') {
            refuse("a group of an unknown kind");
        }
        pattern_node made = choice();
        if (!take(")")) fail("has a '(' without its ')'");
        return made;
    }

    char_set set()
    {
        const bool negated = take("^");
        char_set made;
        while (!take("]")) {
            if (done()) fail("has a '[' without its ']'");
            const char_set from = set_item();
            const bool is_char = from.size() == 1 && from[0].first == from[0].second;
            const bool is_range = is_char && at_ + 1 < pattern_.size() && pattern_[at_] == '-' &&
                                  pattern_[at_ + 1] != ']';
            if (!is_range) {
                made.insert(made.end(), from.begin(), from.end());
                continue;
            }
            ++at_;
            const char_set to = set_item();
            if (to.size() != 1 || to[0].first != to[0].second)
                fail("has a range that ends in a class");
            if (to[0].first < from[0].first) fail("has a range out of order");
            made.emplace_back(from[0].first, to[0].first);
        }
        return negated ? all_but(made) : tidy(std::move(made));
    }

    char_set set_item()
    {
        if (take("\\")) return escape(true);
        const char32_t one = take_char();
        return {{one, one}};
    }

    char_set escape(bool in_set)
    {
        const char32_t one = take_char();
        switch (one) {
        case 'd':
            return digits;
        case 'D':
            return all_but(digits);
        case 'w':
            return word_chars;
        case 'W':
            return all_but(word_chars);
        case 's':
            return spaces;
        case 'S':
            return all_but(spaces);
        case 'b':
            if (in_set) return {{0x08, 0x08}};
            refuse("a word border (\\b)");
        case 'B':
            refuse("a word border (\\B)");
        case 'p':
        case 'P':
            refuse("a Unicode property (\\p)");
        case 'k':
            refuse("a back reference (\\k)");
        case 'c':
            refuse("a control escape (\\c)");
        default:
            return escaped_char(one);
        }
    }

    char_set escaped_char(char32_t one)
    {
        static constexpr std::string_view letters = "tnrfv0";
        static constexpr std::array<char32_t, 6> codes{0x09, 0x0A, 0x0D, 0x0C, 0x0B, 0x00};
        if (one >= '1' && one <= '9') refuse("a back reference");
        char32_t code = one;
        if (one == 'x') {
            code = hex(2);
        } else if (one == 'u') {
            code = unicode();
        } else if (one < 0x80) {
            const std::size_t known = letters.find(static_cast<char>(one));
            if (known != std::string_view::npos)
                code = codes.at(known);
            else if ((one >= 'a' && one <= 'z') || (one >= 'A' && one <= 'Z'))
                fail("has an unknown escape");
        }
        return {{code, code}};
    }

    char32_t unicode()
    {
        if (take("{")) {
            char32_t code = 0;
            while (!take("}")) {
                code = 16 * code + hex(1);
                if (code > char_graph::last_char) fail("has an escape beyond U+10FFFF");
            }
            return code;
        }
        const char32_t high = hex(4);
        if (high < 0xD800 || high > 0xDBFF) return high;
        if (!take("\\u")) fail("has half a surrogate pair");
        const char32_t low = hex(4);
        if (low < 0xDC00 || low > 0xDFFF) fail("has half a surrogate pair");
        return 0x10000 + ((high - 0xD800) << 10U) + (low - 0xDC00);
    }

    char32_t hex(std::size_t n)
    {
        char32_t value = 0;
        for (std::size_t i = 0; i < n; ++i) {
            const char32_t one = take_char();
            if (one >= '0' && one <= '9')
                value = 16 * value + (one - '0');
            else if (one >= 'a' && one <= 'f')
                value = 16 * value + (one - 'a') + 10;
            else if (one >= 'A' && one <= 'F')
                value = 16 * value + (one - 'A') + 10;
            else
                fail("has an escape without its hexadecimal digits");
        }
        return value;
    }

    std::string_view pattern_;
    std::size_t at_{0};
    std::size_t depth_{0};
};

class pattern_builder {
public:
    explicit pattern_builder(const pattern_parser& source)
        : source_{source}
    {}

    char_graph make(pattern_node& whole)
    {
        for (pattern_node& alternative : whole.parts) {
            std::vector<pattern_node>& parts = alternative.parts;
            const bool begins = !parts.empty() && parts.front().kind == node_kind::line_begin;
            if (begins) parts.erase(parts.begin());
            const bool ends = !parts.empty() && parts.back().kind == node_kind::line_end;
            if (ends) parts.pop_back();
            const std::uint32_t from = made_.add_node();
            const std::uint32_t to = made_.add_node();
            made_.skip(made_.start(), from);
            made_.skip(to, made_.end());
            if (!begins) made_.add_edge(from, {0, char_graph::last_char, from});
            if (!ends) made_.add_edge(to, {0, char_graph::last_char, to});
            build(alternative, from, to);
        }
        made_.trim();
        return std::move(made_);
    }

private:
    void build(const pattern_node& node, std::uint32_t from, std::uint32_t to)
    {
        switch (node.kind) {
        case node_kind::chars:
            for (const char_range& each : node.chars)
                made_.add_edge(from, {each.first, each.second, to});
            return;
        case node_kind::choice:
            for (const pattern_node& part : node.parts)
                build(part, from, to);
            return;
        case node_kind::sequence:
            for (const pattern_node& part : node.parts) {
                const std::uint32_t next = made_.add_node();
                build(part, from, next);
                from = next;
            }
            made_.skip(from, to);
            return;
        case node_kind::repeat:
            repeat(node, from, to);
            return;
        case node_kind::line_begin:
        case node_kind::line_end:
            source_.refuse("an anchor inside");
        }
    }

    void repeat(const pattern_node& node, std::uint32_t from, std::uint32_t to)
    {
        const pattern_node& part = node.parts.front();
        const bool bounded = node.most != grammar_count::any;
        for (std::uint32_t i = 0; i < (bounded ? node.most : node.least); ++i) {
            if (i >= node.least) made_.skip(from, to);
            const std::uint32_t next = made_.add_node();
            build(part, from, next);
            from = next;
        }
        if (!bounded) {
            const std::uint32_t loop = made_.add_node();
            made_.skip(from, loop);
            build(part, loop, loop);
            from = loop;
        }
        made_.skip(from, to);
    }

    const pattern_parser& source_;
    char_graph made_;
};

}  // namespace

char_graph parse_pattern(std::string_view pattern)
{
    pattern_parser parser{pattern};
    pattern_node whole = parser.parse();
    return pattern_builder{parser}.make(whole);
}

namespace {

using format_patterns = std::map<std::string_view, std::string>;

format_patterns make_formats()
{
    // RFC 3339, section 5.6, without leap seconds; years from 1.
    const std::string year = "([0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)";
    const std::string leap_year =
        "([0-9]{2}(0[48]|[2468][048]|[13579][26])|(0[48]|[2468][048]|[13579][26])00)";
    const std::string month_day = "(0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|"
                                  "(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8])";
    const std::string date = "(" + year + "-(" + month_day + ")|" + leap_year + "-02-29)";
    const std::string hour_minute = "([01][0-9]|2[0-3]):[0-5][0-9]";
    const std::string time = hour_minute + ":[0-5][0-9](\\.[0-9]{1,6})?(Z|[+-]" + hour_minute + ")";
    const std::string octet = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])";
    const std::string label = "[A-Za-z0-9]([A-Za-z0-9-]{0,20}[A-Za-z0-9])?";
    const std::string local = "[A-Za-z0-9_+-]{1,20}";
    const std::string path = "(/[A-Za-z0-9._~-]{0,60}){0,8}";
    const std::string query = "(\\?[A-Za-z0-9._~=&-]{0,100})?";
    return {
        {"date", "^" + date + "$"},
        {"time", "^" + time + "$"},
        {"date-time", "^" + date + "T" + time + "$"},
        {"uuid", "^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$"},
        {"ipv4", "^(" + octet + "\\.){3}" + octet + "$"},
        {"hostname", "^" + label + "(\\." + label + "){0,7}$"},
        {"email", "^" + local + "(\\." + local + "){0,2}@" + label + "(\\." + label + "){1,4}$"},
        {"uri",
         "^https?://" + label + "(\\." + label + "){0,7}(:[1-9][0-9]{0,3})?" + path + query + "$"}};
}

}  // namespace

std::optional<std::string_view> pattern_of_format(std::string_view format)
{
    static const format_patterns known = make_formats();
    static constexpr std::array<std::string_view, 11> refused{
        "duration",
        "idn-email",
        "idn-hostname",
        "ipv6",
        "uri-reference",
        "iri",
        "iri-reference",
        "uri-template",
        "json-pointer",
        "relative-json-pointer",
        "regex"};
    const auto found = known.find(format);
    if (found != known.end()) return found->second;
    if (std::ranges::find(refused, format) != refused.end())
        throw error{
            errc::unsupported,
            "JSON schema: format '" + std::string{format} + "' is not supported"};
    return std::nullopt;
}

}  // namespace modelpool::text

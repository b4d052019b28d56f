#include "text/json_decimal.hpp"

#include <algorithm>
#include <charconv>
#include <map>
#include <tuple>
#include <utility>

namespace modelpool::text {
namespace {

constexpr std::size_t max_places = 40;

std::strong_ordering compare_sizes(const json_decimal& a, const json_decimal& b)
{
    if (a.whole.size() != b.whole.size()) return a.whole.size() <=> b.whole.size();
    if (const int order = a.whole.compare(b.whole); order != 0) return order <=> 0;
    return a.fraction.compare(b.fraction) <=> 0;
}

// Numbers of one sign by their size: digits that still equal those of a bound, and digits after
// those, which are free.
class size_range {
public:
    size_range(json_grammar_graph& into, rule_id rule, node_id to)
        : into_{into}
        , rule_{rule}
        , to_{to}
    {}

    /// Numbers from `low` to `high`, neither of them negative.
    void
    write(node_id from, const json_bound& low, const std::optional<json_bound>& high, bool whole)
    {
        low_ = low;
        high_ = high;
        whole_only_ = whole;
        const std::size_t shortest = low.value.whole.size();
        const std::size_t longest =
            high ? high->value.whole.size() : std::max(max_number_digits, shortest + 1);
        for (std::size_t n = shortest; n <= longest; ++n)
            write_whole(from, n, n == shortest, high && n == longest);
        after_point_.clear();
    }

private:
    // A place among the digits; whether those before equal the lower, the upper bound's.
    using place = std::tuple<std::size_t, bool, bool>;

    void write_whole(node_id from, std::size_t n_digits, bool at_low, bool at_high)
    {
        std::map<place, node_id> now{{place{0, at_low, at_high}, from}};
        for (std::size_t i = 0; i < n_digits; ++i) {
            std::map<place, node_id> next;
            for (const auto& [where, node] : now) {
                const auto [at, low, high] = where;
                const char least = low ? low_.value.whole[i] : '0';
                const char most = high ? high_->value.whole[i] : '9';
                // No zeros in front, but for zero itself.
                const char first = i == 0 && n_digits > 1 ? std::max(least, '1') : least;
                for (char digit = first; digit <= most; ++digit) {
                    const place to{i + 1, low && digit == least, high && digit == most};
                    const auto [made, added] = next.try_emplace(to, 0);
                    if (added) made->second = into_.add_node(rule_);
                    into_.byte(node, made->second, digit);
                }
            }
            now = std::move(next);
        }
        for (const auto& [where, node] : now)
            end_whole(node, std::get<1>(where), std::get<2>(where));
    }

    bool above_low(bool low, std::size_t n_fraction) const
    {
        return !low || (n_fraction >= low_.value.fraction.size() && !low_.exclusive);
    }
    bool below_high(bool high, std::size_t n_fraction) const
    {
        return !high || n_fraction < high_->value.fraction.size() || !high_->exclusive;
    }

    void end_whole(node_id node, bool low, bool high)
    {
        if (above_low(low, 0) && below_high(high, 0)) into_.skip(node, to_);
        if (!whole_only_) into_.byte(node, fraction_node(0, low, high), '.');
    }

    static char digit_of(const std::string& digits, std::size_t at)
    {
        return at < digits.size() ? digits[at] : '0';
    }

    // After so many digits of the fraction; made with all that follow.
    node_id fraction_node(std::size_t n, bool low, bool high)
    {
        const auto [made, added] = after_point_.try_emplace(place{n, low, high}, 0);
        if (!added) return made->second;
        const node_id node = into_.add_node(rule_);
        made->second = node;
        if (n > 0 && above_low(low, n) && below_high(high, n)) into_.skip(node, to_);
        if (n == max_places + 2 || (!low && !high && n >= max_number_digits)) return node;
        const char least = low ? digit_of(low_.value.fraction, n) : '0';
        const char most = high ? digit_of(high_->value.fraction, n) : '9';
        for (char digit = least; digit <= most; ++digit)
            into_.byte(
                node, fraction_node(n + 1, low && digit == least, high && digit == most), digit);
        return node;
    }

    json_grammar_graph& into_;
    rule_id rule_;
    node_id to_;
    json_bound low_;
    std::optional<json_bound> high_;
    bool whole_only_{false};
    std::map<place, node_id> after_point_;
};

json_bound opposite(json_bound bound)
{
    if (!bound.value.is_zero()) bound.value.negative = !bound.value.negative;
    return bound;
}

}  // namespace

std::optional<json_decimal> json_decimal::read(std::string_view text)
{
    json_decimal made;
    bool negative = false;
    if (!text.empty() && text.front() == '-') {
        negative = true;
        text.remove_prefix(1);
    }
    const std::size_t mark = text.find_first_of("eE");
    int exponent = 0;
    if (mark != std::string_view::npos) {
        std::string_view digits = text.substr(mark + 1);
        if (!digits.empty() && digits.front() == '+') digits.remove_prefix(1);
        const auto [end, problem] =
            std::from_chars(digits.data(), digits.data() + digits.size(), exponent);
        if (problem != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
        text = text.substr(0, mark);
    }
    const std::size_t point = std::min(text.find('.'), text.size());
    std::string digits{text.substr(0, point)};
    auto n_whole = static_cast<std::ptrdiff_t>(digits.size()) + exponent;
    if (point < text.size()) digits += text.substr(point + 1);
    constexpr auto most = static_cast<std::ptrdiff_t>(max_places);
    if (n_whole > most || n_whole < -most) return std::nullopt;
    if (n_whole < 0) {
        digits.insert(0, static_cast<std::size_t>(-n_whole), '0');
        n_whole = 0;
    }
    const auto n = static_cast<std::size_t>(n_whole);
    if (digits.size() < n) digits.append(n - digits.size(), '0');
    made.whole = digits.substr(0, n);
    made.fraction = digits.substr(n);
    made.whole.erase(0, std::min(made.whole.find_first_not_of('0'), made.whole.size()));
    if (made.whole.empty()) made.whole.push_back('0');
    made.fraction.erase(made.fraction.find_last_not_of('0') + 1);
    if (made.fraction.size() > max_places) return std::nullopt;
    made.negative = negative && !made.is_zero();
    return made;
}

std::strong_ordering compare(const json_decimal& a, const json_decimal& b)
{
    if (a.negative != b.negative) return b.negative <=> a.negative;
    return a.negative ? compare_sizes(b, a) : compare_sizes(a, b);
}

void json_range::raise(const json_bound& bound)
{
    const auto order = low ? compare(bound.value, low->value) : std::strong_ordering::greater;
    if (std::is_gt(order) || (std::is_eq(order) && bound.exclusive)) low = bound;
}

void json_range::lower(const json_bound& bound)
{
    const auto order = high ? compare(bound.value, high->value) : std::strong_ordering::less;
    if (std::is_lt(order) || (std::is_eq(order) && bound.exclusive)) high = bound;
}

bool json_range::holds(const json_decimal& value) const
{
    if (low) {
        const auto order = compare(value, low->value);
        if (std::is_lt(order) || (std::is_eq(order) && low->exclusive)) return false;
    }
    if (!high) return true;
    const auto order = compare(value, high->value);
    return std::is_lt(order) || (std::is_eq(order) && !high->exclusive);
}

void write_range(
    const json_range& range,
    bool whole_only,
    json_grammar_graph& into,
    rule_id rule,
    node_id from,
    node_id to)
{
    if (range.low && range.high) {
        const auto order = compare(range.low->value, range.high->value);
        if (std::is_gt(order) ||
            (std::is_eq(order) && (range.low->exclusive || range.high->exclusive)))
            return;
    }
    const bool reaches_up = !range.high || !range.high->value.negative;
    const bool reaches_down = !range.low || range.low->value.negative;
    if (reaches_up) {
        const bool from_zero = !range.low || range.low->value.negative;
        size_range{into, rule, to}.write(
            from, from_zero ? json_bound{} : *range.low, range.high, whole_only);
    }
    if (!reaches_down) return;
    const node_id minus = into.add_node(rule);
    into.byte(from, minus, '-');
    json_bound nearest{{}, true};
    if (range.high && range.high->value.negative) nearest = opposite(*range.high);
    std::optional<json_bound> farthest;
    if (range.low) farthest = opposite(*range.low);
    size_range{into, rule, to}.write(minus, nearest, farthest, whole_only);
}

}  // namespace modelpool::text

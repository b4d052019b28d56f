// How long encodings are: cutting and padding, as the reference does both.

#include "text/lengths.hpp"

#include <modelpool/error.hpp>

#include <algorithm>
#include <string>

#include "support/printable.hpp"
#include "text/json_fields.hpp"

namespace modelpool::text {
namespace {

constexpr std::size_t max_length = std::size_t{1} << 28U;

text_side read_side(const json_value& from)
{
    const std::optional<json_value> side = from.find("direction");
    if (!side || side->string() == "Right") return text_side::right;
    if (side->string() == "Left") return text_side::left;
    side->refuse(support::in_quotes(side->string()) + " is not supported");
}

std::size_t read_count(const json_value& from, std::string_view key)
{
    const std::optional<json_value> count = from.find(key);
    return count ? static_cast<std::size_t>(count->count(max_length)) : 0;
}

template <typename T>
std::vector<T> slice(const std::vector<T>& of, std::size_t begin, std::size_t end)
{
    if (of.empty()) return {};
    return {
        of.begin() + static_cast<std::ptrdiff_t>(begin),
        of.begin() + static_cast<std::ptrdiff_t>(end)};
}

encoding slice(const encoding& of, std::size_t begin, std::size_t end)
{
    encoding made;
    made.ids = slice(of.ids, begin, end);
    made.tokens = slice(of.tokens, begin, end);
    made.offsets = slice(of.offsets, begin, end);
    made.truncated = true;
    return made;
}

template <typename T>
void fill_up(std::vector<T>& of, std::size_t n_more, text_side at, const T& with)
{
    of.insert(at == text_side::left ? of.begin() : of.end(), n_more, with);
}

void pad_to(encoding& of, std::size_t n_tokens, const padding_options& how, bool with_offsets)
{
    for (encoding& each : of.overflow)
        pad_to(each, n_tokens, how, with_offsets);
    const std::size_t n_own = of.ids.size();
    const std::size_t n_more = n_tokens - std::min(n_tokens, n_own);
    of.attention_mask.assign(n_own, 1);
    fill_up(of.attention_mask, n_more, how.at(), std::uint8_t{0});
    fill_up(of.ids, n_more, how.at(), how.id());
    if (of.type_ids.size() == n_own && of.special_mask.size() == n_own) {
        fill_up(of.type_ids, n_more, how.at(), how.type_id());
        fill_up(of.special_mask, n_more, how.at(), std::uint8_t{1});
    }
    if (!with_offsets) return;
    fill_up(of.tokens, n_more, how.at(), how.token());
    fill_up(of.offsets, n_more, how.at(), std::pair<std::uint32_t, std::uint32_t>{0, 0});
}

}  // namespace

truncation_options read_truncation(const json_value& from)
{
    truncation_options made;
    made.max_tokens(static_cast<std::size_t>(from.need("max_length").count(max_length)));
    made.overlap(read_count(from, "stride")).from(read_side(from));
    const std::optional<json_value> order = from.find("strategy");
    if (!order || order->string() == "LongestFirst") return made;
    if (order->string() == "OnlyFirst") return made.order(cut_order::only_first);
    if (order->string() == "OnlySecond") return made.order(cut_order::only_second);
    order->refuse(support::in_quotes(order->string()) + " is not supported");
}

padding_options read_padding(const json_value& from)
{
    padding_options made;
    made.at(read_side(from)).multiple(read_count(from, "pad_to_multiple_of"));
    if (const std::optional<json_value> id = from.find("pad_id")) made.id(id->id());
    if (const std::optional<json_value> id = from.find("pad_type_id"))
        made.type_id(static_cast<std::uint32_t>(id->id()));
    if (const std::optional<json_value> token = from.find("pad_token"))
        made.token(std::string{token->string()});
    const std::optional<json_value> strategy = from.find("strategy");
    if (!strategy) return made;
    if (!strategy->is_string())
        return made.n_tokens(static_cast<std::size_t>(strategy->need("Fixed").count(max_length)));
    if (strategy->string() == "BatchLongest") return made;
    strategy->refuse(support::in_quotes(strategy->string()) + " is not supported");
}

std::vector<encoding>
cut_into_parts(encoding whole, std::size_t n_tokens, const truncation_options& how)
{
    std::vector<encoding> parts;
    const std::size_t n_whole = whole.ids.size();
    if (n_whole <= n_tokens) {
        parts.push_back(std::move(whole));
        return parts;
    }
    if (n_tokens == 0) {
        parts.push_back(slice(whole, 0, 0));
        if (how.keeps_overflow()) parts.push_back(std::move(whole));
        return parts;
    }
    const bool is_left = how.from() == text_side::left;
    if (!how.keeps_overflow()) {
        parts.push_back(
            is_left ? slice(whole, n_whole - n_tokens, n_whole) : slice(whole, 0, n_tokens));
        return parts;
    }
    if (how.overlap() >= n_tokens)
        throw error{
            errc::invalid_argument,
            "parts of " + std::to_string(n_tokens) + " tokens cannot overlap by " +
                std::to_string(how.overlap())};
    const std::size_t step = n_tokens - how.overlap();
    if (n_whole / step > max_length / n_tokens)
        throw error{
            errc::invalid_argument,
            std::to_string(n_whole) + " tokens in parts of " + std::to_string(n_tokens) +
                " that overlap by " + std::to_string(how.overlap()) + " are too many parts"};
    for (std::size_t done = 0;; done += step) {
        const std::size_t n_left = n_whole - done;
        const std::size_t n_taken = std::min(n_left, n_tokens);
        parts.push_back(
            is_left ? slice(whole, n_left - n_taken, n_left) : slice(whole, done, done + n_taken));
        if (n_taken == n_left) return parts;
    }
}

std::pair<std::size_t, std::size_t>
shares_of_pair(std::size_t n_first, std::size_t n_second, std::size_t n_tokens, cut_order order)
{
    if (n_first + n_second <= n_tokens) return {n_first, n_second};
    if (order == cut_order::longest_first) {
        const std::size_t n_shorter = std::min(n_first, n_second);
        std::size_t low = n_shorter;
        std::size_t high = n_tokens - std::min(n_tokens, n_shorter);
        if (2 * n_shorter > n_tokens) {
            low = n_tokens / 2;
            high = n_tokens - low;
        }
        // Of two that are equally long the first one counts as the shorter.
        return n_first <= n_second ? std::pair{low, high} : std::pair{high, low};
    }
    const std::size_t n_removed = n_first + n_second - n_tokens;
    const bool is_first = order == cut_order::only_first;
    const std::size_t n_target = is_first ? n_first : n_second;
    if (n_target <= n_removed)
        throw error{
            errc::invalid_argument,
            std::string{is_first ? "the first" : "the second"} + " text has " +
                std::to_string(n_target) + " tokens, and " + std::to_string(n_removed) +
                " are too many"};
    return is_first ? std::pair{n_first - n_removed, n_second}
                    : std::pair{n_first, n_second - n_removed};
}

void pad(std::span<encoding> batch, const padding_options& how, const encode_options& options)
{
    std::size_t n_tokens = how.n_tokens();
    if (n_tokens == 0)
        for (const encoding& each : batch)
            n_tokens = std::max(n_tokens, each.ids.size());
    if (n_tokens > max_length || how.multiple() > max_length)
        throw error{
            errc::invalid_argument,
            "padding to " + std::to_string(std::max(n_tokens, how.multiple())) +
                " tokens: the most is " + std::to_string(max_length)};
    if (how.multiple() > 0)
        n_tokens = (n_tokens + how.multiple() - 1) / how.multiple() * how.multiple();
    for (encoding& each : batch)
        pad_to(each, n_tokens, how, options.with_offsets());
}

}  // namespace modelpool::text

#include "text/normal_form.hpp"

#include <algorithm>
#include <optional>

#include "text/utf8.hpp"

namespace modelpool::text {
namespace {

struct part {
    char32_t code_point;
    int change;
    std::uint8_t combining_class;
};

// Sorts each run of combining characters by class; equal ones keep their order.
void order_canonically(std::vector<part>& parts)
{
    const auto is_starter = [](const part& each) { return each.combining_class == 0; };
    for (auto at = parts.begin(); at != parts.end();) {
        const auto run = std::find_if_not(at, parts.end(), is_starter);
        at = std::find_if(run, parts.end(), is_starter);
        std::stable_sort(run, at, [](const part& a, const part& b) {
            return a.combining_class < b.combining_class;
        });
    }
}

std::vector<part> decomposed(const std::vector<sourced_char>& chars, bool compatibility)
{
    std::vector<part> parts;
    std::u32string expanded;
    for (const sourced_char& each : chars) {
        expanded.clear();
        if (compatibility)
            append_compatibility_decomposed(each.code_point, expanded);
        else
            append_decomposed(each.code_point, expanded);
        for (std::size_t i = 0; i < expanded.size(); ++i)
            parts.push_back({expanded[i], i == 0 ? 0 : 1, combining_class(expanded[i])});
    }
    order_canonically(parts);
    return parts;
}

// Joins what composes, from left to right. A composed character drops the old ones of all its parts
// but one.
std::vector<part> composed(const std::vector<part>& parts)
{
    std::vector<part> result;
    std::optional<std::size_t> starter;  // in `result`
    std::uint8_t last_class = 0;         // of what stays between the starter and here
    bool is_apart = false;               // whether anything does
    for (const part& each : parts) {
        const bool is_blocked = is_apart && last_class >= each.combining_class;
        if (starter && !is_blocked) {
            const char32_t whole = compose_pair(result[*starter].code_point, each.code_point);
            if (whole != 0) {
                result[*starter].code_point = whole;
                result[*starter].change += each.change - 1;
                continue;
            }
        }
        if (each.combining_class == 0) {
            starter = result.size();
            is_apart = false;
        } else if (starter) {
            is_apart = true;
            last_class = each.combining_class;
        }
        result.push_back(each);
    }
    return result;
}

std::vector<changed_char> changes_of(const std::vector<part>& parts)
{
    std::vector<changed_char> changes;
    changes.reserve(parts.size());
    for (const part& each : parts)
        changes.push_back({each.code_point, each.change});
    return changes;
}

char_set::predicate touched_by(normal_form::kind form)
{
    switch (form) {
    case normal_form::kind::nfc:
        return may_change_in_nfc;
    case normal_form::kind::nfkc:
        return may_change_in_nfkc;
    case normal_form::kind::nfd:
        return may_change_in_nfd;
    case normal_form::kind::nfkd:
        break;
    }
    return may_change_in_nfkd;
}

}  // namespace

std::vector<sourced_char>
with_sources(const std::vector<changed_char>& to, const std::vector<sourced_char>& old)
{
    std::vector<sourced_char> result;
    result.reserve(to.size());
    std::size_t n_taken = 0;
    for (const changed_char& each : to) {
        const std::size_t from = each.change > 0 ? (n_taken == 0 ? 0 : n_taken - 1) : n_taken;
        result.push_back({each.code_point, old[std::min(from, old.size() - 1)].from});
        if (each.change <= 0) n_taken += static_cast<std::size_t>(1 - each.change);
    }
    return result;
}

void decompose(std::vector<sourced_char>& chars)
{
    chars = with_sources(changes_of(decomposed(chars, false)), chars);
}

std::vector<sourced_char> chars_of(const normalized_text& text)
{
    std::vector<sourced_char> chars;
    for (std::size_t at = 0; at < text.size();) {
        const utf8_char next = utf8_at(text.bytes(), at);
        chars.push_back({next.code_point, text.source(at)});
        at += next.n_bytes;
    }
    return chars;
}

normal_form::normal_form(kind form)
    : form_{form}
    , touched_{touched_by(form)}
{}

void normal_form::apply(workspace& work) const
{
    const std::string_view text = work.text.bytes();
    bool is_touched = false;
    for (std::size_t at = 0; at < text.size() && !is_touched;) {
        const utf8_char next = utf8_at(text, at);
        is_touched = next.n_bytes > 1 && touched_.contains(next.code_point);
        at += next.n_bytes;
    }
    if (!is_touched) return;

    const std::vector<sourced_char> old = chars_of(work.text);
    std::vector<part> parts = decomposed(old, form_ == kind::nfkc || form_ == kind::nfkd);
    if (form_ == kind::nfc || form_ == kind::nfkc) parts = composed(parts);
    work.begin_text();
    for (const sourced_char& each : with_sources(changes_of(parts), old))
        work.spare_text.append(each.code_point, each.from);
    work.end_text();
}

}  // namespace modelpool::text

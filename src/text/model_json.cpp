#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <stdexcept>

#include "support/printable.hpp"
#include "text/bpe.hpp"
#include "text/component_json.hpp"
#include "text/unigram.hpp"
#include "text/vocabulary.hpp"
#include "text/wordpiece.hpp"

namespace modelpool::text {

vocabulary read_vocabulary(const json_value& from)
{
    vocabulary::builder made;
    made.reserve(from.object().size());
    for (const simdjson::dom::key_value_pair pair : from.object()) {
        std::uint64_t id = 0;
        if (pair.value.get(id) != simdjson::SUCCESS ||
            id >= static_cast<std::uint64_t>(std::numeric_limits<token_id>::max()))
            from.fail(
                "gives the token " + support::in_quotes(pair.key) + " the id " +
                support::printable(simdjson::minify(pair.value), 80) +
                ", expected a whole number from 0 to 2^31 - 2");
        made.set(pair.key, static_cast<token_id>(id));
    }
    return made.finish();
}

namespace {

// Files from before 2021 do not name the type: the fields tell.
std::string_view model_type(const json_value& from)
{
    if (from.find("type")) return from.type();
    if (from.find("merges")) return "BPE";
    if (from.find("max_input_chars_per_word")) return "WordPiece";
    return from.find("unk_token") ? "WordLevel" : "Unigram";
}

std::unique_ptr<const model> make_wordpiece(const json_value& from)
{
    vocabulary words = read_vocabulary(from.need("vocab"));
    const json_value unknown = from.need("unk_token");
    const std::optional<token_id> unknown_id = words.id_of(unknown.string());
    if (!unknown_id)
        unknown.fail("is " + support::in_quotes(unknown.string()) + ", which the vocabulary lacks");
    return std::make_unique<wordpiece>(
        std::move(words),
        wordpiece::options{}
            .unknown(*unknown_id)
            .continuing_prefix(std::string{from.need("continuing_subword_prefix").string()})
            .max_chars(from.need("max_input_chars_per_word")
                           .count(std::numeric_limits<std::size_t>::max())));
}

// A merge as `"a b"` or `["a", "b"]`.
std::pair<std::string_view, std::string_view> read_merge(simdjson::dom::element from)
{
    std::string_view line;
    if (from.get(line) == simdjson::SUCCESS) {
        const std::size_t space = line.find(' ');
        if (space == std::string_view::npos || line.find(' ', space + 1) != std::string_view::npos)
            throw std::invalid_argument{"must be two tokens with one space between"};
        return {line.substr(0, space), line.substr(space + 1)};
    }
    simdjson::dom::array pair;
    std::string_view left;
    std::string_view right;
    if (from.get(pair) != simdjson::SUCCESS || pair.size() != 2 ||
        pair.at(0).get(left) != simdjson::SUCCESS || pair.at(1).get(right) != simdjson::SUCCESS)
        throw std::invalid_argument{"must be two tokens"};
    return {left, right};
}

bpe::merge_table
read_merges(const json_value& from, const vocabulary& words, std::size_t n_prefix_bytes)
{
    const simdjson::dom::array list = from.array();
    // Not from the array: its own count stops at 2^24.
    std::size_t n_merges = 0;
    for ([[maybe_unused]] const simdjson::dom::element each : list)
        ++n_merges;
    bpe::merge_table merges{n_merges};
    std::size_t index = 0;
    std::uint32_t rank = 0;
    for (const simdjson::dom::element each : list) {
        std::string_view line;
        const bool is_header = each.get(line) == simdjson::SUCCESS && line.starts_with("#version");
        try {
            if (!is_header) merges.add(words, read_merge(each), n_prefix_bytes, rank++);
        } catch (const std::invalid_argument& reason) {
            from.item(each, index).fail(reason.what());
        }
        ++index;
    }
    return merges;
}

std::string string_or_empty(const json_value& from, std::string_view key)
{
    const std::optional<json_value> found = from.find(key);
    return found ? std::string{found->string()} : std::string{};
}

bool boolean_or_false(const json_value& from, std::string_view key)
{
    const std::optional<json_value> found = from.find(key);
    return found && found->boolean();
}

std::unique_ptr<const model> make_bpe(const json_value& from)
{
    if (const std::optional<json_value> dropout = from.find("dropout"))
        if (dropout->number() != 0.0) dropout->refuse("other than 0 is not supported");
    bpe::options chosen;
    if (const std::optional<json_value> unknown = from.find("unk_token"))
        chosen.unknown(std::string{unknown->string()});
    chosen.continuing_prefix(string_or_empty(from, "continuing_subword_prefix"))
        .word_suffix(string_or_empty(from, "end_of_word_suffix"))
        .fuse_unknown(boolean_or_false(from, "fuse_unk"))
        .byte_fallback(boolean_or_false(from, "byte_fallback"))
        .ignore_merges(boolean_or_false(from, "ignore_merges"));
    vocabulary words = read_vocabulary(from.need("vocab"));
    bpe::merge_table merges =
        read_merges(from.need("merges"), words, chosen.continuing_prefix().size());
    return std::make_unique<bpe>(std::move(words), std::move(merges), std::move(chosen));
}

// A score as the reference reads it (serde_json): all its digits as one number, rounded, and then
// the power of ten. Of several ways to cut a text that cost the same, the last bit decides.
double score_as_read(double exact)
{
    std::array<char, 32> text{};
    const std::to_chars_result written =
        std::to_chars(text.begin(), text.end(), std::abs(exact), std::chars_format::scientific);
    const char* const exponent_at = std::find(text.begin(), written.ptr, 'e');
    std::uint64_t digits = 0;
    int exponent = 0;
    bool is_fraction = false;
    for (const char* at = text.begin(); at != exponent_at; ++at) {
        if (*at == '.') {
            is_fraction = true;
            continue;
        }
        digits = digits * 10 + static_cast<std::uint64_t>(*at - '0');
        exponent -= is_fraction ? 1 : 0;
    }
    const bool has_plus = exponent_at + 1 < written.ptr && exponent_at[1] == '+';
    int power = 0;
    std::from_chars(exponent_at + (has_plus ? 2 : 1), written.ptr, power);
    exponent += power;
    // Powers of ten beyond this are not exact: far from any score.
    constexpr int max_exponent = 22;
    if (std::abs(exponent) > max_exponent) return exact;
    double scale = 1;
    for (int i = 0; i < std::abs(exponent); ++i)
        scale *= 10;
    const auto number = static_cast<double>(digits);
    return std::copysign(exponent < 0 ? number / scale : number * scale, exact);
}

std::unique_ptr<const model> make_unigram(const json_value& from)
{
    const json_value list = from.need("vocab");
    std::vector<unigram::entry> entries;
    for (const simdjson::dom::element each : list.array()) {
        simdjson::dom::array pair;
        std::string_view token;
        double score = 0;
        if (each.get(pair) != simdjson::SUCCESS || pair.size() != 2 ||
            pair.at(0).get(token) != simdjson::SUCCESS ||
            pair.at(1).get(score) != simdjson::SUCCESS)
            list.item(each, entries.size()).fail("must be a token and its score");
        entries.push_back({std::string{token}, score_as_read(score)});
    }
    std::optional<token_id> unknown;
    if (const std::optional<json_value> given = from.find("unk_id")) {
        unknown = given->id();
        if (static_cast<std::size_t>(*unknown) >= entries.size())
            given->fail(
                "is " + std::to_string(*unknown) + ", but the vocabulary has " +
                std::to_string(entries.size()) + " tokens");
    }
    return std::make_unique<unigram>(
        entries,
        unknown,
        boolean_or_false(from, "byte_fallback") ? unigram::fallback::bytes
                                                : unigram::fallback::none);
}

std::unique_ptr<const model> make_wordlevel(const json_value& from)
{
    return std::make_unique<wordlevel>(
        read_vocabulary(from.need("vocab")), std::string{from.need("unk_token").string()});
}

}  // namespace

std::unique_ptr<const model> make_model(const json_value& from)
{
    const std::string_view type = model_type(from);
    if (type == "WordPiece") return make_wordpiece(from);
    if (type == "BPE") return make_bpe(from);
    if (type == "Unigram") return make_unigram(from);
    if (type == "WordLevel") return make_wordlevel(from);
    from.refuse("type " + support::in_quotes(type) + " is not supported");
}

}  // namespace modelpool::text

// What holding an answer to a JSON schema costs: a mask for each token, over a vocabulary of a
// model's size.
//
//     json_bench [TOKENIZER]
//
// With a folder or a tokenizer.json its vocabulary is taken, else one of 150,000 made-up tokens.
#include <modelpool/error.hpp>
#include <modelpool/text/json_constraint.hpp>
#include <modelpool/text/tokenizer.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace modelpool::text;
using clock_type = std::chrono::steady_clock;

double microseconds_since(clock_type::time_point begin)
{
    return std::chrono::duration<double, std::micro>(clock_type::now() - begin).count();
}

std::vector<std::string> made_up_pieces()
{
    std::vector<std::string> pieces{""};
    for (int byte = 0; byte < 256; ++byte)
        pieces.emplace_back(1, static_cast<char>(byte));
    for (const char* const each :
         {"\":",
          "\",",
          "\", \"",
          "{\"",
          "\"}",
          "}}",
          "}]",
          "],",
          "\": ",
          ": ",
          ", ",
          "\": \"",
          "true",
          "\n  \""})
        pieces.emplace_back(each);
    std::mt19937 random{1};
    const std::string_view letters = "etaoinshrdlucmfwypvbgkjqxz";
    const std::vector<std::string> ends{"", "", "", "", "", "", "\"", "\",", ".", ",", "\":", ")"};
    while (pieces.size() < 150'000) {
        std::string piece = random() % 2 == 0 ? " " : "";
        for (std::size_t n = 2 + random() % 9; n > 0; --n)
            piece += letters[std::min(random() % 26, random() % 26)];
        pieces.push_back(piece + ends[random() % ends.size()]);
    }
    return pieces;
}

// The longest tokens that a text is made of, from its front.
std::vector<std::int32_t> cut(const token_table& table, std::string_view text)
{
    std::vector<std::pair<std::string_view, std::int32_t>> sorted;
    for (std::size_t id = 0; id < table.vocab_size(); ++id)
        if (const auto token = static_cast<std::int32_t>(id); !table.bytes(token).empty())
            sorted.emplace_back(table.bytes(token), token);
    std::ranges::sort(sorted);
    std::vector<std::int32_t> made;
    while (!text.empty()) {
        std::int32_t best = -1;
        for (std::size_t n = 1; n <= std::min<std::size_t>(text.size(), 24); ++n) {
            const auto found = std::ranges::lower_bound(
                sorted, text.substr(0, n), {}, &std::pair<std::string_view, std::int32_t>::first);
            if (found != sorted.end() && found->first == text.substr(0, n)) best = found->second;
        }
        if (best < 0) throw std::runtime_error{"the vocabulary lacks a byte"};
        made.push_back(best);
        text.remove_prefix(table.bytes(best).size());
    }
    return made;
}

void measure(
    const char* name,
    const std::string& schema,
    std::string_view text,
    const std::shared_ptr<const token_table>& table)
{
    const auto tokens = cut(*table, text);
    auto begin = clock_type::now();
    const json_grammar grammar = json_grammar::from_schema(schema);
    const double compiled = microseconds_since(begin);
    const auto masks = std::make_shared<json_token_masks>(grammar, table);
    for (const char* const round : {"first", "again"}) {
        json_constraint subject{masks};
        std::vector<double> times;
        double all = 0;
        for (const std::int32_t token : tokens) {
            begin = clock_type::now();
            const auto mask = subject.allowed();
            const double took = microseconds_since(begin);
            const auto at = static_cast<std::size_t>(token);
            if (((mask[at / 64] >> (at % 64)) & 1U) == 0)
                throw std::runtime_error{std::string{name} + ": a token of the text is barred"};
            begin = clock_type::now();
            subject.accept(token);
            times.push_back(took);
            all += took + microseconds_since(begin);
        }
        std::ranges::sort(times);
        std::printf(
            "%-10s %-6s %4zu tokens  compile %8.0f us  mean %8.1f us  median %7.1f us  p90 %7.1f us"
            "  max %8.1f us\n",
            name,
            round,
            tokens.size(),
            compiled,
            all / static_cast<double>(tokens.size()),
            times[times.size() / 2],
            times[times.size() * 9 / 10],
            times.back());
    }
}

std::shared_ptr<const token_table> made_up_table()
{
    const std::vector<std::string> pieces = made_up_pieces();
    return std::make_shared<const token_table>(
        pieces.size(),
        [&](std::int32_t id) { return pieces[static_cast<std::size_t>(id)]; },
        std::vector{0});
}

std::shared_ptr<const token_table> table_of(const char* path)
{
    const tokenizer words = tokenizer::blocking_load(path);
    const auto last = static_cast<std::int32_t>(words.vocab_size() - 1);
    return std::make_shared<const token_table>(
        words.vocab_size(), [&](std::int32_t id) { return words.piece(id); }, std::vector{last});
}

}  // namespace

int main(int argc, char** argv)
try {
    const auto begin = clock_type::now();
    const auto table = argc > 1 ? table_of(argv[1]) : made_up_table();
    std::printf(
        "vocabulary %zu tokens, read in %.0f ms\n",
        table->vocab_size(),
        microseconds_since(begin) / 1000);
    const std::string person =
        R"({"name": "the other station", "age": 42, "tags": ["one", "another hot tea", "so it is"], "note": "in the end there is not a thing that it does not hold", "rating": 3.5})";
    const std::string properties =
        R"("properties":{"name":{"type":"string"},"age":{"type":"integer","minimum":0,"maximum":150},)"
        R"("tags":{"type":"array","items":{"type":"string","maxLength":30}},"note":{"type":["string","null"]},)"
        R"("rating":{"type":"number"}},"required":["name","age"]})";
    measure("object", R"({"type":"object",)" + properties, person, table);
    measure(
        "list",
        R"({"type":"array","items":{"type":"object",)" + properties + "}",
        "[" + person + ", " + person + ", " + person + "]",
        table);
    measure("any", "{}", "[" + person + ", " + person + "]", table);
    measure("open", R"({"type":"object","additionalProperties":true,)" + properties, person, table);
    measure(
        "pattern",
        R"({"type":"array","items":{"type":"string","pattern":"^[a-z ]+$"}})",
        R"(["the other station", "another one", "so it is"])",
        table);
} catch (const std::exception& problem) {
    std::fprintf(stderr, "json_bench: %s\n", problem.what());
    return 1;
}

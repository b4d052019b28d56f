#include <modelpool/error.hpp>
#include <modelpool/text/json_constraint.hpp>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "text/json_matcher.hpp"
#include "text/json_schema.hpp"

namespace mp = modelpool;
using namespace mp::text;
using nlohmann::json;

namespace {

// Random numbers that are the same with every library.
class dice {
public:
    explicit dice(std::uint32_t seed)
        : engine_{seed}
    {}
    std::size_t below(std::size_t n) { return engine_() % n; }
    bool one_in(std::size_t n) { return below(n) == 0; }

private:
    std::mt19937 engine_;
};

constexpr std::int32_t end_token = 0;

// All bytes, what JSON is full of, and random pieces of it, some longer than the short ones.
std::vector<std::string> make_pieces()
{
    std::vector<std::string> pieces{"", ""};
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
          "[[",
          "]]",
          "],",
          "\": ",
          ": ",
          ", ",
          "true",
          "false",
          "null",
          "nul",
          "\n  ",
          "\n    \"",
          "é",
          "\xF0\x9F",
          "\\u00",
          "\\ud83d\\ude00",
          "the quick brown fox jumps over",
          "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}",
          "a",
          "ab",
          "b\"",
          "b\",\"a\":",
          "12",
          "123",
          ".5",
          "e1",
          "-1",
          "0,",
          "1]",
          "2024-",
          "<think>"})
        pieces.emplace_back(each);
    dice random{7};
    const std::string_view letters = "ab01\"\\{}[]:, \n";
    for (int i = 0; i < 300; ++i) {
        std::string piece;
        for (std::size_t n = 2 + random.below(5); n > 0; --n)
            piece += letters[random.below(letters.size())];
        pieces.push_back(piece);
    }
    return pieces;
}

std::shared_ptr<const token_table> make_table(const std::vector<std::string>& pieces)
{
    return std::make_shared<const token_table>(
        pieces.size(),
        [&](std::int32_t id) { return pieces[static_cast<std::size_t>(id)]; },
        std::vector<std::int32_t>{end_token});
}

bool is_allowed(std::span<const std::uint64_t> mask, std::size_t id)
{
    return id / 64 < mask.size() && ((mask[id / 64] >> (id % 64)) & 1U) != 0;
}

// --- random schemas, and what they mean ----------------------------------------------------------

json random_schema(dice& random, int depth);

json random_object(dice& random, int depth)
{
    json made{{"type", "object"}, {"properties", json::object()}};
    for (const char* const name : {"a", "ab", "b", "é\"", "c"}) {
        if (random.one_in(2)) continue;
        made["properties"][name] = random_schema(random, depth - 1);
        if (random.one_in(2)) made["required"].push_back(name);
    }
    if (random.one_in(3)) made["additionalProperties"] = random_schema(random, depth - 1);
    if (random.one_in(4)) made["additionalProperties"] = false;
    return made;
}

json random_array(dice& random, int depth)
{
    json made{{"type", "array"}, {"items", random_schema(random, depth - 1)}};
    const std::size_t least = random.below(3);
    if (random.one_in(2)) made["minItems"] = least;
    if (random.one_in(2)) made["maxItems"] = least + random.below(3);
    if (random.one_in(3))
        for (std::size_t i = 1 + random.below(2); i > 0; --i)
            made["prefixItems"].push_back(random_schema(random, depth - 1));
    return made;
}

json random_leaf(dice& random)
{
    const int low = static_cast<int>(random.below(300)) - 150;
    const int span = static_cast<int>(random.below(200));
    switch (random.below(9)) {
    case 0:
        return {{"type", "string"}};
    case 1:
        return {
            {"type", "string"},
            {"minLength", random.below(4)},
            {"maxLength", 4 + random.below(60)}};
    case 2:
        return {
            {"type", "string"}, {"pattern", random.one_in(2) ? "^[a-c]{1,4}(x|yz)?$" : "^b.?\"$"}};
    case 3:
        return {{"type", "integer"}, {"minimum", low}, {"maximum", low + span}};
    case 4:
        return {
            {"type", "number"}, {"exclusiveMinimum", low / 8.0}, {"maximum", low / 8.0 + 1 + span}};
    case 5:
        return {{"type", json::array({"null", "boolean"})}};
    case 6:
        return {{"enum", json::array({"ab", "abc", 12, nullptr, "é"})}};
    case 7:
        return {{"type", random.one_in(2) ? "integer" : "number"}};
    default:
        return {{"const", json{{"a", json::array({1, "b"})}}}};
    }
}

json random_schema(dice& random, int depth)
{
    if (depth <= 0 || random.one_in(3)) return random_leaf(random);
    switch (random.below(4)) {
    case 0:
        return random_array(random, depth);
    case 1:
        return {
            {"anyOf",
             json::array({random_schema(random, depth - 1), random_schema(random, depth - 1)})}};
    default:
        return random_object(random, depth);
    }
}

std::size_t n_chars(const std::string& text)
{
    return static_cast<std::size_t>(std::ranges::count_if(
        text, [](char byte) { return (static_cast<unsigned char>(byte) & 0xC0U) != 0x80; }));
}

bool has_type(const json& value, const std::string& type)
{
    if (type == "integer") return value.is_number() && std::floor(value.get<double>()) == value;
    if (type == "number") return value.is_number();
    return type == value.type_name();
}

bool valid_object(const json& schema, const json& value);

// As the schemas of this file mean it.
bool valid(const json& schema, const json& value)
{
    if (schema.contains("anyOf"))
        return std::ranges::any_of(
            schema["anyOf"], [&](const json& each) { return valid(each, value); });
    if (schema.contains("const")) return schema["const"] == value;
    if (schema.contains("enum"))
        return std::ranges::find(schema["enum"], value) != schema["enum"].end();
    const json& type = schema["type"];
    if (type.is_array())
        return std::ranges::any_of(
            type, [&](const json& each) { return has_type(value, each.get<std::string>()); });
    if (!has_type(value, type.get<std::string>())) return false;
    if (value.is_string()) {
        const std::string text = value.get<std::string>();
        if (schema.contains("pattern"))
            return json_grammar::from_schema(schema.dump()).accepts(value.dump());
        return n_chars(text) >= schema.value("minLength", 0U) &&
               n_chars(text) <= schema.value("maxLength", 1000000U);
    }
    if (value.is_number()) {
        const double number = value.get<double>();
        return number >= schema.value("minimum", -1e300) &&
               number <= schema.value("maximum", 1e300) &&
               number > schema.value("exclusiveMinimum", -1e300);
    }
    if (value.is_object()) return valid_object(schema, value);
    if (!value.is_array()) return true;
    const json first = schema.value("prefixItems", json::array());
    for (std::size_t i = 0; i < value.size(); ++i)
        if (!valid(i < first.size() ? first[i] : schema["items"], value[i])) return false;
    return value.size() >= schema.value("minItems", 0U) &&
           value.size() <= schema.value("maxItems", 1000000U);
}

bool valid_object(const json& schema, const json& value)
{
    for (const json& name : schema.value("required", json::array()))
        if (!value.contains(name.get<std::string>())) return false;
    for (const auto& [name, member] : value.items()) {
        const json& named = schema["properties"];
        if (named.contains(name)) {
            if (!valid(named[name], member)) return false;
            continue;
        }
        if (!schema.contains("additionalProperties")) return named.empty();
        const json& other = schema["additionalProperties"];
        if (other.is_boolean() || !valid(other, member)) return false;
    }
    return true;
}

// --- walks ---------------------------------------------------------------------------------------

// Whether each bit of a mask says what the grammar says of the text with that token.
void check_mask(
    std::span<const std::uint64_t> mask,
    json_matcher& matcher,
    const std::string& text,
    const std::vector<std::string>& pieces)
{
    const auto here = matcher.walk(matcher.start(), text);
    for (std::size_t id = 0; id < pieces.size(); ++id) {
        const bool may_come =
            id == end_token ? matcher.complete(here)
                            : !pieces[id].empty() && matcher.walk(here, pieces[id]) != matcher.dead;
        if (is_allowed(mask, id) == may_come) continue;
        INFO("after " << text << " token " << id << " '" << pieces[id] << "'");
        CHECK(is_allowed(mask, id) == may_come);
    }
}

std::size_t choose(
    std::span<const std::uint64_t> mask,
    const std::vector<std::string>& pieces,
    std::size_t n_steps,
    dice& random)
{
    std::vector<std::size_t> all;
    for (std::size_t id = 0; id < pieces.size(); ++id)
        if (is_allowed(mask, id)) all.push_back(id);
    REQUIRE(!all.empty());
    if (is_allowed(mask, end_token) && (n_steps > 30 || random.one_in(2))) return end_token;
    if (n_steps > 30)
        for (const std::string_view closing : {"\"", "}", "]", "null", "0"})
            for (const std::size_t id : all)
                if (pieces[id] == closing) return id;
    return all[random.below(all.size())];
}

}  // namespace

TEST_CASE("json_constraint: random walks over allowed tokens give what the schema allows")
{
    const std::vector<std::string> pieces = make_pieces();
    const auto table = make_table(pieces);
    std::size_t n_done = 0;
    for (std::uint32_t seed = 0; seed < 60; ++seed) {
        dice random{seed};
        const json schema = random_schema(random, 3);
        const std::string text_of_schema = schema.dump();
        INFO("seed " << seed << ": " << text_of_schema);
        json_grammar grammar = json_grammar::from_schema("true");
        try {
            grammar = json_grammar::from_schema(text_of_schema);
        } catch (const mp::error&) {
            continue;  // nothing satisfies it
        }
        json_matcher matcher{
            std::make_shared<const json_grammar_graph>(compile_json_schema(text_of_schema))};
        const auto masks = std::make_shared<json_token_masks>(grammar, table);
        for (int walk = 0; walk < 4; ++walk) {
            json_constraint subject{masks};
            std::string text;
            std::size_t token = 1;
            for (std::size_t n = 0; token != end_token && n < 400; ++n) {
                const auto mask = subject.allowed();
                if (n % 7 == 3) check_mask(mask, matcher, text, pieces);
                token = choose(subject.allowed(), pieces, n, random);
                text += pieces[token];
                subject.accept(static_cast<std::int32_t>(token));
            }
            if (token != end_token) continue;
            ++n_done;
            INFO("text " << text);
            CHECK(grammar.accepts(text));
            const json value = json::parse(text, nullptr, false);
            REQUIRE(!value.is_discarded());
            CHECK(valid(schema, value));
        }
    }
    CHECK(n_done > 150);
}

TEST_CASE("json_constraint: masks are the same whoever asked before")
{
    const std::vector<std::string> pieces = make_pieces();
    const auto table = make_table(pieces);
    const auto grammar = json_grammar::from_schema(
        R"({"type":"array","items":{"type":"object","properties":{"a":{"type":"string","maxLength":70}},
            "required":["a"]}})");
    const auto shared = std::make_shared<json_token_masks>(grammar, table);
    dice random{1};
    for (int round = 0; round < 3; ++round) {
        json_constraint one{shared};
        json_constraint other{shared};
        json_constraint alone{std::make_shared<json_token_masks>(grammar, table)};
        for (std::size_t n = 0; n < 60; ++n) {
            const auto mask = one.allowed();
            const std::vector<std::uint64_t> copy{mask.begin(), mask.end()};
            const auto same = alone.allowed();
            CHECK(std::equal(copy.begin(), copy.end(), same.begin(), same.end()));
            const std::size_t token = choose(copy, pieces, n / 2, random);
            if (token == end_token) break;
            one.accept(static_cast<std::int32_t>(token));
            alone.accept(static_cast<std::int32_t>(token));
            const std::size_t elsewhere = choose(other.allowed(), pieces, n / 2, random);
            if (elsewhere != end_token) other.accept(static_cast<std::int32_t>(elsewhere));
        }
    }
}

TEST_CASE("json_constraint: a text is accepted however it is cut into tokens")
{
    const std::vector<std::string> pieces = make_pieces();
    const auto table = make_table(pieces);
    const auto grammar = json_grammar::from_schema(
        R"({"type":"object","properties":{"a":{"type":"string"},"b":{"type":"array"}},"required":["a"]})");
    const auto masks = std::make_shared<json_token_masks>(grammar, table);
    const std::string text =
        R"({"a": "the quick brown fox jumps over é","b":[true, null,{"a":12}]})";
    REQUIRE(grammar.accepts(text));
    dice random{3};
    for (int round = 0; round < 50; ++round) {
        json_constraint subject{masks};
        for (std::size_t at = 0; at < text.size();) {
            std::vector<std::size_t> fitting;
            for (std::size_t id = 2; id < pieces.size(); ++id)
                if (std::string_view{text}.substr(at, pieces[id].size()) == pieces[id])
                    fitting.push_back(id);
            const std::size_t token = fitting[random.below(fitting.size())];
            CHECK(is_allowed(subject.allowed(), token));
            CHECK(!is_allowed(subject.allowed(), end_token));
            subject.accept(static_cast<std::int32_t>(token));
            at += pieces[token].size();
        }
        const auto last = subject.allowed();
        CHECK(is_allowed(last, end_token));
        CHECK(std::accumulate(last.begin(), last.end(), std::uint64_t{0}) == 1);
    }
}

TEST_CASE("json_constraint: begins after the thoughts")
{
    const std::vector<std::string> pieces = make_pieces();
    const auto table = make_table(pieces);
    const auto id_of = [&](std::string_view piece) {
        return static_cast<std::int32_t>(std::ranges::find(pieces, piece) - pieces.begin());
    };
    const auto say = [&](json_constraint& subject, std::string_view text) {
        for (const char byte : text)
            subject.accept(id_of(std::string_view{&byte, 1}));
    };
    const auto masks =
        std::make_shared<json_token_masks>(json_grammar::from_schema(R"({"const":12})"), table);
    const auto x = static_cast<std::size_t>(id_of("x"));
    const auto twelve = static_cast<std::size_t>(id_of("12"));
    const auto opening = static_cast<std::size_t>(id_of("<think>"));
    json_constraint opened{masks, constraint_start::after_thoughts};
    CHECK(is_allowed(opened.allowed(), x));
    CHECK(!is_allowed(opened.allowed(), end_token));
    say(opened, "x </think>\n\n");
    CHECK(!is_allowed(opened.allowed(), x));
    CHECK(is_allowed(opened.allowed(), twelve));
    say(opened, "12");
    CHECK(is_allowed(opened.allowed(), end_token));
    json_constraint may_open{masks, constraint_start::thoughts_if_begun};
    CHECK(is_allowed(may_open.allowed(), opening));
    CHECK(is_allowed(may_open.allowed(), twelve));
    CHECK(!is_allowed(may_open.allowed(), x));
    may_open.accept(static_cast<std::int32_t>(opening));
    CHECK(is_allowed(may_open.allowed(), x));
    json_constraint at_once{masks};
    CHECK(!is_allowed(at_once.allowed(), opening));
    at_once.accept(static_cast<std::int32_t>(x));
    CHECK_THROWS_AS(at_once.allowed(), mp::error);
}

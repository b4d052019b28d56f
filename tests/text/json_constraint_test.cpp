#include <modelpool/error.hpp>
#include <modelpool/text/json_constraint.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/json_matcher.hpp"
#include "text/json_schema.hpp"
#include "text/utf8.hpp"

namespace mp = modelpool;
using namespace mp::text;

namespace {

struct schema_case {
    const char* schema;
    std::vector<std::string> good;
    std::vector<std::string> bad;
};

void check(const schema_case& one)
{
    const json_grammar grammar = json_grammar::from_schema(one.schema);
    for (const std::string& text : one.good) {
        INFO(one.schema << " takes " << text);
        CHECK(grammar.accepts(text));
    }
    for (const std::string& text : one.bad) {
        INFO(one.schema << " bars " << text);
        CHECK(!grammar.accepts(text));
    }
}

void check_refused(const char* schema, const boost::system::error_code& code, const char* word)
{
    INFO(schema);
    try {
        json_grammar::from_schema(schema);
        FAIL("no error");
    } catch (const mp::error& problem) {
        INFO(problem.what());
        CHECK(problem.code() == code);
        CHECK(std::string_view{problem.what()}.find(word) != std::string_view::npos);
    }
}

}  // namespace

TEST_CASE("json_grammar: any value is JSON, with little space in it")
{
    const std::vector<std::string> good{
        "null",
        "true",
        "false",
        "0",
        "-0",
        "12.5e-3",
        "1E+9",
        R"("")",
        R"("a\u00e9\ud83d\ude00\/")",
        "\"é\xF0\x9F\x98\x80\"",
        "[]",
        "[1,2, 3]",
        "{}",
        R"({"a":1,"b" : [null, {"c":{}}]})",
        "{\n  \"a\": [\n    1\n  ]\n}",
        " 1",
        "\n\n{}"};
    const std::vector<std::string> bad{
        "",
        "nul",
        "01",
        "1.",
        ".5",
        "+1",
        "1e",
        "[1,]",
        "{,}",
        R"({"a"})",
        R"({a:1})",
        "'a'",
        "\"\n\"",
        "\"\xC0\x80\"",
        "\"\xED\xA0\x80\"",
        R"("\ud800")",
        R"("\x41")",
        "1 ",
        "[1,  2]",
        "{}x",
        "NaN",
        "\"\xF4\x90\x80\x80\""};
    for (const char* const schema : {"{}", "true", R"({"title":"anything","x-mine":1})"})
        check({schema, good, bad});
    check({R"({"type":"object"})", {"{}", R"({"a":{"a":[1]}})"}, {"1", "[]", "null"}});
}

TEST_CASE("json_grammar: each keyword narrows what is allowed")
{
    check({R"({"type":["string","null"]})", {R"("x")", "null"}, {"1", "{}"}});
    check({R"({"type":"string","nullable":true})", {R"("x")", "null"}, {"1"}});
    check(
        {R"({"type":"integer"})", {"0", "-17", "12345678901234567890"}, {"1.5", "1e3", R"("1")"}});
    check(
        {R"({"enum":["a","ab",1,null,{"k":[1]}]})",
         {R"("a")", R"("ab")", "1", "null", R"({"k":[1]})", R"({"k": [1]})"},
         {R"("b")", "2", R"({"k":[2]})", R"("abc")"}});
    check({R"({"const":"é\n"})", {"\"é\\n\"", R"("\u00e9\n")"}, {R"("e\n")"}});
    check({R"({"type":"string","enum":["a",1],"minLength":1})", {R"("a")"}, {"1"}});
    check(
        {R"({"type":"string","minLength":2,"maxLength":3})",
         {R"("ab")", R"("abc")", "\"é\xF0\x9F\x98\x80\"", R"("\ud83d\ude00b")"},
         {R"("a")", R"("abcd")", R"("")"}});
    check(
        {R"({"type":"array","items":{"type":"boolean"},"minItems":1,"maxItems":2})",
         {"[true]", "[true, false]"},
         {"[]", "[true,true,true]", "[1]"}});
    check(
        {R"({"type":"array","prefixItems":[{"type":"integer"},{"type":"null"}]})",
         {"[]", "[1]", "[1,null]"},
         {"[1,null,1]", "[null]"}});
    check(
        {R"({"prefixItems":[{"type":"integer"}],"items":{"type":"null"},"minItems":2,"maxItems":3})",
         {"[1,null]", "[1,null,null]"},
         {"[1]", "[1,null,null,null]"}});
    check(
        {R"({"type":"array","items":[{"const":1}],"additionalItems":false})",
         {"[]", "[1]"},
         {"[1,1]"}});
    check({R"({"type":"array","maxItems":0})", {"[]"}, {"[1]"}});
}

TEST_CASE("json_grammar: members come in the order of the schema, required ones always")
{
    check(
        {R"({"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"string"},
               "c":{"type":"null"}},"required":["b"]})",
         {R"({"b":"x"})",
          R"({"a":1,"b":"x","c":null})",
          R"({ "a": 1, "b": "x" })",
          R"({"b":"","c":null})"},
         {"{}",
          R"({"a":1})",
          R"({"b":"x","a":1})",
          R"({"b":"x","d":1})",
          R"({"b":"x",})",
          R"({"b":"x","b":"y"})"}});
    check(
        {R"({"properties":{"a":{}},"additionalProperties":{"type":"integer"}})",
         {"{}", R"({"a":"x"})", R"({"z":1,"a":[],"y":2})", R"({"ab":1})", R"({"\"":1})"},
         {R"({"z":"x"})", R"({"a":1,"a":2})"}});
    check(
        {R"({"additionalProperties":{"type":"integer"},"maxProperties":2,"minProperties":1})",
         {R"({"a":1})", R"({"a":1,"b":2})"},
         {"{}", R"({"a":1,"b":2,"c":3})"}});
    check(
        {R"({"type":"object","patternProperties":{"^x-":{"type":"integer"},"^y$":{}},
               "additionalProperties":false,"properties":{"x-a":{"maximum":3}}})",
         {"{}", R"({"x-a":3})", R"({"x-b":99,"y":{}})"},
         {R"({"x-a":4})", R"({"z":1})", R"({"yy":1})"}});
    check(
        {R"({"type":"object","required":["k"]})",
         {R"({"k":1})", R"({"j":0,"k":1})"},
         {"{}", R"({"j":0})"}});
    check(
        {R"({"type":"object","properties":{"né":{"const":1}},"required":["né"]})",
         {R"({"né":1})", R"({"n\u00e9":1})"},
         {"{}"}});
}

TEST_CASE("json_grammar: schemas are combined and may refer to themselves")
{
    check(
        {R"({"anyOf":[{"type":"integer"},{"type":"string","maxLength":1}]})",
         {"1", R"("a")"},
         {R"("ab")", "null"}});
    check(
        {R"({"type":"object","properties":{"a":{},"b":{}},
               "oneOf":[{"required":["a"]},{"required":["b"]}]})",
         {R"({"a":1})", R"({"b":1})"},
         {"{}"}});
    check(
        {R"({"allOf":[{"properties":{"a":{"type":"integer"}},"required":["a"]},
               {"properties":{"a":{"minimum":5},"b":{"type":"null"}}}]})",
         {R"({"a":5})", R"({"a":7,"b":null})"},
         {R"({"a":4})", R"({"a":"x"})", "{}"}});
    const char* const tree = R"({"$ref":"#/$defs/node","$defs":{"node":{"type":"object",
        "properties":{"v":{"type":"integer"},"next":{"anyOf":[{"$ref":"#/$defs/node"},{"type":"null"}]}},
        "required":["v","next"],"additionalProperties":false}}})";
    check(
        {tree,
         {R"({"v":1,"next":null})", R"({"v":1,"next":{"v":2,"next":{"v":3,"next":null}}})"},
         {R"({"v":1})", R"({"v":1,"next":{"v":2}})"}});
    check({R"({"type":"array","items":{"$ref":"#"}})", {"[]", "[[],[[]]]"}, {"[1]"}});
    check({R"({"$defs":{"a/b~c d":{"const":1}},"$ref":"#/$defs/a~1b~0c%20d"})", {"1"}, {"2"}});
    check(
        {R"({"type":"string","$ref":"#/$defs/s","$defs":{"s":{"maxLength":1,"type":["string","null"]}}})",
         {R"("a")"},
         {"null", R"("ab")"}});
    // The way through the second alternative never ends, so nothing leads there.
    check(
        {R"({"anyOf":[{"type":"null"},{"$ref":"#/$defs/x"}],"$defs":{"x":{"type":"array",
        "items":{"$ref":"#/$defs/x"},"minItems":1}}})",
         {"null"},
         {"[[[]]]"}});
    CHECK(!json_grammar::from_schema(R"({"anyOf":[{"type":"null"},{"$ref":"#/$defs/x"}],
        "$defs":{"x":{"type":"array","items":{"$ref":"#/$defs/x"},"minItems":1}}})")
               .begins("["));
}

TEST_CASE("json_grammar: bounds of numbers hold to the last digit")
{
    check(
        {R"({"type":"integer","minimum":-3,"maximum":12})",
         {"-3", "-1", "0", "9", "10", "12"},
         {"-4", "13", "120", "-30", "01", "1.0"}});
    check(
        {R"({"type":"integer","exclusiveMinimum":99,"exclusiveMaximum":1000})",
         {"100", "999"},
         {"99", "1000", "1"}});
    check({R"({"type":"integer","minimum":5})", {"5", "10", "99999"}, {"4", "-5", "0"}});
    check({R"({"type":"integer","maximum":-5})", {"-5", "-10"}, {"-4", "0", "5"}});
    check(
        {R"({"type":"number","minimum":0.25,"exclusiveMaximum":1})",
         {"0.25", "0.3", "0.250", "0.2500001", "0.999"},
         {"0.2", "0.24", "1", "1.0", "0", "-0.5"}});
    check(
        {R"({"type":"number","minimum":-1.5,"maximum":2})",
         {"-1.5", "-1", "0", "2", "2.0", "1.99"},
         {"-1.51", "2.1", "3", "-2"}});
    check(
        {R"({"type":"number","exclusiveMinimum":0})",
         {"0.1", "1", "10.5", "0.001"},
         {"-1", "0", "0.00"}});
    for (int low = -12; low <= 12; low += 3) {
        for (int high = low; high <= 130; high += 11) {
            const std::string bounds =
                "\"minimum\":" + std::to_string(low) + ",\"maximum\":" + std::to_string(high);
            const auto grammar = json_grammar::from_schema("{\"type\":\"integer\"," + bounds + "}");
            for (int i = -20; i <= 150; ++i) {
                INFO(bounds << ": " << i);
                CHECK(grammar.accepts(std::to_string(i)) == (i >= low && i <= high));
            }
        }
    }
}

TEST_CASE("json_grammar: patterns and formats")
{
    check(
        {R"({"type":"string","pattern":"^[a-c]+\\d{2,3}$"})",
         {R"("a12")", R"("abc123")"},
         {R"("a1")", R"("d12")", R"("a1234")"}});
    check({R"({"pattern":"b|^c"})", {R"("abc")", R"("cx")", R"("b")"}, {R"("ac")", R"("")"}});
    check(
        {R"({"pattern":"^(foo|ba[rz])?(?:\\.[^.\"]+)*$","maxLength":6})",
         {R"("")", R"("foo")", R"("bar.x")", R"(".é.ü")"},
         {R"("ba")", R"("foo.abc")", R"("foo.")"}});
    check({R"({"pattern":"^\"\\\\\\u00e9\\t$"})", {R"("\"\\é\t")"}, {R"("\"\\e\t")"}});
    check(
        {R"({"pattern":"^[^a]$"})",
         {R"("b")", R"("é")", "\"\xF0\x9F\x98\x80\"", R"("\u0000")"},
         {R"("a")", R"("")"}});
    check(
        {R"({"format":"date"})",
         {R"("2024-02-29")", R"("1999-12-31")"},
         {R"("2023-02-29")", R"("2024-13-01")", R"("2024-04-31")"}});
    check(
        {R"({"format":"date-time"})",
         {R"("2024-01-01T00:00:00Z")", R"("2024-01-01T23:59:59.5+01:00")"},
         {R"("2024-01-01")", R"("2024-01-01T24:00:00Z")"}});
    check(
        {R"({"format":"uuid"})", {R"("123e4567-e89b-12d3-a456-426614174000")"}, {R"("123e4567")"}});
    check(
        {R"({"format":"ipv4"})",
         {R"("0.0.0.0")", R"("255.249.199.9")"},
         {R"("256.0.0.0")", R"("1.2.3")", R"("01.2.3.4")"}});
    check({R"({"format":"email"})", {R"("a.b@c-d.org")"}, {R"("a@b")", R"("@c.d")"}});
    check({R"({"format":"int32","type":"integer"})", {"1"}, {R"("1")"}});
}

TEST_CASE("json_grammar: what is not understood is refused by its name")
{
    const auto unsupported = make_error_code(mp::errc::unsupported);
    const auto invalid = make_error_code(mp::errc::invalid_argument);
    check_refused(R"({"not":{"type":"null"}})", unsupported, "'not'");
    check_refused(R"({"if":{},"then":false})", unsupported, "'if'");
    check_refused(R"({"items":{"contains":{}}})", unsupported, "'contains'");
    check_refused(R"({"uniqueItems":true})", unsupported, "'uniqueItems'");
    check_refused(R"({"multipleOf":3})", unsupported, "'multipleOf'");
    check_refused(R"({"$ref":"other.json"})", unsupported, "other.json");
    check_refused(R"({"$ref":"#/$defs/x"})", invalid, "leads to nothing");
    check_refused(R"({"$ref":"#"})", invalid, "itself");
    check_refused(R"({"anyOf":[{"$ref":"#"},{"type":"null"}]})", invalid, "itself");
    check_refused(R"({"format":"ipv6"})", unsupported, "ipv6");
    check_refused(R"x({"pattern":"(?=a)"})x", unsupported, "lookaround");
    check_refused(R"({"pattern":"(a)\\1"})", unsupported, "back reference");
    check_refused(R"({"pattern":"a\\b"})", unsupported, "word border");
    check_refused(R"({"pattern":"(a"})", invalid, "')'");
    check_refused(R"x({"pattern":"((a{1000}){1000})"})x", invalid, "too large");
    check_refused(R"({"type":"strin"})", invalid, "strin");
    check_refused(R"({"type":"string","enum":[1]})", invalid, "no JSON value");
    check_refused("false", invalid, "no JSON value");
    check_refused(R"({"minimum":2,"maximum":1})", invalid, "no JSON value");
    check_refused(
        R"({"type":"array","items":{"$ref":"#"},"minItems":1})", invalid, "no JSON value");
    check_refused("[]", invalid, "neither");
    check_refused("{", invalid, "JSON schema");
    check_refused("", invalid, "JSON schema");
}

TEST_CASE("json_grammar: patterns that would take minutes to combine are refused")
{
    const boost::system::error_code invalid = make_error_code(mp::errc::invalid_argument);
    // Two classes of thousands of characters, none of which is in the other.
    const auto classes = [](char32_t first) {
        std::string text = "^[";
        for (char32_t code = first; code < 0xD000; code += 4)
            append_utf8(code, text);
        return text + "]*$";
    };
    const std::string apart = R"({"pattern":")" + classes(0x100) + R"(","allOf":[{"pattern":")" +
                              classes(0x102) + "\"}]}";
    check_refused(apart.c_str(), invalid, "too long to read");
    std::string listed = R"({"pattern":"^(b*c?){800}!$","enum":[)";
    for (int i = 0; i < 300; ++i)
        listed += (i > 0 ? ",\"" : "\"") + std::string(1500, 'b') + std::to_string(i) + "\"";
    check_refused((listed + "]}").c_str(), invalid, "too long to read");
}

TEST_CASE("json_grammar: a hostile schema ends in an error, not in memory")
{
    std::string wide = R"({"allOf":[)";
    for (int i = 0; i < 40; ++i)
        wide += std::string{i > 0 ? "," : ""} + R"({"anyOf":[{"minLength":)" + std::to_string(i) +
                R"(},{"maxLength":)" + std::to_string(100 + i) + "}]}";
    check_refused((wide + "]}").c_str(), make_error_code(mp::errc::invalid_argument), "rules");
    std::string deep;
    for (int i = 0; i < 300; ++i)
        deep += R"({"items":)";
    check_refused(deep.c_str(), make_error_code(mp::errc::invalid_argument), "JSON schema");
    const std::string big(std::size_t{2} << 20U, ' ');
    check_refused(big.c_str(), make_error_code(mp::errc::invalid_argument), "bytes");
    std::string names = R"({"properties":{)";
    for (int i = 0; i < 3000; ++i)
        names += std::string{i > 0 ? "," : ""} + "\"" + std::to_string(i) + "\":{}";
    check_refused((names + "}}").c_str(), make_error_code(mp::errc::invalid_argument), "members");
}

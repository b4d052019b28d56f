#include <catch2/catch.hpp>

#include <cstdint>
#include <limits>
#include <string>

#include "support/failure.hpp"
#include "support/json.hpp"
#include "support/printable.hpp"
#include "support/temp_dir.hpp"

#include <sys/stat.h>

namespace modelpool {
namespace {

using Catch::Matchers::Contains;
using Catch::Matchers::EndsWith;
using Catch::Matchers::StartsWith;
using support::json_file;
using testing::failure;

constexpr std::int64_t lowest = std::numeric_limits<std::int64_t>::min();
constexpr std::int64_t highest = std::numeric_limits<std::int64_t>::max();

json_file parsed(std::string_view text)
{
    return json_file{text, "config.json", model_errc::bad_config};
}

std::string refusal(std::string_view text)
{
    return failure(model_errc::bad_config, [text] { parsed(text); });
}

}  // namespace

TEST_CASE("json: fields of every kind are read")
{
    const json_file file =
        parsed(R"({"i": -7, "d": 0.5, "e": 1e3, "t": true, "s": "a\u00e9", "n": null, )"
               R"("u": 18446744073709551615})");
    CHECK(file.name() == "config.json");
    CHECK(file.find_int("i", -10, 10) == -7);
    CHECK(file.need_int("i", -7, -7) == -7);
    CHECK(file.find_number("d") == 0.5);
    CHECK(file.find_number("e") == 1000.0);
    CHECK(file.find_number("i") == -7.0);
    CHECK(file.find_number("u") == 18446744073709551615.0);
    CHECK(file.find_bool("t") == true);
    CHECK(file.find_string("s") == "a\xC3\xA9");
    CHECK(file.need_string("s") == "a\xC3\xA9");
}

TEST_CASE("json: an absent field and a null one are both nothing")
{
    const json_file file = parsed(R"({"n": null})");
    for (const std::string key : {"n", "absent"}) {
        CHECK_FALSE(file.find_int(key, lowest, highest));
        CHECK_FALSE(file.find_number(key));
        CHECK_FALSE(file.find_bool(key));
        CHECK_FALSE(file.find_string(key));
        const std::string wanted = "config.json: '" + key + "' is missing";
        CHECK(failure(model_errc::bad_config, [&] { file.need_int(key, 0, 1); }) == wanted);
        CHECK(failure(model_errc::bad_config, [&] { file.need_string(key); }) == wanted);
    }
}

TEST_CASE("json: a field of another type is an error that names file, key and value")
{
    const json_file file = parsed(R"({"s": "text", "d": 1.5, "a": [1], "o": {}, "t": true})");
    const auto code = model_errc::bad_config;
    CHECK(failure(code, [&] {
              file.find_int("s", 0, 1);
          }) == "config.json: 's' must be an integer, found \"text\"");
    CHECK(failure(code, [&] {
              file.find_int("d", 0, 9);
          }) == "config.json: 'd' must be an integer, found 1.5");
    CHECK(failure(code, [&] {
              file.find_int("t", 0, 9);
          }) == "config.json: 't' must be an integer, found true");
    CHECK(failure(code, [&] {
              file.find_number("a");
          }) == "config.json: 'a' must be a number, found an array");
    CHECK(failure(code, [&] {
              file.find_bool("o");
          }) == "config.json: 'o' must be true or false, found an object");
    CHECK(failure(code, [&] {
              file.find_string("d");
          }) == "config.json: 'd' must be a string, found 1.5");
}

TEST_CASE("json: integers outside their range are refused, at the extremes too")
{
    const json_file file = parsed(
        R"({"low": -9223372036854775808, "high": 9223372036854775807, "over": 9223372036854775808,)"
        R"( "most": 18446744073709551615, "float": 18446744073709551616, "zero": -0})");
    CHECK(file.need_int("low", lowest, highest) == lowest);
    CHECK(file.need_int("high", lowest, highest) == highest);
    CHECK(file.need_int("zero", 0, 0) == 0);
    const auto code = model_errc::bad_config;
    CHECK_THAT(
        failure(code, [&] { file.need_int("over", lowest, highest); }),
        EndsWith("found 9223372036854775808"));
    CHECK_THAT(
        failure(code, [&] { file.need_int("most", lowest, highest); }),
        EndsWith("found 18446744073709551615"));
    CHECK_THAT(
        failure(code, [&] { file.need_int("float", lowest, highest); }),
        Contains("'float' must be an integer"));
    CHECK(failure(code, [&] {
              file.need_int("high", 1, 512);
          }) == "config.json: 'high' must lie in [1, 512], found 9223372036854775807");
    failure(code, [&] { file.need_int("low", -1, 512); });
}

TEST_CASE("json: a field of something that is no object is an error")
{
    CHECK(failure(model_errc::bad_config, [] {
              parsed("[1]").find_bool("a");
          }) == "config.json: expected an object, found array");
}

TEST_CASE("json: malformed texts are refused with the place of the fault")
{
    CHECK_THAT(refusal(""), StartsWith("config.json: not valid JSON: parse error at line 1"));
    CHECK_THAT(refusal("{\n\"a\": }"), Contains("line 2, column 6"));
    for (const std::string text :
         {"{",
          "[1,]",
          "{\"a\":1,}",
          "{a:1}",
          "nan",
          "NaN",
          "01",
          "+1",
          "1.",
          ".5",
          "'a'",
          "{} {}",
          "// x\n{}",
          "\"\\ud800\"",
          "\"\\x41\"",
          "\"\n\"",
          "\"\xFF\"",
          "\"\xC0\x80\"",
          "\"\xED\xA0\x80\"",
          "1e999",
          "-1e999",
          "{\"a\" 1}",
          "tru"}) {
        INFO(text);
        CHECK_THAT(refusal(text), StartsWith("config.json: not valid JSON: "));
    }
    CHECK_THAT(refusal(std::string{"{}\0 anything", 12}), EndsWith("a NUL byte at 2"));
    CHECK_THAT(refusal(std::string{"{\"a\0\": 1}", 9}), EndsWith("a NUL byte at 3"));
}

TEST_CASE("json: deep nesting is refused, and 256 levels are not")
{
    const auto nested = [](std::size_t depth) {
        return std::string(depth, '[') + std::string(depth, ']');
    };
    CHECK_NOTHROW(parsed(nested(256)));
    CHECK_THAT(refusal(nested(257)), EndsWith("nested more than 256 deep"));
    CHECK_THAT(refusal(std::string(1'000'000, '[')), EndsWith("nested more than 256 deep"));
    std::string objects;
    for (int i = 0; i < 100'000; ++i)
        objects += "{\"a\":";
    CHECK_THAT(refusal(objects), EndsWith("nested more than 256 deep"));
    CHECK_NOTHROW(parsed("[" + std::string(2000, ' ') + "[],[],[[]]]"));
}

TEST_CASE("json: messages stay short and on one line whatever the file holds")
{
    const std::string huge(1'000'000, 'x');
    const json_file file =
        parsed("{\"s\": \"" + huge + "\", \"e\": \"" + std::string(200, '\x7F') + "\"}");
    CHECK(failure(model_errc::bad_config, [&] { file.find_bool("s"); }).size() < 200);
    CHECK(refusal("[\"" + huge + "\n\"]").size() < 500);
    CHECK(refusal("{\"a\": " + huge).find('\n') == std::string::npos);
    CHECK(refusal("[\"\x1B[2J\"]").find('\x1B') == std::string::npos);
}

TEST_CASE("json: a file is read whole, and its name is in every error")
{
    const testing::temp_dir dir;
    const auto path = dir.write("config.json", R"({"hidden_size": 384})");
    const json_file file = json_file::blocking_read(path, model_errc::bad_config);
    CHECK(file.name() == path.string());
    CHECK(file.need_int("hidden_size", 1, 1 << 20) == 384);
    CHECK(failure(model_errc::bad_config, [&] {
              file.need_int("x", 0, 1);
          }) == path.string() + ": 'x' is missing");
}

TEST_CASE("json: what cannot be read as a file is refused")
{
    const testing::temp_dir dir;
    const auto code = model_errc::bad_file;
    const auto read = [](const std::filesystem::path& path) {
        json_file::blocking_read(path, model_errc::bad_file, 1000);
    };
    CHECK_THAT(failure(code, [&] { read(dir / "absent"); }), EndsWith("absent: no such file"));
    CHECK_THAT(failure(code, [&] { read(dir.path()); }), EndsWith(": not a regular file"));
    const auto pipe = dir / "pipe";
    REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
    CHECK_THAT(failure(code, [&] { read(pipe); }), EndsWith("pipe: not a regular file"));
    CHECK_THAT(failure(code, [&] { read(dir.write("a", "") / "b"); }), Contains("a/b: "));
    const std::string name(5000, 'n');
    CHECK_THAT(failure(code, [&] { read(dir / name); }), Contains(": cannot be read: "));
}

TEST_CASE("json: a file may be as large as its limit and no larger")
{
    const testing::temp_dir dir;
    const std::string text(200'000, ' ');
    const auto path = dir.write("spaces", text);
    CHECK(support::blocking_read_file(path, model_errc::bad_file, 200'000) == text);
    CHECK(support::blocking_read_file(dir.write("none", ""), model_errc::bad_file, 0).empty());
    for (const std::size_t limit : {std::size_t{0}, std::size_t{65'536}, std::size_t{199'999}})
        CHECK_THAT(
            failure(
                model_errc::bad_file,
                [&] { support::blocking_read_file(path, model_errc::bad_file, limit); }),
            EndsWith("larger than the limit of " + std::to_string(limit) + " bytes"));
}

TEST_CASE("printable: text of any bytes becomes one line of valid UTF-8")
{
    using support::printable;
    CHECK(printable("plain") == "plain");
    CHECK(printable("") == "");
    CHECK(
        printable("\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80") ==
        "\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80");
    CHECK(printable(std::string_view{"a\0\n\x1B\x7F", 5}) == "a\\x00\\x0A\\x1B\\x7F");
    CHECK(printable("\xFFz") == "\\xFFz");
    CHECK(printable("\xC0\x80") == "\\xC0\\x80");                    // overlong
    CHECK(printable("\xE0\x9F\xBF") == "\\xE0\\x9F\\xBF");           // overlong
    CHECK(printable("\xED\xA0\x80") == "\\xED\\xA0\\x80");           // a surrogate
    CHECK(printable("\xF4\x90\x80\x80") == "\\xF4\\x90\\x80\\x80");  // above U+10FFFF
    CHECK(printable("\xE2\x82") == "\\xE2\\x82");                    // cut off
    CHECK(printable("\xE2\x82z") == "\\xE2\\x82z");
    CHECK(printable("\xF0\x9F\x98") == "\\xF0\\x9F\\x98");
    CHECK(support::in_quotes("a") == "'a'");
}

TEST_CASE("printable: long text is cut between characters")
{
    CHECK(support::printable("abcdef", 6) == "abcdef");
    CHECK(support::printable("abcdefg", 6) == "abcdef...");
    CHECK(support::printable("abcd\xE2\x82\xAC", 6) == "abcd...");
    CHECK(support::printable("abcde\n", 6) == "abcde...");
}

}  // namespace modelpool

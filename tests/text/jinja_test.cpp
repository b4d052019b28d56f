#include <modelpool/error.hpp>
#include <modelpool/text/chat_template.hpp>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <thread>
#include <vector>

using modelpool::errc;
using modelpool::text_errc;
using modelpool::text::chat_json;
using modelpool::text::chat_template;
using modelpool::text::template_limits;

namespace {

chat_template made_of(const std::string& source)
{
    return chat_template::from_source(source, {}, "t.jinja");
}

std::string rendered(const std::string& source, std::map<std::string, std::string> variables = {})
{
    return made_of(source).render(chat_json{"[]", "", std::move(variables)});
}

modelpool::error failure_of(const std::string& source)
{
    try {
        static_cast<void>(rendered(source));
    } catch (const modelpool::error& problem) {
        return problem;
    }
    FAIL("no failure: " << source);
    return modelpool::error{errc::closed};
}

bool is_in(const std::string& what, const std::string& text)
{
    return text.find(what) != std::string::npos;
}

nlohmann::json read_cases()
{
    std::ifstream in{std::filesystem::path{MODELPOOL_TEST_DATA} / "templates/cases.json"};
    REQUIRE(in);
    return nlohmann::json::parse(in);
}

}  // namespace

TEST_CASE("template: gives what the reference gives, and refuses what it refuses")
{
    const nlohmann::json cases = read_cases();
    const auto variables = cases["variables"].get<std::map<std::string, std::string>>();
    REQUIRE(cases["rows"].size() > 400);
    for (const nlohmann::json& row : cases["rows"]) {
        const auto source = row["template"].get<std::string>();
        INFO(source);
        std::string out;
        std::string problem;
        try {
            out = rendered(source, variables);
        } catch (const modelpool::error& error) {
            problem = error.what();
        }
        INFO(problem);
        if (row.contains("out"))
            CHECK((problem.empty() && out == row["out"].get<std::string>()));
        else
            CHECK(!problem.empty());
    }
}

TEST_CASE("template: names the line of what is no template")
{
    const modelpool::error problem = failure_of("a\n{% if b %}\n{{ 1 + }}\n{% endif %}");
    CHECK(problem.code() == text_errc::bad_file);
    CHECK(is_in("t.jinja: line 3", problem.what()));
    CHECK(failure_of("{% if b %}").code() == text_errc::bad_file);
    CHECK(failure_of("{{ 'a' }}{% nope %}").code() == text_errc::bad_file);
}

TEST_CASE("template: refuses tags of other files by their names")
{
    for (const char* const tag : {"include 'x'", "import 'x' as y", "extends 'x'", "block b"}) {
        const modelpool::error problem = failure_of("\n{% " + std::string{tag} + " %}");
        CHECK(problem.code() == text_errc::unsupported);
        CHECK(is_in("line 2", problem.what()));
    }
}

TEST_CASE("template: passes on what it says about a conversation, with the line")
{
    const modelpool::error problem =
        failure_of("x\n{% if true %}\n{{ raise_exception('Roles must alternate!') }}{% endif %}");
    CHECK(problem.code() == errc::invalid_argument);
    CHECK(std::string{problem.what()} == "t.jinja: line 3: Roles must alternate!");
    const modelpool::error missing = failure_of("{{ messages[0].content }}");
    CHECK(missing.code() == errc::invalid_argument);
}

TEST_CASE("template: keeps to its limits")
{
    const auto refused = [](const std::string& source, const template_limits& limits) {
        try {
            static_cast<void>(made_of(source).with_limits(limits).render(chat_json{"[]", "", {}}));
        } catch (const modelpool::error& problem) {
            return problem.code() == text_errc::unsupported;
        }
        return false;
    };
    const std::string nested =
        "{% for a in range(1000) %}{% for b in range(1000) %}{% endfor %}{% endfor %}";
    CHECK(refused(nested, template_limits{}.max_steps(10'000)));
    CHECK(!refused(nested, template_limits{}));
    const std::string growing = "{% set n = namespace(s='xxxxxxxx') %}{% for a in range(60) %}"
                                "{% set n.s = n.s ~ n.s %}{% endfor %}";
    CHECK(refused(growing, template_limits{}.max_value_bytes(1U << 20U)));
    CHECK(refused("{{ 'x' * 1000000000000 }}", template_limits{}));
    CHECK(refused("{{ [0] * 9223372036854775807 }}", template_limits{}));
    CHECK(refused("{{ 'x' * 100 }}", template_limits{}.max_output_bytes(99)));
    CHECK(!refused("{{ 'x' * 100 }}", template_limits{}.max_output_bytes(100)));
    CHECK(refused("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", template_limits{}));
    CHECK(refused("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}", template_limits{}));
    const std::string deep = "{% set n = namespace(s=[]) %}{% for a in range(5000) %}"
                             "{% set n.s = [n.s] %}{% endfor %}";
    CHECK(refused(deep, template_limits{}));
    const std::string lazy = "{% set n = namespace(s=[1]) %}{% for a in range(5000) %}"
                             "{% set n.s = n.s | map('abs') %}{% endfor %}{{ n.s | list }}";
    CHECK(refused(lazy, template_limits{}));
    CHECK(refused("{{ 9223372036854775807 + 1 }}", template_limits{}));
}

TEST_CASE("template: refuses nesting that would take the stack, when it is parsed")
{
    const std::string open(5000, '(');
    CHECK(
        failure_of("{{ " + open + "1" + std::string(5000, ')') + " }}").code() ==
        text_errc::unsupported);
    CHECK(
        failure_of("{{ " + std::string(5000, '[') + std::string(5000, ']') + " }}").code() ==
        text_errc::unsupported);
    std::string sum = "{{ 1";
    std::string nots = "{{ ";
    std::string filters = "{{ 1";
    std::string ifs;
    for (int i = 0; i < 5000; ++i) {
        sum += " + 1";
        nots += "not ";
        filters += " | abs";
        ifs += "{% if 1 %}";
    }
    CHECK(failure_of(sum + " }}").code() == text_errc::unsupported);
    CHECK(failure_of(nots + "1 }}").code() == text_errc::unsupported);
    CHECK(failure_of(filters + " }}").code() == text_errc::unsupported);
    CHECK(failure_of(ifs).code() == text_errc::unsupported);
}

TEST_CASE("template: lets go of values that hold themselves")
{
    // The leak check at the end of the program, and the sanitizer's, see what stays.
    CHECK(rendered("{% set n = namespace() %}{% set n.me = [n] %}{{ n.me | length }}") == "1");
    CHECK(
        rendered("{% set n = namespace() %}{% for x in [1, 2] %}{% set n.l = loop %}"
                 "{{ loop.changed([loop, n]) }}{% endfor %}") == "TrueFalse");
    CHECK(
        rendered(
            "{% set n = namespace() %}{% for x in [1, 2] %}{% macro f() %}{{ x }}{{ n is defined }}"
            "{% endmacro %}{% set n.f = f %}{% endfor %}{{ n.f() }}") == "2True");
    CHECK(
        rendered(
            "{% set n = namespace() %}{% for x in [1, 2, 3] if n is defined %}{% set n.l = loop %}"
            "{{ loop.last }}{% endfor %}") == "FalseFalseTrue");
}

TEST_CASE("template: tells the time it is given")
{
    const auto time = std::chrono::system_clock::from_time_t(1'700'000'000);
    const chat_template subject = made_of("{{ strftime_now('%Y-%m') }}").at_time(time);
    CHECK(subject.render(chat_json{"[]", "", {}}) == "2023-11");
}

TEST_CASE("template: one serves several threads")
{
    const chat_template subject = made_of("{% macro f(x) %}<{{ x }}>{% endmacro %}{% for m in "
                                          "messages %}{{ f(m.content | upper) }}{% endfor %}");
    const chat_json conversation{R"([{"content":"é"},{"content":"b"}])", "", {}};
    std::vector<std::string> results(4);
    std::vector<std::thread> threads;
    for (std::string& result : results)
        threads.emplace_back([&result, &subject, &conversation] {
            for (int i = 0; i < 200; ++i)
                result = subject.render(conversation);
        });
    for (std::thread& each : threads)
        each.join();
    for (const std::string& result : results)
        CHECK(result == "<É><B>");
}

TEST_CASE("template: texts are equal where all their characters are")
{
    const auto equal = [](const std::string& a, const std::string& b) {
        const std::string source = "{{ x == y }} {{ {x: 1}[y] is defined }}";
        return rendered(source, {{"x", '"' + a + '"'}, {"y", '"' + b + '"'}});
    };
    for (std::size_t n = 0; n <= 20; ++n) {
        const std::string text = std::string{"abcdefghijklmnopqrst"}.substr(0, n);
        CHECK(equal(text, text) == "True True");
        CHECK(equal(text, text + "x") == "False False");
        for (std::size_t i = 0; i < n; ++i) {
            std::string other = text;
            other[i] = '-';
            INFO(text << " and " << other);
            CHECK(equal(text, other) == "False False");
        }
    }
}

TEST_CASE("template: what is printed as a sum is the sum")
{
    const std::map<std::string, std::string> given{
        {"d", R"({"keys":"k","a":"<","n":2,"deep":{"er":{"and":{"er":"end"}}}})"}, {"m", R"("&")"}};
    const auto made = [&given](const std::string& source) { return rendered(source, given); };
    CHECK(made("{{ d.a + d['a'] + m + 'x' }}") == "<<&x");
    CHECK(made("{{ d.a + (m|e) + '<' }}") == "&lt;&amp;&lt;");
    CHECK(made("{{ d.n + d.n }} {{ d.n + 1 + d['n'] }}") == "4 5");
    CHECK(made("{{ d.keys is string }} {{ d['keys'] + d.a }}") == "False k<");
    CHECK(made("{{ d.deep.er.and.er + '.' }} {{ d['deep']['er']['and']['er'] }}") == "end. end");
    CHECK(
        made("{{ 'a'+'b'+'c'+'d'+'e'+'f'+'g'+m }}{{ 'a'+'b'+'c'+'d'+'e'+'f'+'g'+'h'+m }}") ==
        "abcdefg&abcdefgh&");
    CHECK(made("{% set ns = namespace(a='b') %}{{ ns.a + ns.a }}") == "bb");
    CHECK(is_in("'missing'", failure_of("{{ 'a' + missing }}").what()));
    CHECK(is_in("+ between str and int", failure_of("{{ 'a' + 'b' + 1 }}").what()));
}

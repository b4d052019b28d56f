#include <modelpool/text/answer.hpp>

#include <catch2/catch.hpp>

#include <string>
#include <string_view>
#include <vector>

using modelpool::answer_part;
using modelpool::answer_piece;
using modelpool::text::answer_format;
using modelpool::text::answer_splitter;
using modelpool::text::call_style;

namespace {

// "text|reasoning|call" pieces put together, in their order: "[t:…][r:…][c0:id:name:arguments]"
std::string joined(const std::vector<answer_piece>& deltas)
{
    std::string made;
    std::string before;
    for (const answer_piece& each : deltas) {
        std::string head = each.part == answer_part::text ? "t:"
                           : each.part == answer_part::reasoning
                               ? "r:"
                               : "c" + std::to_string(each.call.index) + ":";
        if (head != before) made += (made.empty() ? "[" : "][") + head;
        if (!each.call.name.empty()) made += each.call.id + ":" + each.call.name + ":";
        made += each.text + each.call.arguments;
        before = head;
    }
    return made.empty() ? made : made + "]";
}

std::string split(const answer_format& format, const std::vector<std::string_view>& pieces)
{
    answer_splitter subject{format};
    std::vector<answer_piece> out;
    for (const std::string_view piece : pieces)
        subject.push(piece, out);
    subject.finish(out);
    return joined(out);
}

// The answer whole, in two at every place, and byte by byte.
void check_all(const answer_format& format, const std::string& answer, const std::string& expected)
{
    CHECK(split(format, {answer}) == expected);
    const std::string_view text{answer};
    for (std::size_t i = 0; i <= text.size(); ++i)
        REQUIRE(split(format, {text.substr(0, i), text.substr(i)}) == expected);
    std::vector<std::string_view> bytes;
    for (std::size_t i = 0; i < text.size(); ++i)
        bytes.push_back(text.substr(i, 1));
    REQUIRE(split(format, bytes) == expected);
}

answer_format thinking()
{
    return answer_format{}.thinks(true);
}

}  // namespace

TEST_CASE("answer: plain text stays as it is")
{
    check_all(
        answer_format{},
        "a <think> b\n</think> <tool_call>\n",
        "[t:a <think> b\n</think> <tool_call>\n]");
    check_all(answer_format{}, "", "");
}

TEST_CASE("answer: thoughts at the beginning are kept apart")
{
    check_all(thinking(), "<think>\nhm\n\nhm\n</think>\n\nIt is.\n", "[r:hm\n\nhm][t:It is.\n]");
    check_all(thinking(), " \n<think>hm</think>so", "[r:hm][t:so]");
    check_all(thinking(), "<think>\n\n</think>\n\nso", "[t:so]");
    check_all(thinking(), "I say <think>", "[t:I say <think>]");
    check_all(thinking(), "<thin", "[t:<thin]");
    check_all(thinking(), "<think>hm </th", "[r:hm </th]");
}

TEST_CASE("answer: thoughts that the prompt began go on")
{
    const auto format = thinking().after("<|im_start|>assistant\n<think>\n");
    CHECK(format.begins_in_thoughts());
    check_all(format, "hm\n</think>\n\nso", "[r:hm][t:so]");
    CHECK(!thinking().after("<think>\n\n</think>\n\n").begins_in_thoughts());
    CHECK(!answer_format{}.after("<think>").begins_in_thoughts());
}

TEST_CASE("answer: calls in JSON are given with their arguments as written")
{
    const auto format = answer_format{}.calls(call_style::json);
    check_all(
        format,
        "Let me.\n\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": 1.0, \"y\": "
        "\"}\\\"\"}}\n</tool_call>\n"
        "<tool_call>{\"arguments\":[], \"name\":\"g\"}</tool_call>",
        "[t:Let me.][c0::f:{\"x\": 1.0, \"y\": \"}\\\"\"}][c1::g:[]]");
    check_all(format, "<tool_call>{\"name\": \"f\"}</tool_call>", "[c0::f:{}]");
    check_all(format, "<tool_call>{\"name\": \"f\", \"arguments\": {}}", "[c0::f:{}]");
    check_all(format, "<tool_call>{nope}</tool_call> b", "[t:<tool_call>{nope}</tool_call> b]");
    check_all(format, "a <tool_call>{\"name\"", "[t:a <tool_call>{\"name\"]");
}

TEST_CASE("answer: calls in XML become JSON, with the types of the tools")
{
    auto format = answer_format{}.calls(call_style::xml);
    const std::string answer = "ok\n<tool_call>\n<function=f>\n<parameter=a>\n12\n</parameter>\n"
                               "<parameter=b>\nx\ny\n</parameter>\n</function>\n</tool_call>";
    check_all(format, answer, "[t:ok][c0::f:{\"a\": 12, \"b\": \"x\\ny\"}]");
    format.tools(
        R"([{"function":{"name":"f","parameters":{"properties":{"a":{"type":"string"}}}}}])");
    check_all(format, answer, "[t:ok][c0::f:{\"a\": \"12\", \"b\": \"x\\ny\"}]");
    check_all(format, "<function=g>\n</function>\nso", "[c0::g:{}][t:so]");
    check_all(format, "<tool_call> no </tool_call>", "[t:<tool_call> no </tool_call>]");
}

TEST_CASE("answer: calls of Kimi have ids")
{
    const auto format = answer_format{}.calls(call_style::kimi);
    check_all(
        format,
        "Hm.<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|"
        ">"
        " {\"x\": "
        "1}\n<|tool_call_end|><|tool_call_begin|>functions.g:1<|tool_call_argument_begin|>{}"
        "<|tool_call_end|><|tool_calls_section_end|>",
        "[t:Hm.][c0:functions.f:0:f:{\"x\": 1}][c1:functions.g:1:g:{}]");
}

TEST_CASE("answer: the format is told from the template")
{
    CHECK(answer_format::of_template("x <think> <tool_call>").calls() == call_style::json);
    CHECK(answer_format::of_template("x <think> <tool_call>").thinks());
    CHECK(answer_format::of_template("<tool_call><function=a>").calls() == call_style::xml);
    CHECK(answer_format::of_template("<|tool_calls_section_begin|>").calls() == call_style::kimi);
    CHECK(answer_format::of_template("hello").calls() == call_style::none);
    CHECK(!answer_format::of_template("hello").thinks());
}

TEST_CASE("answer: says whether it calls tools")
{
    answer_splitter subject{answer_format{}.calls(call_style::json)};
    std::vector<answer_piece> out;
    subject.push("<tool_call>{\"name\":\"f\"}", out);
    CHECK(!subject.calls_tools());
    subject.push("</tool_call>", out);
    CHECK(subject.calls_tools());
}

#include <modelpool/error.hpp>
#include <modelpool/text/chat_template.hpp>

#include <catch2/catch.hpp>

#include <filesystem>
#include <fstream>
#include <string>

#include "support/temp_dir.hpp"

using modelpool::chat;
using modelpool::errc;
using modelpool::message;
using modelpool::text_errc;
using modelpool::text::chat_json;
using modelpool::text::chat_template;

namespace {

const std::string shown = "{% for m in messages %}{{ m | tojson }};{% endfor %}";

chat_template made_of(const std::string& source)
{
    return chat_template::from_source(source, {{"bos_token", "<s>"}}, "t.jinja");
}

void write(const std::filesystem::path& file, const std::string& text)
{
    std::filesystem::create_directories(file.parent_path());
    std::ofstream{file, std::ios::binary} << text;
}

}  // namespace

TEST_CASE("chat template: sees messages as the reference shapes them")
{
    message asks;
    asks.role = "user";
    asks.content.emplace_back(std::string{"What is "});
    asks.content.emplace_back(std::string{"it?"});
    message calls;
    calls.role = "assistant";
    calls.tool_calls.push_back({"id1", "look", R"({"at": [1.0, null]})"});
    calls.tool_calls.push_back({"", "odd", "not json"});
    message answers;
    answers.role = "tool";
    answers.content.emplace_back(std::string{"a cat"});
    answers.tool_call_id = "id1";
    answers.name = "look";
    const chat conversation = chat{}.add(asks).add(calls).add(answers);
    CHECK(
        made_of(shown).render(conversation) ==
        R"({"role": "user", "content": "What is it?"};)"
        R"({"role": "assistant", "content": "", "tool_calls": [{"id": "id1", "type": "function", )"
        R"("function": {"name": "look", "arguments": {"at": [1.0, null]}}}, {"type": "function", )"
        R"("function": {"name": "odd", "arguments": "not json"}}]};)"
        R"({"role": "tool", "content": "a cat", "tool_call_id": "id1", "name": "look"};)");
}

TEST_CASE("chat template: sees images as parts between the text")
{
    message asks;
    asks.role = "user";
    asks.content.emplace_back(modelpool::image_source{});
    asks.content.emplace_back(std::string{"What is it?"});
    CHECK(
        made_of(shown).render(chat{}.add(asks)) ==
        R"({"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]};)");
}

TEST_CASE("chat template: sees thoughts under each name that templates look for")
{
    message thinks;
    thinks.role = "assistant";
    thinks.content.emplace_back(std::string{"a"});
    thinks.reasoning = "hm";
    const std::string source = "{{ messages[0].thinking }}|{{ messages[0].reasoning_content }}";
    CHECK(made_of(source).render(chat{}.add(thinks)) == "hm|hm");
    const chat_json other{R"([{"role":"assistant","content":"a","reasoning":"hm"}])", "", {}};
    CHECK(made_of(source).render(other) == "hm|hm");
}

TEST_CASE("chat template: has the variables of the reference, and those of the conversation")
{
    const std::string source =
        "{{ bos_token }}{{ add_generation_prompt }}{{ tools }}{{ documents }}{{ x }}";
    CHECK(made_of(source).render(chat{}) == "<s>TrueNoneNone");
    const chat other = chat{}
                           .set("add_generation_prompt", "false")
                           .set("x", R"({"a":[1]})")
                           .set("bos_token", R"("B")")
                           .tools(R"([{"n":1}])");
    CHECK(made_of(source).render(other) == "BFalse[{'n': 1}]None{'a': [1]}");
}

TEST_CASE("chat template: refuses what is not JSON, or not UTF-8, by its name")
{
    const auto code_of = [](const chat& conversation) {
        try {
            static_cast<void>(made_of("x").render(conversation));
        } catch (const modelpool::error& problem) {
            return problem.code();
        }
        return boost::system::error_code{};
    };
    CHECK(code_of(chat{}.set("x", "{")) == errc::invalid_argument);
    CHECK(code_of(chat{}.tools("nope")) == errc::invalid_argument);
    CHECK(code_of(chat{}.user("\xff")) == text_errc::not_utf8);
    CHECK(code_of(chat{}.user("a")) == boost::system::error_code{});
    CHECK_THROWS_AS(made_of("x").render(chat_json{"{}", "", {}}), modelpool::error);
    CHECK_THROWS_AS(made_of("x").render(chat_json{"[1]", "", {}}), modelpool::error);
    CHECK_THROWS_AS(made_of("x").render(chat_json{"[]", "{}", {}}), modelpool::error);
    CHECK_THROWS_AS(made_of("\xff"), modelpool::error);
}

TEST_CASE("chat template: is found in each of the files it may lie in")
{
    const modelpool::testing::temp_dir dir;
    const auto folder = dir.path();
    const auto loaded = [&folder] { return chat_template::blocking_load(folder).render(chat{}); };
    CHECK_THROWS_AS(loaded(), modelpool::error);
    write(folder / "config.json", R"({"model_type":"qwen3"})");
    CHECK(loaded() == "<|im_start|>assistant\n");
    write(
        folder / "tokenizer_config.json",
        R"({"chat_template":"A{{ bos_token }}","bos_token":{"content":"<b>"}})");
    CHECK(loaded() == "A<b>");
    write(folder / "chat_template.json", R"({"chat_template":"B{{ bos_token }}"})");
    CHECK(loaded() == "B<b>");
    write(folder / "chat_template.jinja", "C{{ bos_token }}\n");
    CHECK(loaded() == "C<b>");
    write(folder / "chat_template.jinja", "\n{{");
    CHECK_THROWS_WITH(loaded(), Catch::Contains("chat_template.jinja: line 2"));
}

TEST_CASE("chat template: of several, that for tools serves conversations with tools")
{
    const modelpool::testing::temp_dir dir;
    write(
        dir.path() / "tokenizer_config.json",
        R"({"chat_template":[{"name":"tool_use","template":"T"},{"name":"default","template":"D"}]})");
    const auto subject = chat_template::blocking_load(dir.path());
    CHECK(subject.render(chat{}) == "D");
    CHECK(subject.render(chat{}.tools("[]")) == "T");
    CHECK(subject.source() == "D");
    write(dir.path() / "tokenizer_config.json", R"({"chat_template":[{"name":"x"}]})");
    CHECK_THROWS_AS(chat_template::blocking_load(dir.path()), modelpool::error);
}

TEST_CASE("chat template: families without one have their own")
{
    const chat conversation = chat{}.system("S").user("U").assistant("A").user("V");
    const auto of = [&conversation](const char* family) {
        const auto found =
            chat_template::of_family(family, {{"bos_token", "<s>"}, {"eos_token", "</s>"}});
        REQUIRE(found);
        return found->render(conversation);
    };
    CHECK(
        of("qwen2") == "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n"
                       "<|im_start|>assistant\nA<|im_end|>\n<|im_start|>user\nV<|im_end|>\n"
                       "<|im_start|>assistant\n");
    CHECK(of("llama") == "<s>[INST] <<SYS>>\nS\n<</SYS>>\n\nU [/INST] A </s><s>[INST] V [/INST]");
    CHECK(
        of("phi3") == "<|system|>\nS<|end|>\n<|user|>\nU<|end|>\n<|assistant|>\nA<|end|>\n"
                      "<|user|>\nV<|end|>\n<|assistant|>\n");
    CHECK(of("llava") == "S USER: U ASSISTANT: A</s>USER: V ASSISTANT:");
    CHECK(
        of("deepseek_v3") ==
        "<s>S<｜User｜>U<｜Assistant｜>A<｜end▁of▁sentence｜><｜User｜>V<｜Assistant｜>");
    CHECK(
        of("kimi_k2") ==
        "<|im_system|>system<|im_middle|>S<|im_end|><|im_user|>user<|im_middle|>U<|im_end|>"
        "<|im_assistant|>assistant<|im_middle|>A<|im_end|><|im_user|>user<|im_middle|>V<|im_end|>"
        "<|im_assistant|>assistant<|im_middle|>");
    CHECK(!chat_template::of_family("nope", {}));
}

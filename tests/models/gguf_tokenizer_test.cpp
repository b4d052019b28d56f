#include <modelpool/error.hpp>
#include <modelpool/text/tokenizer.hpp>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <fstream>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "models/gguf_tokenizer.hpp"
#include "support/failure.hpp"
#include "support/gguf_builder.hpp"
#include "text/gguf_vocabulary.hpp"

namespace modelpool::models {
namespace {

using Catch::Matchers::Contains;
using Catch::Matchers::StartsWith;
using testing::failure;
using testing::gguf_builder;
using id_list = std::vector<text::token_id>;

const std::filesystem::path data = std::filesystem::path{MODELPOOL_TEST_DATA} / "vocabularies/gguf";

text::tokenizer made_of(const gguf_builder& file)
{
    const std::string bytes = file.str();
    return gguf_tokenizer(weights::gguf_header::parse(std::as_bytes(std::span{bytes}), "m.gguf"));
}

template <typename T>
gguf_builder& add_numbers(
    gguf_builder& file, const std::string& key, std::uint32_t kind, const std::vector<T>& values)
{
    std::string items;
    for (const T value : values)
        items += gguf_builder::raw(value);
    return file.array(key, kind, values.size(), items);
}

// A file of byte-level BPE.
gguf_builder letters()
{
    gguf_builder file;
    file.text("tokenizer.ggml.model", "gpt2")
        .texts("tokenizer.ggml.tokens", {"a", "b", "ab", "\u0120a", "<e>", "\u0120"})
        .texts("tokenizer.ggml.merges", {"a b", "\u0120 a"});
    return file;
}

// The same as pieces: a, b, ab, and what SentencePiece needs.
gguf_builder pieces(const std::string& model)
{
    gguf_builder file;
    file.text("tokenizer.ggml.model", model)
        .texts("tokenizer.ggml.tokens", {"<unk>", "<s>", "</s>", "\u2581", "a", "b", "ab", "<u>"});
    add_numbers<float>(file, "tokenizer.ggml.scores", 6, {0, 0, 0, -1, -2, -3, -1, 0});
    return add_numbers<std::int32_t>(
        file, "tokenizer.ggml.token_type", 5, {2, 3, 3, 1, 1, 1, 1, 4});
}

}  // namespace

TEST_CASE("gguf tokenizer: every kind of vocabulary agrees with its reference on hard texts")
{
    for (const char* const name : {"qwen2.gguf", "bert.gguf", "llama.gguf", "t5.gguf"}) {
        INFO(name);
        const auto file = weights::gguf_file::blocking_open(data / name);
        const text::tokenizer subject = gguf_tokenizer(file->header());
        std::ifstream in{data / (std::string{name} + ".json")};
        const nlohmann::json rows = nlohmann::json::parse(in);
        CHECK(rows.size() > 30);
        for (const nlohmann::json& row : rows) {
            INFO(row.at("text").dump());
            CHECK(
                subject.encode(row.at("text").get<std::string>()).ids ==
                row.at("ids").get<id_list>());
        }
    }
}

TEST_CASE("gguf tokenizer: the file says what stands around a text")
{
    gguf_builder plain = pieces("llama");
    plain.u32("tokenizer.ggml.bos_token_id", 1).u32("tokenizer.ggml.eos_token_id", 2);
    CHECK(made_of(plain).encode("ab").ids == id_list{1, 3, 6});
    CHECK(made_of(plain).n_special_added() == 1);
    gguf_builder both = plain;
    both.entry("tokenizer.ggml.add_eos_token", 7, std::string(1, '\1'))
        .entry("tokenizer.ggml.add_bos_token", 7, std::string(1, '\0'))
        .entry("tokenizer.ggml.add_space_prefix", 7, std::string(1, '\0'));
    CHECK(made_of(both).encode("ab").ids == id_list{6, 2});
    // Control tokens are found in text, and what comes after one begins like a text.
    CHECK(made_of(plain).encode("</s>a<u>b").ids == id_list{1, 2, 3, 4, 7, 3, 5});
    CHECK(made_of(plain).decode(id_list{1, 3, 6, 7}, true) == "ab<u>");
}

TEST_CASE("gguf tokenizer: control tokens of Phi-3 swallow the white space after them")
{
    gguf_builder phi = pieces("llama");
    phi.u32("tokenizer.ggml.bos_token_id", 1).text("general.name", "Phi-3.5-mini-instruct");
    CHECK(made_of(phi).encode("</s> \n a<s> ").ids == id_list{1, 2, 3, 4, 1, 3, 3});
}

TEST_CASE("gguf tokenizer: a way to cut text that is not known is refused by its name")
{
    gguf_builder foreign = letters();
    foreign.text("tokenizer.ggml.pre", "novel");
    CHECK_THAT(
        failure(text_errc::unsupported, [&] { made_of(foreign); }),
        StartsWith("m.gguf: ") && Contains("'tokenizer.ggml.pre' is 'novel'"));
    gguf_builder model;
    model.text("tokenizer.ggml.model", "rwkv").texts("tokenizer.ggml.tokens", {"a"});
    CHECK_THAT(failure(text_errc::unsupported, [&] { made_of(model); }), Contains("'rwkv'"));
    for (const char* const pre :
         {"default",
          "llama-bpe",
          "qwen2",
          "deepseek-llm",
          "deepseek-v3",
          "deepseek-coder",
          "gpt-2",
          "phi-2",
          "kimi-k2",
          "dbrx",
          "gpt-4o",
          "tekken",
          "falcon",
          "starcoder"}) {
        INFO(pre);
        gguf_builder file = letters();
        file.text("tokenizer.ggml.pre", pre)
            .u32("tokenizer.ggml.bos_token_id", 4)
            .entry("tokenizer.ggml.add_bos_token", 7, std::string(1, '\0'));
        CHECK(made_of(file).encode("ab a").ids == id_list{2, 3});
    }
    CHECK(text::find_bpe_style("llama-bpe")->adds_bos);
    CHECK_FALSE(text::find_bpe_style("qwen2")->adds_bos);
}

TEST_CASE("gguf tokenizer: a malformed vocabulary names the file and the key")
{
    const auto changed = [](auto change) {
        gguf_builder file = letters();
        change(file);
        return file;
    };
    const auto types = [](gguf_builder& file) {
        add_numbers<std::int32_t>(file, "tokenizer.ggml.token_type", 5, {1, 1, 1});
    };
    const auto scores = [](gguf_builder& file) {
        add_numbers<float>(file, "tokenizer.ggml.scores", 6, {1, 1});
    };
    const auto only_tokens = [](const std::vector<std::string>& tokens) {
        gguf_builder file;
        file.text("tokenizer.ggml.model", "gpt2").texts("tokenizer.ggml.tokens", tokens);
        return file;
    };
    gguf_builder lone_merge = only_tokens({"a", "b"});
    lone_merge.texts("tokenizer.ggml.merges", {"ab"});
    gguf_builder missing_whole = only_tokens({"a", "b"});
    missing_whole.texts("tokenizer.ggml.merges", {"a b"});
    gguf_builder no_bos = pieces("llama");
    gguf_builder infinite;
    infinite.text("tokenizer.ggml.model", "llama").texts("tokenizer.ggml.tokens", {"a"});
    add_numbers<float>(
        infinite, "tokenizer.ggml.scores", 6, {std::numeric_limits<float>::infinity()});
    const std::vector<std::pair<gguf_builder, std::string>> cases{
        {only_tokens({}), "names no token"},
        {only_tokens({"a"}), "lacks the key 'tokenizer.ggml.merges'"},
        {only_tokens({"a", "\xFF"}), "the item 1, '\\xFF', which is not UTF-8"},
        {lone_merge, "item 0 must be two tokens"},
        {missing_whole, "needs the token 'ab'"},
        {changed(types), "'tokenizer.ggml.token_type' has 3 items, but there are 6 tokens"},
        {changed(scores), "'tokenizer.ggml.scores' has 2 items"},
        {no_bos, "adds its bos_token_id to every text, but does not name it"},
        {infinite, "item 0 is no number"}};
    for (const auto& [file, what] : cases) {
        INFO(what);
        const gguf_builder& subject = file;
        CHECK_THAT(
            failure(text_errc::bad_file, [&subject] { made_of(subject); }),
            StartsWith("m.gguf: ") && Contains(what));
    }
    gguf_builder far = pieces("llama");
    far.u32("tokenizer.ggml.bos_token_id", 99);
    CHECK_THAT(failure(text_errc::bad_file, [&] { made_of(far); }), Contains("the token 99"));
    gguf_builder typed;
    typed.u32("tokenizer.ggml.model", 1);
    CHECK_THAT(
        failure(model_errc::bad_file, [&] { made_of(typed); }),
        Contains("'tokenizer.ggml.model' must be a string"));
}

}  // namespace modelpool::models

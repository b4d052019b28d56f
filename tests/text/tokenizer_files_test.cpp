#include <modelpool/error.hpp>
#include <modelpool/text/tokenizer.hpp>

#include <catch2/catch.hpp>

#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "support/failure.hpp"
#include "support/temp_dir.hpp"

namespace {

using modelpool::text_errc;
using modelpool::testing::failure;
using modelpool::text::encode_options;
using modelpool::text::token_id;
using modelpool::text::tokenizer;

// A small WordPiece tokenizer.json, with one of its parts replaced.
class tokenizer_file {
public:
    tokenizer_file& with(const std::string& key, std::string json)
    {
        for (auto& [name, value] : parts_)
            if (name == key) value = std::move(json);
        return *this;
    }

    std::string json() const
    {
        std::string made = "{";
        for (const auto& [name, value] : parts_)
            made += (made.size() > 1 ? ",\"" : "\"") + name + "\":" + value;
        return made + "}";
    }

private:
    std::vector<std::pair<std::string, std::string>> parts_{
        {"version", "\"1.0\""},
        {"truncation",
         R"({"max_length":2,"strategy":"LongestFirst","stride":0,"direction":"Right"})"},
        {"padding",
         R"({"strategy":{"Fixed":9},"direction":"Right","pad_id":0,"pad_type_id":0,"pad_token":"[PAD]"})"},
        {"added_tokens", "[]"},
        {"normalizer",
         R"({"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,)"
         R"("strip_accents":null,"lowercase":true})"},
        {"pre_tokenizer", R"({"type":"BertPreTokenizer"})"},
        {"post_processor", "null"},
        {"decoder", "null"},
        {"model",
         R"({"type":"WordPiece","unk_token":"?","continuing_subword_prefix":"##",)"
         R"("max_input_chars_per_word":10,"vocab":{"?":0,"a":1,"b":2,"##b":3,"##bc":4}})"}};
};

std::string load_failure(text_errc code, const std::string& json)
{
    return failure(code, [&json] { tokenizer::from_json(json, "tokenizer.json"); });
}

std::vector<modelpool::text::token_id> ids_of(const tokenizer& subject, std::string_view text)
{
    return subject.encode(text).ids;
}

TEST_CASE("tokenizer: the truncation and padding of a file are not applied", "[text]")
{
    const tokenizer subject = tokenizer::from_json(tokenizer_file{}.json(), "tokenizer.json");
    CHECK(ids_of(subject, "abbc a?") == std::vector{1, 3, 4, 1, 0});
    CHECK(ids_of(subject, "abbca").size() == 1);
    CHECK(ids_of(subject, "").empty());
}

TEST_CASE("tokenizer: text that is not UTF-8 names the first wrong byte", "[text]")
{
    const tokenizer subject = tokenizer::from_json(tokenizer_file{}.json(), "tokenizer.json");
    const std::vector<std::pair<std::string, std::string>> bad{
        {"ab\xFF", "byte 2"},
        {"\xC0\x80", "byte 0"},
        {"a\xED\xA0\x80", "byte 1"},
        {"\xF4\x90\x80\x80", "byte 0"},
        {"caf\xC3", "byte 3"},
        {"\xE2\x82", "byte 0"}};
    for (const auto& [text, place] : bad) {
        const std::string copy = text;
        const std::string found = failure(text_errc::not_utf8, [&] { subject.encode(copy); });
        CHECK_THAT(found, Catch::Contains(place + " "));
    }
}

TEST_CASE("tokenizer: an id outside the vocabulary cannot be decoded", "[text]")
{
    const tokenizer subject = tokenizer::from_json(tokenizer_file{}.json(), "tokenizer.json");
    for (const modelpool::text::token_id id : {-1, 5, 2'000'000'000}) {
        const std::string found =
            failure(text_errc::bad_id, [&] { subject.decode(std::vector{id}, false); });
        CHECK_THAT(found, Catch::Contains(std::to_string(id)));
    }
}

TEST_CASE(
    "tokenizer: an id that no token has decodes to nothing, and a large one costs no memory",
    "[text]")
{
    const std::string model =
        R"({"type":"WordLevel","unk_token":"?","vocab":{"?":0,"a":2000000000}})";
    const tokenizer subject =
        tokenizer::from_json(tokenizer_file{}.with("model", model).json(), "tokenizer.json");
    CHECK(ids_of(subject, "a b") == std::vector{2'000'000'000, 0});
    CHECK(subject.decode(std::vector{7, 2'000'000'000, 0}, false) == "a ?");
    CHECK(subject.vocab_size() == 2'000'000'001);
}

TEST_CASE("tokenizer: a component that is not known is refused by its name", "[text]")
{
    const std::vector<std::string> parts{
        "normalizer", "pre_tokenizer", "post_processor", "decoder", "model"};
    for (const std::string& part : parts) {
        const std::string found = load_failure(
            text_errc::unsupported, tokenizer_file{}.with(part, R"({"type":"Foo"})").json());
        CHECK(found == "tokenizer.json: " + part + " type 'Foo' is not supported");
    }
    const std::string nested = load_failure(
        text_errc::unsupported,
        tokenizer_file{}
            .with(
                "pre_tokenizer",
                R"({"type":"Sequence","pretokenizers":[{"type":"Whitespace"},{"type":"Foo"}]})")
            .json());
    CHECK(nested == "tokenizer.json: pre_tokenizer.pretokenizers[1] type 'Foo' is not supported");
    load_failure(text_errc::unsupported, tokenizer_file{}.with("version", "\"2.0\"").json());
}

struct broken_part {
    std::string part;
    std::string json;
    std::string what;  // must stand in the message
};

TEST_CASE("tokenizer: a malformed part is named, with what is wrong with it", "[text]")
{
    const std::vector<broken_part> broken{
        {"model", "null", "lacks the field 'model'"},
        {"model", "7", "model must be an object, found 7"},
        {"model", R"({"type":"WordPiece"})", "lacks the field 'vocab'"},
        {"model",
         R"({"type":"WordLevel","unk_token":"?","vocab":{"a":-1}})",
         "gives the token 'a' the id -1"},
        {"model", R"({"type":"WordLevel","unk_token":"?","vocab":{"a":4294967295}})", "4294967295"},
        {"model",
         R"({"type":"BPE","vocab":{"a":0},"merges":["a b"]})",
         "model.merges[0] needs the token 'b'"},
        {"model", R"({"type":"BPE","vocab":{"a":0},"merges":["a"]})", "two tokens with one space"},
        {"model", R"({"type":"BPE","vocab":{"a":0},"merges":[["a"]]})", "two tokens"},
        {"model",
         R"({"type":"Unigram","unk_id":3,"vocab":[["a",0.5]]})",
         "the vocabulary has 1 tokens"},
        {"model",
         R"({"type":"Unigram","vocab":[["a"]]})",
         "model.vocab[0] must be a token and its score"},
        {"normalizer", R"({"type":"Precompiled","precompiled_charsmap":"AAA"})", "is not base64"},
        {"normalizer",
         R"({"type":"Precompiled","precompiled_charsmap":"/////w=="})",
         "promises an array"},
        {"decoder",
         R"({"type":"Strip","content":"ab","start":0,"stop":0})",
         "must be one character"},
        {"added_tokens",
         R"([{"id":0,"content":"a"}])",
         "added_tokens[0] lacks the field 'special'"},
        {"post_processor",
         R"({"type":"BertProcessing","sep":["a"],"cls":["b",1]})",
         "a token and its id"},
        {"post_processor",
         R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"x","type_id":0}}],"special_tokens":{}})",
         "names the token 'x', which special_tokens lacks"},
    };
    for (const broken_part& each : broken) {
        INFO(each.part << ": " << each.json);
        const std::string found =
            load_failure(text_errc::bad_file, tokenizer_file{}.with(each.part, each.json).json());
        CHECK_THAT(found, Catch::StartsWith("tokenizer.json: "));
        CHECK_THAT(found, Catch::Contains(each.what));
    }
}

TEST_CASE("tokenizer: a pattern that cannot be used is refused with its place", "[text]")
{
    const std::vector<std::pair<std::string, std::string>> patterns{
        {"[a&&]", "an empty side of an intersection"},
        {"[&&a]", "an empty side of an intersection"},
        {"[a[b]", "lacks its closing bracket"},
        {"[[:alpha:]]", "a POSIX bracket"},
        {std::string(64, '[') + "a" + std::string(64, ']'), "a class nested this deep"},
        {"(a", "parenthes"},
        {"\\\\h", "the escape \\h"},
        {"\\\\pL", "a property without braces"},
        {"(?<n>a)", "this kind of group"},
        {"[a", "lacks its closing bracket"},
        {"a\\\\", "backslash"},
        {"\\\\p{Alnum", "property"}};
    for (const auto& [pattern, what] : patterns) {
        INFO(pattern);
        const std::string found = load_failure(
            text_errc::unsupported,
            tokenizer_file{}
                .with(
                    "pre_tokenizer",
                    R"({"type":"Split","pattern":{"Regex":")" + pattern +
                        R"("},"behavior":"Isolated","invert":false})")
                .json());
        CHECK_THAT(found, Catch::Contains("pre_tokenizer.pattern.Regex") && Catch::Contains(what));
    }
}

TEST_CASE("tokenizer: a pattern that takes too long fails instead of hanging", "[text]")
{
    const tokenizer subject = tokenizer::from_json(
        tokenizer_file{}
            .with(
                "pre_tokenizer",
                R"({"type":"Split","pattern":{"Regex":"(?:a+)+$"},"behavior":"Isolated","invert":false})")
            .json(),
        "tokenizer.json");
    failure(text_errc::unsupported, [&] { subject.encode(std::string(64, 'a') + "b"); });
}

TEST_CASE(
    "tokenizer: a model without a needed unknown token says which text it has no token for",
    "[text]")
{
    const std::vector<std::string> models{
        R"({"type":"WordLevel","unk_token":"?","vocab":{"a":0}})",
        R"({"type":"BPE","unk_token":"?","vocab":{"a":0},"merges":[]})",
        R"({"type":"Unigram","vocab":[["a",0.0]]})"};
    for (const std::string& model : models) {
        const tokenizer subject =
            tokenizer::from_json(tokenizer_file{}.with("model", model).json(), "tokenizer.json");
        const std::string found = failure(text_errc::bad_file, [&] { subject.encode("b"); });
        CHECK_THAT(found, Catch::Contains("no token for 'b'"));
    }
}

TEST_CASE("tokenizer: a folder without a tokenizer.json names the file", "[text]")
{
    const modelpool::testing::temp_dir folder;
    const std::string missing =
        failure(text_errc::bad_file, [&] { tokenizer::blocking_load(folder.path()); });
    CHECK_THAT(missing, Catch::Contains("tokenizer.json"));
    folder.write("tokenizer.json", "{\"version\":");
    const std::string cut =
        failure(text_errc::bad_file, [&] { tokenizer::blocking_load(folder.path()); });
    CHECK_THAT(cut, Catch::Contains("tokenizer.json: not valid JSON"));
    folder.write("tokenizer.json", tokenizer_file{}.json());
    CHECK(tokenizer::blocking_load(folder.path()).vocab_size() == 5);
    CHECK(tokenizer::blocking_load(folder / "tokenizer.json").vocab_size() == 5);
}

TEST_CASE("tokenizer: scores are rounded as the reference rounds them", "[text]")
{
    // The reference reads the second score a last bit too high, which decides between equal ways.
    const tokenizer subject = tokenizer::from_json(
        R"({"added_tokens":[],"model":{"type":"Unigram","unk_id":0,"vocab":[["?",-20.0],)"
        R"(["a",-8.45334243774414],["aaaaaaaaaaaaaaa",-9.393528938293457],["b",-4.749083518981934]]}})",
        "t.json");
    const std::vector<token_id> expected{3, 2, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2};
    CHECK(subject.encode("b" + std::string(129, 'a')).ids == expected);
}

TEST_CASE(
    "tokenizer: special tokens that only tokenizer_config.json names are looked for", "[text]")
{
    const modelpool::testing::temp_dir dir;
    const auto write = [&dir](const char* name, const std::string& text) {
        std::ofstream{dir.path() / name, std::ios::binary} << text;
    };
    write("tokenizer.json", tokenizer_file{}.json());
    const auto ids = [](const std::filesystem::path& path, const char* text) {
        return tokenizer::blocking_load(path).encode(text).ids;
    };
    CHECK(ids(dir.path(), "ab") == std::vector<token_id>{1, 3});
    write(
        "tokenizer_config.json",
        R"({"pad_token":"b","eos_token":{"content":"<e>","rstrip":true},"unk_token":null,)"
        R"("additional_special_tokens":["<x>"]})");
    CHECK(ids(dir.path(), "ab<x><e> a") == std::vector<token_id>{1, 2, 6, 5, 1});
    CHECK(tokenizer::blocking_load(dir.path()).decode(std::vector<token_id>{1, 2}, true) == "a");
    CHECK(ids(dir.path() / "tokenizer.json", "ab") == std::vector<token_id>{1, 3});
    write("tokenizer_config.json", "{");
    CHECK_THROWS_AS(tokenizer::blocking_load(dir.path()), modelpool::error);
}

TEST_CASE("tokenizer: added tokens are counted on from the model's vocabulary", "[text]")
{
    const std::string added =
        R"([{"id":99,"content":"<x>","special":true,"single_word":false,"lstrip":true,)"
        R"("rstrip":true,"normalized":false},{"id":1,"content":"a","special":false,)"
        R"("single_word":true,"lstrip":false,"rstrip":false,"normalized":true}])";
    const tokenizer subject =
        tokenizer::from_json(tokenizer_file{}.with("added_tokens", added).json(), "tokenizer.json");
    CHECK(subject.id_of("<x>") == 5);
    const auto made = subject.encode("b <x> ab", encode_options{}.with_offsets(true));
    CHECK(made.ids == std::vector{2, 5, 1, 3});
    CHECK(made.tokens == std::vector<std::string>{"b", " <x> ", "a", "##b"});
    CHECK(made.offsets[1] == std::pair<std::uint32_t, std::uint32_t>{1, 6});
    CHECK(subject.decode(made.ids, true) == "b a ##b");
}

}  // namespace

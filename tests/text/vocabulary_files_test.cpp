#include <modelpool/error.hpp>
#include <modelpool/text/tokenizer.hpp>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "support/failure.hpp"
#include "support/temp_dir.hpp"
#include "text/gguf_vocabulary.hpp"

namespace {

using modelpool::text_errc;
using modelpool::testing::failure;
using modelpool::testing::temp_dir;
using modelpool::text::encode_options;
using modelpool::text::encoding;
using modelpool::text::tokenizer;

using id_list = std::vector<modelpool::text::token_id>;
using offset_list = std::vector<std::pair<std::uint32_t, std::uint32_t>>;

const std::filesystem::path data = std::filesystem::path{MODELPOOL_TEST_DATA} / "vocabularies";

nlohmann::json read_json(const std::filesystem::path& path)
{
    std::ifstream in{path, std::ios::binary};
    REQUIRE(in);
    return nlohmann::json::parse(in);
}

// Compares with what the reference of a format makes of a text; not every one tells everything.
void check_row(const tokenizer& subject, const nlohmann::json& row)
{
    const auto text = row.at("text").get<std::string>();
    const auto ids = row.at("ids").get<id_list>();
    INFO("text: " << row.at("text").dump());
    const encoding full = subject.encode(text, encode_options{}.with_offsets(true));
    CHECK(full.ids == ids);
    CHECK(subject.encode(text).ids == ids);
    if (row.contains("offsets")) CHECK(full.offsets == row.at("offsets").get<offset_list>());
    if (row.contains("decoded"))
        CHECK(subject.decode(ids, false) == row.at("decoded").get<std::string>());
    if (row.contains("decoded_plain"))
        CHECK(subject.decode(ids, true) == row.at("decoded_plain").get<std::string>());
}

TEST_CASE("tokenizer: every format of vocabulary agrees with its reference on hard texts", "[text]")
{
    const std::vector<std::string> names{
        "bert",
        "clip",
        "gpt2",
        "kimi",
        "pieces-bpe",
        "pieces-plain",
        "pieces-unigram",
        "qwen2",
        "roberta"};
    for (const std::string& name : names) {
        INFO("tokenizer: " << name);
        const tokenizer subject = tokenizer::blocking_load(data / name);
        const nlohmann::json rows = read_json(data / name / "cases.json");
        CHECK(rows.size() > 30);
        for (const nlohmann::json& row : rows)
            check_row(subject, row);
    }
}

// A folder of one file, and perhaps a tokenizer_config.json.
std::string
load_failure(text_errc code, const std::vector<std::pair<std::string, std::string>>& files)
{
    const temp_dir folder;
    for (const auto& [name, bytes] : files)
        folder.write(name, bytes);
    return failure(code, [&] { tokenizer::blocking_load(folder.path()); });
}

const std::string gpt2_config = R"({"tokenizer_class":"GPT2Tokenizer"})";

TEST_CASE("tokenizer: the file that says most is read first", "[text]")
{
    const temp_dir folder;
    const std::string missing =
        failure(text_errc::bad_file, [&] { tokenizer::blocking_load(folder.path()); });
    CHECK_THAT(
        missing, Catch::Contains("no tokenizer: looked for tokenizer.json, tokenizer.model"));
    folder.write("vocab.txt", "[UNK]\n[CLS]\n[SEP]\na\n##b\n");
    CHECK(
        tokenizer::blocking_load(folder.path()).encode("ab A c").ids == id_list{1, 3, 4, 3, 0, 2});
    folder.write("vocab.json", R"({"a":0,"b":1,"ab":2})");
    folder.write("merges.txt", "#version: 0.2\na b\n");
    folder.write("tokenizer_config.json", gpt2_config);
    const tokenizer letters = tokenizer::blocking_load(folder.path());
    CHECK(letters.encode("abba").ids == id_list{2, 1, 0});
    // Its named token is not in the vocabulary, and comes behind it.
    CHECK(letters.encode("a<|endoftext|>").ids == id_list{0, 3});
    folder.write(
        "tokenizer.json", R"({"model":{"type":"WordLevel","unk_token":"?","vocab":{"?":7}}})");
    CHECK(tokenizer::blocking_load(folder.path()).encode("a").ids == id_list{7});
    folder.write("tokenizer_config.json", R"({"do_lower_case":false})");
    CHECK(tokenizer::blocking_load(folder / "vocab.txt").encode("A").ids == id_list{1, 0, 2});
}

TEST_CASE("tokenizer: a class that is not known is refused by its name", "[text]")
{
    const std::string config = R"({"tokenizer_class":"FooTokenizerFast"})";
    const std::string pieces = "\x0a\x0b\x0a\x05<unk>\x18\x02\x12\x00";
    for (const auto& [name, bytes] : std::vector<std::pair<std::string, std::string>>{
             {"vocab.txt", "[UNK]\n[CLS]\n[SEP]\n"},
             {"vocab.json", "{}"},
             {"tokenizer.model", pieces},
             {"tiktoken.model", "YQ== 0\n"}}) {
        INFO(name);
        const std::string found = load_failure(
            text_errc::unsupported,
            {{name, bytes}, {"merges.txt", ""}, {"tokenizer_config.json", config}});
        CHECK_THAT(found, Catch::Contains(name + ": ") && Catch::Contains("'FooTokenizer'"));
    }
    const std::string none =
        load_failure(text_errc::bad_file, {{"vocab.json", "{}"}, {"merges.txt", ""}});
    CHECK_THAT(none, Catch::Contains("no tokenizer_config.json"));
}

TEST_CASE("tokenizer: a malformed vocabulary file is named, with the place", "[text]")
{
    struct broken {
        std::vector<std::pair<std::string, std::string>> files;
        std::string what;
    };
    const std::pair<std::string, std::string> gpt2{"tokenizer_config.json", gpt2_config};
    const std::pair<std::string, std::string> kimi{
        "tokenizer_config.json", R"({"tokenizer_class":"TikTokenTokenizer"})"};
    const std::pair<std::string, std::string> merges{"merges.txt", ""};
    const std::vector<broken> cases{
        {{{"vocab.txt", "a\nb\n"}}, "vocab.txt: lacks the token '[UNK]'"},
        {{{"vocab.txt", "[UNK]\n\xFF\n"}}, "not valid UTF-8: byte 6"},
        {{{"vocab.json", "{"}, merges, gpt2}, "vocab.json: not valid JSON"},
        {{{"vocab.json", "{}"}, gpt2}, "merges.txt"},
        {{{"vocab.json", R"({"a":-1})"}, merges, gpt2}, "gives the token 'a' the id -1"},
        {{{"vocab.json", R"({"a":0})"}, {"merges.txt", "a b\n"}, gpt2}, "merges.txt: line 1 needs"},
        {{{"vocab.json", R"({"a":0})"}, {"merges.txt", "\na\n"}, gpt2},
         "line 2 must be two tokens"},
        {{{"vocab.json", "{}"}, merges, {"tokenizer_config.json", "["}}, "not valid JSON"},
        {{{"vocab.json", "{}"},
          merges,
          {"tokenizer_config.json",
           R"({"tokenizer_class":"GPT2Tokenizer","added_tokens_decoder":{"x":{"content":"a"}}})"}},
         "the key 'x', expected the id"},
        {{{"vocab.json", "{}"},
          merges,
          {"tokenizer_config.json",
           R"({"tokenizer_class":"GPT2Tokenizer","add_bos_token":true,"bos_token":null})"}},
         "adds its bos_token to every text, but has none"},
        {{{"tiktoken.model", "YQ==\n"}, kimi}, "line 1 must be a token in base64 and its rank"},
        {{{"tiktoken.model", "YQ== 0\nYQ= 1\n"}, kimi}, "line 2 has a token that is not base64"},
        {{{"tiktoken.model", "YQ== x\n"}, kimi}, "line 1 has the rank 'x'"},
        {{{"tiktoken.model", "YQ== 99999999999\n"}, kimi}, "line 1 has the rank"},
        {{{"tiktoken.model", "YQ== -1\n"}, kimi}, "line 1 has the rank '-1'"},
        {{{"tiktoken.model", " 1\n"}, kimi}, "tiktoken.model"},
        {{{"tiktoken.model", "YQ== 0\nYQ== 1\n"}, kimi}, "'a' twice"},
        {{{"tiktoken.model", "YQ== 0\nYg== 0\n"}, kimi}, "'b' twice"},
    };
    for (const broken& each : cases) {
        INFO(each.what);
        CHECK_THAT(load_failure(text_errc::bad_file, each.files), Catch::Contains(each.what));
    }
}

TEST_CASE("tokenizer: ranks join the neighbours that make the lowest one", "[text]")
{
    const temp_dir folder;
    // a b c d, then "bc" before "ab", "abc" and "cd".
    folder.write(
        "tiktoken.model", "YQ== 0\nYg== 1\nYw== 2\nZA== 3\nYmM= 4\nYWI= 5\nYWJj 6\nY2Q= 7\n");
    folder.write("tokenizer_config.json", R"({"tokenizer_class":"TikTokenTokenizer"})");
    const tokenizer subject = tokenizer::blocking_load(folder.path());
    CHECK(subject.encode("abc").ids == id_list{6});
    CHECK(subject.encode("bcd").ids == id_list{4, 3});
    CHECK(subject.encode("abd").ids == id_list{5, 3});
    CHECK(subject.encode("a<|reserved_token_9|>").ids == id_list{0, 9});
    CHECK(subject.vocab_size() == 8 + 256);
    CHECK(subject.decode(id_list{6, 8, 3}, true) == "abcd");
}

TEST_CASE("tokenizer: files from before 2023 say what they add in files of their own", "[text]")
{
    const temp_dir folder;
    folder.write("vocab.json", R"({"a":0,"b":1})");
    folder.write("merges.txt", "");
    folder.write(
        "tokenizer_config.json", R"({"tokenizer_class":"GPT2Tokenizer","eos_token":"<e>"})");
    folder.write(
        "special_tokens_map.json",
        R"({"bos_token":{"content":"<b>","lstrip":true,"rstrip":true},"additional_special_tokens":["<x>"]})");
    folder.write("added_tokens.json", R"({"<x>":9,"<y>":8})");
    const tokenizer subject = tokenizer::blocking_load(folder.path());
    CHECK(subject.encode("a<y><x>b").ids == id_list{0, 8, 9, 1});
    CHECK(subject.decode(id_list{0, 8, 9, 1}, true) == "a<y>b");
    CHECK(subject.encode("a <b> b").ids == id_list{0, 10, 1});
    CHECK(subject.id_of("<e>") == 11);
}

TEST_CASE(
    "tokenizer: of two named tokens that are the same, the last one's properties count", "[text]")
{
    const temp_dir folder;
    folder.write("vocab.json", R"({"a":0,"b":1})");
    folder.write("merges.txt", "");
    folder.write("tokenizer_config.json", gpt2_config);
    folder.write(
        "special_tokens_map.json",
        R"({"bos_token":{"content":"<b>","lstrip":true,"rstrip":true},"pad_token":"<b>"})");
    const tokenizer subject = tokenizer::blocking_load(folder.path());
    CHECK(subject.encode("a<b> b").ids == id_list{0, 2, 1});
    CHECK(subject.encode("a<b> b", encode_options{}.with_offsets(true)).offsets[1].second == 4);
}

using type_list = std::vector<std::uint32_t>;

encoding pair_of(const tokenizer& subject, const std::string& first, const std::string& second)
{
    return subject.encode_pair(first, second, encode_options{}.with_types(true));
}

TEST_CASE("tokenizer: of two texts each has the tokens that are put around one", "[text]")
{
    const temp_dir folder;
    folder.write("vocab.json", R"({"a":0,"b":1,"<b>":2,"<e>":3})");
    folder.write("merges.txt", "");
    folder.write(
        "tokenizer_config.json",
        R"({"tokenizer_class":"GPT2Tokenizer","bos_token":"<b>","eos_token":"<e>",)"
        R"("add_bos_token":true,"add_eos_token":true})");
    const tokenizer subject = tokenizer::blocking_load(folder.path());
    const encoding made = pair_of(subject, "ab", "a");
    CHECK(made.ids == id_list{2, 0, 1, 3, 2, 0, 3});
    CHECK(made.type_ids == type_list{0, 0, 0, 0, 1, 1, 1});
    CHECK(made.special_mask == std::vector<std::uint8_t>{1, 0, 0, 1, 1, 0, 1});
    const encoding cut = subject.encode_pair("abab", "b", encode_options{}.max_tokens(7));
    CHECK(cut.ids == id_list{2, 0, 1, 3, 2, 1, 3});

    // Llama numbers its texts, T5 does not.
    const std::vector<std::pair<std::string, std::uint32_t>> pieces{
        {"pieces-bpe", 1}, {"pieces-unigram", 0}};
    for (const auto& [name, second_type] : pieces) {
        INFO(name);
        const tokenizer of_pieces = tokenizer::blocking_load(data / name);
        id_list ids = of_pieces.encode("the quick dog").ids;
        type_list types(ids.size(), 0);
        const id_list second = of_pieces.encode("a fox").ids;
        ids.insert(ids.end(), second.begin(), second.end());
        types.insert(types.end(), second.size(), second_type);
        const encoding both = pair_of(of_pieces, "the quick dog", "a fox");
        CHECK(both.ids == ids);
        CHECK(both.type_ids == types);
    }
}

TEST_CASE("tokenizer: a GGUF file's vocabulary puts its tokens around each of two texts", "[text]")
{
    modelpool::text::gguf_vocabulary words;
    words.file = "m.gguf";
    words.model = "llama";
    words.tokens = {"<unk>", "<s>", "</s>", "\xE2\x96\x81", "a", "\xE2\x96\x81\x61"};
    words.scores = {0, 0, 0, -2, -3, -1};
    words.types = {2, 3, 3, 1, 1, 1};
    words.bos_id = 1;
    words.eos_id = 2;
    const encoding of_llama = pair_of(words.make_tokenizer(), "aa", "a");
    CHECK(of_llama.ids == id_list{1, 5, 4, 1, 5});
    CHECK(of_llama.type_ids == type_list{0, 0, 0, 1, 1});
    words.model = "t5";
    words.add_space_prefix = true;
    const encoding of_t5 = pair_of(words.make_tokenizer(), "aa", "a");
    CHECK(of_t5.ids == id_list{5, 4, 2, 5, 2});
    CHECK(of_t5.type_ids == type_list{0, 0, 0, 0, 0});
}

}  // namespace

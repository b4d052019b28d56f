#include <modelpool/error.hpp>
#include <modelpool/text/tokenizer.hpp>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "text/utf8.hpp"

namespace {

using modelpool::text::encode_options;
using modelpool::text::encoding;
using modelpool::text::stream_decoder;
using modelpool::text::token_id;
using modelpool::text::tokenizer;

using offset_list = std::vector<std::pair<std::uint32_t, std::uint32_t>>;

nlohmann::json read_json(const std::filesystem::path& path)
{
    std::ifstream in{path, std::ios::binary};
    REQUIRE(in);
    return nlohmann::json::parse(in);
}

// Compares everything a tokenizer does with a text with what the reference does.
void check_row(const tokenizer& subject, const nlohmann::json& row)
{
    const auto text = row.at("text").get<std::string>();
    const auto ids = row.at("ids").get<std::vector<token_id>>();
    INFO("text: " << row.at("text").dump());
    const encoding full = subject.encode(text, encode_options{}.with_offsets(true));
    CHECK(full.ids == ids);
    CHECK(full.tokens == row.at("tokens").get<std::vector<std::string>>());
    CHECK(full.offsets == row.at("offsets").get<offset_list>());
    CHECK_FALSE(full.truncated);
    const encoding plain = subject.encode(text, encode_options{}.add_special_tokens(false));
    CHECK(plain.ids == row.at("plain").get<std::vector<token_id>>());
    CHECK(plain.tokens.empty());
    CHECK(plain.offsets.empty());
    CHECK(subject.encode(text).ids == ids);
    CHECK(subject.decode(ids, false) == row.at("decoded").get<std::string>());
    CHECK(subject.decode(ids, true) == row.at("decoded_plain").get<std::string>());
}

void check_pair(const tokenizer& subject, const nlohmann::json& row)
{
    const auto first = row.at("first").get<std::string>();
    const auto second = row.at("second").get<std::string>();
    const auto limit = row.at("limit").get<std::size_t>();
    INFO("'" << first << "', '" << second << "', at most " << limit);
    const auto options = encode_options{}.with_offsets(true).with_types(true).max_tokens(limit);
    const encoding made = subject.encode_pair(first, second, options);
    CHECK(made.ids == row.at("ids").get<std::vector<token_id>>());
    CHECK(made.tokens == row.at("tokens").get<std::vector<std::string>>());
    CHECK(made.type_ids == row.at("types").get<std::vector<std::uint32_t>>());
    CHECK(made.special_mask == row.at("special").get<std::vector<std::uint8_t>>());
    CHECK(made.offsets == row.at("offsets").get<offset_list>());
    if (limit == 0) return;
    const auto whole = subject.encode_pair(first, second, encode_options{});
    CHECK(made.truncated == (whole.ids.size() > limit));
}

TEST_CASE("tokenizer: every kind of tokenizer agrees with the reference on hard texts", "[text]")
{
    const std::filesystem::path data = std::filesystem::path{MODELPOOL_TEST_DATA} / "tokenizers";
    std::size_t n_tokenizers = 0;
    for (const auto& folder : std::filesystem::directory_iterator{data}) {
        INFO("tokenizer: " << folder.path().filename().string());
        const tokenizer subject = tokenizer::blocking_load(folder.path());
        for (const nlohmann::json& row : read_json(folder.path() / "cases.json"))
            check_row(subject, row);
        ++n_tokenizers;
    }
    CHECK(n_tokenizers == 14);
}

TEST_CASE("tokenizer: pairs of texts agree with the reference, cut or whole", "[text]")
{
    const std::filesystem::path data = std::filesystem::path{MODELPOOL_TEST_DATA} / "tokenizers";
    for (const auto& folder : std::filesystem::directory_iterator{data}) {
        INFO("tokenizer: " << folder.path().filename().string());
        const tokenizer subject = tokenizer::blocking_load(folder.path());
        const nlohmann::json rows = read_json(folder.path() / "pairs.json");
        CHECK(rows.size() == 26);
        for (const nlohmann::json& row : rows)
            check_pair(subject, row);
    }
}

TEST_CASE("tokenizer: a template for one text alone refuses pairs", "[text]")
{
    const auto json = [](const std::string& pair) {
        return R"({"model":{"type":"WordLevel","vocab":{"a":0,"b":1},"unk_token":"a"},)"
               R"("post_processor":{"type":"TemplateProcessing","single":[)"
               R"({"SpecialToken":{"id":"b","type_id":3}},{"Sequence":{"id":"A","type_id":2}}],)" +
               pair + R"("special_tokens":{"b":{"id":"b","ids":[1],"tokens":["b"]}}}})";
    };
    const tokenizer subject = tokenizer::from_json(json(""), "t.json");
    const encoding one = subject.encode("a", encode_options{}.with_types(true));
    CHECK(one.type_ids == std::vector<std::uint32_t>{3, 2});
    CHECK(one.special_mask == std::vector<std::uint8_t>{1, 0});
    CHECK_THROWS_AS(subject.encode_pair("a", "b", encode_options{}), modelpool::error);
    const std::string pair = R"("pair":[{"Sequence":{"id":"B"}},{"Sequence":{"id":"A"}}],)";
    const tokenizer both = tokenizer::from_json(json(pair), "t.json");
    CHECK(both.encode_pair("a", "b", encode_options{}).ids == std::vector<token_id>{1, 0});
    const std::string wrong = R"("pair":[{"Sequence":{"id":"C"}}],)";
    CHECK_THROWS_AS(tokenizer::from_json(json(wrong), "t.json"), modelpool::error);
}

TEST_CASE("tokenizer: a batch gives what its texts give one by one", "[text]")
{
    const tokenizer subject = tokenizer::blocking_load(
        std::filesystem::path{MODELPOOL_TEST_DATA} / "tokenizers" / "wordpiece");
    const std::vector<std::string> texts{"The quick fox.", "", "lazy dogs"};
    const auto options = encode_options{}.max_tokens(4);
    const std::vector<encoding> made = subject.encode_batch(texts, options);
    REQUIRE(made.size() == 3);
    for (std::size_t i = 0; i < texts.size(); ++i)
        CHECK(made[i].ids == subject.encode(texts[i], options).ids);
    CHECK_THROWS_AS(
        subject.encode_batch(std::vector<std::string>{"a", "\xff"}, options), modelpool::error);
}

TEST_CASE("tokenizer: truncation keeps the first tokens and all special ones", "[text]")
{
    const tokenizer subject = tokenizer::blocking_load(
        std::filesystem::path{MODELPOOL_TEST_DATA} / "tokenizers" / "wordpiece");
    const std::string text = "The quick brown fox jumps over the lazy dog.";
    const encoding whole = subject.encode(text);
    const std::size_t n_whole = whole.ids.size();
    REQUIRE(subject.n_special_added() == 2);
    for (std::size_t n_max = 1; n_max <= n_whole + 1; ++n_max) {
        INFO("at most " << n_max);
        const encoding cut =
            subject.encode(text, encode_options{}.max_tokens(n_max).with_offsets(true));
        const std::size_t n_wanted = std::max<std::size_t>(2, std::min(n_max, n_whole));
        REQUIRE(cut.ids.size() == n_wanted);
        CHECK(cut.tokens.size() == n_wanted);
        CHECK(cut.offsets.size() == n_wanted);
        CHECK(cut.truncated == (n_max < n_whole));
        CHECK(cut.ids.front() == whole.ids.front());
        CHECK(cut.ids.back() == whole.ids.back());
        for (std::size_t i = 1; i + 1 < n_wanted; ++i)
            CHECK(cut.ids[i] == whole.ids[i]);
    }
}

TEST_CASE(
    "tokenizer: a stream of tokens decodes to whole characters, and to the whole text", "[text]")
{
    const std::filesystem::path data = std::filesystem::path{MODELPOOL_TEST_DATA} / "tokenizers";
    std::minstd_rand random{7};
    for (const auto& folder : std::filesystem::directory_iterator{data}) {
        INFO("tokenizer: " << folder.path().filename().string());
        const tokenizer subject = tokenizer::blocking_load(folder.path());
        for (int round = 0; round < 100; ++round) {
            std::vector<token_id> ids(random() % 40);
            for (token_id& id : ids)
                id = static_cast<token_id>(random() % subject.vocab_size());
            const bool skips = round % 2 == 0;
            const std::string whole = subject.decode(ids, skips);
            stream_decoder stream{subject, skips};
            std::string given;
            for (const token_id id : ids) {
                std::string piece;
                stream.push(id, piece);
                REQUIRE(modelpool::text::find_bad_utf8(piece) == std::string_view::npos);
                given += piece;
                REQUIRE(whole.starts_with(given));
            }
            stream.finish(given);
            REQUIRE(given == whole);
        }
        stream_decoder stream{subject, false};
        std::string text;
        CHECK_THROWS_AS(stream.push(-1, text), modelpool::error);
    }
}

TEST_CASE("tokenizer: a stream gives text as soon as it is certain", "[text]")
{
    const tokenizer subject = tokenizer::blocking_load(
        std::filesystem::path{MODELPOOL_TEST_DATA} / "tokenizers" / "bpe-gpt2");
    const std::vector<token_id> ids = subject.encode("def main(args): return [x, 12]").ids;
    stream_decoder stream{subject, false};
    std::string given;
    for (std::size_t i = 0; i < ids.size(); ++i) {
        stream.push(ids[i], given);
        CHECK(given == subject.decode(std::span{ids}.first(i + 1), false));
    }
}

TEST_CASE("tokenizer: ids and tokens are found both ways", "[text]")
{
    const tokenizer subject = tokenizer::blocking_load(
        std::filesystem::path{MODELPOOL_TEST_DATA} / "tokenizers" / "wordpiece-added");
    const auto added = subject.id_of("<tag>");
    REQUIRE(added);
    CHECK(static_cast<std::size_t>(*added) + 1 == subject.vocab_size());
    CHECK(subject.decode(std::vector{*added}, true) == "<tag>");
    CHECK_FALSE(subject.id_of("no such token"));
    const tokenizer copy = subject;
    CHECK(copy.id_of("[MASK]") == subject.id_of("[MASK]"));
}

}  // namespace

#include <modelpool/text/tokenizer.hpp>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

namespace {

using modelpool::text::encode_options;
using modelpool::text::encoding;
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
    const auto ids = row.at("ids").get<std::vector<modelpool::text::token_id>>();
    INFO("text: " << row.at("text").dump());
    const encoding full = subject.encode(text, encode_options{}.with_offsets(true));
    CHECK(full.ids == ids);
    CHECK(full.tokens == row.at("tokens").get<std::vector<std::string>>());
    CHECK(full.offsets == row.at("offsets").get<offset_list>());
    CHECK_FALSE(full.truncated);
    const encoding plain = subject.encode(text, encode_options{}.add_special_tokens(false));
    CHECK(plain.ids == row.at("plain").get<std::vector<modelpool::text::token_id>>());
    CHECK(plain.tokens.empty());
    CHECK(plain.offsets.empty());
    CHECK(subject.encode(text).ids == ids);
    CHECK(subject.decode(ids, false) == row.at("decoded").get<std::string>());
    CHECK(subject.decode(ids, true) == row.at("decoded_plain").get<std::string>());
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

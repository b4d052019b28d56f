#include <modelpool/error.hpp>
#include <modelpool/text/tokenizer.hpp>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace modelpool::text;

using offset_list = std::vector<std::pair<std::uint32_t, std::uint32_t>>;

nlohmann::json read_json(const std::filesystem::path& path)
{
    std::ifstream in{path, std::ios::binary};
    REQUIRE(in);
    return nlohmann::json::parse(in);
}

const std::filesystem::path data{MODELPOOL_TEST_DATA};

void check_part(const encoding& made, const nlohmann::json& wanted, bool is_padded)
{
    CHECK(made.ids == wanted.at("ids").get<std::vector<token_id>>());
    CHECK(made.tokens == wanted.at("tokens").get<std::vector<std::string>>());
    CHECK(made.offsets == wanted.at("offsets").get<offset_list>());
    CHECK(made.type_ids == wanted.at("types").get<std::vector<std::uint32_t>>());
    CHECK(made.special_mask == wanted.at("special").get<std::vector<std::uint8_t>>());
    if (is_padded)
        CHECK(made.attention_mask == wanted.at("attention").get<std::vector<std::uint8_t>>());
    else
        CHECK(made.attention_mask.empty());
}

std::vector<encoding>
encode(const tokenizer& subject, const nlohmann::json& row, const encode_options& options)
{
    const auto texts = row.at("texts").get<std::vector<std::string>>();
    if (row.at("pair").get<bool>()) return {subject.encode_pair(texts[0], texts[1], options)};
    return subject.encode_batch(texts, options);
}

// The tokenizer of that name, as its file reads with what the case sets.
tokenizer with_lengths(nlohmann::json document, const nlohmann::json& row)
{
    document["truncation"] = row.at("file").at("truncation");
    document["padding"] = row.at("file").at("padding");
    return tokenizer::from_json(document.dump(), "tokenizer.json");
}

void check_row(const tokenizer& subject, const nlohmann::json& row)
{
    INFO(row.dump());
    std::optional<truncation_options> truncation = subject.truncation();
    CHECK(truncation.has_value() == row.contains("truncation"));
    CHECK(subject.padding().has_value() == row.contains("padding"));
    if (truncation) truncation->keep_overflow(true);
    auto options = encode_options{}.with_offsets(true).with_types(true);
    options.truncate(truncation).pad(subject.padding());
    if (row.contains("error")) {
        CHECK_THROWS_AS(encode(subject, row, options), modelpool::error);
        return;
    }
    const std::vector<encoding> made = encode(subject, row, options);
    const nlohmann::json& wanted = row.at("made");
    REQUIRE(made.size() == wanted.size());
    for (std::size_t i = 0; i < made.size(); ++i) {
        check_part(made[i], wanted[i], subject.padding().has_value());
        const nlohmann::json& overflow = wanted[i].at("overflow");
        REQUIRE(made[i].overflow.size() == overflow.size());
        for (std::size_t k = 0; k < overflow.size(); ++k)
            check_part(made[i].overflow[k], overflow[k], subject.padding().has_value());
        CHECK(made[i].truncated == !overflow.empty());
    }
    if (!truncation) return;
    // Without the overflow the parts that are kept are the same.
    const std::vector<encoding> alone =
        encode(subject, row, options.truncate(truncation->keep_overflow(false)));
    for (std::size_t i = 0; i < alone.size(); ++i) {
        CHECK(alone[i].ids == made[i].ids);
        CHECK(alone[i].overflow.empty());
    }
}

TEST_CASE("lengths: texts are cut and filled up as the reference does")
{
    const nlohmann::json all = read_json(data / "lengths" / "cases.json");
    for (const auto& [name, rows] : all.items()) {
        INFO(name);
        const nlohmann::json document = read_json(data / "tokenizers" / name / "tokenizer.json");
        REQUIRE_FALSE(rows.empty());
        for (const nlohmann::json& row : rows)
            check_row(with_lengths(document, row), row);
    }
}

TEST_CASE("lengths: what cannot be cut or filled up as asked is refused")
{
    const auto subject = tokenizer::blocking_load(data / "tokenizers" / "wordpiece");
    const std::string text = "The quick brown fox jumps over the lazy dog.";
    const auto is_refused = [&](const encode_options& options) {
        try {
            static_cast<void>(subject.encode(text, options));
        } catch (const modelpool::error& problem) {
            return problem.code() == modelpool::errc::invalid_argument;
        }
        return false;
    };
    const auto cut = truncation_options{}.max_tokens(6).keep_overflow(true);
    CHECK(is_refused(encode_options{}.truncate(truncation_options{cut}.overlap(4))));
    CHECK_FALSE(is_refused(encode_options{}.truncate(truncation_options{cut}.overlap(3))));
    CHECK(is_refused(encode_options{}.pad(padding_options{}.n_tokens(std::size_t{1} << 40U))));
    CHECK(is_refused(encode_options{}.pad(padding_options{}.multiple(std::size_t{1} << 40U))));
}

TEST_CASE("lengths: a file with lengths that mean nothing is refused")
{
    const nlohmann::json good = read_json(data / "tokenizers" / "wordpiece" / "tokenizer.json");
    const auto is_refused = [&](const char* field, const char* text) {
        nlohmann::json document = good;
        document[field] = nlohmann::json::parse(text);
        try {
            static_cast<void>(tokenizer::from_json(document.dump(), "tokenizer.json"));
        } catch (const modelpool::error& problem) {
            return problem.code() == modelpool::text_errc::bad_file ||
                   problem.code() == modelpool::text_errc::unsupported;
        }
        return false;
    };
    CHECK(is_refused("truncation", R"({"strategy":"LongestFirst"})"));
    CHECK(is_refused("truncation", R"({"max_length":-1})"));
    CHECK(is_refused("truncation", R"({"max_length":8,"direction":"Up"})"));
    CHECK(is_refused("truncation", R"({"max_length":8,"strategy":"OnlyThird"})"));
    CHECK(is_refused("padding", R"({"strategy":"Sometimes"})"));
    CHECK(is_refused("padding", R"({"strategy":{"Fixed":"x"}})"));
    CHECK(is_refused("padding", R"({"pad_id":-2})"));
    CHECK_FALSE(is_refused("truncation", R"({"max_length":8})"));
}

}  // namespace

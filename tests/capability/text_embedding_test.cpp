#include <modelpool/capability/text_embedding.hpp>
#include <modelpool/pool/detail/embed_engine.hpp>

#include <catch2/catch.hpp>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "support/failure.hpp"
#include "support/fakes.hpp"

namespace modelpool {
namespace {

using testing::failure;

TEST_CASE("embeddings: rows of floats come back as they went in", "[capability]")
{
    embeddings rows{2, 3, embedding_dtype::f32, true};
    CHECK(rows.size() == 2);
    CHECK(rows.dim() == 3);
    CHECK(rows.normalized());
    CHECK_FALSE(rows.empty());
    rows.set_row(1, std::vector<float>{1, -2, 3});
    CHECK(rows.to_f32(0) == std::vector<float>{0, 0, 0});
    CHECK(rows.to_f32(1) == std::vector<float>{1, -2, 3});
    CHECK(rows[1][2] == 3.0F);
    CHECK(rows.bytes(1).size() == 12);
    CHECK(rows.scale(1) == 1.0F);
    rows.set_usage(embedding_usage{7, 1});
    CHECK(rows.usage().n_tokens == 7);
    CHECK(embeddings{}.empty());
}

TEST_CASE("embeddings: bytes of eight bits keep a row to half a step", "[capability]")
{
    embeddings rows{3, 4, embedding_dtype::int8, true};
    const std::vector<float> row{0.5F, -1.27F, 0.001F, 1.27F};
    rows.set_row(1, row);
    CHECK(rows.scale(1) == Approx(0.01));
    const std::vector<float> back = rows.to_f32(1);
    for (std::size_t i = 0; i < row.size(); ++i)
        CHECK(std::abs(back[i] - row[i]) <= 0.5F * rows.scale(1) + 1e-6F);
    CHECK(back[3] == Approx(1.27));
    CHECK(back[1] == Approx(-1.27));
    CHECK(rows.bytes(1).size() == 4);
    rows.set_row(2, std::vector<float>{0, 0, 0, 0});
    CHECK(rows.to_f32(2) == std::vector<float>{0, 0, 0, 0});
}

TEST_CASE("embeddings: the smallest numbers there are do not upset the scale", "[capability]")
{
    const float tiny = std::numeric_limits<float>::denorm_min();
    embeddings rows{1, 3, embedding_dtype::int8, false};
    rows.set_row(0, std::vector<float>{tiny, -tiny, 0});
    CHECK(rows.scale(0) > 0);
    for (const float value : rows.to_f32(0))
        CHECK(std::abs(value) <= 1e-30F);
}

TEST_CASE("embeddings: bits hold the signs, the first number in the highest bit", "[capability]")
{
    embeddings rows{2, 10, embedding_dtype::binary, true};
    rows.set_row(0, std::vector<float>{1, -1, 0, 2, -3, -1, -1, 1, -1, 5});
    REQUIRE(rows.bytes(0).size() == 2);
    CHECK(std::to_integer<unsigned>(rows.bytes(0)[0]) == 0b10010001U);
    CHECK(std::to_integer<unsigned>(rows.bytes(0)[1]) == 0b01000000U);
    CHECK(rows.to_f32(0) == std::vector<float>{1, -1, -1, 1, -1, -1, -1, 1, -1, 1});
    rows.set_row(0, std::vector<float>(10, -1.0F));  // a row is replaced, not added to
    CHECK(rows.to_f32(0) == std::vector<float>(10, -1.0F));
    CHECK(rows.to_f32(1) == std::vector<float>(10, -1.0F));
}

TEST_CASE("embeddings: bytes a row", "[capability]")
{
    CHECK(row_bytes(embedding_dtype::f32, 3) == 12);
    CHECK(row_bytes(embedding_dtype::int8, 3) == 3);
    CHECK(row_bytes(embedding_dtype::binary, 1) == 1);
    CHECK(row_bytes(embedding_dtype::binary, 8) == 1);
    CHECK(row_bytes(embedding_dtype::binary, 9) == 2);
}

TEST_CASE("embeddings: the cosine of two rows", "[capability]")
{
    const std::vector<float> x{1, 0};
    const std::vector<float> y{0, 2};
    const std::vector<float> minus{-3, 0};
    CHECK(cosine(x, x) == Approx(1));
    CHECK(cosine(x, y) == Approx(0));
    CHECK(cosine(x, minus) == Approx(-1));
    CHECK(cosine(x, std::vector<float>{0, 0}) == 0);
    const std::string said =
        failure(errc::invalid_argument, [&] { cosine(x, std::vector<float>{1}); });
    CHECK(said.find("2 and 1") != std::string::npos);
}

embedder_info info_of(std::vector<std::size_t> dimensions, bool cuttable = false)
{
    embedder_info info;
    info.dim = dimensions.front();
    info.dimensions = std::move(dimensions);
    info.cuttable = cuttable;
    info.max_tokens = 512;
    info.prompts = {{"query", "find: "}, {"document", ""}};
    return info;
}

TEST_CASE("plan_embedding: the defaults are the model's own", "[capability]")
{
    const auto plan = detail::plan_embedding({}, info_of({8, 4}), {});
    CHECK(plan.prompt.empty());
    CHECK(plan.head == 8);
    CHECK(plan.dim == 8);
    CHECK(plan.max_tokens == 512);
}

TEST_CASE("plan_embedding: prompts by name, by text, and by default", "[capability]")
{
    embedder_info info = info_of({8});
    detail::engine_options card;
    CHECK(
        detail::plan_embedding(embed_options{}.prompt_name("query"), info, card).prompt ==
        "find: ");
    CHECK(
        detail::plan_embedding(embed_options{}.prompt_name("document"), info, card).prompt.empty());
    CHECK(
        detail::plan_embedding(embed_options{}.prompt("x: ").prompt_name("?"), info, card).prompt ==
        "x: ");
    info.default_prompt = "query";
    CHECK(detail::plan_embedding({}, info, card).prompt == "find: ");
    CHECK(detail::plan_embedding(embed_options{}.prompt(""), info, card).prompt.empty());
    card.prompts = {{"query", "card: "}, {"own", "o: "}};
    CHECK(detail::plan_embedding({}, info, card).prompt == "card: ");
    card.default_prompt = "own";
    CHECK(detail::plan_embedding({}, info, card).prompt == "o: ");
    const std::string said = failure(errc::invalid_argument, [&] {
        detail::plan_embedding(embed_options{}.prompt_name("poem"), info, card);
    });
    CHECK(said.find("'poem'") != std::string::npos);
    CHECK(said.find("document") != std::string::npos);
    CHECK(said.find("own") != std::string::npos);
}

TEST_CASE("plan_embedding: a dimension is a head of the model, or a cut of its row", "[capability]")
{
    const auto plan_for =
        [](std::size_t dim, const embedder_info& info, std::optional<bool> card = {}) {
            detail::engine_options options;
            options.cuttable = card;
            return detail::plan_embedding(embed_options{}.dimension(dim), info, options);
        };
    CHECK(plan_for(4, info_of({8, 4})).head == 4);
    const auto cut = plan_for(3, info_of({8, 4}, true));
    CHECK(cut.head == 8);
    CHECK(cut.dim == 3);
    CHECK(plan_for(3, info_of({8}), true).dim == 3);
    const std::string said = failure(errc::invalid_argument, [&] { plan_for(5, info_of({8, 4})); });
    CHECK(said.find("8, 4") != std::string::npos);
    failure(errc::invalid_argument, [&] { plan_for(3, info_of({8}, true), false); });
    const std::string above =
        failure(errc::invalid_argument, [&] { plan_for(9, info_of({8}, true)); });
    CHECK(above.find("below 8") != std::string::npos);
}

TEST_CASE("plan_embedding: a limit of tokens is never above the model's own", "[capability]")
{
    const embedder_info info = info_of({8});
    CHECK(detail::plan_embedding(embed_options{}.max_tokens(10), info, {}).max_tokens == 10);
    CHECK(detail::plan_embedding(embed_options{}.max_tokens(9999), info, {}).max_tokens == 512);
}

}  // namespace
}  // namespace modelpool

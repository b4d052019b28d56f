#include <modelpool/capability/image_embedding.hpp>
#include <modelpool/error.hpp>

#include <catch2/catch.hpp>

#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

#include "support/failure.hpp"

namespace modelpool {
namespace {

using testing::failure;

embeddings rows_of(std::vector<std::vector<float>> values, embedding_dtype dtype)
{
    embeddings rows{values.size(), values.front().size(), dtype, false};
    for (std::size_t i = 0; i < values.size(); ++i)
        rows.set_row(i, values[i]);
    return rows;
}

TEST_CASE("compare: rows of different spaces are refused, with both dimensions", "[capability]")
{
    const embeddings images = rows_of({{1, 0, 0}}, embedding_dtype::f32);
    const embeddings texts = rows_of({{1, 0}}, embedding_dtype::f32);
    const std::string text = failure(errc::invalid_argument, [&] { compare(images, texts); });
    CHECK(text.find("3 numbers for images") != std::string::npos);
    CHECK(text.find("2 for texts") != std::string::npos);
    // Also where there is nothing to compare.
    const embeddings none{0, 2, embedding_dtype::f32, false};
    failure(errc::invalid_argument, [&] { compare(images, none); });
}

TEST_CASE("compare: cosines of rows of any length and encoding", "[capability]")
{
    for (const auto dtype : {embedding_dtype::f32, embedding_dtype::int8}) {
        const embeddings images = rows_of({{3, 0}, {0, 0}}, dtype);
        const embeddings texts = rows_of({{1, 1}, {-2, 0}, {0, 5}}, dtype);
        const image_text_similarity seen = compare(images, texts);
        CHECK(seen.n_images == 2);
        CHECK(seen.n_texts == 3);
        CHECK(seen.cosine(0, 0) == Approx(std::sqrt(0.5)));
        CHECK(seen.cosine(0, 1) == Approx(-1));
        CHECK(seen.cosine(0, 2) == Approx(0));
        CHECK(seen.cosine(1, 0) == Approx(0));  // a row of zeroes is like nothing
        CHECK_FALSE(seen.logit_scale);
        failure(errc::unsupported, [&] { static_cast<void>(seen.logit(0, 0)); });
        failure(errc::unsupported, [&] { static_cast<void>(seen.text_probabilities(0)); });
    }
}

TEST_CASE("compare: probabilities are the softmax of the scaled cosines", "[capability]")
{
    const embeddings images = rows_of({{1, 0}, {0, 1}}, embedding_dtype::f32);
    const embeddings texts = rows_of({{1, 0}, {0, 1}, {-1, 0}}, embedding_dtype::f32);
    const image_text_similarity seen = compare(images, texts, 2.0);
    const double sum = std::exp(2.0) + 1 + std::exp(-2.0);
    const std::vector<double> of_texts = seen.text_probabilities(0);
    REQUIRE(of_texts.size() == 3);
    CHECK(of_texts[0] == Approx(std::exp(2.0) / sum));
    CHECK(of_texts[1] == Approx(1 / sum));
    CHECK(of_texts[2] == Approx(std::exp(-2.0) / sum));
    const std::vector<double> of_images = seen.image_probabilities(0);
    REQUIRE(of_images.size() == 2);
    CHECK(of_images[0] == Approx(std::exp(2.0) / (std::exp(2.0) + 1)));
    CHECK(of_images[0] + of_images[1] == Approx(1));
    // A scale that overflows an exponential is none of its business.
    CHECK(compare(images, texts, 1e6).text_probabilities(0)[0] == Approx(1));
}

}  // namespace
}  // namespace modelpool

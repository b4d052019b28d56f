#include <catch2/catch.hpp>

#include <cmath>
#include <vector>

#include "models/pooling.hpp"

namespace modelpool {
namespace {

using models::pool;
using models::pooling;
using models::pooling_mode;
using models::token_rows;

const std::vector<float> values{1, -4, 2, 8, 6, -1};  // [3, 2]

std::vector<float> pooled(pooling_mode mode, std::size_t n_prompt_tokens)
{
    pooling how;
    how.modes = {mode};
    how.include_prompt = false;
    return pool(how, token_rows{values, 2, n_prompt_tokens});
}

}  // namespace

TEST_CASE("pooling: each mode over all tokens", "[models]")
{
    const float root = std::sqrt(3.0F);
    CHECK(pooled(pooling_mode::cls, 0) == std::vector<float>{1, -4});
    CHECK(pooled(pooling_mode::max, 0) == std::vector<float>{6, 8});
    CHECK(pooled(pooling_mode::mean, 0) == std::vector<float>{3, 1});
    CHECK(pooled(pooling_mode::mean_sqrt_len_tokens, 0) == std::vector<float>{9 / root, 3 / root});
    CHECK(pooled(pooling_mode::weightedmean, 0) == std::vector<float>{23.0F / 6, 9.0F / 6});
    CHECK(pooled(pooling_mode::lasttoken, 0) == std::vector<float>{6, -1});
}

TEST_CASE("pooling: tokens of the prompt are left out, and the weights stay in place", "[models]")
{
    const float root = std::sqrt(2.0F);
    CHECK(pooled(pooling_mode::cls, 1) == std::vector<float>{2, 8});
    CHECK(pooled(pooling_mode::max, 2) == std::vector<float>{6, -1});
    CHECK(pooled(pooling_mode::mean, 1) == std::vector<float>{4, 3.5F});
    CHECK(pooled(pooling_mode::mean_sqrt_len_tokens, 1) == std::vector<float>{8 / root, 7 / root});
    CHECK(pooled(pooling_mode::weightedmean, 1) == std::vector<float>{22.0F / 5, 13.0F / 5});
    CHECK(pooled(pooling_mode::lasttoken, 1) == std::vector<float>{6, -1});
}

TEST_CASE("pooling: with no token left the row is zero, or the first for cls", "[models]")
{
    CHECK(pooled(pooling_mode::cls, 3) == std::vector<float>{1, -4});
    for (const pooling_mode mode :
         {pooling_mode::max,
          pooling_mode::mean,
          pooling_mode::mean_sqrt_len_tokens,
          pooling_mode::weightedmean,
          pooling_mode::lasttoken})
        CHECK(pooled(mode, 3) == std::vector<float>{0, 0});
}

TEST_CASE("pooling: a prompt takes part unless it is excluded", "[models]")
{
    pooling how;
    how.modes = {pooling_mode::mean};
    CHECK(pool(how, token_rows{values, 2, 2}) == std::vector<float>{3, 1});
}

TEST_CASE("pooling: several modes stand side by side", "[models]")
{
    pooling how;
    how.modes = {pooling_mode::lasttoken, pooling_mode::cls};
    CHECK(how.output_dim(2) == 4);
    CHECK(pool(how, token_rows{values, 2, 0}) == std::vector<float>{6, -1, 1, -4});
}

}  // namespace modelpool

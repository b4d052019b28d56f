#include <catch2/catch.hpp>

#include <algorithm>
#include <vector>

#include "torch/packing.hpp"

namespace modelpool {
namespace {

std::vector<nn::packed_block> packed(const std::vector<std::size_t>& lengths, std::size_t max_rows)
{
    std::vector<std::size_t> all(lengths.size());
    for (std::size_t i = 0; i < all.size(); ++i)
        all[i] = i;
    return nn::pack(all, lengths, max_rows);
}

}  // namespace

TEST_CASE("packing: texts of one length lie together, the shortest first", "[torch]")
{
    const auto blocks = packed({5, 2, 5, 1, 2}, 100);
    REQUIRE(blocks.size() == 1);
    CHECK(blocks[0].texts == std::vector<std::size_t>{3, 1, 4, 0, 2});
    CHECK(blocks[0].n_rows == 15);
    REQUIRE(blocks[0].groups.size() == 3);
    CHECK(blocks[0].groups[1].first_row == 1);
    CHECK(blocks[0].groups[1].n_texts == 2);
    CHECK(blocks[0].groups[1].length == 2);
    CHECK(blocks[0].groups[2].first_row == 5);
    CHECK(blocks[0].groups[2].n_rows() == 10);
}

TEST_CASE("packing: a block ends where the next text would exceed it", "[torch]")
{
    const auto blocks = packed({4, 4, 4, 9}, 8);
    REQUIRE(blocks.size() == 3);
    CHECK(blocks[0].n_rows == 8);
    CHECK(blocks[1].n_rows == 4);
    CHECK(blocks[2].n_rows == 9);  // longer than a block: a block of its own
    CHECK(blocks[1].groups[0].first_row == 0);
}

TEST_CASE("packing: only the wanted texts are packed", "[torch]")
{
    const std::vector<std::size_t> lengths{3, 0, 2};
    const std::vector<std::size_t> wanted{2, 0};
    const auto blocks = nn::pack(wanted, lengths, 8);
    REQUIRE(blocks.size() == 1);
    CHECK(blocks[0].texts == std::vector<std::size_t>{2, 0});
    CHECK(nn::pack({}, lengths, 8).empty());
}

}  // namespace modelpool

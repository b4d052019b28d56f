#include <catch2/catch.hpp>

#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>

#include "kernels/block_type.hpp"
#include "kernels/random_numbers.hpp"

using namespace modelpool::kernels;
using namespace modelpool::kernels::test;

namespace {

std::vector<std::byte> contents(const std::string& name)
{
    const std::string path = MODELPOOL_TEST_DATA "/kernels/" + name;
    std::ifstream file{path, std::ios::binary};
    REQUIRE(file);
    const std::vector<char> chars{std::istreambuf_iterator<char>{file}, {}};
    std::vector<std::byte> bytes(chars.size());
    std::memcpy(bytes.data(), chars.data(), chars.size());
    return bytes;
}

}  // namespace

TEST_CASE("block_type: blocks of every type read as the format's own package reads them")
{
    for (const block_type type : all_types()) {
        const std::string name = "type_" + std::to_string(static_cast<unsigned>(type));
        INFO(name);
        const auto blocks = contents(name + ".blocks");
        const auto expected = contents(name + ".f32");
        const auto n = static_cast<std::int64_t>(expected.size() / 4);
        REQUIRE(n > 0);
        REQUIRE(static_cast<std::int64_t>(blocks.size()) == row_bytes(type, n));
        std::vector<float> numbers(static_cast<std::size_t>(n));
        dequantize_row(type, blocks.data(), n, numbers.data());
        CHECK(std::memcmp(numbers.data(), expected.data(), expected.size()) == 0);
    }
}

TEST_CASE("block_type: numbers that are stored come back within half a step")
{
    numbers random{11};
    const auto x = random.many(1024, 3.0F);
    const std::vector<std::pair<block_type, float>> steps{
        {block_type::f32, 0.0F},
        {block_type::f16, 0x1p-9F},
        {block_type::bf16, 0x1p-6F},
        {block_type::q4_0, 3.0F / 8.0F},
        {block_type::q4_1, 6.0F / 15.0F},
        {block_type::q5_0, 3.0F / 16.0F},
        {block_type::q5_1, 6.0F / 31.0F},
        {block_type::q8_0, 3.0F / 127.0F},
        {block_type::q4_k, 6.0F / 15.0F},
        {block_type::q6_k, 3.0F / 32.0F}};
    for (const auto& [type, step] : steps) {
        INFO("type " << static_cast<unsigned>(type));
        REQUIRE(can_quantize(type));
        std::vector<std::byte> blocks(static_cast<std::size_t>(row_bytes(type, 1024)));
        quantize_row(type, x.data(), 1024, blocks.data());
        std::vector<float> back(1024);
        dequantize_row(type, blocks.data(), 1024, back.data());
        double squares = 0;
        for (std::size_t k = 0; k != x.size(); ++k)
            squares += std::pow(static_cast<double>(back[k]) - static_cast<double>(x[k]), 2.0);
        // Errors that are even over a step have a deviation of step/√12.
        CHECK(std::sqrt(squares / 1024.0) <= 0.33 * static_cast<double>(step));
    }
}

TEST_CASE("block_type: zeros stay zeros in every type that can be stored")
{
    const std::vector<float> zeros(256);
    for (const block_type type : all_types()) {
        if (!can_quantize(type)) continue;
        std::vector<std::byte> blocks(static_cast<std::size_t>(row_bytes(type, 256)));
        quantize_row(type, zeros.data(), 256, blocks.data());
        std::vector<float> back(256, 1.0F);
        dequantize_row(type, blocks.data(), 256, back.data());
        CHECK(back == zeros);
    }
}

TEST_CASE("half: every f16 survives the way through f32, and roundings go to even")
{
    for (std::uint32_t h = 0; h != 0x10000U; ++h) {
        const auto half = static_cast<std::uint16_t>(h);
        const float wide = f16_to_f32(half);
        if (std::isnan(wide))
            CHECK(std::isnan(f16_to_f32(f32_to_f16(wide))));
        else if (f32_to_f16(wide) != half)
            FAIL("f16 " << h << " came back as " << f32_to_f16(wide));
    }
    CHECK(f16_to_f32(0x3c00) == 1.0F);
    CHECK(f16_to_f32(0x0001) == 0x1p-24F);
    CHECK(f32_to_f16(1.0F + 0x1p-11F) == 0x3c00);
    CHECK(f32_to_f16(1.0F + 0x1.8p-10F) == 0x3c02);
    CHECK(f32_to_f16(65519.0F) == 0x7bff);
    CHECK(f32_to_f16(65520.0F) == 0x7c00);
    CHECK(f32_to_f16(0x1p-25F) == 0);
    CHECK(f32_to_f16(0x1.8p-24F) == 2);
    CHECK(f32_to_bf16(1.0F + 0x1p-8F) == 0x3f80);
    CHECK(f32_to_bf16(1.0F + 0x1.8p-7F) == 0x3f82);
    CHECK(std::isnan(bf16_to_f32(f32_to_bf16(std::numeric_limits<float>::quiet_NaN()))));
}

TEST_CASE("block_type: a table's row is the one that is asked for")
{
    numbers random{2};
    const auto table = random_blocks(block_type::q6_k, 256 * 3, random);
    std::vector<float> all(768);
    std::vector<float> row(256);
    dequantize_row(block_type::q6_k, table.data(), 768, all.data());
    lookup_row(block_type::q6_k, table.data(), 2, 256, row.data());
    CHECK(std::equal(row.begin(), row.end(), all.begin() + 512));
}

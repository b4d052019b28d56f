#include <catch2/catch.hpp>

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "support/failure.hpp"
#include "support/gguf_builder.hpp"
#include "support/temp_dir.hpp"
#include "weights/gguf_checkpoint.hpp"

namespace modelpool::weights {
namespace {

using Catch::Matchers::Contains;
using testing::failure;
using testing::gguf_builder;
using testing::temp_dir;

std::string floats(std::size_t n, float value)
{
    std::string bytes;
    for (std::size_t i = 0; i < n; ++i)
        bytes += gguf_builder::raw(value);
    return bytes;
}

gguf_builder part(std::uint16_t number, std::uint16_t count, std::int32_t n_tensors)
{
    gguf_builder made;
    if (number == 0) made.text("general.architecture", "llama");
    made.entry("split.no", 2, gguf_builder::raw(number))
        .entry("split.count", 2, gguf_builder::raw(count))
        .entry("split.tensors.count", 5, gguf_builder::raw(n_tensors));
    return made;
}

std::string part_name(int number, int count)
{
    char text[64];
    std::snprintf(text, sizeof text, "m-%05d-of-%05d.gguf", number, count);
    return text;
}

gguf_builder with_tensor(gguf_builder made, std::string_view name, float value)
{
    made.tensor(name, {8}, 0, 0).data(floats(8, value));
    return made;
}

// Three parts that belong together, of which a test may replace one.
void write_parts(const temp_dir& dir)
{
    dir.write(part_name(1, 3), with_tensor(part(0, 3, 3), "a", 1).str());
    dir.write(part_name(2, 3), with_tensor(part(1, 3, 3), "b", 2).str());
    dir.write(part_name(3, 3), with_tensor(part(2, 3, 3), "c", 3).str());
}

std::string refusal(const std::filesystem::path& path)
{
    return failure(model_errc::bad_file, [&] { gguf_checkpoint::blocking_open(path); });
}

}  // namespace

TEST_CASE("gguf checkpoint: one file, and the parts of a split one, are read alike")
{
    const temp_dir dir;
    write_parts(dir);
    const auto split = gguf_checkpoint::blocking_open(dir / part_name(1, 3));
    CHECK(split->files().size() == 3);
    CHECK(split->tensors().size() == 3);
    CHECK(split->weight_bytes() == 3 * 32);
    CHECK(split->header().need_string("general.architecture") == "llama");
    CHECK(split->need("c", {8}).data.size() == 32);
    split->drop_pages(split->need("c", {8}));
    CHECK(split->need("c", {8}).data[3] == std::byte{0x40});  // 3.0F, read again

    const auto whole =
        gguf_checkpoint::blocking_open(dir.write("m.gguf", with_tensor({}, "a", 1).str()));
    CHECK(whole->files().size() == 1);
    CHECK(whole->find("a") != nullptr);
    CHECK(whole->find("b") == nullptr);
}

TEST_CASE("gguf checkpoint: a tensor is given where its dimensions and type are as expected")
{
    const temp_dir dir;
    gguf_builder made;
    made.tensor("w", {4, 2}, 0, 0).tensor("row", {4, 1}, 0, 32).tensor("x", {256}, 22, 64);
    const auto file =
        gguf_checkpoint::blocking_open(dir.write("m.gguf", made.data(floats(100, 1)).str()));
    CHECK(file->need("w", {4, 2}).type == gguf_type::f32);
    CHECK(file->need("row", {4}).data.size() == 16);
    CHECK_THAT(
        failure(
            model_errc::shape_mismatch,
            [&] {
                file->need("w", {2, 4});
            }),
        Contains("'w' must have the dimensions [2, 4], found [4, 2]"));
    CHECK_THAT(
        failure(model_errc::missing_tensor, [&] { file->need("q", {4}); }),
        Contains("lacks the tensor 'q'"));
    CHECK_THAT(
        failure(model_errc::unsupported, [&] { file->need("x", {256}); }), Contains("IQ2_S"));
}

TEST_CASE("gguf checkpoint: parts that do not belong together are refused")
{
    const temp_dir dir;
    write_parts(dir);
    const auto first = dir / part_name(1, 3);
    SECTION("a later part")
    {
        CHECK_THAT(refusal(dir / part_name(2, 3)), Contains("part 2 of 3"));
    }
    SECTION("one that is missing")
    {
        std::filesystem::remove(dir / part_name(2, 3));
        CHECK_THAT(refusal(first), Contains(part_name(2, 3)));
    }
    SECTION("one under the name of another")
    {
        std::filesystem::copy_file(
            dir / part_name(3, 3),
            dir / part_name(2, 3),
            std::filesystem::copy_options::overwrite_existing);
        CHECK_THAT(refusal(first), Contains("must be part 2 of 3, found part 3 of 3"));
    }
    SECTION("a link that leads back to the first")
    {
        std::filesystem::remove(dir / part_name(2, 3));
        std::filesystem::create_symlink(first, dir / part_name(2, 3));
        CHECK_THAT(refusal(first), Contains("must be part 2 of 3, found part 1 of 3"));
    }
    SECTION("one of another count")
    {
        dir.write(part_name(2, 3), with_tensor(part(1, 4, 3), "b", 2).str());
        CHECK_THAT(refusal(first), Contains("found part 2 of 4"));
    }
    SECTION("one that says nothing of parts")
    {
        dir.write(part_name(2, 3), with_tensor({}, "b", 2).str());
        CHECK_THAT(refusal(first), Contains("lacks the key 'split.no'"));
    }
    SECTION("a tensor twice")
    {
        dir.write(part_name(2, 3), with_tensor(part(1, 3, 3), "a", 2).str());
        CHECK_THAT(refusal(first), Contains("has the tensor 'a', which another part has already"));
    }
    SECTION("another number of tensors")
    {
        dir.write(part_name(1, 3), with_tensor(part(0, 3, 4), "a", 1).str());
        CHECK_THAT(refusal(first), Contains("promises 4 tensors in 3 parts, found 3"));
    }
    SECTION("a first part of another name")
    {
        std::filesystem::rename(first, dir / "other.gguf");
        CHECK_THAT(refusal(dir / "other.gguf"), Contains("must end in -00001-of-00003.gguf"));
    }
    SECTION("a count that is none")
    {
        gguf_builder made;
        made.entry("split.count", 11, gguf_builder::raw(std::int64_t{-1}));
        CHECK_THAT(refusal(dir.write("n.gguf", made.str())), Contains("'split.count'"));
    }
}

TEST_CASE("gguf checkpoint: a part that is cut off anywhere is refused")
{
    const temp_dir dir;
    write_parts(dir);
    const std::string whole = with_tensor(part(1, 3, 3), "b", 2).str();
    for (std::size_t i = 0; i < 64; ++i) {
        const std::string cut = whole.substr(0, whole.size() * i / 64);
        dir.write(part_name(2, 3), cut);
        CHECK_FALSE(refusal(dir / part_name(1, 3)).empty());
    }
}

TEST_CASE("gguf checkpoint: offsets and sizes at their extremes are refused")
{
    const temp_dir dir;
    constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
    const auto refused = [&](const std::vector<std::uint64_t>& dims, std::uint64_t offset) {
        gguf_builder made;
        made.tensor("t", dims, 0, offset).data(floats(8, 1));
        return !refusal(dir.write("m.gguf", made.str())).empty();
    };
    CHECK(refused({8}, most - 31));
    CHECK(refused({8}, std::uint64_t{1} << 63U));
    CHECK(refused({8}, 32));
    CHECK(refused({9}, 0));
    CHECK(refused({most}, 0));
    CHECK(refused({std::uint64_t{1} << 62U, 4}, 0));
    CHECK(refused({std::uint64_t{1} << 32U, std::uint64_t{1} << 32U}, 0));
}

}  // namespace modelpool::weights

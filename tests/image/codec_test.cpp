#include <modelpool/error.hpp>
#include <modelpool/image/codec.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <cstdlib>
#include <string>

#include "image_fixture.hpp"

namespace modelpool {
namespace {

using testing::image_path;
using testing::load;
using testing::read_bytes;

std::string why_not(std::span<const std::byte> bytes, const image_limits& limits = {})
{
    try {
        decode_image(bytes, limits);
    } catch (const error& problem) {
        CHECK(problem.code() == errc::invalid_argument);
        return problem.what();
    }
    return "decoded";
}

std::vector<std::byte> to_bytes(std::string_view text)
{
    const auto bytes = std::as_bytes(std::span{text});
    return {bytes.begin(), bytes.end()};
}

int largest_step(const image& a, const image& b)
{
    REQUIRE(a.width == b.width);
    REQUIRE(a.height == b.height);
    int largest = 0;
    for (std::size_t i = 0; i < a.rgb.size(); ++i)
        largest = std::max(largest, std::abs(int{a.rgb[i]} - int{b.rgb[i]}));
    return largest;
}

}  // namespace

TEST_CASE("image: every kind of file has the pixels that Pillow gives it", "[image]")
{
    const auto cases = testing::image_cases();
    for (const auto& expected : cases["decode"]) {
        const std::string name = expected["file"];
        CAPTURE(name);
        const image found = load(name);
        CHECK(found.width == expected["width"]);
        CHECK(found.height == expected["height"]);
        CHECK(testing::digest(found) == expected["fnv1a"].get<std::string>());
    }
}

TEST_CASE("image: bytes, a file and decoded pixels are the same image", "[image]")
{
    const image from_file = load("full.jpg");
    CHECK(
        blocking_load_image(image_bytes{read_bytes(image_path("full.jpg"))}).rgb == from_file.rgb);
    CHECK(blocking_load_image(from_file).rgb == from_file.rgb);
}

TEST_CASE("image: a file that ends anywhere is refused as truncated or not an image", "[image]")
{
    const std::string name = GENERATE("rgb.png", "full.jpg", "lossy.webp", "lossless_alpha.webp");
    CAPTURE(name);
    const std::vector<std::byte> whole = read_bytes(image_path(name));
    // PNG's last chunk holds nothing, so a file without it has all its pixels.
    const std::size_t end = whole.size() - (name == "rgb.png" ? 16 : 2);
    for (std::size_t n = 0; n < end; n += 1 + n / 40) {
        CAPTURE(n);
        CHECK(why_not(std::span{whole}.first(n)) != "decoded");
    }
}

TEST_CASE("image: what is no image is refused with what is expected", "[image]")
{
    CHECK_THAT(why_not({}), Catch::Contains("no bytes"));
    CHECK_THAT(why_not(to_bytes("GIF89a")), Catch::Contains("expected JPEG, PNG or WebP"));
    CHECK_THAT(why_not(to_bytes("\xFF\xD8\xFF")), Catch::Contains("truncated"));
}

TEST_CASE("image: sides beyond the limits are refused before they are allocated", "[image]")
{
    const std::vector<std::byte> small = read_bytes(image_path("rgb.png"));
    CHECK_THAT(why_not(small, image_limits{}.max_pixels(600)), Catch::Contains("31 x 22 pixels"));
    CHECK_THAT(why_not(small, image_limits{}.max_side(30)), Catch::Contains("longest side"));
    CHECK_THAT(why_not(small, image_limits{}.max_bytes(100)), Catch::Contains("bytes"));
    CHECK(why_not(small, image_limits{}.max_pixels(682).max_side(31)) == "decoded");
    for (const char* name : {"full.jpg", "lossy.webp"})
        CHECK_THAT(
            why_not(read_bytes(image_path(name)), image_limits{}.max_pixels(681)),
            Catch::Contains("the most allowed are 681"));
}

TEST_CASE("image: a missing file and a folder are refused by name", "[image]")
{
    CHECK_THROWS_WITH(
        load("none.png"), Catch::Contains("none.png") && Catch::Contains("no such file"));
    CHECK_THROWS_WITH(load("."), Catch::Contains("not a regular file"));
}

TEST_CASE("image: decoded pixels that do not fit their sides are refused", "[image]")
{
    image wrong = load("one.png");
    wrong.height = 2;
    CHECK_THROWS_AS(blocking_load_image(wrong), error);
    wrong.width = 0;
    CHECK_THROWS_AS(blocking_load_image(wrong), error);
    wrong.width = std::size_t{1} << 63U;
    CHECK_THROWS_AS(blocking_load_image(wrong), error);
    CHECK_THROWS_AS(encode_png(image{}), error);
}

TEST_CASE("image: a web address is not loaded without a pool", "[image]")
{
    CHECK_THROWS_WITH(
        blocking_load_image(image_url{"https://example.org/a.png"}), Catch::Contains("pool"));
}

TEST_CASE("image: lossless files give back the pixels they were made of", "[image]")
{
    const image before = load("noise.png");
    CHECK(decode_image(encode_png(before)).rgb == before.rgb);
    CHECK(decode_image(encode_webp(before, lossless_webp)).rgb == before.rgb);
}

TEST_CASE("image: lossy files come close to the pixels they were made of", "[image]")
{
    const image before = load("rgb.png");
    CHECK(largest_step(decode_image(encode_jpeg(before, 98)), before) < 16);
    CHECK(largest_step(decode_image(encode_webp(before, 98)), before) < 40);
    CHECK(encode_jpeg(before, 40).size() < encode_jpeg(before, 98).size());
    CHECK_THROWS_AS(encode_jpeg(before, 0), error);
    CHECK_THROWS_AS(encode_webp(before, 101), error);
}

TEST_CASE("image: a PNG file carries texts by keyword", "[image]")
{
    const image pixels = load("one.png");
    const std::vector<std::byte> file = encode_png(pixels, {{"parameters", "a cat, caf\xC3\xA9"}});
    const std::string text(reinterpret_cast<const char*>(file.data()), file.size());
    CHECK_THAT(text, Catch::Contains("parameters") && Catch::Contains("a cat, caf\xC3\xA9"));
    CHECK(decode_image(file).rgb == pixels.rgb);
    for (const char* keyword : {"", " x", "x ", "a  b", "a\nb"})
        CHECK_THROWS_AS(encode_png(pixels, {{keyword, "text"}}), error);
}

}  // namespace modelpool

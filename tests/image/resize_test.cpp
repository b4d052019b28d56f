#include <modelpool/error.hpp>
#include <modelpool/image/resize.hpp>

#include <catch2/catch.hpp>

#include <algorithm>

#include "image_fixture.hpp"

namespace modelpool {
namespace {

using testing::load;

// The window of a whole image, black beyond it.
image cut(const image& whole, const image_window& window)
{
    image part;
    part.width = window.size.width;
    part.height = window.size.height;
    for (std::int64_t y = 0; y < static_cast<std::int64_t>(part.height); ++y)
        for (std::int64_t x = 0; x < static_cast<std::int64_t>(part.width); ++x)
            for (std::int64_t channel = 0; channel < 3; ++channel) {
                const std::int64_t column = x + window.left;
                const std::int64_t row = y + window.top;
                const auto width = static_cast<std::int64_t>(whole.width);
                const bool inside = column >= 0 && row >= 0 && column < width &&
                                    row < static_cast<std::int64_t>(whole.height);
                part.rgb.push_back(
                    inside
                        ? whole.rgb[static_cast<std::size_t>((row * width + column) * 3 + channel)]
                        : std::uint8_t{0});
            }
    return part;
}

}  // namespace

TEST_CASE("resize: pixels are those of Pillow with every filter", "[image]")
{
    const auto cases = testing::image_cases();
    for (const auto& expected : cases["resize"]) {
        CAPTURE(expected.dump());
        const image_size size{expected["width"], expected["height"]};
        const auto filter = static_cast<resize_filter>(expected["filter"].get<int>());
        const image found = resize(load(expected["file"].get<std::string>()), size, filter);
        CHECK(found.width == size.width);
        CHECK(found.height == size.height);
        CHECK(testing::digest(found) == expected["fnv1a"].get<std::string>());
    }
}

TEST_CASE("resize: a window is that part of the whole, black beyond it", "[image]")
{
    const image before = load("noise.png");
    const auto filter = GENERATE(
        resize_filter::nearest, resize_filter::bicubic, resize_filter::lanczos, resize_filter::box);
    for (const image_size size : {image_size{20, 9}, image_size{50, 70}, image_size{33, 12}}) {
        const image whole = resize(before, size, filter);
        for (const image_window& window :
             {image_window{3, 2, {5, 4}},
              image_window{-2, -3, {9, 30}},
              image_window{15, 1, {40, 3}},
              image_window{90, 0, {3, 3}}})
            CHECK(resize_window(before, size, filter, window).rgb == cut(whole, window).rgb);
    }
}

TEST_CASE("resize: a window of a strip of millions of pixels costs the window only", "[image]")
{
    image strip;
    strip.width = 60'000;
    strip.height = 1;
    strip.rgb.assign(strip.width * 3, 200);
    const image_size size{60'000 * 224, 224};
    const image found =
        resize_window(strip, size, resize_filter::bicubic, {6'000'000, 0, {224, 224}});
    CHECK(std::ranges::count(found.rgb, 200) == 224 * 224 * 3);
}

TEST_CASE("resize: sizes without pixels are refused", "[image]")
{
    const image one = load("one.png");
    CHECK_THROWS_AS(resize(one, {0, 1}, resize_filter::box), error);
    CHECK_THROWS_AS(resize(image{}, {1, 1}, resize_filter::box), error);
}

}  // namespace modelpool

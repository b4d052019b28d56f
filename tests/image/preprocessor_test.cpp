#include <modelpool/error.hpp>

#include <catch2/catch.hpp>

#include "image/preprocessor.hpp"
#include "image_fixture.hpp"
#include "support/temp_dir.hpp"

namespace modelpool {
namespace {

using images::image_preprocessor;
using support::json_file;

image_preprocessor from(std::string_view json)
{
    return image_preprocessor::read(json_file{json, "config", model_errc::bad_config});
}

boost::system::error_code code_of(std::string_view json)
{
    try {
        from(json);
    } catch (const error& problem) {
        CHECK_THAT(problem.what(), Catch::StartsWith("config: "));
        return problem.code();
    }
    return {};
}

image grey(std::size_t width, std::size_t height, std::uint8_t value)
{
    return {width, height, std::vector<std::uint8_t>(width * height * 3, value)};
}

}  // namespace

TEST_CASE("preprocessing: what a configuration leaves out is as CLIP has it", "[image]")
{
    const image_preprocessor usual = from("{}");
    CHECK(usual.output_size() == image_size{224, 224});
    const std::vector<float> values = usual.prepare(grey(10, 20, 255));
    REQUIRE(values.size() == 3 * 224 * 224);
    CHECK(values.front() == Approx((1 - 0.48145466) / 0.26862954));
    CHECK(values.back() == Approx((1 - 0.40821073) / 0.27577711));
}

TEST_CASE("preprocessing: sizes are read in every form", "[image]")
{
    const image wide = grey(40, 20, 9);
    const auto shape = [&](std::string_view json) {
        const image found = from(json).shape(wide);
        return image_size{found.width, found.height};
    };
    CHECK(shape(R"({"size":10,"do_center_crop":false})") == image_size{20, 10});
    CHECK(shape(R"({"size":{"shortest_edge":10},"do_center_crop":false})") == image_size{20, 10});
    CHECK(shape(R"({"size":{"height":7,"width":9},"do_center_crop":false})") == image_size{9, 7});
    CHECK(shape(R"({"size":[7,9],"do_center_crop":false})") == image_size{9, 7});
    CHECK(shape(R"({"size":10,"crop_size":8})") == image_size{8, 8});
    CHECK(shape(R"({"size":10,"crop_size":{"height":8,"width":6}})") == image_size{6, 8});
    CHECK(shape(R"({"do_resize":false,"do_center_crop":false})") == image_size{40, 20});
    CHECK(!from(R"({"size":10,"do_center_crop":false})").output_size());
}

TEST_CASE("preprocessing: a crop larger than the image has a black border", "[image]")
{
    const auto part = from(R"({"do_resize":false,"crop_size":{"height":4,"width":3}})");
    const image found = part.shape(grey(2, 1, 9));
    std::vector<int> red;
    for (std::size_t i = 0; i < found.rgb.size(); i += 3)
        red.push_back(found.rgb[i]);
    CHECK(red == std::vector<int>{0, 0, 0, 0, 0, 0, 0, 9, 9, 0, 0, 0});
}

TEST_CASE("preprocessing: steps that are switched off leave the numbers alone", "[image]")
{
    const image one = grey(1, 1, 51);
    const std::string whole = R"("do_resize":false,"crop_size":1,)";
    const auto first = [&](const std::string& rest) {
        return from("{" + whole + rest + "}").prepare(one).front();
    };
    CHECK(first(R"("do_rescale":false,"do_normalize":false)") == 51.0F);
    CHECK(first(R"("do_normalize":false)") == Approx(0.2));
    CHECK(first(R"("rescale_factor":0.5,"do_normalize":false)") == 25.5F);
    CHECK(first(R"("image_mean":[0.5,0,0],"image_std":[0.5,1,1])") == Approx(-0.6));
}

TEST_CASE("preprocessing: unknown steps and values are refused", "[image]")
{
    for (const char* json :
         {R"({"do_pad":true})",
          R"({"resample":6})",
          R"({"resample":-1})",
          R"({"image_processor_type":"OtherImageProcessor"})",
          R"({"size":{"longest_edge":5}})",
          R"({"crop_size":{"shortest_edge":5}})"}) {
        CAPTURE(json);
        CHECK(code_of(json) == model_errc::unsupported);
    }
    for (const char* json :
         {R"({"size":0})",
          R"({"size":-3})",
          R"({"size":99999})",
          R"({"size":2.5})",
          R"({"crop_size":{"height":1,"width":"2"}})",
          R"({"resample":"bicubic"})",
          R"({"image_mean":[1,2]})",
          R"({"image_std":[0,1,1]})",
          R"({"image_mean":"x"})",
          R"({"do_resize":1})",
          R"([])"}) {
        CAPTURE(json);
        CHECK(code_of(json) == model_errc::bad_config);
    }
}

TEST_CASE("preprocessing: an image that would become huge is refused", "[image]")
{
    const auto uncropped = from(R"({"size":16384,"do_center_crop":false})");
    CHECK_THROWS_WITH(uncropped.prepare(grey(5000, 1, 0)), Catch::Contains("too large"));
}

TEST_CASE("preprocessing: a folder has it in either of two files", "[image]")
{
    testing::temp_dir dir;
    CHECK_THROWS_WITH(
        image_preprocessor::blocking_read(dir.path()), Catch::Contains("no such file"));
    dir.write("processor_config.json", R"({"image_processor":{"crop_size":5}})");
    CHECK(image_preprocessor::blocking_read(dir.path()).output_size() == image_size{5, 5});
    dir.write("preprocessor_config.json", R"({"crop_size":6})");
    CHECK(image_preprocessor::blocking_read(dir.path()).output_size() == image_size{6, 6});
}

}  // namespace modelpool

#include <modelpool/assert.hpp>
#include <modelpool/error.hpp>
#include <modelpool/image/codec.hpp>
#include <modelpool/image/resize.hpp>

#include <cstddef>
#include <cstdint>
#include <span>

// Any bytes are an image within the limits or a typed error; what was decoded can be resized and
// encoded.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    using namespace modelpool;
    constexpr std::uint64_t most_pixels = std::uint64_t{1} << 20U;
    const auto bytes = std::as_bytes(std::span{data, size});
    try {
        const image found = decode_image(bytes, image_limits{}.max_pixels(most_pixels));
        MODELPOOL_ASSERT(found.width * found.height <= most_pixels);
        MODELPOOL_ASSERT(found.rgb.size() == found.width * found.height * 3);
        const image small = resize(found, {9, 5}, resize_filter::bicubic);
        MODELPOOL_ASSERT(decode_image(encode_png(small)).rgb == small.rgb);
    } catch (const error& problem) {
        MODELPOOL_ASSERT(
            problem.code() == errc::invalid_argument || problem.code() == errc::unsupported);
    }
    return 0;
}

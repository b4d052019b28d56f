#include <modelpool/error.hpp>

#include <algorithm>
#include <memory>
#include <new>
#include <string>
#include <utility>

#include "image/orientation.hpp"
#include "image/pixels.hpp"

#include <webp/decode.h>
#include <webp/demux.h>
#include <webp/encode.h>

namespace modelpool::images {
namespace {

struct delete_demuxer {
    void operator()(WebPDemuxer* one) const noexcept { WebPDemuxDelete(one); }
};
struct delete_animation {
    void operator()(WebPAnimDecoder* one) const noexcept { WebPAnimDecoderDelete(one); }
};

WebPData view(std::span<const std::byte> bytes) noexcept
{
    return {reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()};
}

// 1 also where the file is not whole: it is the pixels that must be there.
int orientation_of(std::span<const std::byte> bytes)
{
    const WebPData data = view(bytes);
    WebPDemuxState state{};
    const std::unique_ptr<WebPDemuxer, delete_demuxer> demuxer{WebPDemuxPartial(&data, &state)};
    if (!demuxer) return 1;
    WebPChunkIterator chunk{};
    int found = 1;
    if (WebPDemuxGetChunk(demuxer.get(), "EXIF", 1, &chunk) != 0)
        found = read_orientation(
            {reinterpret_cast<const std::byte*>(chunk.chunk.bytes), chunk.chunk.size});
    WebPDemuxReleaseChunkIterator(&chunk);
    return found;
}

[[noreturn]] void refuse_webp(const std::string& why)
{
    refuse("a WebP image that cannot be decoded: " + why);
}

// The first picture on its canvas, which may be larger than it.
void decode_first_frame(std::span<const std::byte> bytes, image& into)
{
    constexpr std::size_t n_with_alpha = 4;
    const WebPData data = view(bytes);
    const std::unique_ptr<WebPAnimDecoder, delete_animation> decoder{
        WebPAnimDecoderNew(&data, nullptr)};
    std::uint8_t* rgba = nullptr;
    int time = 0;
    if (!decoder || WebPAnimDecoderGetNext(decoder.get(), &rgba, &time) == 0)
        refuse_webp("the animation is truncated or damaged");
    for (std::size_t i = 0; i < into.width * into.height; ++i)
        std::copy_n(rgba + i * n_with_alpha, n_channels, into.rgb.data() + i * n_channels);
}

std::string reason(VP8StatusCode code)
{
    if (code == VP8_STATUS_NOT_ENOUGH_DATA) return "the file is truncated";
    if (code == VP8_STATUS_OUT_OF_MEMORY) throw std::bad_alloc{};
    if (code == VP8_STATUS_UNSUPPORTED_FEATURE) return "it has a feature that is not supported";
    return "the file is damaged";
}

void decode_still(std::span<const std::byte> bytes, image& into)
{
    WebPDecoderConfig config;
    if (WebPInitDecoderConfig(&config) == 0) refuse_webp("libwebp is of another version");
    config.output.colorspace = MODE_RGB;
    config.output.is_external_memory = 1;
    config.output.u.RGBA.rgba = into.rgb.data();
    config.output.u.RGBA.size = into.rgb.size();
    config.output.u.RGBA.stride = static_cast<int>(into.width * n_channels);
    const WebPData data = view(bytes);
    const VP8StatusCode code = WebPDecode(data.bytes, data.size, &config);
    WebPFreeDecBuffer(&config.output);
    if (code != VP8_STATUS_OK) refuse_webp(reason(code));
}

// ---- encoding -----------------------------------------------------------------------------------

class picture {
public:
    picture()
    {
        if (WebPPictureInit(&held_) == 0) refuse("libwebp is of another version");
        WebPMemoryWriterInit(&written_);
        held_.writer = WebPMemoryWrite;
        held_.custom_ptr = &written_;
    }
    ~picture()
    {
        WebPPictureFree(&held_);
        WebPMemoryWriterClear(&written_);
    }
    picture(const picture&) = delete;
    picture& operator=(const picture&) = delete;
    picture(picture&&) = delete;
    picture& operator=(picture&&) = delete;

    std::vector<std::byte> encode(const image& pixels, const WebPConfig& config)
    {
        held_.use_argb = config.lossless;
        held_.width = static_cast<int>(pixels.width);
        held_.height = static_cast<int>(pixels.height);
        const int stride = static_cast<int>(pixels.width * n_channels);
        if (WebPPictureImportRGB(&held_, pixels.rgb.data(), stride) == 0) throw std::bad_alloc{};
        if (WebPEncode(&config, &held_) == 0) {
            if (held_.error_code == VP8_ENC_ERROR_OUT_OF_MEMORY) throw std::bad_alloc{};
            refuse(
                "the image cannot be encoded as WebP: libwebp's error " +
                std::to_string(static_cast<int>(held_.error_code)));
        }
        const auto* begin = reinterpret_cast<const std::byte*>(written_.mem);
        return {begin, begin + written_.size};
    }

private:
    WebPPicture held_{};
    WebPMemoryWriter written_{};
};

}  // namespace

image decode_webp(std::span<const std::byte> bytes, const image_limits& limits)
{
    WebPBitstreamFeatures features{};
    const WebPData data = view(bytes);
    const VP8StatusCode code = WebPGetFeatures(data.bytes, data.size, &features);
    if (code != VP8_STATUS_OK) refuse_webp(reason(code));
    const auto width = static_cast<std::size_t>(std::max(0, features.width));
    const auto height = static_cast<std::size_t>(std::max(0, features.height));
    check_size(width, height, limits);
    image result = blank(width, height);
    if (features.has_animation != 0)
        decode_first_frame(bytes, result);
    else
        decode_still(bytes, result);
    return upright(std::move(result), orientation_of(bytes));
}

}  // namespace modelpool::images

namespace modelpool {

std::vector<std::byte> encode_webp(const image& pixels, int quality)
{
    images::check_pixels(pixels);
    if (quality != lossless_webp && (quality < 0 || quality > 100))
        images::refuse(
            "the quality of a WebP image is 0 to 100 or lossless, found " +
            std::to_string(quality));
    if (std::max(pixels.width, pixels.height) > WEBP_MAX_DIMENSION)
        images::refuse(
            "a WebP image has at most " + std::to_string(WEBP_MAX_DIMENSION) + " pixels a side");
    WebPConfig config;
    if (WebPConfigInit(&config) == 0) images::refuse("libwebp is of another version");
    if (quality == lossless_webp)
        config.lossless = 1;
    else
        config.quality = static_cast<float>(quality);
    images::picture picture;
    return picture.encode(pixels, config);
}

}  // namespace modelpool

#include <modelpool/error.hpp>

#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>

#include "image/orientation.hpp"
#include "image/pixels.hpp"

// After <cstdio>, whose types it uses without including it.
#include <jerror.h>
#include <jpeglib.h>

// libjpeg reports errors through a function that must not return. It leaves by longjmp, so nothing
// with a destructor is made in the functions that call libjpeg between setjmp and the end.

namespace modelpool::images {
namespace {

// A file of a few kilobytes can hold thousands of scans, each of which passes over all pixels.
constexpr int most_scans = 500;
constexpr unsigned most_marker_bytes = 0xFFFF;
constexpr std::size_t n_ink_channels = 4;

using message_text = std::array<char, JMSG_LENGTH_MAX>;

struct error_state {
    jpeg_error_mgr manager{};  // first, so that libjpeg's pointer to it points to this
    std::jmp_buf back{};
    message_text text{};
};

error_state& state_of(j_common_ptr info) noexcept
{
    return *reinterpret_cast<error_state*>(info->err);
}

[[noreturn]] void leave(j_common_ptr info)
{
    error_state& state = state_of(info);
    (*info->err->format_message)(info, state.text.data());
    std::longjmp(state.back, 1);  // NOLINT(cert-err52-cpp)
}

void leave_with(j_common_ptr info, const char* text)
{
    error_state& state = state_of(info);
    std::snprintf(state.text.data(), state.text.size(), "%s", text);
    std::longjmp(state.back, 1);  // NOLINT(cert-err52-cpp)
}

// libjpeg fills what a truncated file lacks with grey and only warns. Other warnings are of
// damage that decoders put up with.
void take_message(j_common_ptr info, int level)
{
    if (level < 0 && info->err->msg_code == JWRN_JPEG_EOF)
        leave_with(info, "the file is truncated");
}

void print_nothing(j_common_ptr) {}

void watch_scans(j_common_ptr info)
{
    if (!info->is_decompressor) return;
    const auto* decoder = reinterpret_cast<j_decompress_ptr>(info);
    if (decoder->input_scan_number > most_scans) leave_with(info, "the file has too many scans");
}

void set_up(error_state& state)
{
    jpeg_std_error(&state.manager);
    state.manager.error_exit = leave;
    state.manager.emit_message = take_message;
    state.manager.output_message = print_nothing;
}

[[noreturn]] void refuse_jpeg(const error_state& state)
{
    refuse(std::string{"a JPEG image that cannot be decoded: "} + state.text.data());
}

// ---- decoding -----------------------------------------------------------------------------------

class decoder {
public:
    decoder()
    {
        set_up(state_);
        info_.err = &state_.manager;
    }
    ~decoder() { jpeg_destroy_decompress(&info_); }
    decoder(const decoder&) = delete;
    decoder& operator=(const decoder&) = delete;
    decoder(decoder&&) = delete;
    decoder& operator=(decoder&&) = delete;

    void read_header(std::span<const std::byte> bytes)
    {
        if (!try_read_header(bytes)) refuse_jpeg(state_);
    }

    std::size_t width() const noexcept { return info_.image_width; }
    std::size_t height() const noexcept { return info_.image_height; }
    bool has_inks() const noexcept { return info_.out_color_space == JCS_CMYK; }
    bool has_known_colours() const noexcept
    {
        return info_.jpeg_color_space != JCS_UNKNOWN &&
               (info_.num_components == 1 || info_.num_components == 3 ||
                info_.num_components == 4);
    }
    int n_components() const noexcept { return info_.num_components; }

    int orientation() const noexcept
    {
        constexpr int app1 = JPEG_APP0 + 1;
        for (auto marker = info_.marker_list; marker != nullptr; marker = marker->next) {
            const std::span<const std::byte> data{
                reinterpret_cast<const std::byte*>(marker->data), marker->data_length};
            constexpr std::array<char, 6> name{'E', 'x', 'i', 'f', '\0', '\0'};
            const auto same = [](char a, std::byte b) { return static_cast<std::byte>(a) == b; };
            if (marker->marker == app1 && data.size() >= name.size() &&
                std::equal(name.begin(), name.end(), data.begin(), same))
                return read_orientation(data);
        }
        return 1;
    }

    // `row` has room for one row of pixels of as many bytes as the output has channels; `into`
    // takes it.
    void read_pixels(std::uint8_t* out)
    {
        if (!try_read_pixels(out)) refuse_jpeg(state_);
    }

private:
    bool try_read_header(std::span<const std::byte> bytes)
    {
        if (setjmp(state_.back) != 0) return false;  // NOLINT(cert-err52-cpp)
        jpeg_create_decompress(&info_);
        watch_.progress_monitor = watch_scans;
        info_.progress = &watch_;
        jpeg_mem_src(
            &info_,
            reinterpret_cast<const unsigned char*>(bytes.data()),
            static_cast<unsigned long>(bytes.size()));
        jpeg_save_markers(&info_, JPEG_APP0 + 1, most_marker_bytes);
        jpeg_read_header(&info_, TRUE);
        const bool inks = info_.num_components == static_cast<int>(n_ink_channels);
        info_.out_color_space = inks ? JCS_CMYK : JCS_RGB;
        return true;
    }

    bool try_read_pixels(std::uint8_t* out)
    {
        if (setjmp(state_.back) != 0) return false;  // NOLINT(cert-err52-cpp)
        jpeg_start_decompress(&info_);
        const std::size_t row_bytes =
            info_.output_width * static_cast<std::size_t>(info_.output_components);
        while (info_.output_scanline < info_.output_height) {
            JSAMPROW row = out + info_.output_scanline * row_bytes;
            jpeg_read_scanlines(&info_, &row, 1);
        }
        jpeg_finish_decompress(&info_);
        return true;
    }

    error_state state_;
    jpeg_progress_mgr watch_{};
    jpeg_decompress_struct info_{};
};

// As Pillow's conversion; what Adobe's programs write is inverted, so a high number is little ink.
std::uint8_t without_ink(unsigned colour, unsigned black)
{
    const unsigned product = (255 - colour) * black + 128;
    return static_cast<std::uint8_t>(black - std::min(black, ((product >> 8U) + product) >> 8U));
}

void inks_to_colours(std::span<const std::uint8_t> inks, std::vector<std::uint8_t>& rgb)
{
    std::uint8_t* out = rgb.data();
    for (std::size_t at = 0; at + n_ink_channels <= inks.size(); at += n_ink_channels)
        for (std::size_t channel = 0; channel < n_channels; ++channel)
            *out++ = without_ink(inks[at + channel], inks[at + n_channels]);
}

// ---- encoding -----------------------------------------------------------------------------------

class encoder {
public:
    encoder()
    {
        set_up(state_);
        info_.err = &state_.manager;
    }
    ~encoder()
    {
        jpeg_destroy_compress(&info_);
        std::free(memory_);
    }
    encoder(const encoder&) = delete;
    encoder& operator=(const encoder&) = delete;
    encoder(encoder&&) = delete;
    encoder& operator=(encoder&&) = delete;

    std::vector<std::byte> run(const image& pixels, int quality)
    {
        if (!try_run(pixels, quality))
            refuse(std::string{"the image cannot be encoded as JPEG: "} + state_.text.data());
        const auto* begin = reinterpret_cast<const std::byte*>(memory_);
        return {begin, begin + n_bytes_};
    }

private:
    bool try_run(const image& pixels, int quality)
    {
        constexpr int full_colour_quality = 95;
        if (setjmp(state_.back) != 0) return false;  // NOLINT(cert-err52-cpp)
        jpeg_create_compress(&info_);
        jpeg_mem_dest(&info_, &memory_, &n_bytes_);
        info_.image_width = static_cast<JDIMENSION>(pixels.width);
        info_.image_height = static_cast<JDIMENSION>(pixels.height);
        info_.input_components = static_cast<int>(n_channels);
        info_.in_color_space = JCS_RGB;
        jpeg_set_defaults(&info_);
        jpeg_set_quality(&info_, quality, TRUE);
        if (quality >= full_colour_quality)
            info_.comp_info[0].h_samp_factor = info_.comp_info[0].v_samp_factor = 1;
        jpeg_start_compress(&info_, TRUE);
        while (info_.next_scanline < info_.image_height) {
            // libjpeg does not write to what it compresses.
            JSAMPROW row = const_cast<JSAMPROW>(
                pixels.rgb.data() + info_.next_scanline * pixels.width * n_channels);
            jpeg_write_scanlines(&info_, &row, 1);
        }
        jpeg_finish_compress(&info_);
        return true;
    }

    error_state state_;
    jpeg_compress_struct info_{};
    unsigned char* memory_{nullptr};
    unsigned long n_bytes_{0};
};

}  // namespace

image decode_jpeg(std::span<const std::byte> bytes, const image_limits& limits)
{
    decoder jpeg;
    jpeg.read_header(bytes);
    check_size(jpeg.width(), jpeg.height(), limits);
    if (!jpeg.has_known_colours())
        throw error{
            errc::unsupported,
            "JPEG images of " + std::to_string(jpeg.n_components()) +
                " colour components are not supported; supported: 1, 3 and 4"};
    const int orientation = jpeg.orientation();
    image result = blank(jpeg.width(), jpeg.height());
    if (jpeg.has_inks()) {
        std::vector<std::uint8_t> inks(jpeg.width() * jpeg.height() * n_ink_channels);
        jpeg.read_pixels(inks.data());
        inks_to_colours(inks, result.rgb);
    } else {
        jpeg.read_pixels(result.rgb.data());
    }
    return upright(std::move(result), orientation);
}

}  // namespace modelpool::images

namespace modelpool {

std::vector<std::byte> encode_jpeg(const image& pixels, int quality)
{
    images::check_pixels(pixels);
    if (quality < 1 || quality > 100)
        images::refuse("the quality of a JPEG image is 1 to 100, found " + std::to_string(quality));
    if (std::max(pixels.width, pixels.height) > JPEG_MAX_DIMENSION)
        images::refuse(
            "a JPEG image has at most " + std::to_string(JPEG_MAX_DIMENSION) + " pixels a side");
    images::encoder jpeg;
    return jpeg.run(pixels, quality);
}

}  // namespace modelpool

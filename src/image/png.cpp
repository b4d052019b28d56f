#include <modelpool/error.hpp>

#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>
#include <string>
#include <utility>

#include "image/orientation.hpp"
#include "image/pixels.hpp"

#include <png.h>

// libpng reports errors through a function that must not return. It leaves by longjmp, so nothing
// with a destructor is made in the functions that call libpng between setjmp and the end.

namespace modelpool::images {
namespace {

// Of one ancillary chunk (a colour profile, a text, EXIF), and of how many that are kept.
constexpr png_alloc_size_t most_chunk_bytes = png_alloc_size_t{1} << 20U;
constexpr png_uint_32 most_chunks = 256;

struct failure {
    std::array<char, 128> text{};
};

[[noreturn]] void leave(png_structp png, png_const_charp text)
{
    auto* into = static_cast<failure*>(png_get_error_ptr(png));
    std::snprintf(into->text.data(), into->text.size(), "%s", text);
    png_longjmp(png, 1);
}

void ignore_warning(png_structp, png_const_charp) {}

// ---- decoding -----------------------------------------------------------------------------------

struct unread_bytes {
    std::span<const std::byte> bytes;
};

void read_bytes(png_structp png, png_bytep out, std::size_t n_bytes)
{
    auto* from = static_cast<unread_bytes*>(png_get_io_ptr(png));
    if (from->bytes.size() < n_bytes) png_error(png, "the file is truncated");
    std::memcpy(out, from->bytes.data(), n_bytes);
    from->bytes = from->bytes.subspan(n_bytes);
}

class decoder {
public:
    explicit decoder(std::span<const std::byte> bytes)
        : unread_{bytes}
    {
        png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, &failure_, leave, ignore_warning);
        if (png_ != nullptr) info_ = png_create_info_struct(png_);
        if (info_ == nullptr) {
            png_destroy_read_struct(&png_, &info_, nullptr);
            throw std::bad_alloc{};
        }
    }
    ~decoder() { png_destroy_read_struct(&png_, &info_, nullptr); }
    decoder(const decoder&) = delete;
    decoder& operator=(const decoder&) = delete;
    decoder(decoder&&) = delete;
    decoder& operator=(decoder&&) = delete;

    void read_header()
    {
        if (!try_read_header()) fail();
    }
    void read_pixels(image& into)
    {
        if (!try_read_pixels(into)) fail();
    }
    // What comes after the pixels; nobody misses it.
    void read_end() { try_read_end(); }

    std::size_t width() const noexcept { return png_get_image_width(png_, info_); }
    std::size_t height() const noexcept { return png_get_image_height(png_, info_); }
    bool is_grey_16() const noexcept
    {
        return png_get_bit_depth(png_, info_) == 16 &&
               png_get_color_type(png_, info_) == PNG_COLOR_TYPE_GRAY;
    }

    int orientation() const noexcept
    {
        png_bytep exif = nullptr;
        png_uint_32 n_bytes = 0;
        if (png_get_eXIf_1(png_, info_, &n_bytes, &exif) == 0 || exif == nullptr) return 1;
        return read_orientation({reinterpret_cast<const std::byte*>(exif), n_bytes});
    }

private:
    [[noreturn]] void fail() const
    {
        refuse(std::string{"a PNG image that cannot be decoded: "} + failure_.text.data());
    }

    bool try_read_header()
    {
        if (setjmp(png_jmpbuf(png_)) != 0) return false;  // NOLINT(cert-err52-cpp)
        png_set_read_fn(png_, &unread_, read_bytes);
        // The sides are checked by the caller, in its own words.
        png_set_user_limits(png_, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
        png_set_chunk_malloc_max(png_, most_chunk_bytes);
        png_set_chunk_cache_max(png_, most_chunks);
        png_read_info(png_, info_);
        return true;
    }

    // Rows of three bytes a pixel, or of two where `is_grey_16`.
    bool try_read_pixels(image& into)
    {
        if (setjmp(png_jmpbuf(png_)) != 0) return false;  // NOLINT(cert-err52-cpp)
        const png_byte type = png_get_color_type(png_, info_);
        const bool wide_grey = is_grey_16();
        if (type == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(png_);
        if (type == PNG_COLOR_TYPE_GRAY && !wide_grey) png_set_expand_gray_1_2_4_to_8(png_);
        if (!wide_grey) png_set_strip_16(png_);
        png_set_strip_alpha(png_);
        if ((type & PNG_COLOR_MASK_COLOR) == 0 && !wide_grey) png_set_gray_to_rgb(png_);
        const int n_passes = png_set_interlace_handling(png_);
        png_read_update_info(png_, info_);
        const std::size_t row_bytes = png_get_rowbytes(png_, info_);
        if (row_bytes > into.width * n_channels)
            png_error(png_, "its rows are longer than they may be");
        for (int pass = 0; pass < n_passes; ++pass)
            for (std::size_t y = 0; y < into.height; ++y)
                png_read_row(png_, into.rgb.data() + y * row_bytes, nullptr);
        return true;
    }

    void try_read_end()
    {
        if (setjmp(png_jmpbuf(png_)) != 0) return;  // NOLINT(cert-err52-cpp)
        png_read_end(png_, info_);
    }

    unread_bytes unread_;
    failure failure_;
    png_structp png_{nullptr};
    png_infop info_{nullptr};
};

// Pillow's: numbers above 255 become 255. From the last pixel on, since each grows in its place.
void widen_grey(image& pixels)
{
    std::uint8_t* bytes = pixels.rgb.data();
    for (std::size_t i = pixels.width * pixels.height; i-- > 0;) {
        const std::uint8_t value = bytes[2 * i] != 0 ? std::uint8_t{255} : bytes[2 * i + 1];
        std::memset(bytes + i * n_channels, value, n_channels);
    }
}

// ---- encoding -----------------------------------------------------------------------------------

void write_bytes(png_structp png, png_bytep data, std::size_t n_bytes)
{
    auto* out = static_cast<std::vector<std::byte>*>(png_get_io_ptr(png));
    const auto* begin = reinterpret_cast<const std::byte*>(data);
    try {
        out->insert(out->end(), begin, begin + n_bytes);
        return;
    } catch (const std::exception&) {
        // Not to be thrown through libpng.
    }
    png_error(png, "out of memory");
}

void flush_nothing(png_structp) {}

class encoder {
public:
    encoder()
    {
        png_ = png_create_write_struct(PNG_LIBPNG_VER_STRING, &failure_, leave, ignore_warning);
        if (png_ != nullptr) info_ = png_create_info_struct(png_);
        if (info_ == nullptr) {
            png_destroy_write_struct(&png_, &info_);
            throw std::bad_alloc{};
        }
    }
    ~encoder() { png_destroy_write_struct(&png_, &info_); }
    encoder(const encoder&) = delete;
    encoder& operator=(const encoder&) = delete;
    encoder(encoder&&) = delete;
    encoder& operator=(encoder&&) = delete;

    std::vector<std::byte> run(const image& pixels, std::vector<png_text>& texts)
    {
        if (!try_run(pixels, texts))
            refuse(std::string{"the image cannot be encoded as PNG: "} + failure_.text.data());
        return std::move(bytes_);
    }

private:
    bool try_run(const image& pixels, std::vector<png_text>& texts)
    {
        constexpr int eight_bits = 8;
        if (setjmp(png_jmpbuf(png_)) != 0) return false;  // NOLINT(cert-err52-cpp)
        png_set_write_fn(png_, &bytes_, write_bytes, flush_nothing);
        png_set_user_limits(png_, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
        png_set_IHDR(
            png_,
            info_,
            static_cast<png_uint_32>(pixels.width),
            static_cast<png_uint_32>(pixels.height),
            eight_bits,
            PNG_COLOR_TYPE_RGB,
            PNG_INTERLACE_NONE,
            PNG_COMPRESSION_TYPE_DEFAULT,
            PNG_FILTER_TYPE_DEFAULT);
        if (!texts.empty()) png_set_text(png_, info_, texts.data(), static_cast<int>(texts.size()));
        png_write_info(png_, info_);
        for (std::size_t y = 0; y < pixels.height; ++y)
            png_write_row(png_, pixels.rgb.data() + y * pixels.width * n_channels);
        png_write_end(png_, info_);
        return true;
    }

    failure failure_;
    std::vector<std::byte> bytes_;
    png_structp png_{nullptr};
    png_infop info_{nullptr};
};

void check_keyword(const std::string& keyword)
{
    const auto printable = [](char c) {
        const auto code = static_cast<unsigned char>(c);
        return (code >= 0x20 && code <= 0x7E) || code >= 0xA1;
    };
    const bool fits = !keyword.empty() && keyword.size() <= 79 && keyword.front() != ' ' &&
                      keyword.back() != ' ' && keyword.find("  ") == std::string::npos &&
                      std::ranges::all_of(keyword, printable);
    if (!fits)
        refuse(
            "the keyword of a PNG text is 1 to 79 printable Latin-1 characters with single spaces "
            "between words");
}

png_text to_chunk(const std::string& keyword, const std::string& text)
{
    check_keyword(keyword);
    if (text.find('\0') != std::string::npos) refuse("a PNG text holds a zero byte");
    static constexpr std::array<char, 1> none{};
    png_text chunk{};
    chunk.compression = PNG_ITXT_COMPRESSION_NONE;
    // libpng only reads these.
    chunk.key = const_cast<png_charp>(keyword.c_str());
    chunk.text = const_cast<png_charp>(text.c_str());
    chunk.itxt_length = text.size();
    chunk.lang = const_cast<png_charp>(none.data());
    chunk.lang_key = const_cast<png_charp>(none.data());
    return chunk;
}

}  // namespace

image decode_png(std::span<const std::byte> bytes, const image_limits& limits)
{
    decoder png{bytes};
    png.read_header();
    check_size(png.width(), png.height(), limits);
    image result = blank(png.width(), png.height());
    png.read_pixels(result);
    if (png.is_grey_16()) widen_grey(result);
    png.read_end();
    return upright(std::move(result), png.orientation());
}

}  // namespace modelpool::images

namespace modelpool {

std::vector<std::byte> encode_png(const image& pixels, const image_texts& texts)
{
    images::check_pixels(pixels);
    if (std::max(pixels.width, pixels.height) > PNG_UINT_31_MAX)
        images::refuse("a PNG image has at most 2147483647 pixels a side");
    std::vector<png_text> chunks;
    for (const auto& [keyword, text] : texts)
        chunks.push_back(images::to_chunk(keyword, text));
    images::encoder png;
    return png.run(pixels, chunks);
}

}  // namespace modelpool

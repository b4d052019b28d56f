#include <modelpool/image/resize.hpp>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <numbers>
#include <span>
#include <string>
#include <vector>

#include "image/pixels.hpp"

namespace modelpool {
namespace images {
namespace {

// ---- filters ------------------------------------------------------------------------------------

double box(double x)
{
    return x > -0.5 && x <= 0.5 ? 1.0 : 0.0;
}

double bilinear(double x)
{
    return std::max(0.0, 1.0 - std::abs(x));
}

double hamming(double x)
{
    x = std::abs(x);
    if (x == 0) return 1.0;
    if (x >= 1) return 0.0;
    x *= std::numbers::pi;
    return std::sin(x) / x * (0.54 + 0.46 * std::cos(x));
}

double bicubic(double x)
{
    constexpr double a = -0.5;
    x = std::abs(x);
    if (x < 1) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
    if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
    return 0.0;
}

double sinc(double x)
{
    if (x == 0) return 1.0;
    x *= std::numbers::pi;
    return std::sin(x) / x;
}

double lanczos(double x)
{
    return x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0.0;
}

struct kernel {
    double (*value)(double);
    double support;  // pixels to each side, where the image does not shrink
};

kernel kernel_of(resize_filter filter)
{
    switch (filter) {
    case resize_filter::lanczos:
        return {lanczos, 3};
    case resize_filter::bilinear:
        return {bilinear, 1};
    case resize_filter::bicubic:
        return {bicubic, 2};
    case resize_filter::hamming:
        return {hamming, 1};
    case resize_filter::box:
    case resize_filter::nearest:
        break;
    }
    return {box, 0.5};
}

// ---- weights ------------------------------------------------------------------------------------

constexpr int weight_bits = 22;

// The pixels that one output pixel is made of, along one side, and their weights.
struct tap_range {
    std::size_t first{0};
    std::span<const std::int32_t> weights;
};

class taps {
public:
    // For the output pixels [begin, begin + n) of n_out, from n_in.
    taps(const kernel& shape, std::size_t n_in, std::size_t n_out, std::size_t begin, std::size_t n)
    {
        const double scale = static_cast<double>(n_in) / static_cast<double>(n_out);
        const double stretch = std::max(scale, 1.0);
        const double support = shape.support * stretch;
        for (std::size_t i = begin; i < begin + n; ++i) {
            const double centre = (static_cast<double>(i) + 0.5) * scale;
            add(shape, {centre, support, 1.0 / stretch}, n_in);
        }
    }

    tap_range operator[](std::size_t i) const
    {
        const entry& one = entries_[i];
        return {one.first, std::span{weights_}.subspan(one.begin, one.n)};
    }

    std::size_t first_input() const noexcept { return entries_.front().first; }
    // One past the last.
    std::size_t end_input() const noexcept { return entries_.back().first + entries_.back().n; }

private:
    struct place {
        double centre;
        double support;
        double squeeze;
    };
    struct entry {
        std::size_t first;
        std::size_t begin;
        std::size_t n;
    };

    void add(const kernel& shape, const place& where, std::size_t n_in)
    {
        const auto from_real = [n_in](double x) {
            return static_cast<std::size_t>(std::clamp(x, 0.0, static_cast<double>(n_in)));
        };
        const std::size_t first = from_real(where.centre - where.support + 0.5);
        const std::size_t end = from_real(where.centre + where.support + 0.5);
        values_.clear();
        double sum = 0;
        for (std::size_t x = first; x < end; ++x) {
            const double offset = static_cast<double>(x) - where.centre + 0.5;
            values_.push_back(shape.value(offset * where.squeeze));
            sum += values_.back();
        }
        entries_.push_back({first, weights_.size(), values_.size()});
        for (const double value : values_)
            weights_.push_back(fixed_point(sum != 0 ? value / sum : value));
    }

    static std::int32_t fixed_point(double value)
    {
        const double scaled = value * static_cast<double>(1 << weight_bits);
        return static_cast<std::int32_t>(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
    }

    std::vector<entry> entries_;
    std::vector<std::int32_t> weights_;
    std::vector<double> values_;
};

std::uint8_t rounded(std::int32_t sum)
{
    return static_cast<std::uint8_t>(std::clamp(sum >> weight_bits, 0, 255));
}

// ---- passes -------------------------------------------------------------------------------------

constexpr std::int32_t half = 1 << (weight_bits - 1);

// A range of pixels along one side.
struct pixel_range {
    std::size_t begin{0};
    std::size_t end{0};

    std::size_t size() const noexcept { return end - begin; }
};

// The columns that `columns` makes of the rows `rows` of `in`, whose column 0 is column
// `first_column` of the whole.
image resize_columns(
    const image& in,
    std::size_t first_column,
    const taps& columns,
    std::size_t width,
    const pixel_range& rows)
{
    image out = blank(width, rows.size());
    std::uint8_t* to = out.rgb.data();
    for (std::size_t y = rows.begin; y < rows.end; ++y) {
        const std::uint8_t* row = in.rgb.data() + y * in.width * n_channels;
        for (std::size_t x = 0; x < width; ++x) {
            const tap_range taps = columns[x];
            const std::uint8_t* from = row + (taps.first - first_column) * n_channels;
            std::int32_t red = half;
            std::int32_t green = half;
            std::int32_t blue = half;
            for (const std::int32_t weight : taps.weights) {
                red += from[0] * weight;
                green += from[1] * weight;
                blue += from[2] * weight;
                from += n_channels;
            }
            *to++ = rounded(red);
            *to++ = rounded(green);
            *to++ = rounded(blue);
        }
    }
    return out;
}

// The rows that `rows` makes of the columns `columns` of `in`, whose row 0 is row `first_row` of
// the whole. A row at a time, so that memory is read in order.
image resize_rows(
    const image& in,
    std::size_t first_row,
    const taps& rows,
    std::size_t height,
    const pixel_range& columns)
{
    const std::size_t row_bytes = columns.size() * n_channels;
    image out = blank(columns.size(), height);
    std::vector<std::int32_t> sums(row_bytes);
    for (std::size_t y = 0; y < height; ++y) {
        const tap_range taps = rows[y];
        std::ranges::fill(sums, half);
        const std::uint8_t* from =
            in.rgb.data() + ((taps.first - first_row) * in.width + columns.begin) * n_channels;
        for (const std::int32_t weight : taps.weights) {
            for (std::size_t i = 0; i < row_bytes; ++i)
                sums[i] += from[i] * weight;
            from += in.width * n_channels;
        }
        std::uint8_t* to = out.rgb.data() + y * row_bytes;
        for (std::size_t i = 0; i < row_bytes; ++i)
            to[i] = rounded(sums[i]);
    }
    return out;
}

// Where a window lies in an image of n pixels along one side: those of the image, and how many of
// the window come before them.
struct overlap {
    std::size_t begin{0};
    std::size_t n{0};
    std::size_t before{0};
};

overlap overlap_of(std::int64_t begin, std::size_t length, std::size_t n)
{
    const auto wanted = static_cast<std::int64_t>(length);
    const auto end_of_all = static_cast<std::int64_t>(n);
    const std::int64_t first = std::clamp<std::int64_t>(begin, 0, end_of_all);
    const std::int64_t end = std::clamp<std::int64_t>(begin + wanted, first, end_of_all);
    return {
        static_cast<std::size_t>(first),
        static_cast<std::size_t>(end - first),
        static_cast<std::size_t>(std::max<std::int64_t>(0, first - begin))};
}

// Which pass goes first shows in the last bit, and in more where a filter overshoots and the first
// pass cuts it off. Observed of Pillow 13.0.0; versions without this rule always begin with
// columns.
bool begins_with_rows(const image& in, image_size size)
{
    const auto lost = [](std::size_t before, std::size_t after) {
        return static_cast<std::int64_t>(before) - static_cast<std::int64_t>(after);
    };
    return lost(in.height, size.height) > std::max<std::int64_t>(0, 2 * lost(in.width, size.width));
}

image resize_part(
    const image& in,
    image_size size,
    const kernel& shape,
    const overlap& across,
    const overlap& down)
{
    // A side that keeps its length is only cut: a pass of weights of one is the same.
    const taps columns{shape, in.width, size.width, across.begin, across.n};
    const taps rows{shape, in.height, size.height, down.begin, down.n};
    if (begins_with_rows(in, size)) {
        const pixel_range seen{columns.first_input(), columns.end_input()};
        const image flat = resize_rows(in, 0, rows, down.n, seen);
        return resize_columns(flat, seen.begin, columns, across.n, {0, down.n});
    }
    const pixel_range seen{rows.first_input(), rows.end_input()};
    const image narrow = resize_columns(in, 0, columns, across.n, seen);
    return resize_rows(narrow, seen.begin, rows, down.n, {0, across.n});
}

// The middle of each output pixel, summed as Pillow sums it, so that ties fall the same way.
std::vector<std::size_t> nearest_places(std::size_t n_in, std::size_t n_out, const overlap& wanted)
{
    const double step = static_cast<double>(n_in) / static_cast<double>(n_out);
    double place = step * 0.5;
    std::vector<std::size_t> places;
    for (std::size_t i = 0; i < wanted.begin + wanted.n; ++i) {
        if (i >= wanted.begin)
            places.push_back(std::min(static_cast<std::size_t>(place), n_in - 1));
        place += step;
    }
    return places;
}

image pick_part(const image& in, image_size size, const overlap& across, const overlap& down)
{
    const std::vector<std::size_t> columns = nearest_places(in.width, size.width, across);
    const std::vector<std::size_t> rows = nearest_places(in.height, size.height, down);
    image out = blank(across.n, down.n);
    std::uint8_t* to = out.rgb.data();
    for (const std::size_t y : rows)
        for (const std::size_t x : columns) {
            std::copy_n(in.rgb.data() + (y * in.width + x) * n_channels, n_channels, to);
            to += n_channels;
        }
    return out;
}

image padded(image part, const overlap& across, const overlap& down, image_size size)
{
    if (across.n == size.width && down.n == size.height) return part;
    image out = blank(size.width, size.height);
    for (std::size_t y = 0; y < part.height; ++y)
        std::copy_n(
            part.rgb.data() + y * part.width * n_channels,
            part.width * n_channels,
            out.rgb.data() + ((down.before + y) * size.width + across.before) * n_channels);
    return out;
}

}  // namespace
}  // namespace images

image resize_window(
    const image& pixels, image_size size, resize_filter filter, const image_window& window)
{
    images::check_pixels(pixels);
    const std::string wanted = std::to_string(size.width) + " x " + std::to_string(size.height);
    if (size.width == 0 || size.height == 0 || window.size.width == 0 || window.size.height == 0)
        images::refuse("an image cannot be resized to " + wanted + " pixels");
    const images::overlap across = images::overlap_of(window.left, window.size.width, size.width);
    const images::overlap down = images::overlap_of(window.top, window.size.height, size.height);
    if (across.n == 0 || down.n == 0) return images::blank(window.size.width, window.size.height);
    image part = filter == resize_filter::nearest
                     ? images::pick_part(pixels, size, across, down)
                     : images::resize_part(pixels, size, images::kernel_of(filter), across, down);
    return images::padded(std::move(part), across, down, window.size);
}

image resize(const image& pixels, image_size size, resize_filter filter)
{
    return resize_window(pixels, size, filter, {0, 0, size});
}

}  // namespace modelpool

#include "image/preprocessor.hpp"

#include <modelpool/error.hpp>

#include <cmath>
#include <set>
#include <string>
#include <system_error>

#include "image/pixels.hpp"
#include "support/printable.hpp"

namespace modelpool::images {
namespace {

using support::in_quotes;
using support::json_file;

constexpr std::int64_t most_side = 16'384;

[[noreturn]] void refuse_config(const json_file& file, const std::string& sentence)
{
    throw error{model_errc::unsupported, file.name() + ": " + sentence};
}

// Processors that do these steps, and no others, in this order.
void check_processor(const json_file& file)
{
    const std::set<std::string> known{
        "CLIPImageProcessor",
        "CLIPImageProcessorFast",
        "CLIPImageProcessorPil",
        "CLIPFeatureExtractor"};
    for (const char* key : {"image_processor_type", "feature_extractor_type"}) {
        const std::string type = file.find_string(key).value_or("CLIPImageProcessor");
        if (!known.contains(type))
            refuse_config(
                file,
                in_quotes(key) + " " + in_quotes(type) +
                    " is not supported; supported: CLIPImageProcessor, CLIPFeatureExtractor");
    }
}

// A step that is asked for and not known would change the numbers unnoticed.
void check_steps(const json_file& file)
{
    const std::set<std::string> known{
        "do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb"};
    if (!file.root().is_object()) file.fail("expected an object");
    for (const auto& [key, value] : file.root().items())
        if (key.starts_with("do_") && !known.contains(key) && value == true)
            refuse_config(
                file,
                in_quotes(key) +
                    " is not supported; supported: do_resize, do_center_crop, do_rescale, "
                    "do_normalize, do_convert_rgb");
}

resize_filter read_filter(const json_file& file)
{
    constexpr std::int64_t last = static_cast<std::int64_t>(resize_filter::hamming);
    const std::int64_t usual = static_cast<std::int64_t>(resize_filter::bicubic);
    const auto place = file.root().find("resample");
    if (place != file.root().end() && !place->is_null() && !place->is_number_integer())
        file.fail("'resample' must be the number of a filter");
    const std::int64_t number = file.find_int("resample", -1000, 1000).value_or(usual);
    if (number < 0 || number > last)
        refuse_config(
            file,
            "'resample' " + std::to_string(number) +
                " is not supported; supported: 0 (nearest), 1 (lanczos), 2 (bilinear), 3 "
                "(bicubic), "
                "4 (box), 5 (hamming)");
    return static_cast<resize_filter>(number);
}

std::size_t to_side(const json_file& file, const char* key, const nlohmann::json& value)
{
    if (!value.is_number_integer()) file.fail(in_quotes(key) + " must hold whole numbers");
    const bool fits = value.is_number_unsigned() ? value.get<std::uint64_t>() <= most_side : false;
    if (!fits || value.get<std::uint64_t>() == 0)
        file.fail(
            in_quotes(key) + " must lie in [1, " + std::to_string(most_side) + "], found " +
            value.dump());
    return value.get<std::size_t>();
}

// {"height", "width"} or [height, width]; empty where `value` is of another form.
std::optional<image_size>
read_sides(const json_file& file, const char* key, const nlohmann::json& value)
{
    if (value.is_array() && value.size() == 2)
        return image_size{to_side(file, key, value[1]), to_side(file, key, value[0])};
    if (value.is_object() && value.size() == 2 && value.contains("height") &&
        value.contains("width"))
        return image_size{to_side(file, key, value["width"]), to_side(file, key, value["height"])};
    return std::nullopt;
}

std::array<double, n_channels>
read_channels(const json_file& file, const char* key, const std::array<double, n_channels>& usual)
{
    const auto place = file.root().find(key);
    if (place == file.root().end() || place->is_null()) return usual;
    if (!place->is_array() || place->size() != n_channels)
        file.fail(in_quotes(key) + " must be an array of 3 numbers");
    std::array<double, n_channels> values{};
    for (std::size_t i = 0; i < n_channels; ++i) {
        if (!(*place)[i].is_number()) file.fail(in_quotes(key) + " must be an array of 3 numbers");
        values[i] = (*place)[i].get<double>();
    }
    return values;
}

// Python's division of whole numbers, which rounds down.
std::int64_t half_down(std::int64_t value)
{
    return value >= 0 ? value / 2 : -((1 - value) / 2);
}

}  // namespace

image_preprocessor image_preprocessor::read(const json_file& file)
{
    check_steps(file);
    check_processor(file);
    image_preprocessor result;
    result.filter_ = read_filter(file);
    if (file.find_bool("do_resize").value_or(true)) result.resize_ = read_target(file);
    if (file.find_bool("do_center_crop").value_or(true)) result.crop_ = read_crop(file);
    result.read_numbers(file);
    return result;
}

image_preprocessor image_preprocessor::blocking_read(const std::filesystem::path& dir)
{
    std::error_code ignored;
    const std::filesystem::path own = dir / "preprocessor_config.json";
    if (std::filesystem::exists(own, ignored))
        return read(json_file::blocking_read(own, model_errc::bad_config));
    const std::filesystem::path joint = dir / "processor_config.json";
    if (!std::filesystem::exists(joint, ignored))
        throw error{model_errc::bad_file, own.string() + ": no such file"};
    const json_file file = json_file::blocking_read(joint, model_errc::bad_config);
    const auto place = file.root().find("image_processor");
    if (place == file.root().end() || !place->is_object())
        file.fail("'image_processor' must be an object");
    return read(
        json_file{place->dump(), file.name() + ": image_processor", model_errc::bad_config});
}

image_preprocessor::target image_preprocessor::read_target(const json_file& file)
{
    constexpr std::size_t usual = 224;
    const auto place = file.root().find("size");
    if (place == file.root().end() || place->is_null()) return {usual, {}};
    if (place->is_number()) return {to_side(file, "size", *place), {}};
    if (place->is_object() && place->size() == 1 && place->contains("shortest_edge"))
        return {to_side(file, "size", (*place)["shortest_edge"]), {}};
    if (const auto sides = read_sides(file, "size", *place)) return {std::nullopt, *sides};
    refuse_config(
        file,
        "'size' " + support::printable(place->dump()) +
            " is not supported; supported: a number, {\"shortest_edge\"}, {\"height\", \"width\"}");
}

image_size image_preprocessor::read_crop(const json_file& file)
{
    constexpr std::size_t usual = 224;
    const auto place = file.root().find("crop_size");
    if (place == file.root().end() || place->is_null()) return {usual, usual};
    if (place->is_number()) {
        const std::size_t side = to_side(file, "crop_size", *place);
        return {side, side};
    }
    if (const auto sides = read_sides(file, "crop_size", *place)) return *sides;
    refuse_config(
        file,
        "'crop_size' " + support::printable(place->dump()) +
            " is not supported; supported: a number, {\"height\", \"width\"}");
}

// The reference scales in f64, rounds to f32, and normalises in that.
void image_preprocessor::read_numbers(const json_file& file)
{
    constexpr std::array usual_mean{0.48145466, 0.4578275, 0.40821073};
    constexpr std::array usual_std{0.26862954, 0.26130258, 0.27577711};
    const bool rescale = file.find_bool("do_rescale").value_or(true);
    const bool normalize = file.find_bool("do_normalize").value_or(true);
    const double factor = file.find_number("rescale_factor").value_or(1.0 / 255.0);
    const auto mean = read_channels(file, "image_mean", usual_mean);
    const auto std = read_channels(file, "image_std", usual_std);
    for (std::size_t channel = 0; channel < n_channels; ++channel) {
        const auto centre = static_cast<float>(mean[channel]);
        const auto spread = static_cast<float>(std[channel]);
        for (std::size_t i = 0; i < values_[channel].size(); ++i) {
            const double scaled = static_cast<double>(i) * (rescale ? factor : 1.0);
            auto value = static_cast<float>(scaled);
            if (normalize) value = (value - centre) / spread;
            if (!std::isfinite(value))
                file.fail(
                    "'rescale_factor', 'image_mean' and 'image_std' do not give finite numbers");
            values_[channel][i] = value;
        }
    }
}

std::optional<image_size> image_preprocessor::output_size() const noexcept
{
    if (crop_) return crop_;
    if (resize_ && !resize_->shortest_edge) return resize_->exact;
    return std::nullopt;
}

image_size image_preprocessor::resized_size(const image& pixels) const
{
    if (!resize_) return {pixels.width, pixels.height};
    if (!resize_->shortest_edge) return resize_->exact;
    const std::size_t edge = *resize_->shortest_edge;
    const bool upright = pixels.width <= pixels.height;
    const std::size_t shorter = upright ? pixels.width : pixels.height;
    const std::size_t longer = upright ? pixels.height : pixels.width;
    const auto scaled =
        static_cast<std::size_t>(static_cast<double>(edge * longer) / static_cast<double>(shorter));
    return upright ? image_size{edge, scaled} : image_size{scaled, edge};
}

image image_preprocessor::shape(const image& pixels) const
{
    check_pixels(pixels);
    const image_size whole = resized_size(pixels);
    const image_size seen = crop_.value_or(whole);
    if (seen.width > max_output_pixels / seen.height)
        refuse(
            "an image of " + std::to_string(pixels.width) + " x " + std::to_string(pixels.height) +
            " pixels would become one of " + std::to_string(seen.width) + " x " +
            std::to_string(seen.height) + ", which is too large");
    const auto offset = [](std::size_t all, std::size_t part) {
        return half_down(static_cast<std::int64_t>(all) - static_cast<std::int64_t>(part));
    };
    const image_window window{
        offset(whole.width, seen.width), offset(whole.height, seen.height), seen};
    // Where nothing is resized, the nearest pixel is the pixel itself.
    const bool same = whole == image_size{pixels.width, pixels.height};
    return resize_window(pixels, whole, same ? resize_filter::nearest : filter_, window);
}

std::vector<float> image_preprocessor::prepare(const image& pixels) const
{
    const image shaped = shape(pixels);
    const std::size_t plane = shaped.width * shaped.height;
    std::vector<float> values(plane * n_channels);
    for (std::size_t i = 0; i < plane; ++i)
        for (std::size_t channel = 0; channel < n_channels; ++channel)
            values[channel * plane + i] = values_[channel][shaped.rgb[i * n_channels + channel]];
    return values;
}

}  // namespace modelpool::images

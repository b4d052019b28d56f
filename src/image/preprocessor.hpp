#pragma once

#include <modelpool/image/image.hpp>
#include <modelpool/image/resize.hpp>

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include "support/json.hpp"

namespace modelpool::images {

/// What a checkpoint's `preprocessor_config.json` asks to be done with an image before a vision
/// tower sees it: resize, crop, rescale, normalise. Immutable and thread-safe; shared by all
/// families whose images are prepared as CLIP's.
/// Upstream: https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/clip/image_processing_clip.py
class image_preprocessor {
public:
    /// Reads a configuration; what it leaves out is as CLIP has it.
    /// Errors: model_errc::bad_config (a field of the wrong type or out of range);
    /// model_errc::unsupported (another processor, a step or a value that is not known here, by
    /// name).
    static image_preprocessor read(const support::json_file& file);

    /// Reads that of a checkpoint folder: `preprocessor_config.json`, or else the "image_processor"
    /// of `processor_config.json`. Errors: those of `read`; model_errc::bad_file where there is
    /// neither.
    static image_preprocessor blocking_read(const std::filesystem::path& dir);

    /// The size of every prepared image; empty where it depends on the image.
    std::optional<image_size> output_size() const noexcept;

    /// Resized and cropped. An image that is smaller than the crop gets a black border.
    /// Errors: errc::invalid_argument, for an image without pixels and one so long and narrow that
    /// what is left of it would be larger than `max_output_pixels`.
    image shape(const image& pixels) const;

    /// [3, height, width] of `shape(pixels)`, rescaled and normalised. Errors: as `shape`.
    std::vector<float> prepare(const image& pixels) const;

    /// Where no crop bounds what is made.
    static constexpr std::uint64_t max_output_pixels = std::uint64_t{1} << 26U;

private:
    struct target {
        std::optional<std::size_t> shortest_edge;
        image_size exact;  // where there is no shortest edge
    };

    static target read_target(const support::json_file& file);
    static image_size read_crop(const support::json_file& file);
    void read_numbers(const support::json_file& file);
    image_size resized_size(const image& pixels) const;

    std::optional<target> resize_;
    std::optional<image_size> crop_;
    resize_filter filter_{resize_filter::bicubic};
    // What each of the 256 numbers of a channel becomes.
    std::array<std::array<float, 256>, 3> values_{};
};

}  // namespace modelpool::images

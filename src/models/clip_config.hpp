#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>

#include "image/preprocessor.hpp"
#include "support/json.hpp"
#include "torch/clip_config.hpp"

namespace modelpool::models {

/// The fields of a CLIP checkpoint's config.json that its computation depends on. Apart from the
/// model, so that a checkpoint can be looked at without libtorch and by the same rules.
/// Source: https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/clip/configuration_clip.py
struct clip_config {
    nn::clip_vision_config vision;
    nn::clip_text_config text;
    std::int64_t projection_dim{512};

    /// Errors: model_errc::bad_config (a field of the wrong type or out of range),
    /// model_errc::unsupported (another architecture, or a variant of this one, by name).
    static clip_config read(const support::json_file& file);

    /// Bytes of the temporaries of one replica, where a number of the layers takes `element_bytes`.
    std::size_t scratch_bytes(std::size_t element_bytes) const noexcept;

    /// Images, and tokens of texts, that go through the layers together.
    std::int64_t n_block_images() const noexcept;
    std::int64_t n_block_tokens() const noexcept;
};

/// The sizes of a vision or text tower that stands in a configuration of its own, such as the
/// `vision_config` of a vision-language model. Errors: those of `clip_config::read`.
nn::clip_vision_config read_clip_vision(const support::json_file& file);
nn::clip_text_config read_clip_text(const support::json_file& file);

/// The preprocessing of a checkpoint folder with that vision tower. Errors: those of
/// image_preprocessor; model_errc::bad_config where it does not give the images that the tower
/// takes.
images::image_preprocessor blocking_read_clip_preprocessor(
    const std::filesystem::path& dir, const nn::clip_vision_config& vision);

}  // namespace modelpool::models

#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "support/json.hpp"
#include "torch/activation.hpp"
#include "torch/clip_config.hpp"

namespace modelpool::models {

/// What the fields of a LLaVA checkpoint's config.json say of its images. Apart from the model, so
/// that a checkpoint can be looked at without libtorch and by the same rules.
/// Source: https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/llava/configuration_llava.py
struct llava_config {
    /// The tower, with as many layers as are looked at.
    nn::clip_vision_config vision;
    /// The states that the projector gets side by side: after how many layers each, at least one.
    std::vector<std::int64_t> feature_layers;
    bool with_class{false};  ///< the row before the patches counts as a position, too
    nn::activation projector_act{nn::activation::gelu};
    bool projector_bias{true};
    std::int64_t text_hidden{0};
    std::int32_t image_token{0};

    /// Positions of a prompt that an image takes.
    std::int64_t n_positions() const noexcept
    {
        return with_class ? vision.n_tokens() : vision.n_patches();
    }
    /// Numbers that the projector gets for a position.
    std::int64_t feature_width() const noexcept
    {
        return static_cast<std::int64_t>(feature_layers.size()) * vision.hidden_size;
    }
    /// Bytes of the temporaries of one replica that computes in f32, one image at a time.
    std::size_t scratch_bytes() const noexcept;

    /// Errors: model_errc::bad_config (a field of the wrong type or out of range),
    /// model_errc::unsupported (another architecture, or a variant of this one, by name).
    static llava_config read(const support::json_file& file);
};

/// The decoder's own configuration inside that file. What it leaves out is as the checkpoints
/// themselves take it: as in the first Llama of 7B.
/// Errors: model_errc::bad_config.
support::json_file llava_text_config(const support::json_file& file);

}  // namespace modelpool::models

#pragma once

#include <modelpool/capability/model.hpp>

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <span>

#include "torch/clip_config.hpp"
#include "torch/clip_encoder.hpp"
#include "torch/layers.hpp"
#include "torch/packing.hpp"
#include "torch/weight_reader.hpp"

namespace modelpool::nn {

/// CLIP's vision tower, which vision-language models use too. Immutable once read; replicas share
/// it.
class clip_vision_tower {
public:
    clip_vision_tower() = default;
    /// Reads what lies under "vision_model". Errors: those of weight_reader.
    static clip_vision_tower
    read(const weight_reader& reader, const clip_vision_config& config, c10::ScalarType dtype);

    const clip_vision_config& config() const noexcept { return config_; }

    /// The states that go into the layers: [n_images * config().n_tokens(), hidden_size] f32.
    /// pixels: [n_images, 3, image_size, image_size] f32.
    at::Tensor embed(const at::Tensor& pixels, clip_encoder::scratch& buffers) const;
    /// Runs those layers on what `embed` gave, in place; of any content once a stop is requested.
    void advance(
        const at::Tensor& hidden,
        clip_encoder::layer_range layers,
        clip_encoder::scratch& buffers,
        run_context& context) const;
    /// The states after `n_layers` layers: `embed` and `advance`.
    at::Tensor
    run(const at::Tensor& pixels,
        std::int64_t n_layers,
        clip_encoder::scratch& buffers,
        run_context& context) const
    {
        at::Tensor hidden = embed(pixels, buffers);
        advance(hidden, {0, n_layers}, buffers, context);
        return hidden;
    }

    /// What stands for each image: [n_images, hidden_size] f32 of the states after all layers.
    at::Tensor pooled(const at::Tensor& hidden) const;

private:
    clip_vision_config config_;
    c10::ScalarType dtype_{c10::ScalarType::Float};
    at::Tensor class_embedding_;     // [hidden_size] f32
    at::Tensor patch_embedding_;     // [hidden_size, 3 * patch_size²] of the dtype computed in
    at::Tensor position_embedding_;  // [n_tokens, hidden_size] f32
    layer_norm pre_layrnorm_;        // as the checkpoints spell it
    clip_encoder encoder_;
    layer_norm post_layernorm_;
};

/// CLIP's text tower, which image generators use too. Immutable once read; replicas share it.
class clip_text_tower {
public:
    clip_text_tower() = default;
    /// Reads what lies under "text_model". Errors: those of weight_reader.
    static clip_text_tower
    read(const weight_reader& reader, const clip_text_config& config, c10::ScalarType dtype);

    const clip_text_config& config() const noexcept { return config_; }

    /// The states after `n_layers` layers: [block.n_rows, hidden_size] f32. ids: [n_rows]
    /// i32, each below vocab_size; no text is longer than max_position_embeddings.
    at::Tensor
    run(const at::Tensor& ids,
        const packed_block& block,
        std::int64_t n_layers,
        clip_encoder::scratch& buffers,
        run_context& context) const;

    /// Goes on with the states that `run` gave after `first_layer` layers, in place.
    void run_rest(
        const at::Tensor& hidden,
        const packed_block& block,
        std::int64_t first_layer,
        clip_encoder::scratch& buffers,
        run_context& context) const
    {
        const std::int64_t n_layers = config_.n_layers;
        encoder_.run(
            hidden, block.groups, clip_view::backwards, {first_layer, n_layers}, buffers, context);
    }

    /// The last norm. hidden: [n, hidden_size] f32.
    at::Tensor normed(const at::Tensor& hidden) const { return final_layer_norm_.run(hidden); }

    /// The place of the token that stands for a text. Precondition: the text has tokens.
    std::int64_t end_of(std::span<const std::int32_t> ids) const noexcept;

private:
    clip_text_config config_;
    at::Tensor token_embedding_;     // [vocab_size, hidden_size], as stored
    at::Tensor position_embedding_;  // [max_position_embeddings, hidden_size] f32
    clip_encoder encoder_;
    layer_norm final_layer_norm_;
};

}  // namespace modelpool::nn

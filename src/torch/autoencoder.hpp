#pragma once

#include <modelpool/capability/model.hpp>

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "torch/autoencoder_config.hpp"
#include "torch/weight_reader.hpp"

namespace modelpool::nn {

/// The layers that both halves of an image autoencoder have: [1, channels, height, width].
namespace autoencoder_parts {

struct group_norm {
    at::Tensor weight;
    at::Tensor bias;
    std::int64_t n_groups{1};
    at::Tensor run(const at::Tensor& x) const;
};

struct convolution {
    at::Tensor weight;
    at::Tensor bias;
    at::Tensor run(const at::Tensor& x, std::int64_t stride = 1) const;
};

struct resnet {
    group_norm norm1;
    convolution conv1;
    group_norm norm2;
    convolution conv2;
    std::optional<convolution> conv_shortcut;
    at::Tensor run(const at::Tensor& x) const;
};

struct attention {
    group_norm norm;
    convolution to_q;  // as convolutions of 1 x 1
    convolution to_k;
    convolution to_v;
    convolution to_out;
    at::Tensor run(const at::Tensor& x) const;
};

struct level {
    std::vector<resnet> resnets;
    std::optional<convolution> sampler;  // to the next level
};

struct middle {
    resnet first;
    std::optional<attention> attentions;
    resnet second;
    at::Tensor run(const at::Tensor& x, run_context& context) const;
};

}  // namespace autoencoder_parts

/// Latents to pixels. Immutable once read; replicas share it.
/// Upstream: https://github.com/huggingface/diffusers/blob/v0.36.0/src/diffusers/models/autoencoders/autoencoder_kl.py
class image_decoder {
public:
    image_decoder() = default;
    /// Reads what lies under "decoder", and "post_quant_conv". Errors: those of weight_reader.
    static image_decoder
    read(const weight_reader& reader, const autoencoder_config& config, c10::ScalarType dtype);

    /// [1, 3, height, width] f32, about -1 to 1; latents: [1, latent_channels, height / factor,
    /// width / factor] f32, scaled and shifted already. More than `sample_size` pixels along a side
    /// are decoded in tiles that overlap by a quarter and are blended there, as the reference does
    /// when it is asked to tile.
    /// Errors: operation_aborted once a stop is requested.
    at::Tensor run(const at::Tensor& latents, run_context& context) const;

private:
    at::Tensor run_tile(const at::Tensor& latents, run_context& context) const;
    at::Tensor run_tiles(const at::Tensor& latents, run_context& context) const;

    autoencoder_config config_;
    c10::ScalarType dtype_{c10::ScalarType::Float};
    std::optional<autoencoder_parts::convolution> post_quant_conv_;
    autoencoder_parts::convolution conv_in_;
    autoencoder_parts::middle mid_block_;
    std::vector<autoencoder_parts::level> up_blocks_;
    autoencoder_parts::group_norm conv_norm_out_;
    autoencoder_parts::convolution conv_out_;
};

/// Pixels to latents. Immutable once read; replicas share it.
class image_encoder {
public:
    image_encoder() = default;
    /// Reads what lies under "encoder", and "quant_conv". Errors: those of weight_reader.
    static image_encoder
    read(const weight_reader& reader, const autoencoder_config& config, c10::ScalarType dtype);

    /// Mean and logarithm of the variance: [1, 2 * latent_channels, height / factor, width /
    /// factor] f32. pixels: [1, 3, height, width] f32, -1 to 1.
    /// Errors: operation_aborted once a stop is requested.
    at::Tensor run(const at::Tensor& pixels, run_context& context) const;

private:
    c10::ScalarType dtype_{c10::ScalarType::Float};
    autoencoder_parts::convolution conv_in_;
    std::vector<autoencoder_parts::level> down_blocks_;
    autoencoder_parts::middle mid_block_;
    autoencoder_parts::group_norm conv_norm_out_;
    autoencoder_parts::convolution conv_out_;
    std::optional<autoencoder_parts::convolution> quant_conv_;
};

}  // namespace modelpool::nn

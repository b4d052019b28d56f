#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace modelpool::nn {

/// The sizes of an image autoencoder (AutoencoderKL). Apart from it, so that a checkpoint can be
/// looked at without libtorch.
struct autoencoder_config {
    std::vector<std::int64_t> block_out_channels;  ///< the finest level first
    std::int64_t layers_per_block{1};
    std::int64_t latent_channels{16};
    std::int64_t norm_groups{32};
    std::int64_t sample_size{1024};  ///< images larger than this, on either side, go tile by tile
    double scaling_factor{1};
    double shift_factor{0};
    bool use_quant_conv{false};
    bool use_post_quant_conv{false};
    bool mid_attention{true};

    /// Pixels along a side for each number of the latents.
    std::int64_t factor() const noexcept
    {
        return std::int64_t{1} << (block_out_channels.size() - 1);
    }
};

}  // namespace modelpool::nn

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "torch/activation.hpp"

namespace modelpool::nn {

/// The sizes of one tower of CLIP. Apart from it, so that a checkpoint can be looked at without
/// libtorch.
struct clip_tower_config {
    std::int64_t hidden_size{0};
    std::int64_t n_layers{0};
    std::int64_t n_heads{0};
    std::int64_t intermediate_size{0};
    double layer_norm_eps{1e-5};
    std::optional<activation> hidden_act;  ///< empty: quick_gelu, x · sigmoid(1.702 x)

    /// Bytes of the temporaries of one replica that computes `n_rows` tokens at once, where a
    /// number of the layers takes `element_bytes`.
    std::size_t scratch_bytes(std::int64_t n_rows, std::size_t element_bytes) const noexcept;
};

struct clip_vision_config : clip_tower_config {
    std::int64_t image_size{0};
    std::int64_t patch_size{0};
    /// Whether an image is told as a whole, which takes a norm of its own. Models that look at
    /// patches alone may come without it.
    bool has_pooled{true};

    /// Whole patches along a side; what is left over at the right and below is not looked at.
    std::int64_t n_side_patches() const noexcept { return image_size / patch_size; }
    std::int64_t n_patches() const noexcept { return n_side_patches() * n_side_patches(); }
    /// Rows an image: its patches, and before them one that stands for the whole.
    std::int64_t n_tokens() const noexcept { return n_patches() + 1; }
    /// Numbers a patch.
    std::int64_t patch_width() const noexcept { return 3 * patch_size * patch_size; }
};

struct clip_text_config : clip_tower_config {
    std::int64_t vocab_size{0};
    std::int64_t max_position_embeddings{0};
    /// The token whose state stands for the text; `largest_id`: the token with the largest id.
    std::int64_t eos_token_id{0};

    /// OpenAI's configurations name this id, while their tokenizer ends texts with its last one.
    static constexpr std::int64_t largest_id = 2;
};

}  // namespace modelpool::nn

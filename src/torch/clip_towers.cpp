#include "torch/clip_towers.hpp"

#include <ATen/ops/mm.h>

#include <algorithm>
#include <array>

namespace modelpool::nn {

// ---- vision -------------------------------------------------------------------------------------

clip_vision_tower clip_vision_tower::read(
    const weight_reader& reader, const clip_vision_config& config, c10::ScalarType dtype)
{
    const std::int64_t hidden = config.hidden_size;
    const std::int64_t patch = config.patch_size;
    const weight_reader embeddings = reader.in("embeddings");
    const auto f32 = c10::ScalarType::Float;
    clip_vision_tower result;
    result.config_ = config;
    result.dtype_ = dtype;
    result.class_embedding_ = embeddings.read("class_embedding", {hidden}, f32);
    result.patch_embedding_ =
        embeddings.read("patch_embedding.weight", {hidden, 3, patch, patch}, dtype)
            .view({hidden, config.patch_width()});
    result.position_embedding_ =
        embeddings.read("position_embedding.weight", {config.n_tokens(), hidden}, f32);
    result.pre_layrnorm_ =
        layer_norm::read(reader.in("pre_layrnorm"), hidden, config.layer_norm_eps);
    result.encoder_ = clip_encoder::read(reader.in("encoder"), config, dtype);
    if (config.has_pooled)
        result.post_layernorm_ =
            layer_norm::read(reader.in("post_layernorm"), hidden, config.layer_norm_eps);
    return result;
}

at::Tensor clip_vision_tower::embed(const at::Tensor& pixels, clip_encoder::scratch& buffers) const
{
    const std::int64_t n_images = pixels.size(0);
    const std::int64_t side = config_.n_side_patches();
    const std::int64_t patch = config_.patch_size;
    const std::int64_t n_tokens = config_.n_tokens();
    // A convolution whose windows do not overlap is a product with the rows of patches:
    // [n_images, 3, side, patch, side, patch] -> [n_images * side * side, 3 * patch * patch]
    const at::Tensor patches = pixels.narrow(2, 0, side * patch)
                                   .narrow(3, 0, side * patch)
                                   .view({n_images, 3, side, patch, side, patch})
                                   .permute({0, 2, 4, 1, 3, 5})
                                   .reshape({n_images * side * side, config_.patch_width()});
    at::Tensor embedded = buffers.context(n_images * side * side);
    at::mm_out(embedded, patches.to(dtype_), patch_embedding_.t());

    const at::Tensor states = buffers.hidden(n_images * n_tokens);
    const at::Tensor by_image = states.view({n_images, n_tokens, config_.hidden_size});
    by_image.select(1, 0).copy_(class_embedding_);
    by_image.narrow(1, 1, n_tokens - 1)
        .copy_(embedded.view({n_images, n_tokens - 1, config_.hidden_size}));
    by_image.add_(position_embedding_);
    return pre_layrnorm_.run(states);
}

void clip_vision_tower::advance(
    const at::Tensor& hidden,
    clip_encoder::layer_range layers,
    clip_encoder::scratch& buffers,
    run_context& context) const
{
    const std::int64_t n_tokens = config_.n_tokens();
    const std::array groups{text_group{0, hidden.size(0) / n_tokens, n_tokens}};
    encoder_.run(hidden, groups, clip_view::everything, layers, buffers, context);
}

at::Tensor clip_vision_tower::pooled(const at::Tensor& hidden) const
{
    const std::int64_t n_tokens = config_.n_tokens();
    const at::Tensor first =
        hidden.view({hidden.size(0) / n_tokens, n_tokens, config_.hidden_size}).select(1, 0);
    return post_layernorm_.run(first.contiguous());
}

// ---- text ---------------------------------------------------------------------------------------

clip_text_tower clip_text_tower::read(
    const weight_reader& reader, const clip_text_config& config, c10::ScalarType dtype)
{
    const std::int64_t hidden = config.hidden_size;
    const weight_reader embeddings = reader.in("embeddings");
    clip_text_tower result;
    result.config_ = config;
    result.token_embedding_ =
        embeddings.stored("token_embedding.weight", {config.vocab_size, hidden});
    result.position_embedding_ = embeddings.read(
        "position_embedding.weight",
        {config.max_position_embeddings, hidden},
        c10::ScalarType::Float);
    result.encoder_ = clip_encoder::read(reader.in("encoder"), config, dtype);
    result.final_layer_norm_ =
        layer_norm::read(reader.in("final_layer_norm"), hidden, config.layer_norm_eps);
    return result;
}

at::Tensor clip_text_tower::run(
    const at::Tensor& ids,
    const packed_block& block,
    std::int64_t n_layers,
    clip_encoder::scratch& buffers,
    run_context& context) const
{
    at::Tensor hidden = buffers.hidden(block.n_rows);
    gather_rows(token_embedding_, ids, hidden);
    for (const text_group& group : block.groups)
        hidden.narrow(0, group.first_row, group.n_rows())
            .view({group.n_texts, group.length, config_.hidden_size})
            .add_(position_embedding_.narrow(0, 0, group.length));
    encoder_.run(hidden, block.groups, clip_view::backwards, {0, n_layers}, buffers, context);
    return hidden;
}

std::int64_t clip_text_tower::end_of(std::span<const std::int32_t> ids) const noexcept
{
    const bool largest = config_.eos_token_id == clip_text_config::largest_id;
    const auto place =
        largest ? std::ranges::max_element(ids) : std::ranges::find(ids, config_.eos_token_id);
    // As the reference: a text that does not end is told by its first token.
    return place == ids.end() ? 0 : place - ids.begin();
}

}  // namespace modelpool::nn

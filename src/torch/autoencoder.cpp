#include "torch/autoencoder.hpp"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/group_norm.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/upsample_nearest2d.h>

#include <algorithm>
#include <string>

#include "support/stop.hpp"
#include "torch/threads.hpp"

namespace modelpool::nn {

using namespace autoencoder_parts;

namespace {

constexpr auto f32 = c10::ScalarType::Float;
constexpr double norm_epsilon = 1e-6;

// Reads the layers of one autoencoder.
class layer_reader {
public:
    layer_reader(const autoencoder_config& config, c10::ScalarType dtype)
        : config_{config}
        , dtype_{dtype}
    {}

    group_norm norm(const weight_reader& reader, std::int64_t n_channels) const
    {
        return {
            reader.read("weight", {n_channels}, dtype_),
            reader.read("bias", {n_channels}, dtype_),
            config_.norm_groups};
    }

    convolution conv(
        const weight_reader& reader, std::int64_t n_in, std::int64_t n_out, std::int64_t size) const
    {
        // Convolutions are fastest where the channels of a pixel lie together.
        return {
            reader.read("weight", {n_out, n_in, size, size}, dtype_)
                .contiguous(at::MemoryFormat::ChannelsLast),
            reader.read("bias", {n_out}, dtype_)};
    }

    // A linear, to be used on the channels of each pixel.
    convolution pixelwise(const weight_reader& reader, std::int64_t width) const
    {
        return {
            reader.read("weight", {width, width}, dtype_).view({width, width, 1, 1}),
            reader.read("bias", {width}, dtype_)};
    }

    resnet block(const weight_reader& reader, std::int64_t n_in, std::int64_t n_out) const
    {
        resnet result{
            norm(reader.in("norm1"), n_in),
            conv(reader.in("conv1"), n_in, n_out, 3),
            norm(reader.in("norm2"), n_out),
            conv(reader.in("conv2"), n_out, n_out, 3),
            std::nullopt};
        if (n_in != n_out) result.conv_shortcut = conv(reader.in("conv_shortcut"), n_in, n_out, 1);
        return result;
    }

    middle mid(const weight_reader& reader, std::int64_t width) const
    {
        middle result{
            block(reader.in("resnets.0"), width, width),
            std::nullopt,
            block(reader.in("resnets.1"), width, width)};
        if (!config_.mid_attention) return result;
        const weight_reader scope = reader.in("attentions.0");
        result.attentions = attention{
            norm(scope.in("group_norm"), width),
            pixelwise(scope.in("to_q"), width),
            pixelwise(scope.in("to_k"), width),
            pixelwise(scope.in("to_v"), width),
            pixelwise(scope.in("to_out.0"), width)};
        return result;
    }

    level
    blocks(const weight_reader& reader, std::int64_t n_in, std::int64_t n_out, std::int64_t n) const
    {
        level result;
        for (std::int64_t i = 0; i < n; ++i)
            result.resnets.push_back(
                block(reader.in("resnets." + std::to_string(i)), i == 0 ? n_in : n_out, n_out));
        return result;
    }

private:
    const autoencoder_config& config_;
    c10::ScalarType dtype_;
};

void begin_part(run_context& context, const char* what)
{
    support::end_if_stopped(context.stop(), what);
    context.step_done();
    use_threads(context.n_threads());
}

at::Tensor channels_last(const at::Tensor& x, c10::ScalarType dtype)
{
    return x.to(dtype).contiguous(at::MemoryFormat::ChannelsLast);
}

// Over the first `n` rows (or columns) of `tile`, from what `before` ends with to what it has
// itself.
void blend(const at::Tensor& before, const at::Tensor& tile, std::int64_t dim, std::int64_t n)
{
    n = std::min({n, before.size(dim), tile.size(dim)});
    if (n == 0) return;
    std::vector<std::int64_t> shape{1, 1, 1, 1};
    shape[static_cast<std::size_t>(dim)] = n;
    const at::Tensor share = at::arange(n, tile.options()).div_(static_cast<double>(n)).view(shape);
    const at::Tensor edge = tile.narrow(dim, 0, n);
    edge.mul_(share).add_(before.narrow(dim, before.size(dim) - n, n).mul(share.neg().add_(1)));
}

}  // namespace

namespace autoencoder_parts {

at::Tensor group_norm::run(const at::Tensor& x) const
{
    return at::group_norm(x, n_groups, weight, bias, norm_epsilon);
}

at::Tensor convolution::run(const at::Tensor& x, std::int64_t stride) const
{
    // What is strided was padded by its caller.
    const std::int64_t padding = stride == 1 ? weight.size(2) / 2 : 0;
    return at::conv2d(x, weight, bias, {stride, stride}, {padding, padding});
}

at::Tensor resnet::run(const at::Tensor& x) const
{
    at::Tensor inner = norm1.run(x);
    at::silu_(inner);
    inner = norm2.run(conv1.run(inner));
    at::silu_(inner);
    inner = conv2.run(inner);
    return inner.add_(conv_shortcut ? conv_shortcut->run(x) : x);
}

at::Tensor attention::run(const at::Tensor& x) const
{
    const at::Tensor inner = norm.run(x);
    // One head, whose tokens are the pixels: [1, 1, n_pixels, channels].
    const auto tokens = [&](const convolution& by) {
        return by.run(inner).flatten(2).transpose(1, 2).unsqueeze(1);
    };
    const at::Tensor result =
        at::scaled_dot_product_attention(tokens(to_q), tokens(to_k), tokens(to_v));
    const at::Tensor pixels = result.squeeze(1).transpose(1, 2).reshape(x.sizes()).contiguous(
        at::MemoryFormat::ChannelsLast);
    return to_out.run(pixels).add_(x);
}

at::Tensor middle::run(const at::Tensor& x, run_context& context) const
{
    at::Tensor state = first.run(x);
    begin_part(context, "an image autoencoder");
    if (attentions) state = attentions->run(state);
    return second.run(state);
}

}  // namespace autoencoder_parts

// ---- decoder ------------------------------------------------------------------------------------

image_decoder image_decoder::read(
    const weight_reader& reader, const autoencoder_config& config, c10::ScalarType dtype)
{
    const layer_reader layers{config, dtype};
    const weight_reader scope = reader.in("decoder");
    const std::vector<std::int64_t>& widths = config.block_out_channels;
    image_decoder result;
    result.config_ = config;
    result.dtype_ = dtype;
    if (config.use_post_quant_conv)
        result.post_quant_conv_ = layers.conv(
            reader.in("post_quant_conv"), config.latent_channels, config.latent_channels, 1);
    result.conv_in_ = layers.conv(scope.in("conv_in"), config.latent_channels, widths.back(), 3);
    result.mid_block_ = layers.mid(scope.in("mid_block"), widths.back());
    std::int64_t n_in = widths.back();
    for (std::size_t i = 0; i < widths.size(); ++i) {
        const std::int64_t n_out = widths[widths.size() - 1 - i];
        const weight_reader block = scope.in("up_blocks." + std::to_string(i));
        level made = layers.blocks(block, n_in, n_out, config.layers_per_block + 1);
        if (i + 1 < widths.size())
            made.sampler = layers.conv(block.in("upsamplers.0.conv"), n_out, n_out, 3);
        result.up_blocks_.push_back(std::move(made));
        n_in = n_out;
    }
    result.conv_norm_out_ = layers.norm(scope.in("conv_norm_out"), widths.front());
    result.conv_out_ = layers.conv(scope.in("conv_out"), widths.front(), 3, 3);
    return result;
}

at::Tensor image_decoder::run(const at::Tensor& latents, run_context& context) const
{
    const std::int64_t most = std::max<std::int64_t>(1, config_.sample_size / config_.factor());
    if (latents.size(2) > most || latents.size(3) > most) return run_tiles(latents, context);
    return run_tile(latents, context);
}

at::Tensor image_decoder::run_tile(const at::Tensor& latents, run_context& context) const
{
    constexpr const char* what = "decoding an image";
    begin_part(context, what);
    at::Tensor state = channels_last(latents, dtype_);
    if (post_quant_conv_) state = post_quant_conv_->run(state);
    state = mid_block_.run(conv_in_.run(state), context);
    for (const level& up : up_blocks_) {
        for (const resnet& one : up.resnets) {
            begin_part(context, what);
            state = one.run(state);
        }
        if (!up.sampler) continue;
        state = at::upsample_nearest2d(state, {2 * state.size(2), 2 * state.size(3)});
        state = up.sampler->run(state);
    }
    begin_part(context, what);
    state = conv_norm_out_.run(state);
    at::silu_(state);
    return conv_out_.run(state).to(f32).contiguous();
}

at::Tensor image_decoder::run_tiles(const at::Tensor& latents, run_context& context) const
{
    // As in the reference, so that tiled images agree with its tiled ones.
    const std::int64_t side = std::max<std::int64_t>(1, config_.sample_size / config_.factor());
    const std::int64_t stride = std::max<std::int64_t>(1, side * 3 / 4);
    const std::int64_t overlap = config_.sample_size / 4;
    const std::int64_t kept = config_.sample_size - overlap;
    std::vector<at::Tensor> rows;
    std::vector<at::Tensor> above;  // the tiles of the row before
    for (std::int64_t top = 0; top < latents.size(2); top += stride) {
        std::vector<at::Tensor> tiles;
        std::vector<at::Tensor> parts;
        for (std::int64_t left = 0; left < latents.size(3); left += stride) {
            const at::Tensor part = latents.narrow(2, top, std::min(side, latents.size(2) - top))
                                        .narrow(3, left, std::min(side, latents.size(3) - left));
            const at::Tensor tile = run_tile(part, context);
            if (!above.empty()) blend(above[tiles.size()], tile, 2, overlap);
            if (!tiles.empty()) blend(tiles.back(), tile, 3, overlap);
            parts.push_back(tile.narrow(2, 0, std::min(kept, tile.size(2)))
                                .narrow(3, 0, std::min(kept, tile.size(3))));
            tiles.push_back(tile);
        }
        rows.push_back(at::cat(parts, 3));
        above = std::move(tiles);
    }
    return at::cat(rows, 2);
}

// ---- encoder ------------------------------------------------------------------------------------

image_encoder image_encoder::read(
    const weight_reader& reader, const autoencoder_config& config, c10::ScalarType dtype)
{
    const layer_reader layers{config, dtype};
    const weight_reader scope = reader.in("encoder");
    const std::vector<std::int64_t>& widths = config.block_out_channels;
    const std::int64_t n_moments = 2 * config.latent_channels;
    image_encoder result;
    result.dtype_ = dtype;
    result.conv_in_ = layers.conv(scope.in("conv_in"), 3, widths.front(), 3);
    std::int64_t n_in = widths.front();
    for (std::size_t i = 0; i < widths.size(); ++i) {
        const weight_reader block = scope.in("down_blocks." + std::to_string(i));
        level made = layers.blocks(block, n_in, widths[i], config.layers_per_block);
        if (i + 1 < widths.size())
            made.sampler = layers.conv(block.in("downsamplers.0.conv"), widths[i], widths[i], 3);
        result.down_blocks_.push_back(std::move(made));
        n_in = widths[i];
    }
    result.mid_block_ = layers.mid(scope.in("mid_block"), widths.back());
    result.conv_norm_out_ = layers.norm(scope.in("conv_norm_out"), widths.back());
    result.conv_out_ = layers.conv(scope.in("conv_out"), widths.back(), n_moments, 3);
    if (config.use_quant_conv)
        result.quant_conv_ = layers.conv(reader.in("quant_conv"), n_moments, n_moments, 1);
    return result;
}

at::Tensor image_encoder::run(const at::Tensor& pixels, run_context& context) const
{
    constexpr const char* what = "encoding an image";
    begin_part(context, what);
    at::Tensor state = conv_in_.run(channels_last(pixels, dtype_));
    for (const level& down : down_blocks_) {
        for (const resnet& one : down.resnets) {
            begin_part(context, what);
            state = one.run(state);
        }
        if (down.sampler)  // padded at the right and below only
            state = down.sampler->run(at::constant_pad_nd(state, {0, 1, 0, 1}, 0), 2);
    }
    state = conv_norm_out_.run(mid_block_.run(state, context));
    at::silu_(state);
    state = conv_out_.run(state);
    if (quant_conv_) state = quant_conv_->run(state);
    return state.to(f32).contiguous();
}

}  // namespace modelpool::nn

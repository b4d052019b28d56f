#include "models/prompt_encoders.hpp"

#include <modelpool/error.hpp>

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <string>

#include "models/clip_config.hpp"
#include "models/config_fields.hpp"
#include "models/image_config.hpp"
#include "support/stop.hpp"

namespace modelpool::models {
namespace {

constexpr auto f32 = c10::ScalarType::Float;

// Refers to `ids`.
at::Tensor index_of(const std::vector<std::int32_t>& ids)
{
    return at::from_blob(
        const_cast<std::int32_t*>(ids.data()),
        {static_cast<std::int64_t>(ids.size())},
        at::TensorOptions{}.dtype(c10::ScalarType::Int));
}

}  // namespace

std::vector<std::int32_t> prompt_ids(
    const prompt_tokenizer& by,
    const std::string& prompt,
    std::size_t n_tokens,
    std::int64_t vocab_size)
{
    std::vector<std::int32_t> ids =
        by.tokenizer.encode(prompt, text::encode_options{}.max_tokens(n_tokens)).ids;
    ids.resize(n_tokens, by.pad_id);
    const auto foreign = std::ranges::find_if(
        ids, [vocab_size](std::int32_t id) { return id < 0 || id >= vocab_size; });
    if (foreign != ids.end())
        throw error{
            text_errc::bad_id,
            "the tokenizer's id " + std::to_string(*foreign) +
                " has no embedding: the encoder knows " + std::to_string(vocab_size)};
    return ids;
}

clip_prompt_encoder clip_prompt_encoder::read(
    const image_component& from, bool projected, c10::ScalarType dtype, const stop_flag& stop)
{
    const nn::weight_reader reader{from.tensors, stop};
    clip_prompt_encoder result;
    result.config_ = read_clip_text(from.config);
    result.dtype_ = dtype;
    result.projected_ = projected;
    result.text_model_ = nn::clip_text_tower::read(reader.in("text_model"), result.config_, dtype);
    if (projected) {
        const std::int64_t n_out =
            from.config.find_int("projection_dim", 1, std::int64_t{1} << 20).value_or(512);
        result.text_projection_ = nn::stored_linear::read(
            reader,
            "text_projection",
            {result.config_.hidden_size, n_out},
            {dtype, nn::stored_linear::bias::none});
    }
    result.footprint_ = reader.footprint();
    return result;
}

clip_prompt_encoder::output
clip_prompt_encoder::run(const std::vector<std::int32_t>& ids, run_context& context) const
{
    const auto n = static_cast<std::int64_t>(ids.size());
    nn::packed_block block;
    block.texts = {0};
    block.groups = {{0, 1, n}};
    block.n_rows = n;
    nn::clip_encoder::scratch buffers{config_, dtype_};
    const std::int64_t n_layers = config_.n_layers;
    const at::Tensor hidden = text_model_.run(index_of(ids), block, n_layers - 1, buffers, context);
    output result;
    result.tokens = hidden.clone();
    text_model_.run_rest(hidden, block, n_layers - 1, buffers, context);
    support::end_if_stopped(context.stop(), "encoding a prompt");
    result.pooled = text_model_.normed(hidden.narrow(0, text_model_.end_of(ids), 1));
    if (projected_) {
        const at::Tensor out =
            at::empty({1, text_projection_.n_out()}, at::TensorOptions{}.dtype(dtype_));
        text_projection_.run(result.pooled.to(dtype_), out, buffers.room());
        result.pooled = out.to(f32);
    }
    result.pooled = result.pooled.squeeze(0);
    return result;
}

t5_prompt_encoder t5_prompt_encoder::read(
    const image_component& from, const nn::weight_format& format, const stop_flag& stop)
{
    const nn::weight_reader reader{from.tensors, stop};
    t5_prompt_encoder result;
    result.encoder_ = nn::t5_encoder::read(reader, read_t5_config(from.config), format);
    result.footprint_ = reader.footprint();
    return result;
}

at::Tensor t5_prompt_encoder::run(const std::vector<std::int32_t>& ids, run_context& context) const
{
    nn::projection_room room;
    room.use_threads(context.n_threads());
    return encoder_.run(index_of(ids), room, context);
}

}  // namespace modelpool::models

#include "torch/llama_encoder.hpp"

#include <algorithm>
#include <string>

#include "torch/rope_frequencies.hpp"
#include "torch/threads.hpp"

namespace modelpool::nn {

llama_encoder::scratch::scratch(const llama_encoder& encoder)
    : hidden_{encoder.config_.hidden_size, c10::ScalarType::Float}
    , normed_{encoder.config_.hidden_size, c10::ScalarType::Float}
    , narrowed_{encoder.config_.hidden_size, encoder.dtype_}
    , qkv_{encoder.heads_.qkv_width(), encoder.dtype_}
    , context_{encoder.heads_.context_width(), encoder.dtype_}
    , gate_{encoder.config_.intermediate_size, encoder.dtype_}
    , up_{encoder.config_.intermediate_size, encoder.dtype_}
    , positions_{rope_frequencies(encoder.config_.head_size, encoder.config_.rope_theta)}
{}

llama_encoder::layer llama_encoder::layer::read(
    const weight_reader& reader, const llama_encoder_config& config, c10::ScalarType dtype)
{
    using bias = stored_linear::bias;
    const std::int64_t hidden = config.hidden_size;
    const std::int64_t inner = config.intermediate_size;
    const std::int64_t queries = config.n_heads * config.head_size;
    const std::int64_t keys = config.n_kv_heads * config.head_size;
    const bias qkv_bias = config.qkv_bias ? bias::stored : bias::none;
    const auto linear = [&](const char* name, std::int64_t n_in, std::int64_t n_out, bias use) {
        return stored_linear::read(reader, name, {n_in, n_out}, {dtype, use});
    };
    layer result;
    result.input_layernorm =
        rms_norm::read(reader.in("input_layernorm"), hidden, config.rms_norm_eps);
    result.q_proj = linear("self_attn.q_proj", hidden, queries, qkv_bias);
    result.k_proj = linear("self_attn.k_proj", hidden, keys, qkv_bias);
    result.v_proj = linear("self_attn.v_proj", hidden, keys, qkv_bias);
    result.o_proj = linear("self_attn.o_proj", queries, hidden, bias::none);
    result.post_attention_layernorm =
        rms_norm::read(reader.in("post_attention_layernorm"), hidden, config.rms_norm_eps);
    result.gate_proj = linear("mlp.gate_proj", hidden, inner, bias::none);
    result.up_proj = linear("mlp.up_proj", hidden, inner, bias::none);
    result.down_proj = linear("mlp.down_proj", inner, hidden, bias::none);
    return result;
}

llama_encoder llama_encoder::read(
    const weight_reader& reader, const llama_encoder_config& config, c10::ScalarType dtype)
{
    llama_encoder result;
    result.config_ = config;
    result.heads_ = {config.n_heads, config.n_kv_heads, config.head_size};
    result.dtype_ = dtype;
    result.embed_tokens_ =
        reader.stored("embed_tokens.weight", {config.vocab_size, config.hidden_size});
    for (std::int64_t i = 0; i < config.n_layers; ++i)
        result.layers_.push_back(
            layer::read(reader.in("layers." + std::to_string(i)), config, dtype));
    result.norm_ = rms_norm::read(reader.in("norm"), config.hidden_size, config.rms_norm_eps);
    return result;
}

at::Tensor llama_encoder::run(
    const at::Tensor& ids, const packed_block& block, scratch& buffers, run_context& context) const
{
    at::Tensor hidden = buffers.hidden_.rows(block.n_rows);
    gather_rows(embed_tokens_, ids, hidden);
    for (const layer& one : layers_) {
        if (context.stop_requested()) return hidden;
        use_threads(context.n_threads());
        attend(one, block, hidden, buffers);
        feed_forward(one, hidden, buffers);
        context.step_done();
    }
    at::Tensor out = buffers.normed_.rows(block.n_rows);
    norm_.run(hidden, out);
    return out;
}

at::Tensor
llama_encoder::normed(const rms_norm& norm, const at::Tensor& hidden, scratch& buffers) const
{
    at::Tensor out = buffers.normed_.rows(hidden.size(0));
    norm.run(hidden, out);
    return as_dtype(out, dtype_, buffers.narrowed_);
}

void llama_encoder::attend(
    const layer& one, const packed_block& block, const at::Tensor& hidden, scratch& buffers) const
{
    const std::int64_t queries = heads_.context_width();
    const std::int64_t keys = heads_.n_kv_heads * heads_.head_size;
    const at::Tensor x = normed(one.input_layernorm, hidden, buffers);
    const at::Tensor qkv = buffers.qkv_.rows(block.n_rows);
    one.q_proj.run(x, qkv.narrow(1, 0, queries), buffers.room_);
    one.k_proj.run(x, qkv.narrow(1, queries, keys), buffers.room_);
    one.v_proj.run(x, qkv.narrow(1, queries + keys, keys), buffers.room_);
    buffers.positions_.turn(qkv, block.groups, heads_.n_heads + heads_.n_kv_heads);
    at::Tensor context = buffers.context_.rows(block.n_rows);
    attend_shared_heads(qkv, block.groups, heads_, context);
    one.o_proj.add_to(context, hidden, buffers.room_);
}

// A few rows at a time, since the inner states of a long text would not fit the cache.
void llama_encoder::feed_forward(const layer& one, const at::Tensor& hidden, scratch& buffers) const
{
    for (std::int64_t first = 0; first < hidden.size(0); first += default_block_rows) {
        const std::int64_t n = std::min(default_block_rows, hidden.size(0) - first);
        const at::Tensor rows = hidden.narrow(0, first, n);
        const at::Tensor x = normed(one.post_attention_layernorm, rows, buffers);
        at::Tensor gate = buffers.gate_.rows(n);
        const at::Tensor up = buffers.up_.rows(n);
        one.gate_proj.run(x, gate, buffers.room_);
        one.up_proj.run(x, up, buffers.room_);
        apply(config_.hidden_act, gate);
        one.down_proj.add_to(gate.mul_(up), rows, buffers.room_);
    }
}

}  // namespace modelpool::nn

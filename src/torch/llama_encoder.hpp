#pragma once

#include <modelpool/capability/model.hpp>

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include <vector>

#include "torch/attention.hpp"
#include "torch/layers.hpp"
#include "torch/llama_encoder_config.hpp"
#include "torch/packing.hpp"
#include "torch/rope.hpp"
#include "torch/scratch.hpp"
#include "torch/stored_linear.hpp"
#include "torch/weight_reader.hpp"

namespace modelpool::nn {

/// The layers of Llama's descendants (Qwen2, Mistral) where every token sees all of its text: decoders that were
/// trained on into encoders. Immutable once read; replicas share it.
/// Upstream: https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/qwen2/modeling_qwen2.py
class llama_encoder {
public:
    /// The buffers of one replica.
    class scratch {
    public:
        explicit scratch(const llama_encoder& encoder);

    private:
        friend class llama_encoder;
        row_buffer hidden_;    // [n, hidden_size] f32
        row_buffer normed_;    // [n, hidden_size] f32
        row_buffer narrowed_;  // [n, hidden_size], the normed states as the layers' dtype
        row_buffer qkv_;       // [n, heads * head_size]
        row_buffer context_;   // [n, n_heads * head_size]
        row_buffer gate_;      // [n, intermediate_size]
        row_buffer up_;        // [n, intermediate_size]
        rope positions_;
        widening_buffer room_;
    };

    llama_encoder() = default;
    /// Errors: those of weight_reader.
    static llama_encoder
    read(const weight_reader& reader, const llama_encoder_config& config, c10::ScalarType dtype);

    const llama_encoder_config& config() const noexcept { return config_; }

    /// The final hidden states [n_rows, hidden_size] f32, in the scratch, of any content once a
    /// stop is requested. ids: [n_rows] i32.
    at::Tensor
    run(const at::Tensor& ids,
        const packed_block& block,
        scratch& buffers,
        run_context& context) const;

private:
    struct layer {
        rms_norm input_layernorm;
        stored_linear q_proj;
        stored_linear k_proj;
        stored_linear v_proj;
        stored_linear o_proj;
        rms_norm post_attention_layernorm;
        stored_linear gate_proj;
        stored_linear up_proj;
        stored_linear down_proj;

        static layer read(
            const weight_reader& reader, const llama_encoder_config& config, c10::ScalarType dtype);
    };

    void
    attend(const layer& one, const packed_block& block, const at::Tensor& hidden, scratch& buffers)
        const;
    void feed_forward(const layer& one, const at::Tensor& hidden, scratch& buffers) const;
    at::Tensor normed(const rms_norm& norm, const at::Tensor& hidden, scratch& buffers) const;

    llama_encoder_config config_;
    head_layout heads_;
    c10::ScalarType dtype_{c10::ScalarType::Float};
    at::Tensor embed_tokens_;  // [vocab_size, hidden_size], as stored
    std::vector<layer> layers_;
    rms_norm norm_;
};

}  // namespace modelpool::nn

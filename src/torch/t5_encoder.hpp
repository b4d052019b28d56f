#pragma once

#include <modelpool/capability/model.hpp>

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <vector>

#include "torch/layers.hpp"
#include "torch/projection.hpp"
#include "torch/t5_config.hpp"
#include "torch/weight_reader.hpp"

namespace modelpool::nn {

/// The encoder of T5 in its version 1.1. Immutable once read; replicas share it.
/// Paper:    https://arxiv.org/abs/1910.10683, https://arxiv.org/abs/2002.05202
/// Upstream: https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/t5/modeling_t5.py
class t5_encoder {
public:
    t5_encoder() = default;
    /// Reads "shared" and what lies under "encoder". Errors: those of weight_reader.
    static t5_encoder
    read(const weight_reader& reader, const t5_config& config, const weight_format& format);

    const t5_config& config() const noexcept { return config_; }

    /// The normed states after the last layer: [n, d_model] f32. ids: [n] i32 of one text, each
    /// below vocab_size; every token attends to all, padding included.
    /// Errors: operation_aborted once a stop is requested.
    at::Tensor run(const at::Tensor& ids, projection_room& room, run_context& context) const;

private:
    struct block {
        rms_norm layer_norm;  // layer.0
        projection q;
        projection k;
        projection v;
        projection o;
        rms_norm ff_layer_norm;  // layer.1
        projection wi_0;
        projection wi_1;
        projection wo;

        static block
        read(const weight_reader& reader, const t5_config& config, const weight_format& format);
    };

    at::Tensor position_bias(std::int64_t length) const;
    void attend(
        const block& one,
        const at::Tensor& hidden,
        const at::Tensor& bias,
        projection_room& room) const;
    void feed_forward(const block& one, const at::Tensor& hidden, projection_room& room) const;

    t5_config config_;
    c10::ScalarType dtype_{c10::ScalarType::Float};
    at::Tensor shared_;                   // [vocab_size, d_model], as stored
    at::Tensor relative_attention_bias_;  // [n_buckets, n_heads] f32, of the first block
    std::vector<block> blocks_;
    rms_norm final_layer_norm_;
};

}  // namespace modelpool::nn

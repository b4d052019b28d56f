#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <string_view>
#include <vector>

#include "torch/projection.hpp"
#include "torch/weight_reader.hpp"

/// What the transformers of image pipelines have in common. States are [n_samples, n_tokens, width];
/// the residual ones are f32 whatever the layers compute in.
/// Upstream: https://github.com/huggingface/diffusers/tree/v0.36.0/src/diffusers/models
namespace modelpool::nn {

/// `run` of rows of any number of samples: x is [..., n_in], the result [..., n_out].
at::Tensor project(const projection& by, const at::Tensor& x, projection_room& room);

/// Sines and cosines of a time: [n, 256] f32, the cosines first. times: [n] f32, up to 1000.
at::Tensor time_embedding(const at::Tensor& times);

/// linear_1, SiLU, linear_2.
class embedding_mlp {
public:
    embedding_mlp() = default;
    static embedding_mlp read(
        const weight_reader& reader,
        std::int64_t n_in,
        std::int64_t width,
        const weight_format& format);

    /// x: [n, n_in] f32; the result is [n, width] f32.
    at::Tensor run(const at::Tensor& x, projection_room& room) const;

private:
    c10::ScalarType dtype_{c10::ScalarType::Float};
    projection linear_1_;
    projection linear_2_;
};

/// What a block's norms are shifted and scaled by, and its results gated with, at a number of
/// times: linear(SiLU(embedding of the time)).
class modulation {
public:
    modulation() = default;
    /// Reads "linear", which gives `n_parts` vectors of `width` numbers.
    static modulation read(
        const weight_reader& reader,
        std::int64_t width,
        std::int64_t n_parts,
        const weight_format& format);

    /// activated: [n, width] f32, SiLU of the embeddings; the result is [n, n_parts, width] f32.
    at::Tensor run(const at::Tensor& activated, projection_room& room) const;

private:
    c10::ScalarType dtype_{c10::ScalarType::Float};
    std::int64_t n_parts_{0};
    projection linear_;
};

/// norm(x) · (1 + scale) + shift, as `dtype`: x is [n_samples, n, width] f32, shift and scale
/// [n_samples, width] f32.
at::Tensor modulated(
    const at::Tensor& x, const at::Tensor& shift, const at::Tensor& scale, c10::ScalarType dtype);

/// x += gate · by: x is [n_samples, n, width] f32, gate [n_samples, width] f32.
void add_gated(const at::Tensor& x, const at::Tensor& gate, const at::Tensor& by);

/// Scales each head to a mean square of one, then by weights; in f32.
class head_norm {
public:
    head_norm() = default;
    /// Reads "weight" [head_size].
    static head_norm read(const weight_reader& reader, std::int64_t head_size);

    /// x: [..., head_size]; a layer that has none gives it back.
    at::Tensor run(const at::Tensor& x) const;

private:
    at::Tensor weight_;  // undefined: none
};

/// net.0.proj, GELU by its tanh approximation, net.2.
class gelu_feed_forward {
public:
    gelu_feed_forward() = default;
    static gelu_feed_forward read(
        const weight_reader& reader,
        std::int64_t width,
        std::int64_t inner,
        const weight_format& format);

    at::Tensor run(const at::Tensor& x, projection_room& room) const;

private:
    projection proj_in_;
    projection proj_out_;
};

/// Queries, keys and values of one sort of tokens: [n_samples, n_tokens, n_heads, head_size].
struct head_states {
    at::Tensor query;
    at::Tensor key;
    at::Tensor value;
};

/// The projections to heads of one sort of tokens, with norms of queries and keys.
class head_projections {
public:
    /// What the layer's parts are called.
    struct names {
        std::string_view query;
        std::string_view key;
        std::string_view value;
        std::string_view query_norm;  ///< none where the reader has no such weight
        std::string_view key_norm;
    };
    static constexpr names own{"to_q", "to_k", "to_v", "norm_q", "norm_k"};
    static constexpr names added{
        "add_q_proj", "add_k_proj", "add_v_proj", "norm_added_q", "norm_added_k"};

    head_projections() = default;
    /// `n_heads` heads of `head_size`, of states of n_heads · head_size.
    static head_projections read(
        const weight_reader& reader,
        const names& called,
        std::pair<std::int64_t, std::int64_t> heads,
        const weight_format& format);

    /// x: [n_samples, n_tokens, width] of `dtype()`.
    head_states run(const at::Tensor& x, projection_room& room) const;
    c10::ScalarType dtype() const noexcept { return dtype_; }

private:
    std::int64_t n_heads_{0};
    c10::ScalarType dtype_{c10::ScalarType::Float};
    projection query_;
    projection key_;
    projection value_;
    head_norm query_norm_;
    head_norm key_norm_;
};

/// Tokens of both sorts, those of `first` before those of `then`.
head_states joined(const head_states& first, const head_states& then);

/// Every token attends to all of its sample: [n_samples, n_tokens, n_heads * head_size].
at::Tensor attend(const head_states& heads);

}  // namespace modelpool::nn

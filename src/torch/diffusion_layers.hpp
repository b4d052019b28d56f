#pragma once

#include <modelpool/capability/model.hpp>

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "torch/projection.hpp"
#include "torch/weight_reader.hpp"

/// What the transformers of image pipelines have in common. States are [n_samples, n_tokens, width];
/// the residual ones are f32 whatever the layers compute in.
/// Upstream: https://github.com/huggingface/diffusers/tree/v0.36.0/src/diffusers/models
namespace modelpool::nn {

/// `run` of rows of any number of samples: x is [..., n_in], the result [..., n_out].
at::Tensor project(
    const projection& by,
    const at::Tensor& x,
    projection_room& room,
    projection::function f = projection::function::none);

/// Sines and cosines of a time: [n, 256] f32, the cosines first. times: [n] f32, up to 1000.
at::Tensor time_embedding(const at::Tensor& times);

/// Before each block of a transformer: ends where a stop was asked for, tells of the progress, and
/// computes on as many threads as there are now. Errors: operation_aborted.
void enter_block(run_context& context, projection_room& room);

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

/// What the modulations of all blocks come to, for some steps at once: they have a quarter of the
/// weights, which are then read once for several steps.
class step_modulations {
public:
    bool has(std::size_t step) const noexcept { return step >= first_ && step < end_; }
    /// Begins with a few steps from `step` on, of all `n_steps`.
    void begin(std::size_t step, std::size_t n_steps);
    std::size_t first_step() const noexcept { return first_; }
    std::size_t end_step() const noexcept { return end_; }
    /// Of the next block: [steps * n_samples, n_parts, width].
    void add(at::Tensor of_block) { blocks_.push_back(std::move(of_block)); }
    /// Of a block, in the order in which they were added: [n_samples, n_parts, width].
    at::Tensor of(std::size_t block, std::size_t step) const;

private:
    std::size_t first_{0};
    std::size_t end_{0};
    std::vector<at::Tensor> blocks_;
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

    /// x: [..., head_size]; the result is f32. A layer that has none gives x back.
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

/// Queries, keys and values of one sort of tokens: [n_samples, n_tokens, n_heads, head_size]. The
/// values are of the dtype computed in, queries and keys of that or f32.
struct head_states {
    at::Tensor query;
    at::Tensor key;
    at::Tensor value;
};

/// The projections to heads of one sort of tokens, with norms of queries and keys.
class head_projections {
public:
    /// `n_heads` heads of `head_size`, of states of n_heads · head_size.
    struct layout {
        std::int64_t n_heads;
        std::int64_t head_size;
        bool normed;  ///< queries and keys
    };
    /// What the layer's parts are called.
    struct names {
        std::string_view query;
        std::string_view key;
        std::string_view value;
        std::string_view query_norm;
        std::string_view key_norm;
    };
    static constexpr names own{"to_q", "to_k", "to_v", "norm_q", "norm_k"};
    static constexpr names added{
        "add_q_proj", "add_k_proj", "add_v_proj", "norm_added_q", "norm_added_k"};

    head_projections() = default;
    static head_projections read(
        const weight_reader& reader,
        const names& called,
        const layout& heads,
        const weight_format& format);

    /// x: [n_samples, n_tokens, width] of `dtype()`.
    head_states run(const at::Tensor& x, projection_room& room) const;
    /// The same of rows that others take too: [n_samples * n_tokens, width].
    head_states run(const projection_input& x, std::int64_t n_samples, projection_room& room) const;
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

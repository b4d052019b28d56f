#pragma once

#include <modelpool/capability/model.hpp>

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include <span>
#include <vector>

#include "torch/clip_config.hpp"
#include "torch/layers.hpp"
#include "torch/packing.hpp"
#include "torch/scratch.hpp"
#include "torch/stored_linear.hpp"
#include "torch/weight_reader.hpp"

namespace modelpool::nn {

/// Whose states a token of CLIP sees: all of its image's, or those of its text up to its own.
enum class clip_view { everything, backwards };

/// The layers that both towers of CLIP have. Immutable once read; replicas share it.
/// Upstream: https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/clip/modeling_clip.py
class clip_encoder {
public:
    /// The buffers of one replica.
    class scratch {
    public:
        scratch(const clip_tower_config& config, c10::ScalarType dtype);

        /// [n_rows, hidden_size] f32, for the states that go into the layers.
        at::Tensor hidden(std::int64_t n_rows) { return hidden_.rows(n_rows); }
        /// [n_rows, hidden_size] of the dtype computed in; the layers use it too.
        at::Tensor context(std::int64_t n_rows) { return context_.rows(n_rows); }
        widening_buffer& room() noexcept { return room_; }

    private:
        friend class clip_encoder;
        row_buffer hidden_;
        row_buffer narrowed_;  // [n, hidden_size], the normed states as the layers' dtype
        row_buffer qkv_;       // [n, 3 * hidden_size]
        row_buffer context_;
        row_buffer inner_;  // [n, intermediate_size]
        widening_buffer room_;
    };

    clip_encoder() = default;
    /// Reads "layers.0" and on. Errors: those of weight_reader.
    static clip_encoder
    read(const weight_reader& reader, const clip_tower_config& config, c10::ScalarType dtype);

    /// Layers [begin, end).
    struct layer_range {
        std::int64_t begin{0};
        std::int64_t end{0};
    };

    /// Runs those layers on `hidden` [n, hidden_size] f32, in place; groups say which rows belong
    /// together. Ends early, with any content, once a stop is requested.
    /// Precondition: they are in order, and among the configured ones.
    void
    run(const at::Tensor& hidden,
        std::span<const text_group> groups,
        clip_view view,
        layer_range layers,
        scratch& buffers,
        run_context& context) const;

private:
    struct layer {
        layer_norm layer_norm1;
        stored_linear q_proj;
        stored_linear k_proj;
        stored_linear v_proj;
        stored_linear out_proj;
        layer_norm layer_norm2;
        stored_linear fc1;
        stored_linear fc2;

        static layer
        read(const weight_reader& reader, const clip_tower_config& config, c10::ScalarType dtype);
    };

    void attend(
        const layer& one,
        const at::Tensor& hidden,
        std::span<const text_group> groups,
        clip_view view,
        scratch& buffers) const;
    void feed_forward(const layer& one, const at::Tensor& hidden, scratch& buffers) const;

    clip_tower_config config_;
    c10::ScalarType dtype_{c10::ScalarType::Float};
    std::vector<layer> layers_;
};

}  // namespace modelpool::nn

#pragma once

#include <modelpool/capability/model.hpp>

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "models/image_pipeline.hpp"
#include "torch/clip_towers.hpp"
#include "torch/stored_linear.hpp"
#include "torch/t5_encoder.hpp"
#include "torch/weight_reader.hpp"

namespace modelpool::models {

/// The tokens of a prompt, cut or filled up to `n_tokens`.
/// Errors: those of `text::tokenizer::encode`; text_errc::bad_id for a token that an encoder of
/// `vocab_size` has no embedding for.
std::vector<std::int32_t> prompt_ids(
    const prompt_tokenizer& by,
    const std::string& prompt,
    std::size_t n_tokens,
    std::int64_t vocab_size);

/// The text tower of CLIP as image pipelines use it. Immutable; replicas share it.
class clip_prompt_encoder {
public:
    /// What stands for a prompt.
    struct output {
        at::Tensor tokens;  ///< [n, hidden_size] f32, the states before the last layer
        at::Tensor pooled;  ///< [hidden_size], or [projection_dim], f32
    };

    /// `projected`: with "text_projection".
    static clip_prompt_encoder
    read(const image_component& from, bool projected, c10::ScalarType dtype, const stop_flag& stop);

    output run(const std::vector<std::int32_t>& ids, run_context& context) const;
    const nn::weight_footprint& footprint() const noexcept { return footprint_; }

private:
    nn::clip_text_config config_;
    c10::ScalarType dtype_{c10::ScalarType::Float};
    bool projected_{false};
    nn::clip_text_tower text_model_;
    nn::stored_linear text_projection_;
    nn::weight_footprint footprint_;
};

/// The encoder of T5 as image pipelines use it. Immutable; replicas share it.
class t5_prompt_encoder {
public:
    static t5_prompt_encoder
    read(const image_component& from, const nn::weight_format& format, const stop_flag& stop);

    /// [n, d_model] f32
    at::Tensor run(const std::vector<std::int32_t>& ids, run_context& context) const;
    const nn::weight_footprint& footprint() const noexcept { return footprint_; }

private:
    nn::t5_encoder encoder_;
    nn::weight_footprint footprint_;
};

/// One network of a pipeline, which is read when it is needed and may be let go in between. Copies
/// share what is read; each replica has its own. Not thread-safe.
template <class T>
class loaded_part {
public:
    using loader = std::function<T(const stop_flag&)>;

    /// `from` is what the loader reads, whose pages are given back with the part.
    loaded_part(std::shared_ptr<const weights::tensor_source> from, loader load)
        : from_{std::move(from)}
        , load_{std::move(load)}
    {}

    /// Errors: those of the loader.
    const T& get(const stop_flag& stop)
    {
        if (!part_) part_ = std::make_shared<const T>(load_(stop));
        return *part_;
    }
    void release() noexcept
    {
        if (!part_) return;
        part_ = nullptr;
        from_->drop_pages();
    }
    nn::weight_footprint footprint() const
    {
        return part_ ? part_->footprint() : nn::weight_footprint{};
    }

private:
    std::shared_ptr<const weights::tensor_source> from_;
    loader load_;
    std::shared_ptr<const T> part_;
};

}  // namespace modelpool::models

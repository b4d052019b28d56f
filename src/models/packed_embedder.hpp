#pragma once

#include <modelpool/capability/text_embedding.hpp>
#include <modelpool/models/load_options.hpp>

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "models/sentence_head.hpp"
#include "models/sentence_transformers.hpp"
#include "models/text_preparer.hpp"
#include "torch/packing.hpp"
#include "torch/weight_reader.hpp"

namespace modelpool::models {

/// The numbers of an encoder that its tokenizer and what follows the pooling must fit.
struct encoder_size {
    std::int64_t vocab_size{0};
    std::int64_t hidden_size{0};
    std::int64_t max_tokens{0};  ///< where the checkpoint does not set a lower limit
};

/// What the replicas of a text embedding model share besides its encoder. Immutable once loaded.
struct embedder_parts {
    std::string family;  ///< for messages
    c10::ScalarType dtype{c10::ScalarType::Float};
    sentence_modules modules;
    text_preparer preparer;
    embedder_info info;
    sentence_head head;
    nn::weight_footprint weights;
    std::size_t replica_bytes{0};

    /// The dtype that layers compute in. Errors: model_errc::unsupported, for a device or dtype by
    /// name.
    static c10::ScalarType compute_dtype(const std::string& family, const load_options& options);

    /// Everything but `weights` and `replica_bytes`, which come with the encoder.
    /// Errors: those of check_dimensions, text_preparer and sentence_head.
    static embedder_parts blocking_read(
        std::string family,
        sentence_modules modules,
        const encoder_size& size,
        const load_options& options);
    static embedder_parts blocking_read(
        std::string family,
        sentence_modules modules,
        const encoder_size& size,
        const load_options& options,
        text_rules rules);

    /// Tokens of the largest block that run() makes.
    std::int64_t max_block_rows() const noexcept;
    void add_weights(const nn::weight_footprint& more) noexcept;
};

/// A text embedding model whose encoder takes packed tokens: everything but the encoder itself.
/// Texts are packed into blocks of tokens without padding, encoded, pooled in f32 and put through
/// the checkpoint's head.
class packed_embedder : public embedder {
public:
    const embedder_info& info() const noexcept final { return parts_->info; }
    prepared_text prepare(const embed_input& input) const final;
    std::vector<item_result<std::vector<float>>>
    run(std::span<const prepared_text> batch, run_context& context) final;
    footprint bytes() const final;
    void warm_up(run_context& context) final;

protected:
    explicit packed_embedder(std::shared_ptr<const embedder_parts> parts)
        : parts_{std::move(parts)}
    {}

    /// The final hidden states of a block: [n_rows, hidden_size] f32, contiguous, of any content
    /// once a stop is requested. ids: [n_rows] i32. Valid until the next call.
    virtual at::Tensor
    encode(const at::Tensor& ids, const nn::packed_block& block, run_context& context) = 0;

private:
    using row_results = std::vector<item_result<std::vector<float>>>;

    row_results run_batch(std::span<const prepared_text> batch, run_context& context);
    void run_block(
        std::span<const prepared_text> batch,
        const nn::packed_block& block,
        run_context& context,
        row_results& results);
    void run_head(
        std::span<const prepared_text> batch,
        const nn::packed_block& block,
        row_results& results) const;

    std::shared_ptr<const embedder_parts> parts_;
};

}  // namespace modelpool::models

#pragma once

#include <modelpool/capability/generation.hpp>

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "decoder/attention.hpp"
#include "decoder/decoder_config.hpp"
#include "decoder/feed_forward.hpp"
#include "decoder/matrices.hpp"
#include "decoder/weight_source.hpp"

namespace modelpool::decoder {

/// What one replica of a decoder owns.
struct decoder_state {
    decoder_state(std::size_t n_layers, const kernels::kv_layout& layout)
        : cache{n_layers, layout}
        , on{1}
    {}

    std::size_t n_bytes() const noexcept;

    kv_cache cache;
    prefill_mode prefill{prefill_mode::exact};
    machine on;
    layer_room room;
    step_view step;
    std::vector<float> hidden;
    std::vector<float> normed;
    std::vector<float> change;
};

/// A decoder of the Llama kind: layers of attention and feed-forward, each behind an RMS norm.
/// Immutable and shared by replicas.
class decoder_model {
public:
    /// Reads all weights on `watch.n_threads`; it is asked and told at each tensor.
    /// Errors: those of the source, where an error names the tensor; model_errc::bad_config for
    /// sizes that do not fit together; model_errc::unsupported for a tensor of a layer that this
    /// configuration has no use for; model_errc::bad_file for numbers that cannot be quantised;
    /// operation_aborted when asked to stop.
    decoder_model(
        decoder_config config,
        std::unique_ptr<const weight_source> source,
        weight_layout layout,
        const load_watch& watch);
    decoder_model(const decoder_model&) = delete;
    decoder_model& operator=(const decoder_model&) = delete;
    decoder_model(decoder_model&&) = delete;
    decoder_model& operator=(decoder_model&&) = delete;
    ~decoder_model() = default;

    const decoder_config& config() const noexcept { return config_; }
    std::unique_ptr<decoder_state> make_state() const;

    /// One step of a replica: as generator::step. `embeddings` has nothing, or for each row either
    /// null or the `hidden` numbers that stand in its token's place.
    void step(
        std::span<const step_row> rows,
        std::span<const float* const> embeddings,
        std::span<float> logits,
        decoder_state& state,
        run_context& context) const;

    /// Bytes of weights outside the file, and of those used in it.
    std::size_t own_bytes() const noexcept;
    std::size_t mapped_bytes() const noexcept { return mapped_bytes_; }

private:
    struct layer {
        std::vector<float> attention_norm;
        std::unique_ptr<attention> look;
        std::vector<float> feed_forward_norm;
        std::unique_ptr<feed_forward> think;
    };

    void embed(
        std::span<const step_row> rows,
        std::span<const float* const> embeddings,
        kernels::matrix hidden) const;
    void release_words(std::size_t n_looked_up) const;
    void read_outer(const matrix_maker& maker);
    void refuse_unused() const;
    bool run_layers(
        std::span<const step_row> rows,
        kernels::matrix hidden,
        decoder_state& state,
        run_context& context) const;
    void
    norm(kernels::matrix x, const std::vector<float>& weight, kernels::matrix y, machine& on) const;

    decoder_config config_;
    std::unique_ptr<const weight_source> source_;
    rope positions_;
    stored_matrix words_;
    kernels::linear head_;
    std::vector<float> final_norm_;
    std::vector<layer> layers_;
    std::size_t mapped_bytes_{0};
    bool words_are_twice_{false};  // as the output, and in the file
    mutable std::atomic<std::size_t> n_looked_up_{0};
};

}  // namespace modelpool::decoder

#pragma once

#include <modelpool/capability/model.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "kernels/bf16_tiles.hpp"
#include "kernels/scratch.hpp"
#include "kernels/thread_team.hpp"
#include "torch/packing.hpp"
#include "torch/tile_shape.hpp"

// Encoders of BERT's shape without libtorch: where the processor multiplies bf16 in tiles, its own
// operators are several times slower. Threads compute different texts, each through all layers, so
// they meet once a block and what they compute on stays in their caches.

namespace modelpool::nn {

/// A norm's numbers, copied.
struct tile_norm {
    std::vector<float> weight;
    std::vector<float> bias;
};

/// One layer: attention and what is added to its input, a norm, two linears and what is added, and
/// another norm.
struct tile_layer {
    kernels::bf16_linear attention_self;  // query, key and value side by side
    kernels::bf16_linear attention_output;
    tile_norm attention_norm;
    kernels::bf16_linear intermediate;
    kernels::bf16_linear output;
    tile_norm output_norm;

    std::size_t n_bytes() const noexcept;
};

/// What replicas share. Immutable once loaded.
struct tile_weights {
    tile_shape shape;
    tile_norm embedding_norm;
    std::vector<tile_layer> layers;

    std::size_t n_bytes() const noexcept;
};

/// One replica's threads and buffers. Not thread-safe.
class tile_encoder {
public:
    explicit tile_encoder(std::shared_ptr<const tile_weights> weights);
    ~tile_encoder();
    tile_encoder(const tile_encoder&) = delete;
    tile_encoder& operator=(const tile_encoder&) = delete;
    tile_encoder(tile_encoder&&) = delete;
    tile_encoder& operator=(tile_encoder&&) = delete;

    /// hidden: [block.n_rows, hidden_size], the sums of the tokens' embeddings; overwritten by the
    /// final hidden states, of any content once a stop is requested.
    void run(std::span<float> hidden, const packed_block& block, run_context& context);

private:
    struct part;
    struct buffers;
    struct pieces;

    // Hears nothing.
    class silent final : public run_monitor {
    public:
        int n_threads() const noexcept override { return 1; }
        void step_done() noexcept override {}
    };

    std::vector<part> cut(const packed_block& block, int n_threads) const;
    void run_part(const part& what, buffers& room, const pieces& each, run_context& context);
    void attend(const part& what, const float* qkv, buffers& room, const pieces& each) const;

    silent silent_;
    std::shared_ptr<const tile_weights> weights_;
    std::vector<std::unique_ptr<buffers>> buffers_;  // of each thread
    std::optional<kernels::thread_team> team_;
};

}  // namespace modelpool::nn

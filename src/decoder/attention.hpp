#pragma once

#include <modelpool/capability/generation.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "decoder/decoder_config.hpp"
#include "decoder/matrices.hpp"
#include "kernels/attention.hpp"
#include "kernels/matrix.hpp"

namespace modelpool::decoder {

/// Keys and values of one replica: blocks that a scheduler hands out, each of them for all layers.
class kv_cache {
public:
    kv_cache(std::size_t n_layers, const kernels::kv_layout& layout)
        : n_layers_{n_layers}
        , layout_{layout}
    {}

    std::size_t bytes_of(std::size_t n_tokens, kv_dtype format) const noexcept;
    /// Errors: errc::invalid_argument for blocks that are no multiple of 16 positions.
    void allocate(std::size_t n_blocks, std::size_t block_tokens, kv_dtype format);
    void copy_block(std::uint32_t from, std::uint32_t to);

    const kernels::kv_layout& layout() const noexcept { return layout_; }
    std::byte* block(std::size_t layer, std::uint32_t number) noexcept;
    std::size_t n_blocks() const noexcept { return n_blocks_; }

private:
    std::size_t n_layers_;
    kernels::kv_layout layout_;
    std::size_t n_blocks_{0};
    // [block][layer]: memory is touched as blocks are, in pages of any size.
    kernels::aligned_room bytes_;
    std::byte* begin_{nullptr};
};

/// The rows of a step, as attention sees them.
struct step_view {
    std::span<const step_row> rows;
    std::vector<float> cosines;  ///< [n_rows, n_pairs]
    std::vector<float> sines;

    void place(std::span<const step_row> of, const rope& positions);
};

/// Room that the layers of one replica share.
struct layer_room {
    kernels::linear_input input;
    kernels::linear_input second_input;
    std::vector<float> a;
    std::vector<float> b;
    std::vector<float> c;
    std::vector<float> d;
    std::vector<float> e;
    std::vector<const std::byte*> block_table;
    std::vector<kernels::attention_row> attention_rows;
};

/// The attention of one layer: queries, keys and values of its rows, and what it keeps of them.
class attention {
public:
    attention() = default;
    attention(const attention&) = delete;
    attention& operator=(const attention&) = delete;
    attention(attention&&) = delete;
    attention& operator=(attention&&) = delete;
    virtual ~attention() = default;

    /// y = what the rows x see of their sequences, x included.
    virtual void
    run(std::size_t layer,
        const step_view& step,
        kernels::matrix x,
        kernels::matrix y,
        kv_cache& cache,
        layer_room& room,
        machine& on) const = 0;
    /// Bytes of weights outside the file.
    virtual std::size_t n_bytes() const noexcept = 0;
};

/// What the cache keeps of a position, as this configuration has it.
kernels::kv_layout kv_layout_of(const decoder_config& config) noexcept;

/// Of layer `prefix` ("blk.3."). `positions` outlives the result.
/// Errors: those of the source; model_errc::unsupported.
std::unique_ptr<attention> make_attention(
    const decoder_config& config,
    const std::string& prefix,
    const matrix_maker& maker,
    const rope& positions);

}  // namespace modelpool::decoder

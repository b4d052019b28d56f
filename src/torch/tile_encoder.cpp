#include "torch/tile_encoder.hpp"

#include <algorithm>
#include <functional>

namespace modelpool::nn {
namespace {

using kernels::bf16_linear;
using kernels::bf16_rows;

/// Below that, threads share a part.
constexpr std::int64_t least_part_rows = 32;

kernels::row_function to_row_function(activation function)
{
    switch (function) {
    case activation::gelu:
        return kernels::row_function::gelu;
    case activation::gelu_tanh:
        return kernels::row_function::gelu_tanh;
    case activation::relu:
        return kernels::row_function::relu;
    case activation::silu:
        return kernels::row_function::silu;
    }
    return kernels::row_function::none;
}

// The i-th of n pieces of [0, whole).
std::pair<std::int64_t, std::int64_t> piece(std::int64_t whole, int i, int n)
{
    return {whole * i / n, whole * (i + 1) / n};
}

std::size_t norm_bytes(const tile_norm& norm)
{
    return (norm.weight.size() + norm.bias.size()) * sizeof(float);
}

}  // namespace

// ---- weights --------------------------------------------------------------------------------------------

std::size_t tile_layer::n_bytes() const noexcept
{
    return attention_self.n_bytes() + attention_output.n_bytes() + intermediate.n_bytes() +
           output.n_bytes() + norm_bytes(attention_norm) + norm_bytes(output_norm);
}

std::size_t tile_weights::n_bytes() const noexcept
{
    std::size_t sum = norm_bytes(embedding_norm);
    for (const tile_layer& layer : layers)
        sum += layer.n_bytes();
    return sum;
}

// ---- encoder -------------------------------------------------------------------------------------------

struct tile_encoder::part {
    std::span<float> hidden;            // [n_rows, hidden_size]
    std::vector<std::int64_t> lengths;  // of its texts, one after another
    std::int64_t n_rows{0};
};

struct tile_encoder::buffers {
    explicit buffers(const tile_shape& shape)
        : x{shape.hidden_size, shape.parts}
        , context{shape.hidden_size, shape.parts}
        , inner{shape.inner_size, shape.parts}
    {}

    /// Room for any part of so many rows, so that no thread has to ask for memory: it could not
    /// report that there is none.
    void reserve(const tile_shape& shape, std::int64_t n_rows, std::int64_t longest, int n_pieces)
    {
        x.resize(n_rows);
        context.resize(n_rows);
        inner.resize(n_rows);
        qkv.get_as<float>(n_rows * 3 * shape.hidden_size);
        if (heads.size() < static_cast<std::size_t>(n_pieces))
            heads.resize(static_cast<std::size_t>(n_pieces));
        for (kernels::aligned_room& one : heads)
            one.get_as<float>(
                kernels::attention_numbers(longest, shape.hidden_size / shape.n_heads));
    }

    bf16_rows x;                // the hidden states
    kernels::aligned_room qkv;  // [n, 3 * hidden_size] f32
    bf16_rows context;          // what attention makes of them
    bf16_rows inner;
    std::vector<kernels::aligned_room> heads;  // of each thread that attends
};

/// How the work on a part is divided.
struct tile_encoder::pieces {
    int n;  ///< pieces
    std::function<void(int, kernels::part_function)> start;

    void run(kernels::part_function f) const { start(n, f); }
};

tile_encoder::tile_encoder(std::shared_ptr<const tile_weights> weights)
    : weights_{std::move(weights)}
{}

tile_encoder::~tile_encoder() = default;

// Texts stay whole. One part means that the threads share it.
std::vector<tile_encoder::part> tile_encoder::cut(const packed_block& block, int n_threads) const
{
    const std::int64_t share = (block.n_rows + n_threads - 1) / n_threads;
    const std::int64_t wanted = std::clamp(share, least_part_rows, part_rows);
    std::vector<part> parts(1);
    for (const text_group& group : block.groups)
        for (std::int64_t i = 0; i != group.n_texts; ++i) {
            if (parts.back().n_rows > 0 && parts.back().n_rows + group.length > wanted + 16)
                parts.emplace_back();
            parts.back().lengths.push_back(group.length);
            parts.back().n_rows += group.length;
        }
    return parts;
}

void tile_encoder::run(std::span<float> hidden, const packed_block& block, run_context& context)
{
    const int n_threads = std::max(1, context.n_threads());
    if (!team_)
        team_.emplace(n_threads);
    else
        team_->resize(n_threads);
    while (buffers_.size() < static_cast<std::size_t>(n_threads))
        buffers_.push_back(std::make_unique<buffers>(weights_->shape));
    std::vector<part> parts = cut(block, n_threads);
    const auto width = static_cast<std::size_t>(weights_->shape.hidden_size);
    std::size_t first = 0;
    for (part& one : parts) {
        const std::size_t n = static_cast<std::size_t>(one.n_rows) * width;
        one.hidden = hidden.subspan(first, n);
        first += n;
    }
    std::int64_t most_rows = 0;
    for (const part& one : parts)
        most_rows = std::max(most_rows, one.n_rows);
    const std::int64_t longest = block.groups.back().length;  // they are sorted
    const bool shared = parts.size() == 1;
    for (int i = 0; i != (shared ? 1 : n_threads); ++i)
        buffers_[static_cast<std::size_t>(i)]->reserve(
            weights_->shape, most_rows, longest, shared ? n_threads : 1);
    if (shared) {
        const pieces divided{
            n_threads, [this](int n, kernels::part_function f) { team_->run(n, f); }};
        run_part(parts.front(), *buffers_.front(), divided, context);
        return;
    }
    const auto run_one = [&](int index, int thread) {
        const pieces alone{1, [](int, kernels::part_function f) { f(0, 0); }};
        // Only the caller's own thread may report to the worker.
        run_context stops{silent_, context.stop()};
        run_part(
            parts[static_cast<std::size_t>(index)],
            *buffers_[static_cast<std::size_t>(thread)],
            alone,
            thread == 0 ? context : stops);
    };
    team_->run(static_cast<int>(parts.size()), run_one, [&] { context.step_done(); });
}

void tile_encoder::run_part(
    const part& what, buffers& room, const pieces& each, run_context& context)
{
    const tile_shape& shape = weights_->shape;
    const std::int64_t n = what.n_rows;
    const std::int64_t width = shape.hidden_size;
    const auto normalize = [&](const tile_norm& norm) {
        const kernels::norm_weights weights{
            norm.weight.data(), norm.bias.data(), shape.norm_eps, width};
        kernels::normalize_rows(weights, what.hidden.data(), n, room.x, 0);
    };
    // Threads that share a part take columns each, so that every weight is read by one of them.
    const auto multiply = [&](const bf16_linear& linear, auto&& run) {
        each.run([&](int index, int) {
            const auto [first, last] = piece(linear.n_panels(), index, each.n);
            run(bf16_linear::range{0, n, first, last});
        });
    };
    normalize(weights_->embedding_norm);
    float* const hidden = what.hidden.data();
    for (const tile_layer& layer : weights_->layers) {
        if (context.stop_requested()) return;
        float* const qkv = room.qkv.get_as<float>(n * 3 * width);
        multiply(layer.attention_self, [&](const bf16_linear::range& range) {
            layer.attention_self.run(room.x, range, qkv, 3 * width);
        });
        context.step_done();
        attend(what, qkv, room, each);
        context.step_done();
        multiply(layer.attention_output, [&](const bf16_linear::range& range) {
            layer.attention_output.add_to(room.context, range, hidden, width);
        });
        normalize(layer.attention_norm);
        context.step_done();
        multiply(layer.intermediate, [&](const bf16_linear::range& range) {
            layer.intermediate.run(room.x, range, to_row_function(shape.function), room.inner);
        });
        context.step_done();
        multiply(layer.output, [&](const bf16_linear::range& range) {
            layer.output.add_to(room.inner, range, hidden, width);
        });
        normalize(layer.output_norm);
        context.step_done();
    }
}

void tile_encoder::attend(
    const part& what, const float* qkv, buffers& room, const pieces& each) const
{
    const tile_shape& shape = weights_->shape;
    each.run([&](int index, int) {
        const auto heads = piece(shape.n_heads, index, each.n);
        std::int64_t row = 0;
        for (const std::int64_t length : what.lengths) {
            const kernels::text_heads text{
                qkv + row * 3 * shape.hidden_size,
                length,
                shape.n_heads,
                shape.hidden_size / shape.n_heads};
            kernels::attend_in_text(
                text, heads, room.context, row, room.heads[static_cast<std::size_t>(index)]);
            row += length;
        }
    });
}

}  // namespace modelpool::nn

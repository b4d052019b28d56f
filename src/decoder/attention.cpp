#include "decoder/attention.hpp"

#include <modelpool/error.hpp>

#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels/row_parts.hpp"
#include "kernels/rows.hpp"

namespace modelpool::decoder {
namespace {

using kernels::kv_type;
using kernels::matrix;

constexpr std::size_t least_block_tokens = 16;  // keys of so many positions lie interleaved

kv_type type_of(kv_dtype format) noexcept
{
    switch (format) {
    case kv_dtype::f32:
        return kv_type::f32;
    case kv_dtype::f16:
        return kv_type::f16;
    case kv_dtype::bf16:
        return kv_type::bf16;
    case kv_dtype::int8:
        return kv_type::q8;
    }
    return kv_type::f32;
}

// The rows of heads that lie one after another in each row of `from`.
matrix heads_of(const matrix& from, std::int64_t n_heads)
{
    return {from.data, from.n_rows * n_heads, from.n / n_heads, from.n / n_heads};
}

void rotate_heads(
    const rope& positions,
    const step_view& step,
    const matrix& x,
    std::int64_t n_heads,
    std::int64_t head_size,
    std::int64_t first,
    machine& on)
{
    const std::size_t n_pairs = positions.n_rotary() / 2;
    kernels::for_rows(x.n_rows, x.n, on.team, [&](std::int64_t i) {
        for (std::int64_t head = 0; head < n_heads; ++head)
            positions.rotate(
                x.row(i) + head * head_size + first,
                step.cosines.data() + static_cast<std::size_t>(i) * n_pairs,
                step.sines.data() + static_cast<std::size_t>(i) * n_pairs);
    });
}

void store(
    std::size_t layer,
    const step_view& step,
    const matrix& keys,
    const matrix& values,
    kv_cache& cache,
    machine& on)
{
    const auto block_tokens = static_cast<std::uint32_t>(cache.layout().block_tokens);
    kernels::for_rows(keys.n_rows, keys.n + values.n, on.team, [&](std::int64_t index) {
        const step_row& row = step.rows[static_cast<std::size_t>(index)];
        kernels::store_kv(
            cache.layout(),
            cache.block(layer, row.blocks[row.position / block_tokens]),
            static_cast<int>(row.position % block_tokens),
            keys.row(index),
            values.row(index));
    });
}

// Rows of one sequence stand together, and its last one sees the most blocks.
void list_rows(
    std::size_t layer,
    const step_view& step,
    std::int64_t window,
    kv_cache& cache,
    layer_room& room)
{
    const auto block_tokens = static_cast<std::size_t>(cache.layout().block_tokens);
    const std::size_t n = step.rows.size();
    const auto n_blocks = [&](std::size_t i) { return step.rows[i].position / block_tokens + 1; };
    const auto end_of = [&](std::size_t begin) {
        std::size_t end = begin + 1;
        while (end < n && step.rows[end].sequence == step.rows[begin].sequence)
            ++end;
        return end;
    };
    std::size_t n_in_all = 0;
    for (std::size_t i = 0; i < n; i = end_of(i))
        n_in_all += n_blocks(end_of(i) - 1);
    room.block_table.clear();
    room.block_table.reserve(n_in_all);
    room.attention_rows.clear();
    for (std::size_t begin = 0; begin < n;) {
        const std::size_t end = end_of(begin);
        const std::size_t first = room.block_table.size();
        for (std::size_t i = 0; i < n_blocks(end - 1); ++i)
            room.block_table.push_back(cache.block(layer, step.rows[end - 1].blocks[i]));
        for (; begin < end; ++begin) {
            const std::int64_t n_keys = std::int64_t{step.rows[begin].position} + 1;
            const std::int64_t first_key =
                window == 0 ? 0 : std::max<std::int64_t>(0, n_keys - window);
            room.attention_rows.push_back({room.block_table.data() + first, n_keys, first_key});
        }
    }
}

void attend(
    std::size_t layer,
    const step_view& step,
    const decoder_config& config,
    matrix queries,
    matrix out,
    kv_cache& cache,
    layer_room& room,
    machine& on)
{
    list_rows(layer, step, config.sizes.sliding_window, cache, room);
    kernels::attention_shape shape;
    shape.layout = cache.layout();
    shape.n_heads = static_cast<int>(config.sizes.n_heads);
    shape.scale = config.softmax_scale;
    kernels::attend(shape, queries, room.attention_rows, out, on.team, on.room);
}

// arXiv:2305.13245, with as many heads of keys and values as the checkpoint has.
class grouped_attention final : public attention {
public:
    grouped_attention(
        const decoder_config& config,
        const std::string& prefix,
        const matrix_maker& maker,
        const rope& positions)
        : config_{config}
        , positions_{positions}
        , n_queries_{config.sizes.n_heads * config.sizes.key_size}
        , n_keys_{config.sizes.n_kv_heads * config.sizes.key_size}
        , n_values_{config.sizes.n_kv_heads * config.sizes.value_size}
    {
        const std::int64_t hidden = config.sizes.hidden;
        if (config.fused_qkv) {
            query_ =
                maker.make(prefix + "attn_qkv.weight", n_queries_ + n_keys_ + n_values_, hidden);
        } else {
            query_ = maker.make(prefix + "attn_q.weight", n_queries_, hidden);
            key_ = maker.make(prefix + "attn_k.weight", n_keys_, hidden);
            value_ = maker.make(prefix + "attn_v.weight", n_values_, hidden);
        }
        output_ = maker.make(
            prefix + "attn_output.weight", hidden, config.sizes.n_heads * config.sizes.value_size);
        read_numbers(prefix, maker.source());
    }

    void
    run(std::size_t layer,
        const step_view& step,
        matrix x,
        matrix y,
        kv_cache& cache,
        layer_room& room,
        machine& on) const override
    {
        const hyperparameters& sizes = config_.sizes;
        const auto n = static_cast<std::size_t>(x.n_rows);
        const matrix all =
            rows_of(room.a, n, static_cast<std::size_t>(n_queries_ + n_keys_ + n_values_));
        const matrix queries = columns(all, 0, n_queries_);
        const matrix keys = columns(all, n_queries_, n_keys_);
        const matrix values = columns(all, n_queries_ + n_keys_, n_values_);
        project(x, all, queries, keys, values, room, on);
        if (!query_norm_.empty()) normalise(queries, sizes.n_heads, query_norm_, room, on);
        if (!key_norm_.empty()) normalise(keys, sizes.n_kv_heads, key_norm_, room, on);
        rotate_heads(positions_, step, queries, sizes.n_heads, sizes.key_size, 0, on);
        rotate_heads(positions_, step, keys, sizes.n_kv_heads, sizes.key_size, 0, on);
        store(layer, step, keys, values, cache, on);
        const matrix seen =
            rows_of(room.c, n, static_cast<std::size_t>(sizes.n_heads * sizes.value_size));
        attend(layer, step, config_, queries, seen, cache, room, on);
        decoder::apply(output_, seen, y, room.second_input, on);
        if (!output_bias_.empty()) kernels::add_bias(y, output_bias_.data(), y, on.team, on.room);
    }

    std::size_t n_bytes() const noexcept override
    {
        return query_.n_bytes() + key_.n_bytes() + value_.n_bytes() + output_.n_bytes();
    }

private:
    void read_numbers(const std::string& prefix, const weight_source& source)
    {
        const auto read = [&](const char* name, std::int64_t n) {
            return source.has(prefix + name) ? source.numbers(prefix + name, n)
                                             : std::vector<float>{};
        };
        if (config_.takes_biases) {
            query_bias_ = read("attn_q.bias", n_queries_);
            key_bias_ = read("attn_k.bias", n_keys_);
            value_bias_ = read("attn_v.bias", n_values_);
            output_bias_ = read("attn_output.bias", config_.sizes.hidden);
        }
        if (config_.takes_head_norms) {
            query_norm_ = source.numbers(prefix + "attn_q_norm.weight", config_.sizes.key_size);
            key_norm_ = source.numbers(prefix + "attn_k_norm.weight", config_.sizes.key_size);
        }
    }

    void project(
        const matrix& x,
        const matrix& all,
        const matrix& queries,
        const matrix& keys,
        const matrix& values,
        layer_room& room,
        machine& on) const
    {
        if (config_.fused_qkv) {
            decoder::apply(query_, x, all, room.second_input, on);
            return;
        }
        const bool quantized =
            query_.takes_quantized() || key_.takes_quantized() || value_.takes_quantized();
        room.input.set(x, quantized, on.team, on.room, on.first_fast);
        decoder::apply(query_, room.input, queries, on);
        decoder::apply(key_, room.input, keys, on);
        decoder::apply(value_, room.input, values, on);
        const auto add = [&](const std::vector<float>& bias, const matrix& to) {
            if (!bias.empty()) kernels::add_bias(to, bias.data(), to, on.team, on.room);
        };
        add(query_bias_, queries);
        add(key_bias_, keys);
        add(value_bias_, values);
    }

    // Heads of one row lie together, but not those of all rows.
    void normalise(
        const matrix& x,
        std::int64_t n_heads,
        const std::vector<float>& weight,
        layer_room& room,
        machine& on) const
    {
        const matrix together =
            rows_of(room.b, static_cast<std::size_t>(x.n_rows), static_cast<std::size_t>(x.n));
        kernels::for_rows(x.n_rows, x.n, on.team, [&](std::int64_t i) {
            std::copy(x.row(i), x.row(i) + x.n, together.row(i));
        });
        const matrix heads = heads_of(together, n_heads);
        kernels::rms_norm(
            heads,
            weight.data(),
            static_cast<float>(config_.sizes.norm_epsilon),
            heads,
            on.team,
            on.room);
        kernels::for_rows(x.n_rows, x.n, on.team, [&](std::int64_t i) {
            std::copy(together.row(i), together.row(i) + x.n, x.row(i));
        });
    }

    const decoder_config& config_;
    const rope& positions_;
    std::int64_t n_queries_;
    std::int64_t n_keys_;
    std::int64_t n_values_;
    kernels::linear query_;  // or all three
    kernels::linear key_;
    kernels::linear value_;
    kernels::linear output_;
    std::vector<float> query_bias_;
    std::vector<float> key_bias_;
    std::vector<float> value_bias_;
    std::vector<float> output_bias_;
    std::vector<float> query_norm_;
    std::vector<float> key_norm_;
};

// Multi-head latent attention, arXiv:2405.04434, §2.1: the cache keeps one compressed row a
// position, which all heads share. Keys are never widened: the matrix that would do so is applied
// to the queries instead, and the one for values to what was seen.
class latent_attention final : public attention {
public:
    latent_attention(
        const decoder_config& config,
        const std::string& prefix,
        const matrix_maker& maker,
        const rope& positions)
        : config_{config}
        , positions_{positions}
        , n_plain_{config.sizes.key_size - config.sizes.n_rotary}
    {
        const hyperparameters& sizes = config.sizes;
        const weight_source& source = maker.source();
        const std::int64_t n_queries = sizes.n_heads * sizes.key_size;
        if (sizes.q_rank > 0) {
            query_a_ = maker.make(prefix + "attn_q_a.weight", sizes.q_rank, sizes.hidden);
            query_norm_ = source.numbers(prefix + "attn_q_a_norm.weight", sizes.q_rank);
            query_ = maker.make(prefix + "attn_q_b.weight", n_queries, sizes.q_rank);
        } else {
            query_ = maker.make(prefix + "attn_q.weight", n_queries, sizes.hidden);
        }
        latent_ = maker.make(
            prefix + "attn_kv_a_mqa.weight", sizes.kv_rank + sizes.n_rotary, sizes.hidden);
        latent_norm_ = source.numbers(prefix + "attn_kv_a_norm.weight", sizes.kv_rank);
        if (source.has(prefix + "attn_k_b.weight")) {
            key_ = expert_matrices{
                maker,
                source.experts(prefix + "attn_k_b.weight", sizes.n_heads, sizes.kv_rank, n_plain_)};
            value_ = expert_matrices{
                maker,
                source.experts(
                    prefix + "attn_v_b.weight", sizes.n_heads, sizes.value_size, sizes.kv_rank)};
        } else {
            split_joint(prefix, maker);
        }
        output_ = maker.make(
            prefix + "attn_output.weight", sizes.hidden, sizes.n_heads * sizes.value_size);
    }

    void
    run(std::size_t layer,
        const step_view& step,
        matrix x,
        matrix y,
        kv_cache& cache,
        layer_room& room,
        machine& on) const override
    {
        const hyperparameters& sizes = config_.sizes;
        const auto n = static_cast<std::size_t>(x.n_rows);
        const auto n_heads = static_cast<std::size_t>(sizes.n_heads);
        const auto rank = static_cast<std::size_t>(sizes.kv_rank);
        const auto width = rank + static_cast<std::size_t>(sizes.n_rotary);
        const bool quantized =
            latent_.takes_quantized() || (sizes.q_rank > 0 ? query_a_ : query_).takes_quantized();
        room.input.set(x, quantized, on.team, on.room, on.first_fast);
        const matrix latent = rows_of(room.b, n, width);
        decoder::apply(latent_, room.input, latent, on);
        const matrix compressed = columns(latent, 0, sizes.kv_rank);
        norm(compressed, latent_norm_, on);
        rotate_heads(positions_, step, latent, 1, 0, sizes.kv_rank, on);
        store(layer, step, latent, latent, cache, on);

        const matrix queries = project_queries(room, n, on);
        rotate_heads(positions_, step, queries, sizes.n_heads, sizes.key_size, n_plain_, on);
        const matrix absorbed = absorb(queries, room, on);
        const matrix seen = rows_of(room.e, n, n_heads * rank);
        attend(layer, step, config_, absorbed, seen, cache, room, on);

        const matrix heads =
            rows_of(room.a, n, n_heads * static_cast<std::size_t>(sizes.value_size));
        room.second_input.set(
            heads_of(seen, sizes.n_heads), value_.takes_quantized(), on.team, on.room);
        value_.apply(room.second_input, routes(n), heads_of(heads, sizes.n_heads), on);
        decoder::apply(output_, heads, y, room.second_input, on);
    }

    std::size_t n_bytes() const noexcept override
    {
        return query_a_.n_bytes() + query_.n_bytes() + latent_.n_bytes() + key_.n_bytes() +
               value_.n_bytes() + output_.n_bytes() +
               (own_keys_.size() + own_values_.size()) * sizeof(float);
    }

private:
    void norm(const matrix& x, const std::vector<float>& weight, machine& on) const
    {
        const auto epsilon = static_cast<float>(config_.sizes.norm_epsilon);
        kernels::rms_norm(x, weight.data(), epsilon, x, on.team, on.room);
    }

    // Files that keep keys and values of a head in one matrix: its rows for keys are turned, so
    // that they can be applied to queries.
    void split_joint(const std::string& prefix, const matrix_maker& maker)
    {
        const hyperparameters& sizes = config_.sizes;
        const std::int64_t n_rows = n_plain_ + sizes.value_size;
        const stored_matrix joint = maker.source().matrix(
            prefix + "attn_kv_b.weight", sizes.n_heads * n_rows, sizes.kv_rank);
        const std::vector<float> all = widen(joint);
        const auto rank = static_cast<std::size_t>(sizes.kv_rank);
        const auto plain = static_cast<std::size_t>(n_plain_);
        const auto n_heads = static_cast<std::size_t>(sizes.n_heads);
        const auto value_size = static_cast<std::size_t>(sizes.value_size);
        own_keys_.resize(n_heads * rank * plain);
        own_values_.resize(n_heads * value_size * rank);
        for (std::size_t head = 0; head < n_heads; ++head) {
            const float* from = all.data() + head * static_cast<std::size_t>(n_rows) * rank;
            float* const keys = own_keys_.data() + head * rank * plain;
            for (std::size_t i = 0; i < plain; ++i)
                for (std::size_t j = 0; j < rank; ++j)
                    keys[j * plain + i] = from[i * rank + j];
            std::copy(
                from + plain * rank,
                from + static_cast<std::size_t>(n_rows) * rank,
                own_values_.data() + head * value_size * rank);
        }
        maker.release(joint);
        constexpr auto use = matrix_use::latent;
        key_ = expert_matrices{maker, split(own_keys_, sizes.kv_rank, n_plain_), use};
        value_ = expert_matrices{maker, split(own_values_, sizes.value_size, sizes.kv_rank), use};
        if (key_.takes_quantized()) own_keys_ = {};
        if (value_.takes_quantized()) own_values_ = {};
    }

    std::vector<stored_matrix>
    split(const std::vector<float>& from, std::int64_t n_rows, std::int64_t n_columns) const
    {
        std::vector<stored_matrix> made;
        const std::span<const std::byte> bytes = std::as_bytes(std::span{from});
        const std::size_t n_bytes = bytes.size() / static_cast<std::size_t>(config_.sizes.n_heads);
        for (std::size_t i = 0; i < bytes.size(); i += n_bytes)
            made.push_back(
                {kernels::block_type::f32,
                 n_rows,
                 n_columns,
                 bytes.subspan(i, n_bytes),
                 {},
                 false});
        return made;
    }

    // `room.input` holds the layer's input.
    matrix project_queries(layer_room& room, std::size_t n, machine& on) const
    {
        const hyperparameters& sizes = config_.sizes;
        const matrix queries =
            rows_of(room.a, n, static_cast<std::size_t>(sizes.n_heads * sizes.key_size));
        if (sizes.q_rank == 0) {
            decoder::apply(query_, room.input, queries, on);
            return queries;
        }
        const matrix compressed = rows_of(room.c, n, static_cast<std::size_t>(sizes.q_rank));
        decoder::apply(query_a_, room.input, compressed, on);
        norm(compressed, query_norm_, on);
        decoder::apply(query_, compressed, queries, room.second_input, on);
        return queries;
    }

    // Each head's query as the compressed rows see it, and the part that positions rotate.
    matrix absorb(const matrix& queries, layer_room& room, machine& on) const
    {
        const hyperparameters& sizes = config_.sizes;
        const auto n = static_cast<std::size_t>(queries.n_rows);
        const auto n_heads = static_cast<std::size_t>(sizes.n_heads);
        const std::int64_t width = sizes.kv_rank + sizes.n_rotary;
        const matrix heads = heads_of(queries, sizes.n_heads);
        const matrix plain = rows_of(room.c, n * n_heads, static_cast<std::size_t>(n_plain_));
        const matrix made = rows_of(room.d, n * n_heads, static_cast<std::size_t>(width));
        for (std::int64_t i = 0; i < heads.n_rows; ++i) {
            std::copy(heads.row(i), heads.row(i) + n_plain_, plain.row(i));
            std::copy(
                heads.row(i) + n_plain_,
                heads.row(i) + sizes.key_size,
                made.row(i) + sizes.kv_rank);
        }
        room.second_input.set(plain, key_.takes_quantized(), on.team, on.room);
        key_.apply(room.second_input, routes(n), columns(made, 0, sizes.kv_rank), on);
        return {made.data, queries.n_rows, width * sizes.n_heads, width * sizes.n_heads};
    }

    // Row r, head h goes through matrix h.
    std::vector<kernels::routed_row> routes(std::size_t n) const
    {
        std::vector<kernels::routed_row> made;
        const auto n_heads = static_cast<std::int32_t>(config_.sizes.n_heads);
        made.reserve(n * static_cast<std::size_t>(n_heads));
        for (std::int32_t i = 0; i < static_cast<std::int32_t>(n) * n_heads; ++i)
            made.push_back({i, i % n_heads});
        return made;
    }

    const decoder_config& config_;
    const rope& positions_;
    std::int64_t n_plain_;  // of a head's query, what no position rotates
    kernels::linear query_a_;
    kernels::linear query_;
    kernels::linear latent_;
    std::vector<float> own_keys_;
    std::vector<float> own_values_;
    expert_matrices key_;
    expert_matrices value_;
    kernels::linear output_;
    std::vector<float> query_norm_;
    std::vector<float> latent_norm_;
};

}  // namespace

std::size_t kv_cache::bytes_of(std::size_t n_tokens, kv_dtype format) const noexcept
{
    kernels::kv_layout layout = layout_;
    layout.type = type_of(format);
    layout.block_tokens = static_cast<int>(least_block_tokens);
    const std::size_t n_parts = (n_tokens + least_block_tokens - 1) / least_block_tokens;
    return n_layers_ * n_parts * static_cast<std::size_t>(layout.block_bytes());
}

void kv_cache::allocate(std::size_t n_blocks, std::size_t block_tokens, kv_dtype format)
{
    if (block_tokens == 0 || block_tokens % least_block_tokens != 0 || block_tokens > (1U << 20U))
        throw error{
            errc::invalid_argument,
            "blocks of the KV cache hold " + std::to_string(block_tokens) +
                " positions; expected a multiple of 16"};
    layout_.type = type_of(format);
    layout_.block_tokens = static_cast<int>(block_tokens);
    n_blocks_ = n_blocks;
    bytes_ = {};
    begin_ = bytes_.get(n_blocks * n_layers_ * static_cast<std::size_t>(layout_.block_bytes()));
}

std::byte* kv_cache::block(std::size_t layer, std::uint32_t number) noexcept
{
    return begin_ + (number * n_layers_ + layer) * static_cast<std::size_t>(layout_.block_bytes());
}

void kv_cache::copy_block(std::uint32_t from, std::uint32_t to)
{
    std::memcpy(
        block(0, to), block(0, from), n_layers_ * static_cast<std::size_t>(layout_.block_bytes()));
}

void step_view::place(std::span<const step_row> of, const rope& positions)
{
    rows = of;
    const std::size_t n_pairs = positions.n_rotary() / 2;
    cosines.resize(rows.size() * n_pairs);
    sines.resize(rows.size() * n_pairs);
    for (std::size_t i = 0; i < rows.size(); ++i)
        positions.angles(
            rows[i].position, cosines.data() + i * n_pairs, sines.data() + i * n_pairs);
}

kernels::kv_layout kv_layout_of(const decoder_config& config) noexcept
{
    const hyperparameters& sizes = config.sizes;
    kernels::kv_layout layout;
    layout.block_tokens = static_cast<int>(least_block_tokens);
    const bool latent = config.latent_attention;
    layout.n_kv_heads = latent ? 1 : static_cast<int>(sizes.n_kv_heads);
    layout.k_dim = static_cast<int>(latent ? sizes.kv_rank + sizes.n_rotary : sizes.key_size);
    layout.v_dim = static_cast<int>(latent ? sizes.kv_rank : sizes.value_size);
    return layout;
}

std::unique_ptr<attention> make_attention(
    const decoder_config& config,
    const std::string& prefix,
    const matrix_maker& maker,
    const rope& positions)
{
    if (config.latent_attention)
        return std::make_unique<latent_attention>(config, prefix, maker, positions);
    return std::make_unique<grouped_attention>(config, prefix, maker, positions);
}

}  // namespace modelpool::decoder

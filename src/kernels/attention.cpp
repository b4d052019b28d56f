#include "kernels/attention.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <stdexcept>
#include <vector>

#include "kernels/half.hpp"
#include "kernels/kernel_table.hpp"

namespace modelpool::kernels {
namespace {

inline void store_number(kv_type type, std::byte* to, float x)
{
    switch (type) {
    case kv_type::f32:
        store_as(to, x);
        break;
    case kv_type::f16:
        store_as(to, f32_to_f16(x));
        break;
    case kv_type::bf16:
        store_as(to, f32_to_bf16(x));
        break;
    case kv_type::q8:
        store_as(to, static_cast<std::int8_t>(x));
        break;
    }
}

float load_number(kv_type type, const std::byte* from)
{
    switch (type) {
    case kv_type::f32:
        return load_as<float>(from);
    case kv_type::f16:
        return f16_to_f32(load_as<std::uint16_t>(from));
    case kv_type::bf16:
        return bf16_to_f32(load_as<std::uint16_t>(from));
    case kv_type::q8:
        break;
    }
    return static_cast<float>(load_as<std::int8_t>(from));
}

/// The scale with which a row is stored as int8; NaN where it cannot be, so that it shows.
float int8_scale(const float* x, int n)
{
    float greatest = 0.0F;
    for (int k = 0; k != n; ++k) {
        if (!std::isfinite(x[k])) return std::numeric_limits<float>::quiet_NaN();
        greatest = std::max(greatest, std::fabs(x[k]));
    }
    return greatest < 1e-30F ? 0.0F : greatest / 127.0F;
}

/// Where the numbers of one head's row lie: `step` numbers apart.
struct head_row {
    std::byte* numbers;
    std::int64_t step;
    std::byte* scale;
};

head_row key_row(const kv_layout& layout, std::byte* block, int head, int slot)
{
    std::byte* begin = block + layout.k_offset(head);
    const std::int64_t bytes = layout.number_bytes();
    const std::int64_t tile = std::int64_t{slot / 16} * 16 * layout.k_dim;
    return {
        begin + (tile + slot % 16) * bytes,
        16 * bytes,
        begin + std::int64_t{layout.block_tokens} * layout.k_dim * bytes + std::int64_t{4} * slot};
}

head_row value_row(const kv_layout& layout, std::byte* block, int head, int slot)
{
    std::byte* begin = block + layout.v_offset(head);
    const std::int64_t bytes = layout.number_bytes();
    return {
        begin + slot * layout.v_row_numbers() * bytes,
        bytes,
        begin + layout.block_tokens * layout.v_row_numbers() * bytes + std::int64_t{4} * slot};
}

template <kv_type type>
void store_row(const head_row& to, const float* x, int n)
{
    [[maybe_unused]] float scale = 1.0F;
    if constexpr (type == kv_type::q8) {
        scale = int8_scale(x, n);
        store_as(to.scale, scale);
    }
    for (int k = 0; k != n; ++k) {
        float number = x[k];
        if constexpr (type == kv_type::q8) number = scale > 0 ? std::nearbyint(x[k] / scale) : 0;
        store_number(type, to.numbers + k * to.step, number);
    }
}

template <kv_type type>
void store_token(
    const kv_layout& layout, std::byte* block, int slot, const float* keys, const float* values)
{
    for (int head = 0; head != layout.n_kv_heads; ++head) {
        const head_row key = key_row(layout, block, head, slot);
        store_row<type>(key, keys + std::int64_t{head} * layout.k_dim, layout.k_dim);
        const head_row value = value_row(layout, block, head, slot);
        store_row<type>(value, values + std::int64_t{head} * layout.v_dim, layout.v_dim);
    }
}

void load_row(kv_type type, const head_row& from, float* x, int n)
{
    const float scale = type == kv_type::q8 ? load_as<float>(from.scale) : 1.0F;
    for (int k = 0; k != n; ++k)
        x[k] = scale * load_number(type, from.numbers + k * from.step);
}

/// One job's rows and heads.
struct piece {
    std::int64_t first_row;
    std::int64_t n_rows;
    int kv_head;
    int first_head;  ///< within the group of the key-value head
    int n_heads;
};

/// Rows of one sequence whose keys hardly differ go together, up to the queries of one job.
std::vector<piece> pieces_of(const attention_shape& shape, std::span<const attention_row> rows)
{
    const int group = shape.n_heads / shape.layout.n_kv_heads;
    const int n_splits = (group + max_attention_queries - 1) / max_attention_queries;
    const int heads_each = (group + n_splits - 1) / n_splits;
    const std::int64_t rows_each = std::max(max_attention_queries / heads_each, 1);
    std::vector<piece> pieces;
    for (std::size_t first = 0; first != rows.size();) {
        std::size_t last = first + 1;
        while (last != rows.size() && static_cast<std::int64_t>(last - first) < rows_each &&
               rows[last].blocks == rows[first].blocks &&
               std::abs(rows[last].n_keys - rows[first].n_keys) < 64)
            ++last;
        const auto n_rows = static_cast<std::int64_t>(last - first);
        for (int kv_head = 0; kv_head != shape.layout.n_kv_heads; ++kv_head) {
            for (int head = 0; head < group; head += heads_each)
                pieces.push_back(
                    {static_cast<std::int64_t>(first),
                     n_rows,
                     kv_head,
                     head,
                     std::min(heads_each, group - head)});
        }
        first = last;
    }
    return pieces;
}

void check(
    const attention_shape& shape,
    const const_matrix& q,
    std::span<const attention_row> rows,
    const matrix& out)
{
    const kv_layout& layout = shape.layout;
    const bool sane = layout.n_kv_heads > 0 && layout.k_dim > 0 && layout.v_dim > 0 &&
                      layout.block_tokens > 0 && layout.block_tokens % 16 == 0 &&
                      shape.n_heads > 0 && shape.n_heads % layout.n_kv_heads == 0;
    if (!sane) throw std::invalid_argument{"an attention's heads and blocks do not fit together"};
    const auto n_rows = static_cast<std::int64_t>(rows.size());
    const bool fits = q.n_rows == n_rows && out.n_rows == n_rows &&
                      q.n == std::int64_t{shape.n_heads} * layout.k_dim &&
                      out.n == std::int64_t{shape.n_heads} * layout.v_dim;
    if (!fits) throw std::invalid_argument{"an attention's rows have other sizes than its heads"};
    for (const attention_row& row : rows) {
        if (row.first_key < 0 || row.first_key >= row.n_keys)
            throw std::invalid_argument{"a row must attend to at least one key"};
    }
}

}  // namespace

void store_kv(
    const kv_layout& layout, std::byte* block, int slot, const float* keys, const float* values)
{
    switch (layout.type) {
    case kv_type::f32:
        return store_token<kv_type::f32>(layout, block, slot, keys, values);
    case kv_type::f16:
        return store_token<kv_type::f16>(layout, block, slot, keys, values);
    case kv_type::bf16:
        return store_token<kv_type::bf16>(layout, block, slot, keys, values);
    case kv_type::q8:
        return store_token<kv_type::q8>(layout, block, slot, keys, values);
    }
}

void load_kv(const kv_layout& layout, const std::byte* block, int slot, float* keys, float* values)
{
    auto* bytes = const_cast<std::byte*>(block);  // only read through
    for (int head = 0; head != layout.n_kv_heads; ++head) {
        const head_row key = key_row(layout, bytes, head, slot);
        const head_row value = value_row(layout, bytes, head, slot);
        float* const k = keys + std::int64_t{head} * layout.k_dim;
        float* const v = values + std::int64_t{head} * layout.v_dim;
        if (keys != nullptr) load_row(layout.type, key, k, layout.k_dim);
        if (values != nullptr) load_row(layout.type, value, v, layout.v_dim);
    }
}

void attend(
    const attention_shape& shape,
    const_matrix q,
    std::span<const attention_row> rows,
    matrix out,
    thread_team& team,
    scratch& room)
{
    check(shape, q, rows, out);
    if (rows.empty()) return;
    const kv_layout& layout = shape.layout;
    const int group = shape.n_heads / layout.n_kv_heads;
    const std::vector<piece> pieces = pieces_of(shape, rows);
    room.prepare(team.n_threads());
    const auto compute = [&](int part, int thread) {
        const piece& p = pieces[static_cast<std::size_t>(part)];
        const int head = p.kv_head * group + p.first_head;
        std::int64_t first_key = rows[static_cast<std::size_t>(p.first_row)].first_key;
        std::int64_t n_keys = 0;
        for (std::int64_t r = p.first_row; r != p.first_row + p.n_rows; ++r) {
            first_key = std::min(first_key, rows[static_cast<std::size_t>(r)].first_key);
            n_keys = std::max(n_keys, rows[static_cast<std::size_t>(r)].n_keys);
        }
        const std::int64_t stride = (n_keys - first_key / 16 * 16 + 15) / 16 * 16;
        attention_job job;
        job.layout = layout;
        job.kv_head = p.kv_head;
        job.heads_per_row = p.n_heads;
        job.scale = shape.scale;
        job.rows = rows.data() + p.first_row;
        job.n_rows = p.n_rows;
        job.q = q.row(p.first_row) + std::int64_t{head} * layout.k_dim;
        job.q_stride = q.stride;
        job.out = out.row(p.first_row) + std::int64_t{head} * layout.v_dim;
        job.out_stride = out.stride;
        job.score_stride = stride;
        job.scores = room.of_thread(thread).get_as<float>(p.n_rows * p.n_heads * stride);
        room.table().attend(job);
    };
    const auto n_pieces = static_cast<std::int64_t>(pieces.size());
    for (std::int64_t done = 0; done < n_pieces; done += thread_team::max_parts) {
        const auto shifted = [&](int part, int thread) {
            compute(static_cast<int>(done + part), thread);
        };
        team.run(
            static_cast<int>(std::min<std::int64_t>(n_pieces - done, thread_team::max_parts)),
            shifted);
    }
}

}  // namespace modelpool::kernels

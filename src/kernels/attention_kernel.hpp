#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/half.hpp"
#include "kernels/kernel_table.hpp"
#include "kernels/row_kernels.hpp"

namespace modelpool::kernels {
namespace {

template <class V, kv_type type>
struct kv_numbers;

template <class V>
struct kv_numbers<V, kv_type::f32> {
    static constexpr int n_bytes = 4;
    static typename V::f load(const std::byte* from) { return V::load(from); }
};

template <class V>
struct kv_numbers<V, kv_type::f16> {
    static constexpr int n_bytes = 2;
    static typename V::f load(const std::byte* from) { return V::load_f16(from); }
};

template <class V>
struct kv_numbers<V, kv_type::bf16> {
    static constexpr int n_bytes = 2;
    static typename V::f load(const std::byte* from) { return V::load_bf16(from); }
};

template <class V>
struct kv_numbers<V, kv_type::q8> {
    static constexpr int n_bytes = 1;
    static typename V::f load(const std::byte* from) { return V::load_i8(from); }
};

template <class V, kv_type type>
class group_attention {
public:
    explicit group_attention(const attention_job& job)
        : job_{job}
        , n_queries_{static_cast<int>(job.n_rows) * job.heads_per_row}
    {
        last_first_ = job.rows[0].first_key;
        first_first_ = last_first_;
        least_keys_ = job.rows[0].n_keys;
        most_keys_ = least_keys_;
        for (std::int64_t r = 1; r < job.n_rows; ++r) {
            const attention_row& row = job.rows[r];
            if (row.first_key > last_first_) last_first_ = row.first_key;
            if (row.first_key < first_first_) first_first_ = row.first_key;
            if (row.n_keys < least_keys_) least_keys_ = row.n_keys;
            if (row.n_keys > most_keys_) most_keys_ = row.n_keys;
        }
        base_ = first_first_ / 16 * 16;
    }

    void run()
    {
        score_all();
        for (int query = 0; query != n_queries_; ++query) {
            const attention_row& row = row_of(query);
            float* p = scores(query) + (row.first_key - base_);
            const std::int64_t n = row.n_keys - row.first_key;
            inverse_[query] = 1.0F / row_exponentials<V>(p, job_.scale, p, n);
            float* out = out_of(query);
            for (int d = 0; d != job_.layout.v_dim; ++d)
                out[d] = 0.0F;
        }
        add_all();
        for (int query = 0; query != n_queries_; ++query) {
            float* out = out_of(query);
            for_vectors<V>(job_.layout.v_dim, [&](std::int64_t k, std::int64_t lanes) {
                const auto scaled = V::mul(load_at<V>(out, k, lanes), V::set(inverse_[query]));
                store_at<V>(out, scaled, k, lanes);
            });
        }
    }

private:
    using f = typename V::f;
    using numbers = kv_numbers<V, type>;
    static constexpr int n_vectors = 16 / V::lanes;

    const attention_row& row_of(int query) const { return job_.rows[query / job_.heads_per_row]; }
    const float* q_of(int query) const
    {
        return job_.q + query / job_.heads_per_row * job_.q_stride +
               std::int64_t{query % job_.heads_per_row} * job_.layout.k_dim;
    }
    float* out_of(int query) const
    {
        return job_.out + query / job_.heads_per_row * job_.out_stride +
               std::int64_t{query % job_.heads_per_row} * job_.layout.v_dim;
    }
    float* scores(int query) const { return job_.scores + query * job_.score_stride; }
    const std::byte* block_of(std::int64_t token) const
    {
        return job_.rows[0].blocks[token / job_.layout.block_tokens];
    }

    /// Products of `n` queries and the 16 keys of `n_tiles` tiles each: a lane a key.
    template <int n, int n_tiles>
    void score(int query, std::int64_t token) const
    {
        const kv_layout& layout = job_.layout;
        const std::byte* keys[n_tiles];
        const std::byte* scales[n_tiles];
        for (int t = 0; t != n_tiles; ++t) {
            const std::int64_t at = token + std::int64_t{16} * t;
            const std::byte* head = block_of(at) + layout.k_offset(job_.kv_head);
            const std::int64_t slot = at % layout.block_tokens;
            keys[t] = head + slot * layout.k_dim * numbers::n_bytes;
            scales[t] = head + std::int64_t{layout.block_tokens} * layout.k_dim + slot * 4;
        }
        const float* q[n];
        for (int i = 0; i != n; ++i)
            q[i] = q_of(query + i);
        f acc[n][n_tiles][n_vectors];
        for (auto& of_query : acc) {
            for (auto& of_tile : of_query) {
                for (f& a : of_tile)
                    a = V::set(0.0F);
            }
        }
        for (int d = 0; d != layout.k_dim; ++d) {
#pragma GCC unroll 4
            for (int t = 0; t != n_tiles; ++t) {
#pragma GCC unroll 16
                for (int v = 0; v != n_vectors; ++v) {
                    const int at = (d * 16 + v * V::lanes) * numbers::n_bytes;
                    const f key = numbers::load(keys[t] + at);
#pragma GCC unroll 8
                    for (int i = 0; i != n; ++i)
                        acc[i][t][v] = V::fma(key, V::set(q[i][d]), acc[i][t][v]);
                }
            }
        }
        for (int i = 0; i != n; ++i) {
            for (int t = 0; t != n_tiles; ++t) {
                for (int v = 0; v != n_vectors; ++v) {
                    f a = acc[i][t][v];
                    if constexpr (type == kv_type::q8)
                        a = V::mul(a, V::load(scales[t] + 4 * v * V::lanes));
                    V::store(scores(query + i) + (token - base_) + 16 * t + v * V::lanes, a);
                }
            }
        }
    }

    template <int n, int n_tiles>
    void score_some(int& query, std::int64_t& token) const
    {
        for (; query + n <= n_queries_; query += n) {
            std::int64_t at = token;
            for (; at + std::int64_t{16} * (n_tiles - 1) < most_keys_;
                 at += std::int64_t{16} * n_tiles)
                score<n, n_tiles>(query, at);
            for (; at < most_keys_; at += 16)
                score<n, 1>(query, at);
        }
    }

    void score_all() const
    {
        int query = 0;
        std::int64_t token = base_;
        if constexpr (V::lanes == 16) {
            score_some<8, 2>(query, token);
            score_some<4, 2>(query, token);
            score_some<2, 4>(query, token);
        }
        if constexpr (V::lanes == 8) {
            score_some<4, 1>(query, token);
            score_some<2, 2>(query, token);
        }
        score_some<1, V::lanes >= 8 ? 4 : 1>(query, token);
    }

    /// out += p·values of the tokens [begin, end), in their order, for `n` queries.
    template <int n, int n_wide>
    void add_values(int query, std::int64_t begin, std::int64_t end, int d) const
    {
        const kv_layout& layout = job_.layout;
        const std::int64_t row_bytes = layout.v_row_numbers() * numbers::n_bytes;
        f acc[n][n_wide];
        const float* p[n];
        for (int i = 0; i != n; ++i) {
            p[i] = scores(query + i);
            for (int v = 0; v != n_wide; ++v)
                acc[i][v] = load_out(query + i, d + v * V::lanes);
        }
        while (begin < end) {
            const std::int64_t slot = begin % layout.block_tokens;
            std::int64_t block_end = begin - slot + layout.block_tokens;
            if (block_end > end) block_end = end;
            const std::byte* head = block_of(begin) + layout.v_offset(job_.kv_head);
            const std::byte* scales = head + layout.block_tokens * row_bytes + slot * 4;
            const std::byte* values = head + slot * row_bytes + std::int64_t{d} * numbers::n_bytes;
            for (; begin != block_end; ++begin, values += row_bytes, scales += 4) {
                f weight[n];
#pragma GCC unroll 4
                for (int i = 0; i != n; ++i) {
                    float one = p[i][begin - base_];
                    if constexpr (type == kv_type::q8) one *= load_as<float>(scales);
                    weight[i] = V::set(one);
                }
#pragma GCC unroll 4
                for (int v = 0; v != n_wide; ++v) {
                    const f value = numbers::load(values + v * V::lanes * numbers::n_bytes);
#pragma GCC unroll 4
                    for (int i = 0; i != n; ++i)
                        acc[i][v] = V::fma(value, weight[i], acc[i][v]);
                }
            }
        }
        for (int i = 0; i != n; ++i) {
            for (int v = 0; v != n_wide; ++v) {
                const std::int64_t at = d + v * V::lanes;
                store_at<V>(out_of(query + i), acc[i][v], at, lanes_at(at));
            }
        }
    }

    std::int64_t lanes_at(std::int64_t d) const
    {
        const std::int64_t left = job_.layout.v_dim - d;
        return left > V::lanes ? V::lanes : left;
    }
    f load_out(int query, std::int64_t d) const
    {
        return load_at<V>(out_of(query), d, lanes_at(d));
    }

    template <int n>
    void add_range(int query, std::int64_t begin, std::int64_t end) const
    {
        if (begin >= end) return;
        int d = 0;
        for (; d + 4 * V::lanes <= job_.layout.v_dim; d += 4 * V::lanes)
            add_values<n, 4>(query, begin, end, d);
        for (; d < job_.layout.v_dim; d += V::lanes)
            add_values<n, 1>(query, begin, end, d);
    }

    template <int n>
    void add_some(int& query) const
    {
        for (; query + n <= n_queries_; query += n) {
            // A query alone reads what only some of them attend to.
            for (int i = 0; i != n; ++i)
                add_range<1>(query + i, row_of(query + i).first_key, joint_begin(query + i));
            add_range<n>(query, last_first_, least_keys_);
            for (int i = 0; i != n; ++i)
                add_range<1>(query + i, joint_end(query + i), row_of(query + i).n_keys);
        }
    }

    bool is_joint() const { return last_first_ < least_keys_; }
    std::int64_t joint_begin(int query) const
    {
        return is_joint() ? last_first_ : row_of(query).n_keys;
    }
    std::int64_t joint_end(int query) const
    {
        return is_joint() ? least_keys_ : row_of(query).n_keys;
    }

    void add_all() const
    {
        int query = 0;
        if constexpr (V::lanes == 16) add_some<4>(query);
        if constexpr (V::lanes >= 8) add_some<2>(query);
        add_some<1>(query);
    }

    const attention_job& job_;
    int n_queries_;
    std::int64_t first_first_;
    std::int64_t last_first_;
    std::int64_t least_keys_;
    std::int64_t most_keys_;
    std::int64_t base_;
    float inverse_[max_attention_queries];
};

template <class V>
void group_attend(const attention_job& job)
{
    switch (job.layout.type) {
    case kv_type::f32:
        group_attention<V, kv_type::f32>{job}.run();
        break;
    case kv_type::f16:
        group_attention<V, kv_type::f16>{job}.run();
        break;
    case kv_type::bf16:
        group_attention<V, kv_type::bf16>{job}.run();
        break;
    case kv_type::q8:
        group_attention<V, kv_type::q8>{job}.run();
        break;
    }
}

}  // namespace
}  // namespace modelpool::kernels

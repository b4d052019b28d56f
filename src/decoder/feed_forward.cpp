#include "decoder/feed_forward.hpp"

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "kernels/rows.hpp"

namespace modelpool::decoder {
namespace {

using kernels::matrix;

std::size_t to_size(std::int64_t n)
{
    return static_cast<std::size_t>(n);
}

// down(silu(gate(x)) * up(x)), arXiv:2002.05202
class gated_feed_forward final : public feed_forward {
public:
    gated_feed_forward(
        const matrix_maker& maker,
        const std::string& prefix,
        const std::string& ending,
        std::int64_t hidden,
        std::int64_t n_inner,
        bool fused)
        : n_inner_{n_inner}
    {
        if (fused) {
            up_ = maker.make(prefix + "ffn_up" + ending, 2 * n_inner, hidden);
        } else {
            gate_ = maker.make(prefix + "ffn_gate" + ending, n_inner, hidden);
            up_ = maker.make(prefix + "ffn_up" + ending, n_inner, hidden);
        }
        down_ = maker.make(prefix + "ffn_down" + ending, hidden, n_inner);
        fused_ = fused;
    }

    void run(matrix x, matrix y, layer_room& room, machine& on) const override
    {
        const auto n = static_cast<std::size_t>(x.n_rows);
        const matrix both = rows_of(room.a, n, to_size(2 * n_inner_));
        const matrix gate = columns(both, 0, n_inner_);
        const matrix up = columns(both, n_inner_, n_inner_);
        if (fused_) {
            decoder::apply(up_, x, both, room.second_input, on);
        } else {
            const bool quantized = gate_.takes_quantized() || up_.takes_quantized();
            room.input.set(x, quantized, on.team, on.room, on.first_fast);
            decoder::apply(gate_, room.input, gate, on);
            decoder::apply(up_, room.input, up, on);
        }
        const matrix inner = rows_of(room.b, n, to_size(n_inner_));
        kernels::silu_mul(gate, up, inner, on.team, on.room);
        decoder::apply(down_, inner, y, room.second_input, on);
    }

    std::size_t n_bytes() const noexcept override
    {
        return gate_.n_bytes() + up_.n_bytes() + down_.n_bytes();
    }

private:
    std::int64_t n_inner_;
    bool fused_{false};
    kernels::linear gate_;
    kernels::linear up_;  // or both, the gate first
    kernels::linear down_;
};

// Which experts a row goes through, and how much each of them counts.
// Source: arXiv:2412.19437, §2.1.2, for sigmoid scores, biases and groups.
class router {
public:
    router(const hyperparameters& sizes, std::vector<float> bias)
        : sizes_{sizes}
        , bias_{std::move(bias)}
    {}

    // `scores` are those of one row, by softmax or sigmoid.
    void choose(std::span<const float> scores, std::span<std::int32_t> experts, float* weights)
    {
        ranked_.assign(scores.begin(), scores.end());
        for (std::size_t i = 0; i < bias_.size(); ++i)
            ranked_[i] += bias_[i];
        if (sizes_.n_expert_groups > 1) bar_groups();
        kernels::top_k(ranked_, experts);
        float sum = 0;
        for (std::size_t i = 0; i < experts.size(); ++i) {
            weights[i] = scores[static_cast<std::size_t>(experts[i])];
            sum += weights[i];
        }
        const float scale = static_cast<float>(sizes_.expert_scale);
        const float factor = sizes_.expert_normalise ? scale / (sum + 1e-20F) : scale;
        for (std::size_t i = 0; i < experts.size(); ++i)
            weights[i] *= factor;
    }

private:
    // Only the experts of the best groups may be chosen. A group counts by its two best experts
    // where scores are sigmoids, and by its best one otherwise.
    void bar_groups()
    {
        const auto n_groups = to_size(sizes_.n_expert_groups);
        const std::size_t n_in_group = ranked_.size() / n_groups;
        std::vector<float> group_scores;
        std::vector<std::int32_t> best(
            std::min<std::size_t>(sizes_.expert_sigmoid ? 2 : 1, n_in_group));
        for (std::size_t i = 0; i < n_groups; ++i) {
            const std::span<const float> group{ranked_.data() + i * n_in_group, n_in_group};
            kernels::top_k(group, best);
            float sum = 0;
            for (const std::int32_t place : best)
                sum += group[static_cast<std::size_t>(place)];
            group_scores.push_back(sum);
        }
        std::vector<std::int32_t> used(to_size(sizes_.n_expert_groups_used));
        kernels::top_k(group_scores, used);
        for (std::size_t i = 0; i < n_groups; ++i)
            if (std::find(used.begin(), used.end(), static_cast<std::int32_t>(i)) == used.end())
                std::fill_n(
                    ranked_.begin() + static_cast<std::ptrdiff_t>(i * n_in_group),
                    n_in_group,
                    -std::numeric_limits<float>::infinity());
    }

    const hyperparameters& sizes_;
    const std::vector<float> bias_;
    std::vector<float> ranked_;
};

class mixture final : public feed_forward {
public:
    mixture(const decoder_config& config, const std::string& prefix, const matrix_maker& maker)
        : sizes_{config.sizes}
    {
        const weight_source& source = maker.source();
        const std::int64_t n = sizes_.n_experts;
        const std::int64_t n_inner = sizes_.n_expert_feed_forward;
        router_ = maker.make(prefix + "ffn_gate_inp.weight", n, sizes_.hidden);
        if (source.has(prefix + "exp_probs_b.bias"))
            bias_ = source.numbers(prefix + "exp_probs_b.bias", n);
        const auto read = [&](const char* name, std::int64_t n_rows, std::int64_t n_columns) {
            return expert_matrices{maker, source.experts(prefix + name, n, n_rows, n_columns)};
        };
        gate_ = read("ffn_gate_exps.weight", n_inner, sizes_.hidden);
        up_ = read("ffn_up_exps.weight", n_inner, sizes_.hidden);
        down_ = read("ffn_down_exps.weight", sizes_.hidden, n_inner);
        if (sizes_.n_shared_experts > 0)
            shared_ = std::make_unique<gated_feed_forward>(
                maker,
                prefix,
                "_shexp.weight",
                sizes_.hidden,
                n_inner * sizes_.n_shared_experts,
                false);
    }

    void run(matrix x, matrix y, layer_room& room, machine& on) const override
    {
        const auto n = static_cast<std::size_t>(x.n_rows);
        const std::size_t n_used = to_size(sizes_.n_experts_used);
        std::vector<kernels::routed_row> routes(n * n_used);
        std::vector<float> weights(n * n_used);
        route(x, routes, weights, room, on);

        const std::size_t n_inner = to_size(sizes_.n_expert_feed_forward);
        const matrix gate = rows_of(room.b, n * n_used, n_inner);
        const matrix up = rows_of(room.c, n * n_used, n_inner);
        room.input.set(x, gate_.takes_quantized() || up_.takes_quantized(), on.team, on.room);
        gate_.apply(room.input, routes, gate, on);
        up_.apply(room.input, routes, up, on);
        kernels::silu_mul(gate, up, gate, on.team, on.room);
        const matrix made = rows_of(room.d, n * n_used, to_size(sizes_.hidden));
        for (std::size_t i = 0; i < routes.size(); ++i)
            routes[i].row = static_cast<std::int32_t>(i);
        room.second_input.set(gate, down_.takes_quantized(), on.team, on.room);
        down_.apply(room.second_input, routes, made, on);
        add_up(made, weights, y);
        if (!shared_) return;
        const matrix more = rows_of(room.e, n, to_size(sizes_.hidden));
        shared_->run(x, more, room, on);
        kernels::add(y, more, y, on.team, on.room);
    }

    std::size_t n_bytes() const noexcept override
    {
        return router_.n_bytes() + gate_.n_bytes() + up_.n_bytes() + down_.n_bytes() +
               (shared_ ? shared_->n_bytes() : 0);
    }

private:
    void route(
        const matrix& x,
        std::vector<kernels::routed_row>& routes,
        std::vector<float>& weights,
        layer_room& room,
        machine& on) const
    {
        const matrix scores =
            rows_of(room.a, static_cast<std::size_t>(x.n_rows), to_size(sizes_.n_experts));
        decoder::apply(router_, x, scores, room.second_input, on);
        if (sizes_.expert_sigmoid)
            kernels::sigmoid(scores, scores, on.team, on.room);
        else
            kernels::softmax(scores, 1.0F, scores, on.team, on.room);
        const std::size_t n_used = to_size(sizes_.n_experts_used);
        router choice{sizes_, bias_};
        std::vector<std::int32_t> experts(n_used);
        for (std::int64_t i = 0; i < x.n_rows; ++i) {
            const std::size_t first = to_size(i) * n_used;
            choice.choose(
                {scores.row(i), to_size(sizes_.n_experts)}, experts, weights.data() + first);
            for (std::size_t k = 0; k < n_used; ++k)
                routes[first + k] = {static_cast<std::int32_t>(i), experts[k]};
        }
    }

    // In the order of the experts' scores, whatever else is computed.
    void add_up(const matrix& made, const std::vector<float>& weights, const matrix& y) const
    {
        const std::int64_t n_used = sizes_.n_experts_used;
        for (std::int64_t i = 0; i < y.n_rows; ++i) {
            float* const to = y.row(i);
            std::fill(to, to + y.n, 0.0F);
            for (std::int64_t k = 0; k < n_used; ++k) {
                const float* from = made.row(i * n_used + k);
                const float weight = weights[to_size(i * n_used + k)];
                for (std::int64_t j = 0; j < y.n; ++j)
                    to[j] += weight * from[j];
            }
        }
    }

    const hyperparameters& sizes_;
    kernels::linear router_;
    std::vector<float> bias_;
    expert_matrices gate_;
    expert_matrices up_;
    expert_matrices down_;
    std::unique_ptr<gated_feed_forward> shared_;
};

void check_experts(const hyperparameters& sizes)
{
    const auto text = [](std::int64_t n) { return std::to_string(n); };
    if (sizes.n_experts_used < 1 || sizes.n_experts_used > sizes.n_experts)
        sizes.fail(
            text(sizes.n_experts_used) + " experts of " + text(sizes.n_experts) + " are used");
    if (sizes.n_expert_feed_forward < 1) sizes.fail("the size of an expert is not given");
    if (sizes.n_expert_groups <= 1) return;
    const std::int64_t n_in_group = sizes.n_experts / sizes.n_expert_groups;
    if (sizes.n_experts % sizes.n_expert_groups != 0 || sizes.n_expert_groups_used < 1 ||
        sizes.n_expert_groups_used > sizes.n_expert_groups ||
        sizes.n_expert_groups_used * n_in_group < sizes.n_experts_used)
        sizes.fail(
            text(sizes.n_experts_used) + " experts cannot be chosen from " +
            text(sizes.n_expert_groups_used) + " of " + text(sizes.n_expert_groups) +
            " groups of " + text(sizes.n_experts) + " experts");
}

}  // namespace

std::unique_ptr<feed_forward> make_feed_forward(
    const decoder_config& config,
    std::int64_t layer,
    const std::string& prefix,
    const matrix_maker& maker)
{
    const hyperparameters& sizes = config.sizes;
    if (sizes.n_experts > 0 && layer >= sizes.n_leading_dense) {
        check_experts(sizes);
        return std::make_unique<mixture>(config, prefix, maker);
    }
    if (sizes.n_feed_forward < 1) sizes.fail("the size of the feed-forward part is not given");
    return std::make_unique<gated_feed_forward>(
        maker, prefix, ".weight", sizes.hidden, sizes.n_feed_forward, config.fused_gate_up);
}

}  // namespace modelpool::decoder

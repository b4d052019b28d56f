#pragma once

#include <modelpool/capability/generation.hpp>
#include <modelpool/error.hpp>
#include <modelpool/sched/logits.hpp>
#include <modelpool/sched/random.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace modelpool::sched {

/// Memory that samplers of one vocabulary use in turn.
struct sampler_scratch {
    std::vector<float> logits;
    std::vector<float> weights;
    std::vector<candidate> kept;
};

/// Chooses the tokens of one sequence, as `sampling_params` says. The draws depend on the seed and
/// on this sequence's logits alone.
class sampler {
public:
    /// Errors: errc::invalid_argument for a parameter out of its range, text_errc::bad_id for a
    /// bias of a token that the vocabulary lacks.
    sampler(sampling_params params, std::size_t vocab_size, std::uint64_t seed)
        : params_{std::move(params)}
        , random_{seed}
    {
        check(vocab_size);
        penalises_ = params_.repetition_penalty != 1.0F || params_.frequency_penalty != 0.0F ||
                     params_.presence_penalty != 0.0F;
    }

    /// The prompt holds these tokens.
    void see_prompt(std::span<const std::int32_t> tokens)
    {
        if (params_.repetition_penalty == 1.0F) return;
        for (const std::int32_t token : tokens)
            n_generated_.try_emplace(token, 0);
    }

    /// The answer goes on with that token.
    void see(std::int32_t token)
    {
        if (penalises_) ++n_generated_[token];
    }

    /// The next token. `allowed` is a constraint's mask; empty: all tokens.
    /// Errors: model_errc::failed for NaN or plus infinity among the logits, and where no token is
    /// left.
    std::int32_t sample(
        std::span<const float> logits,
        std::span<const std::uint64_t> allowed,
        sampler_scratch& scratch)
    {
        candidate best = likeliest(logits);
        if (penalises_ || !params_.logit_bias.empty() || !allowed.empty()) {
            scratch.logits.assign(logits.begin(), logits.end());
            adjust(scratch.logits, allowed);
            logits = scratch.logits;
            best = likeliest(logits);
        }
        if (best.logit == -std::numeric_limits<float>::infinity())
            throw error{
                model_errc::failed,
                "no token is left to choose from: biases and constraints bar all that the model "
                "allows"};
        if (params_.temperature == 0.0F) return best.id;
        return draw(logits, best.logit, scratch);
    }

private:
    static void require(bool holds, const char* name, float found, const char* range)
    {
        if (!holds)
            throw error{
                errc::invalid_argument,
                std::string{name} + " is " + std::to_string(found) + "; it must be " + range};
    }

    void check(std::size_t vocab_size) const
    {
        const sampling_params& p = params_;
        require(
            p.temperature >= 0.0F && std::isfinite(p.temperature),
            "temperature",
            p.temperature,
            "at least 0, and finite");
        require(p.top_p > 0.0F && p.top_p <= 1.0F, "top_p", p.top_p, "above 0, and at most 1");
        require(p.min_p >= 0.0F && p.min_p <= 1.0F, "min_p", p.min_p, "from 0 to 1");
        require(
            p.repetition_penalty > 0.0F && std::isfinite(p.repetition_penalty),
            "repetition_penalty",
            p.repetition_penalty,
            "above 0, and finite");
        require(
            std::isfinite(p.frequency_penalty), "frequency_penalty", p.frequency_penalty, "finite");
        require(
            std::isfinite(p.presence_penalty), "presence_penalty", p.presence_penalty, "finite");
        for (const auto& [id, bias] : p.logit_bias) {
            require(
                bias <= std::numeric_limits<float>::max(),
                "a logit_bias",
                bias,
                "finite, or minus infinity");
            if (id < 0 || static_cast<std::size_t>(id) >= vocab_size)
                throw error{
                    text_errc::bad_id,
                    "logit_bias names token " + std::to_string(id) + "; the vocabulary has " +
                        std::to_string(vocab_size)};
        }
    }

    void adjust(std::vector<float>& logits, std::span<const std::uint64_t> allowed) const
    {
        // Extreme parameters may overflow; minus infinity stays what it is, a token that never
        // comes.
        const auto bounded = [](float value) {
            return std::min(value, std::numeric_limits<float>::max());
        };
        if (penalises_)
            for (const auto& [id, n] : n_generated_)
                if (static_cast<std::size_t>(id) < logits.size())
                    logits[static_cast<std::size_t>(id)] =
                        bounded(penalised(logits[static_cast<std::size_t>(id)], n));
        for (const auto& [id, bias] : params_.logit_bias)
            if (static_cast<std::size_t>(id) < logits.size())
                logits[static_cast<std::size_t>(id)] =
                    bounded(logits[static_cast<std::size_t>(id)] + bias);
        if (allowed.empty()) return;
        constexpr float barred = -std::numeric_limits<float>::infinity();
        for (std::size_t first = 0; first < logits.size(); first += 64) {
            const std::uint64_t word = first / 64 < allowed.size() ? allowed[first / 64] : 0;
            const std::size_t n = std::min<std::size_t>(64, logits.size() - first);
            for (std::size_t i = 0; i < n; ++i)
                if (((word >> i) & 1U) == 0) logits[first + i] = barred;
        }
    }

    float penalised(float logit, std::uint32_t n_generated) const noexcept
    {
        if (logit == -std::numeric_limits<float>::infinity()) return logit;
        logit =
            logit > 0.0F ? logit / params_.repetition_penalty : logit * params_.repetition_penalty;
        logit = std::min(logit, std::numeric_limits<float>::max());
        if (n_generated > 0)
            logit -= static_cast<float>(n_generated) * params_.frequency_penalty +
                     params_.presence_penalty;
        return logit;
    }

    float weight(float logit, float top) const noexcept
    {
        return std::exp((logit - top) / params_.temperature);
    }

    std::int32_t draw(std::span<const float> logits, float top, sampler_scratch& scratch)
    {
        std::vector<float>& weights = scratch.weights;
        weights.clear();
        if (params_.top_k > 0 && params_.top_k < logits.size()) {
            likeliest_n(logits, params_.top_k, scratch.kept);
            for (const candidate& one : scratch.kept)
                weights.push_back(weight(one.logit, top));
            cut(scratch);
            return scratch.kept[choose(weights)].id;
        }
        for (const float logit : logits)
            weights.push_back(weight(logit, top));
        if (params_.top_p == 1.0F) {
            for (float& one : weights)
                if (one < params_.min_p) one = 0.0F;
            return static_cast<std::int32_t>(choose(weights));
        }
        keep_nucleus(logits, scratch);
        weights.clear();
        for (const candidate& one : scratch.kept)
            weights.push_back(weight(one.logit, top));
        cut_min_p(scratch);
        return scratch.kept[choose(weights)].id;
    }

    /// Applies top-p and min-p to candidates, likeliest first, and their weights.
    void cut(sampler_scratch& scratch) const
    {
        double sum = 0;
        for (const float one : scratch.weights)
            sum += static_cast<double>(one);
        std::size_t n = 0;
        double reached = 0;
        const double wanted = static_cast<double>(params_.top_p) * sum;
        while (n < scratch.weights.size() && (n == 0 || reached < wanted || params_.top_p == 1.0F))
            reached += static_cast<double>(scratch.weights[n++]);
        scratch.kept.resize(n);
        scratch.weights.resize(n);
        cut_min_p(scratch);
    }

    void cut_min_p(sampler_scratch& scratch) const
    {
        while (scratch.weights.size() > 1 && scratch.weights.back() < params_.min_p) {
            scratch.weights.pop_back();
            scratch.kept.pop_back();
        }
    }

    /// The nucleus of a whole row, likeliest first. The tokens below (1 - p) / n of the whole
    /// weight make up less than 1 - p of it together, so none of them belongs to it; of the others,
    /// only the front is sorted.
    void keep_nucleus(std::span<const float> logits, sampler_scratch& scratch) const
    {
        double sum = 0;
        for (const float one : scratch.weights)
            sum += static_cast<double>(one);
        const double p = static_cast<double>(params_.top_p);
        const double least = (1.0 - p) * sum / static_cast<double>(logits.size());
        scratch.kept.clear();
        for (std::size_t i = 0; i < logits.size(); ++i)
            if (scratch.weights[i] > 0.0F && static_cast<double>(scratch.weights[i]) >= least)
                scratch.kept.push_back({logits[i], static_cast<std::int32_t>(i)});
        double reached = 0;
        std::size_t n = 0;
        std::size_t n_sorted = 0;
        while (n < scratch.kept.size() && (n == 0 || reached < p * sum)) {
            if (n == n_sorted) n_sorted = sort_more(scratch.kept, n_sorted);
            const auto id = static_cast<std::size_t>(scratch.kept[n++].id);
            reached += static_cast<double>(scratch.weights[id]);
        }
        scratch.kept.resize(n);
    }

    /// Extends the sorted front of candidates, to eight times its length.
    static std::size_t sort_more(std::vector<candidate>& kept, std::size_t n_sorted)
    {
        const auto order = [](const candidate& a, const candidate& b) {
            return a.likelier_than(b);
        };
        const std::size_t n = std::min(kept.size(), std::max<std::size_t>(128, 8 * n_sorted));
        const auto first = kept.begin() + static_cast<std::ptrdiff_t>(n_sorted);
        const auto last = kept.begin() + static_cast<std::ptrdiff_t>(n);
        if (last != kept.end()) std::nth_element(first, last, kept.end(), order);
        std::sort(first, last, order);
        return n;
    }

    /// An index, drawn by weight.
    std::size_t choose(const std::vector<float>& weights)
    {
        double sum = 0;
        for (const float one : weights)
            sum += static_cast<double>(one);
        double left = random_.next_unit() * sum;
        std::size_t last = 0;
        for (std::size_t i = 0; i < weights.size(); ++i) {
            if (!(weights[i] > 0.0F)) continue;
            last = i;
            left -= static_cast<double>(weights[i]);
            if (left < 0) break;
        }
        return last;
    }

    sampling_params params_;
    random_numbers random_;
    bool penalises_{false};
    /// How often the answer holds a token; 0 for one of the prompt alone.
    std::unordered_map<std::int32_t, std::uint32_t> n_generated_;
};

}  // namespace modelpool::sched

#pragma once

#include <modelpool/capability/generation.hpp>
#include <modelpool/error.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

namespace modelpool::sched {

/// A token with its logit. The likelier one of two has the greater logit, or the lower id.
struct candidate {
    float logit{0.0F};
    std::int32_t id{0};

    bool likelier_than(const candidate& other) const noexcept
    {
        return logit > other.logit || (logit == other.logit && id < other.id);
    }
};

/// The likeliest token of a row. Errors: model_errc::failed for an empty row, for NaN and plus
/// infinity.
inline candidate likeliest(std::span<const float> logits)
{
    // Independent lanes: one running maximum would wait for each comparison.
    constexpr std::size_t n_lanes = 16;
    float best[n_lanes];
    bool sound[n_lanes];
    std::fill_n(best, n_lanes, -std::numeric_limits<float>::infinity());
    std::fill_n(sound, n_lanes, true);
    constexpr float highest = std::numeric_limits<float>::max();
    std::size_t i = 0;
    for (; i + n_lanes <= logits.size(); i += n_lanes) {
        for (std::size_t lane = 0; lane < n_lanes; ++lane) {
            const float value = logits[i + lane];
            sound[lane] = sound[lane] & (value <= highest);
            best[lane] = value > best[lane] ? value : best[lane];
        }
    }
    for (; i < logits.size(); ++i) {
        sound[0] = sound[0] & (logits[i] <= highest);
        best[0] = std::max(best[0], logits[i]);
    }
    const float top = *std::max_element(best, best + n_lanes);
    const bool all_sound = std::all_of(sound, sound + n_lanes, [](bool one) { return one; });
    const auto place = std::find(logits.begin(), logits.end(), top);
    if (!all_sound || place == logits.end()) {
        const auto bad = std::find_if(
            logits.begin(), logits.end(), [](float value) { return !(value <= highest); });
        throw error{
            model_errc::failed,
            bad == logits.end()
                ? std::string{"the model gave an empty row of logits"}
                : "the model gave a logit of " + std::to_string(*bad) + " for token " +
                      std::to_string(bad - logits.begin()) + "; logits must be finite"};
    }
    return {top, static_cast<std::int32_t>(place - logits.begin())};
}

/// The `n` likeliest tokens, likeliest first, into `out`. One pass over the row, without sorting
/// it.
inline void likeliest_n(std::span<const float> logits, std::size_t n, std::vector<candidate>& out)
{
    const auto order = [](const candidate& a, const candidate& b) { return a.likelier_than(b); };
    out.clear();
    n = std::min(n, logits.size());
    if (n == 0) return;
    for (std::size_t i = 0; i < n; ++i)
        out.push_back({logits[i], static_cast<std::int32_t>(i)});
    // The order makes it a heap whose front is the least likely. A later token of an equal logit
    // has the higher id.
    std::make_heap(out.begin(), out.end(), order);
    for (std::size_t i = n; i < logits.size(); ++i) {
        if (!(logits[i] > out.front().logit)) continue;
        std::pop_heap(out.begin(), out.end(), order);
        out.back() = {logits[i], static_cast<std::int32_t>(i)};
        std::push_heap(out.begin(), out.end(), order);
    }
    std::sort_heap(out.begin(), out.end(), order);
}

/// The logarithm of the sum of exp(logit). `top` is the greatest logit.
inline double log_sum_exp(std::span<const float> logits, float top)
{
    double sum = 0;
    for (const float logit : logits)
        sum += static_cast<double>(std::exp(logit - top));
    return static_cast<double>(top) + std::log(sum);
}

}  // namespace modelpool::sched

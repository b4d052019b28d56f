#include "decoder/rope.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace modelpool::decoder {
namespace {

using kind = rope_scaling::kind;

// Of YaRN, arXiv:2309.00071, §3.2: how far a frequency is stretched, from 0 (not) to 1 (whole).
std::vector<double> yarn_ramp(const hyperparameters& about, std::size_t n_pairs)
{
    const rope_scaling& scaling = about.scaling;
    const auto n_rotary = static_cast<double>(2 * n_pairs);
    const auto pair_of = [&](double n_rotations) {
        const auto original = static_cast<double>(scaling.original_context);
        return n_rotary * std::log(original / (n_rotations * 2 * std::numbers::pi)) /
               (2 * std::log(about.rope_base));
    };
    const double low = std::max(0.0, std::floor(pair_of(scaling.beta_fast)));
    double high = std::min(n_rotary - 1, std::ceil(pair_of(scaling.beta_slow)));
    if (high <= low) high = low + 0.001;
    std::vector<double> ramp;
    for (std::size_t i = 0; i < n_pairs; ++i)
        ramp.push_back(std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0));
    return ramp;
}

// Of Llama 3.1: long waves are stretched whole, short ones not, those between in part.
// Source: https://github.com/meta-llama/llama-models, models/llama3/reference_impl/model.py
double llama3_frequency(const rope_scaling& scaling, double frequency)
{
    const auto original = static_cast<double>(scaling.original_context);
    const double wave = 2 * std::numbers::pi / frequency;
    if (wave < original / scaling.high_frequency_factor) return frequency;
    if (wave > original / scaling.low_frequency_factor) return frequency / scaling.factor;
    const double smooth = (original / wave - scaling.low_frequency_factor) /
                          (scaling.high_frequency_factor - scaling.low_frequency_factor);
    return (1 - smooth) * frequency / scaling.factor + smooth * frequency;
}

void check(const hyperparameters& about, std::size_t n_pairs)
{
    const rope_scaling& scaling = about.scaling;
    if (about.n_rotary % 2 != 0 || about.n_rotary > about.key_size)
        about.fail(
            "positions rotate " + std::to_string(about.n_rotary) + " numbers of a head of " +
            std::to_string(about.key_size) + "; expected an even number of them");
    if (scaling.type == kind::none) return;
    if (!(scaling.factor > 0) || !std::isfinite(scaling.factor) || scaling.original_context < 1)
        about.fail("rope scaling needs a factor above 0");
    if (scaling.type == kind::yarn && !(scaling.beta_fast > 0 && scaling.beta_slow > 0))
        about.fail("yarn needs numbers of rotations above 0");
    if (scaling.type == kind::llama3 &&
        !(scaling.low_frequency_factor > 0 &&
          scaling.high_frequency_factor > scaling.low_frequency_factor))
        about.fail("the frequency factors of rope scaling must be above 0, the low one below the "
                   "high one");
    if (scaling.type == kind::longrope &&
        (scaling.short_factors.size() != n_pairs || scaling.long_factors.size() != n_pairs))
        about.fail(
            "longrope needs " + std::to_string(n_pairs) + " short and long factors, found " +
            std::to_string(scaling.short_factors.size()) + " and " +
            std::to_string(scaling.long_factors.size()));
}

double usual_magnitude(const hyperparameters& about)
{
    const rope_scaling& scaling = about.scaling;
    if (scaling.attention_factor > 0) return scaling.attention_factor;
    if (scaling.factor <= 1) return 1;
    // deepseek2 scales softmax instead.
    if (scaling.type == kind::yarn && about.architecture != "deepseek2")
        return 0.1 * std::log(scaling.factor) + 1;
    if (scaling.type == kind::longrope)
        return std::sqrt(
            1 + std::log(scaling.factor) / std::log(static_cast<double>(scaling.original_context)));
    return 1;
}

}  // namespace

rope::rope(const hyperparameters& about, rope_pairs pairs, const std::vector<float>& divisors)
    : pairs_{pairs}
{
    const rope_scaling& scaling = about.scaling;
    const auto n_pairs = static_cast<std::size_t>(about.n_rotary / 2);
    check(about, n_pairs);
    for (std::size_t i = 0; i < n_pairs; ++i)
        near_.push_back(std::pow(
            about.rope_base, -static_cast<double>(2 * i) / static_cast<double>(about.n_rotary)));
    for (std::size_t i = 0; i < divisors.size() && i < n_pairs; ++i)
        near_[i] /= static_cast<double>(divisors[i]);
    const std::vector<double> ramp =
        scaling.type == kind::yarn ? yarn_ramp(about, n_pairs) : std::vector<double>{};
    if (scaling.type == kind::longrope) {
        far_ = near_;
        far_from_ = static_cast<std::uint32_t>(scaling.original_context);
    }
    for (std::size_t i = 0; i < n_pairs; ++i) {
        double& frequency = near_[i];
        if (scaling.type == kind::linear) frequency /= scaling.factor;
        if (scaling.type == kind::llama3) frequency = llama3_frequency(scaling, frequency);
        if (scaling.type == kind::yarn)
            frequency = frequency / scaling.factor * ramp[i] + frequency * (1 - ramp[i]);
        if (scaling.type == kind::longrope) {
            far_[i] /= static_cast<double>(scaling.long_factors[i]);
            frequency /= static_cast<double>(scaling.short_factors[i]);
        }
    }
    magnitude_ = usual_magnitude(about);
}

void rope::angles(std::uint32_t position, float* cosines, float* sines) const
{
    const std::vector<double>& frequencies = !far_.empty() && position >= far_from_ ? far_ : near_;
    for (std::size_t i = 0; i < frequencies.size(); ++i) {
        const double angle = static_cast<double>(position) * frequencies[i];
        cosines[i] = static_cast<float>(std::cos(angle) * magnitude_);
        sines[i] = static_cast<float>(std::sin(angle) * magnitude_);
    }
}

void rope::rotate(float* head, const float* cosines, const float* sines) const
{
    const std::size_t n_pairs = near_.size();
    const bool halves = pairs_ == rope_pairs::halves;
    for (std::size_t i = 0; i < n_pairs; ++i) {
        float& a = head[halves ? i : 2 * i];
        float& b = head[halves ? i + n_pairs : 2 * i + 1];
        const float rotated = a * cosines[i] - b * sines[i];
        b = a * sines[i] + b * cosines[i];
        a = rotated;
    }
}

}  // namespace modelpool::decoder

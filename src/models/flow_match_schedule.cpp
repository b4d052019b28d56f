#include "models/flow_match_schedule.hpp"

#include <cmath>
#include <string>

#include "models/config_fields.hpp"
#include "support/printable.hpp"

namespace modelpool::models {
namespace {

using support::in_quotes;
using support::json_file;

double positive(const json_file& file, const std::string& key, double usual)
{
    const double value = file.find_number(key).value_or(usual);
    if (!(value > 0 && value < 1e6))
        file.fail(in_quotes(key) + " must lie in (0, 1e6), found " + std::to_string(value));
    return value;
}

// In f32 or f64: the reference mixes numbers of Python into arrays of either.
template <class Number>
Number shifted(Number sigma, double shift)
{
    const auto by = static_cast<Number>(shift);
    const auto rest = static_cast<Number>(shift - 1);
    return by * sigma / (1 + rest * sigma);
}

template <class Number>
Number shifted_by(Number sigma, double factor)
{
    const auto by = static_cast<Number>(factor);
    return by / (by + (1 / sigma - 1));
}

// numpy.linspace
std::vector<double> even_steps(double first, double last, std::size_t n)
{
    std::vector<double> result{first};
    const double step = n > 1 ? (last - first) / static_cast<double>(n - 1) : 0;
    for (std::size_t i = 1; i < n; ++i)
        result.push_back(static_cast<double>(i) * step + first);
    if (n > 1) result.back() = last;
    return result;
}

}  // namespace

flow_match_schedule flow_match_schedule::read(const json_file& file)
{
    if (!file.root().is_object())
        file.fail(std::string{"expected an object, found "} + file.root().type_name());
    const std::string name =
        file.find_string("_class_name").value_or("FlowMatchEulerDiscreteScheduler");
    if (name != "FlowMatchEulerDiscreteScheduler")
        refuse(
            file,
            "the scheduler " + in_quotes(name) +
                " is not supported; supported: FlowMatchEulerDiscreteScheduler");
    for (const char* key :
         {"invert_sigmas",
          "use_karras_sigmas",
          "use_exponential_sigmas",
          "use_beta_sigmas",
          "stochastic_sampling"})
        if (file.find_bool(key).value_or(false))
            refuse(file, in_quotes(key) + " is true; supported: false");
    if (file.find_number("shift_terminal").value_or(0) != 0)
        refuse(file, "'shift_terminal' is not supported; supported: null");
    flow_match_schedule result;
    result.n_train_timesteps_ =
        static_cast<double>(file.find_int("num_train_timesteps", 1, 1'000'000).value_or(1000));
    result.shift_ = positive(file, "shift", 1);
    result.dynamic_ = file.find_bool("use_dynamic_shifting").value_or(false);
    const std::string type = file.find_string("time_shift_type").value_or("exponential");
    if (type != "exponential" && type != "linear")
        refuse(
            file,
            "'time_shift_type' " + in_quotes(type) +
                " is not supported; supported: exponential, linear");
    result.linear_ = type == "linear";
    result.base_shift_ = positive(file, "base_shift", 0.5);
    result.max_shift_ = positive(file, "max_shift", 1.15);
    result.base_seq_len_ = positive(file, "base_image_seq_len", 256);
    result.max_seq_len_ = positive(file, "max_image_seq_len", 4096);
    if (result.base_seq_len_ == result.max_seq_len_)
        file.fail("'base_image_seq_len' and 'max_image_seq_len' must differ");
    return result;
}

double flow_match_schedule::mu(std::size_t n_tokens) const noexcept
{
    const double slope = (max_shift_ - base_shift_) / (max_seq_len_ - base_seq_len_);
    return static_cast<double>(n_tokens) * slope + (base_shift_ - slope * base_seq_len_);
}

std::vector<float>
flow_match_schedule::sigmas(std::size_t n_steps, spacing from, std::size_t n_tokens) const
{
    const double factor = linear_ ? mu(n_tokens) : std::exp(mu(n_tokens));
    std::vector<float> result;
    if (from == spacing::whole) {
        for (const double even : even_steps(1, 1 / static_cast<double>(n_steps), n_steps)) {
            const auto sigma = static_cast<float>(even);
            result.push_back(dynamic_ ? shifted_by(sigma, factor) : shifted(sigma, shift_));
        }
    } else {
        // The ends are numbers of the training schedule, which is f32 and shifted once itself.
        const auto n_train = static_cast<float>(n_train_timesteps_);
        const auto end = [&](float sigma) {
            return static_cast<double>(dynamic_ ? sigma : shifted(sigma, shift_)) *
                   n_train_timesteps_;
        };
        for (const double time : even_steps(end(1), end(1 / n_train), n_steps)) {
            const double sigma = time / n_train_timesteps_;
            result.push_back(
                static_cast<float>(dynamic_ ? shifted_by(sigma, factor) : shifted(sigma, shift_)));
        }
    }
    result.push_back(0);
    return result;
}

std::vector<float> flow_match_schedule::timesteps(const std::vector<float>& sigmas) const
{
    std::vector<float> result;
    for (std::size_t i = 0; i + 1 < sigmas.size(); ++i)
        result.push_back(sigmas[i] * static_cast<float>(n_train_timesteps_));
    return result;
}

}  // namespace modelpool::models

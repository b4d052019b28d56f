#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "support/json.hpp"

namespace modelpool::models {

/// Where the steps of a flow from noise to an image lie, as the reference computes them, in its
/// order of operations and its number formats.
/// Source: https://github.com/huggingface/diffusers/blob/v0.36.0/src/diffusers/schedulers/scheduling_flow_match_euler_discrete.py
class flow_match_schedule {
public:
    /// What a pipeline asks the schedule for.
    enum class spacing {
        whole,    ///< from 1 to 1/n, evenly, before they are shifted (FLUX)
        training  ///< between the ends of the training schedule, which are shifted already (SD3)
    };

    /// Of a scheduler_config.json. Errors: model_errc::bad_config; model_errc::unsupported for a
    /// variant that is not computed here, by its name.
    static flow_match_schedule read(const support::json_file& file);

    /// The shares of noise at the begin of each of `n_steps` steps, and a last 0; n_tokens is how
    /// many tokens the image has, which the shift of some models depends on.
    /// Precondition: n_steps is at least 1.
    std::vector<float> sigmas(std::size_t n_steps, spacing from, std::size_t n_tokens) const;

    /// What the transformer is told of each step: sigma · 1000, as f32.
    std::vector<float> timesteps(const std::vector<float>& sigmas) const;

private:
    double mu(std::size_t n_tokens) const noexcept;

    double n_train_timesteps_{1000};
    double shift_{1};
    bool dynamic_{false};
    bool linear_{false};  // of the dynamic shift
    double base_shift_{0.5};
    double max_shift_{1.15};
    double base_seq_len_{256};
    double max_seq_len_{4096};
};

}  // namespace modelpool::models

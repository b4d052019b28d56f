#pragma once

#include <string>

#include "models/diffusion_names.hpp"
#include "support/json.hpp"
#include "weights/tensor_source.hpp"

namespace modelpool::models {

enum class pipeline_kind { flux = 1, sd3 };

/// "FluxPipeline", "StableDiffusion3Pipeline"
std::string_view to_string(pipeline_kind kind) noexcept;

/// The config.json that a part's folder would hold, for files that come without one: widths and
/// depths from the shapes of the tensors, and for what shapes do not tell, what every published
/// model of the kind has.
/// Errors: model_errc::missing_tensor and model_errc::shape_mismatch, where a tensor that tells a
/// size is not there or has another number of dimensions; model_errc::bad_config where what shapes
/// do not tell is known for another size only: such files need their config.json.
support::json_file
derive_config(pipeline_kind kind, diffusion_part part, const weights::tensor_source& tensors);

/// The scheduler_config.json of a kind.
support::json_file usual_scheduler(pipeline_kind kind, const weights::tensor_source& transformer);

}  // namespace modelpool::models

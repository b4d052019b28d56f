#pragma once

#include <modelpool/capability/text_to_image.hpp>
#include <modelpool/models/load_options.hpp>

#include <filesystem>
#include <memory>

namespace modelpool::models {

/// Loads an image pipeline, FLUX.1-schnell or Stable Diffusion 3 and 3.5: from a folder in the layout of
/// diffusers (model_index.json, sharded safetensors), from one with the makers' single files
/// (flux1-schnell.safetensors and ae.safetensors, sd3.5_large_turbo.safetensors, text_encoders/,
/// beside the tokenizers' folders), or from the transformer's own file, safetensors or GGUF, whose
/// folder has the rest. All files are found and their headers checked before a tensor is read.
///
/// dtype: `automatic` and `f32` compute in f32 with weights kept as they are stored; `bf16` computes
/// in bf16; `q8_0` and `q4_k` keep the large matrices as such blocks. What is stored in blocks is
/// computed on as it is. Where all weights take more than half of the machine's memory, encoders,
/// transformer and decoder are in memory in turn. Device: cpu.
/// Runs: blocking, on the calling thread, which is the one that must use and destroy the model.
/// Errors: model_errc (bad_file, which names every file that is missing; bad_config, missing_tensor,
/// shape_mismatch, dtype_mismatch, unsupported), text_errc (bad_file, unsupported);
/// operation_aborted when asked to stop.
std::unique_ptr<image_generator>
load_image_generator(const std::filesystem::path& path, const load_options& options = {});

}  // namespace modelpool::models

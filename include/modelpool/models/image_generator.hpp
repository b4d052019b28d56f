#pragma once

#include <modelpool/capability/text_to_image.hpp>
#include <modelpool/models/load_options.hpp>

#include <cstdint>
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
/// in bf16; `q8_0` and `q4_k` keep the large matrices as such blocks, and compute in bf16 on
/// processors that have tiles for it. What is stored in blocks stays such. Where all weights take
/// more than `memory_limit_bytes`, or where that is 0 more than half of the machine's memory,
/// encoders, transformer and decoder are in memory in turn. Device: cpu.
///
/// Defaults: 4 steps without guidance for models made to do with few, else 28 with 3.5 (40 with 4.5
/// for SD 3.5 Medium). A Stable Diffusion 3 counts as such a one where its path or its file's name
/// has "turbo" in it, since nothing in its files tells.
/// Runs: blocking, on the calling thread, which is the one that must use and destroy the model.
/// Errors: model_errc (bad_file, which names every file that is missing; bad_config, missing_tensor,
/// shape_mismatch, dtype_mismatch, unsupported), text_errc (bad_file, unsupported);
/// operation_aborted when asked to stop.
std::unique_ptr<image_generator> load_image_generator(
    const std::filesystem::path& path,
    const load_options& options = {},
    std::uint64_t memory_limit_bytes = 0);

}  // namespace modelpool::models

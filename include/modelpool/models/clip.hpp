#pragma once

#include <modelpool/capability/image_embedding.hpp>
#include <modelpool/models/load_options.hpp>

#include <filesystem>
#include <memory>

namespace modelpool::models {

/// Loads a CLIP model from a checkpoint folder: its vision and text towers with their projections,
/// its tokenizer, and the preprocessing of its `preprocessor_config.json`. Texts that are too long
/// are cut to the limit of the text tower unless asked otherwise. dtype: `automatic` and `f32`
/// compute in f32 and keep weights in the mapped file as they are stored; `bf16` computes the
/// layers in bf16, and then a row agrees with itself in another batch to bf16's rounding only.
/// Device: cpu.
/// Runs: blocking, on the calling thread, which is the one that must use and destroy the model.
/// Errors: model_errc (bad_file, bad_config, missing_tensor, shape_mismatch, dtype_mismatch,
/// unsupported), text_errc (bad_file, unsupported); operation_aborted when asked to stop.
std::unique_ptr<image_embedder>
load_clip(const std::filesystem::path& dir, const load_options& options = {});

}  // namespace modelpool::models

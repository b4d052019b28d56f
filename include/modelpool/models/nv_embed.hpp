#pragma once

#include <modelpool/capability/text_embedding.hpp>
#include <modelpool/models/load_options.hpp>

#include <filesystem>
#include <memory>

namespace modelpool::models {

/// Loads an NV-Embed v2 encoder (`model_type` "nvembed") with its tokenizer from a checkpoint
/// folder: Mistral whose tokens see their whole text, an attention to learned latents, and the mean
/// of what does not belong to the prompt. As in the vendor's own `encode`, "</s>" ends every text
/// before it is cut to the limit, and the prompt's tokens are counted without the one that begins a
/// text, so that the last of them stays in the mean.
/// dtype: `automatic` and `f32` compute in f32 on weights that stay in the mapped file as they are
/// stored (f32, f16, bf16); `bf16` computes the layers in bf16, the latents in f32 always. Device:
/// cpu.
/// Runs: blocking, on the calling thread, which is the one that must use and destroy the model.
/// Errors: model_errc (bad_file, bad_config, missing_tensor, shape_mismatch, dtype_mismatch,
/// unsupported), text_errc (bad_file, unsupported); operation_aborted when asked to stop.
std::unique_ptr<embedder>
load_nv_embed(const std::filesystem::path& dir, const load_options& options = {});

}  // namespace modelpool::models

#pragma once

#include <modelpool/capability/text_embedding.hpp>
#include <modelpool/models/load_options.hpp>

#include <filesystem>
#include <memory>

namespace modelpool::models {

/// Loads a Stella v5 encoder with its tokenizer, pooling and heads from a checkpoint folder: 1.5B
/// is a Qwen2 model whose tokens see their whole text (`model_type` "qwen2"), 400M has an
/// architecture of its own ("new"), which GTE v1.5 shares. A row is the tokens' mean through one of
/// the folders "2_Dense_{size}", and `embedder_info::dimensions` lists their sizes. The default is
/// the one that modules.json names, else 1024.
/// dtype: `automatic` and `f32` compute in f32 on weights that stay in the mapped file as they are
/// stored (f32, f16, bf16); `bf16` computes the layers in bf16; heads are f32 always. Device: cpu.
/// Runs: blocking, on the calling thread, which is the one that must use and destroy the model.
/// Errors: model_errc (bad_file, bad_config, missing_tensor, shape_mismatch, dtype_mismatch,
/// unsupported), text_errc (bad_file, unsupported); operation_aborted when asked to stop.
std::unique_ptr<embedder>
load_stella(const std::filesystem::path& dir, const load_options& options = {});

}  // namespace modelpool::models

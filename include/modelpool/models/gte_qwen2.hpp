#pragma once

#include <modelpool/capability/text_embedding.hpp>
#include <modelpool/models/load_options.hpp>

#include <filesystem>
#include <memory>

namespace modelpool::models {

/// Loads a Qwen2 model that was trained on into a text encoder (GTE-Qwen2) with its tokenizer and
/// pooling from a checkpoint folder: every token sees its whole text, and the row is that of the
/// last token, which is the end-of-text that the tokenizer adds. The files of sentence-transformers
/// are obeyed where present.
/// dtype: `automatic` and `f32` compute in f32 on weights that stay in the mapped file as they are
/// stored (f32, f16, bf16); `bf16` computes the layers in bf16. Device: cpu.
/// Runs: blocking, on the calling thread, which is the one that must use and destroy the model.
/// Errors: model_errc (bad_file, bad_config, missing_tensor, shape_mismatch, dtype_mismatch,
/// unsupported), text_errc (bad_file, unsupported); operation_aborted when asked to stop.
std::unique_ptr<embedder>
load_gte_qwen2(const std::filesystem::path& dir, const load_options& options = {});

}  // namespace modelpool::models

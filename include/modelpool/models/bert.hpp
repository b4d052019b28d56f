#pragma once

#include <modelpool/capability/text_embedding.hpp>
#include <modelpool/models/load_options.hpp>

#include <filesystem>
#include <memory>

namespace modelpool::models {

/// Loads a BERT encoder with its tokenizer and pooling from a checkpoint folder: the MiniLM family
/// and other sentence-transformers checkpoints whose `model_type` is "bert". The folder's
/// `modules.json`, `1_Pooling/config.json` and `sentence_bert_config.json` are obeyed where
/// present; a plain BERT checkpoint is mean-pooled. dtype: `automatic` and `f32` compute in f32 and
/// use f32 weights in place in the mapped file; `bf16` computes the layers in bf16, several times
/// as fast on a CPU that has it, and then a row agrees with itself in another batch to bf16's
/// rounding only. Device: cpu.
/// Runs: blocking, on the calling thread, which is the one that must use and destroy the model.
/// Errors: model_errc (bad_file, bad_config, missing_tensor, shape_mismatch, dtype_mismatch,
/// unsupported), text_errc (bad_file, unsupported); operation_aborted when asked to stop.
std::unique_ptr<embedder>
load_bert(const std::filesystem::path& dir, const load_options& options = {});

}  // namespace modelpool::models

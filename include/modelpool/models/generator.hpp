#pragma once

#include <modelpool/capability/generation.hpp>
#include <modelpool/models/load_options.hpp>

#include <filesystem>
#include <memory>

namespace modelpool::models {

/// Loads a text generation model of the architectures llama, qwen2, qwen3, qwen3moe, phi3 and
/// deepseek2 with its tokenizer and chat template: from a GGUF file (of a split one, the first
/// part), from a folder of GGUF files, or from one as transformers writes it (config.json,
/// safetensors in f32, f16 or bf16).
///
/// Weights are computed on as they are stored, quantised ones as blocks. Where they take at most
/// half of the machine's memory, quantised ones are copied once into the order that the kernels
/// read fastest, and the file's pages are given back; otherwise all stay in the mapped file. The
/// numbers are the same either way. A token's numbers do not depend on what else is in its step,
/// nor on the number of threads.
/// dtype: `automatic` and `f32`, which compute in f32; of safetensors also `q8_0` and `q4_k`, which
/// round the matrices to blocks while they are read, on the options' threads, and copy them: besides
/// the result this takes the blocks of one matrix. The output takes Q6_K in `q4_k`; routers, and
/// rows that are no whole blocks of any type, stay as stored. Device: cpu.
/// Runs: blocking, on the calling thread, which is the one that must use and destroy the model.
/// Errors: model_errc (bad_file, bad_config, missing_tensor, shape_mismatch, dtype_mismatch,
/// unsupported), text_errc (bad_file, unsupported); operation_aborted when asked to stop.
std::unique_ptr<generator>
load_generator(const std::filesystem::path& path, const load_options& options = {});

}  // namespace modelpool::models

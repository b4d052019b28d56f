#pragma once

#include <modelpool/capability/generation.hpp>
#include <modelpool/models/load_options.hpp>

#include <filesystem>
#include <memory>

namespace modelpool::models {

/// Loads a LLaVA 1.5 model: the vision tower of CLIP, the projector, the decoder with its tokenizer
/// and chat template, and the preprocessing. `path` is a folder as transformers writes it
/// (config.json, preprocessor_config.json, safetensors), or a GGUF file, or a folder with one, beside
/// which lies that of the image encoder, with "mmproj" in its name. The decoder is what `load_generator` loads; an image takes the
/// positions of a prompt where the text has its mark, and requests share what images have in
/// common as they share text.
///
/// dtype, device, weights: as `load_generator`. Images are encoded in f32, one at a time, when a
/// step first needs them; a replica keeps those that it used last, counted in its `bytes`.
/// Runs: blocking, on the calling thread, which is the one that must use and destroy the model.
/// Errors: model_errc (bad_file, bad_config, missing_tensor, shape_mismatch, dtype_mismatch,
/// unsupported), text_errc (bad_file, unsupported); operation_aborted when asked to stop.
std::unique_ptr<generator>
load_llava(const std::filesystem::path& path, const load_options& options = {});

}  // namespace modelpool::models

#pragma once

#include <filesystem>
#include <memory>

#include "image/preprocessor.hpp"
#include "models/llava_config.hpp"
#include "weights/gguf.hpp"
#include "weights/safetensors.hpp"

namespace modelpool::models {

/// The image encoder of a LLaVA model in a GGUF file of its own, which lies beside that of the
/// decoder: "mmproj-model-f16.gguf".
/// Source of the keys and names: https://github.com/ggml-org/llama.cpp/blob/master/gguf-py/gguf/constants.py
/// and tools/mtmd/legacy-models/convert_image_encoder_to_gguf.py there. The converter leaves out
/// the layers that are not looked at, so that all layers of a file are computed. Images are resized
/// and cropped as the checkpoint in its original format says, not padded.

/// What the file says of itself. `image_token` stands for nothing.
/// Errors: model_errc::bad_file; model_errc::unsupported for another kind of encoder, by name.
llava_config read_mmproj_config(const weights::gguf_header& header);

/// The preprocessing that it asks for. Errors: model_errc::bad_file.
images::image_preprocessor
read_mmproj_preprocessor(const weights::gguf_header& header, const llava_config& config);

/// The tensors by the names that transformers gives them. Quantised ones are widened to f32.
/// Errors: those of gguf_file::blocking_open; model_errc::unsupported for types that are not
/// computed on.
std::shared_ptr<const weights::checkpoint>
read_mmproj_weights(std::shared_ptr<const weights::gguf_file> file, const llava_config& config);

}  // namespace modelpool::models

#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "models/diffusion_config.hpp"
#include "models/diffusion_weights.hpp"
#include "models/image_pipeline.hpp"
#include "support/json.hpp"

namespace modelpool::models {

/// An image pipeline on this machine: every file found and its header checked, no tensor read.
struct found_pipeline {
    struct part {
        support::json_file config;
        std::shared_ptr<const part_source> tensors;
    };

    pipeline_kind kind{pipeline_kind::flux};
    std::string name;                      ///< the path it was asked for by
    std::map<diffusion_part, part> parts;  ///< `t5` may be absent in a Stable Diffusion 3
    std::map<diffusion_part, std::filesystem::path> tokenizers;  ///< of the encoders
    support::json_file scheduler;
};

/// Whether a folder or file may hold an image pipeline: it has a model_index.json, a transformer of
/// one in the layout of diffusers or as one file, or is such a file. Reads headers at most.
/// Errors: none: what cannot be read is no pipeline.
bool blocking_is_pipeline(const std::filesystem::path& path);

/// Finds what a pipeline is made from. `path` is a folder in the layout of diffusers, or one that
/// holds the makers' single files (flux1-schnell.safetensors with ae.safetensors,
/// sd3.5_large_turbo.safetensors, text_encoders/), or a mixture; or the transformer's own file,
/// safetensors or GGUF, whose folder then has the rest. Parts come from the folders of diffusers
/// where they hold weights, else from single files; the other way round where a file is asked for.
/// Errors: model_errc::bad_file, one sentence that names everything that is missing, or a file that
/// is malformed; model_errc::bad_config; model_errc::unsupported for a pipeline of another kind.
found_pipeline blocking_find_pipeline(const std::filesystem::path& path);

/// Reads the tokenizers. Errors: text_errc; model_errc::bad_file.
image_pipeline_files blocking_to_files(const found_pipeline& found);

}  // namespace modelpool::models

#pragma once

#include <cstdint>
#include <string>

#include "support/json.hpp"
#include "torch/autoencoder_config.hpp"
#include "torch/t5_config.hpp"

namespace modelpool::models {

/// The config.json of an image autoencoder (AutoencoderKL).
/// Source: https://github.com/huggingface/diffusers/blob/v0.36.0/src/diffusers/models/autoencoders/autoencoder_kl.py
/// Errors: model_errc::bad_config; model_errc::unsupported for a variant, by its name.
nn::autoencoder_config read_autoencoder_config(const support::json_file& file);

/// The config.json of a T5 encoder, version 1.1. Errors: as `read_autoencoder_config`.
/// Source: https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/t5/configuration_t5.py
nn::t5_config read_t5_config(const support::json_file& file);

/// Refuses a config.json of another class of diffusers, and one that is no object.
void need_class(const support::json_file& file, const std::string& expected);

/// A size between 1 and what no real model has, or `usual` where the file does not say.
std::int64_t size_or(const support::json_file& file, const std::string& key, std::int64_t usual);

}  // namespace modelpool::models

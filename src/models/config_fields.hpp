#pragma once

#include <cstdint>
#include <string>

#include "support/json.hpp"
#include "torch/activation.hpp"
#include "torch/llama_encoder_config.hpp"

namespace modelpool::models {

/// Throws model_errc::unsupported: "<file>: <sentence>".
[[noreturn]] void refuse(const support::json_file& file, const std::string& sentence);

/// Refuses a file whose `model_type` is another one.
void need_model_type(const support::json_file& file, const std::string& expected);

/// Refuses decoders that read other texts' states, and everything that is one.
void need_encoder(const support::json_file& file);

/// `hidden_act`, or what another key names; refuses those that are not computed here.
nn::activation
read_activation(const support::json_file& file, const std::string& key, const std::string& usual);

/// An epsilon in [0, 1).
double read_epsilon(const support::json_file& file, const std::string& key, double usual);

/// `rope_theta`, the base of rotary positions.
double read_rope_theta(const support::json_file& file, double usual);

/// A size of a model, in a range no real one leaves.
std::int64_t need_size(const support::json_file& file, const std::string& key);

/// Refuses a `part` that does not divide `whole`.
void need_multiple(
    const support::json_file& file, const std::string& whole_key, const std::string& part_key);

/// The sizes that Llama's descendants share; `qkv_bias` is the family's to say.
nn::llama_encoder_config read_llama_config(const support::json_file& file);

/// An object inside a configuration as a file of its own, whose errors name both.
support::json_file inner_config(const support::json_file& file, const std::string& key);

}  // namespace modelpool::models

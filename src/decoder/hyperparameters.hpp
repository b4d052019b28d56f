#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "support/json.hpp"
#include "weights/gguf_checkpoint.hpp"

namespace modelpool::decoder {

/// How rotary positions are stretched beyond the context that a model was trained with.
struct rope_scaling {
    enum class kind { none = 1, linear, yarn, llama3, longrope };

    kind type{kind::none};
    double factor{1};
    std::int64_t original_context{0};
    double beta_fast{32};  ///< yarn: rotations in the original context that stay as they are,
    double beta_slow{1};   ///< and those that are stretched whole
    /// yarn and longrope: what cosines and sines are multiplied with; 0: by the method's formula
    double attention_factor{0};
    /// yarn of deepseek2: softmax is scaled by (1 + this * ln factor) squared
    double log_multiplier{0};
    double low_frequency_factor{1};    ///< llama3
    double high_frequency_factor{4};   ///< llama3
    std::vector<float> short_factors;  ///< longrope: of positions in the original context
    std::vector<float> long_factors;   ///< longrope: of later ones
};

/// What a file says of a decoder, in the words of no family. A number that the file does not give
/// is 0 where no other is said.
struct hyperparameters {
    std::string file;          ///< for messages
    std::string architecture;  ///< as GGUF names it: "qwen3moe"
    bool from_gguf{false};

    std::int64_t n_layers{0};
    std::int64_t context_length{0};
    std::int64_t hidden{0};
    std::int64_t n_feed_forward{0};
    std::int64_t n_heads{0};
    std::int64_t n_kv_heads{0};
    std::int64_t key_size{0};    ///< of a head
    std::int64_t value_size{0};  ///< of a head
    std::int64_t n_rotary{0};    ///< of a head's numbers, those that positions rotate
    std::int64_t vocab_size{0};
    std::int64_t sliding_window{0};  ///< positions a token sees; 0: all
    double norm_epsilon{0};
    double rope_base{10'000};
    rope_scaling scaling;

    // mixtures of experts
    std::int64_t n_experts{0};
    std::int64_t n_experts_used{0};
    std::int64_t n_expert_feed_forward{0};
    std::int64_t n_shared_experts{0};
    std::int64_t n_leading_dense{0};
    std::int64_t n_expert_groups{1};
    std::int64_t n_expert_groups_used{1};
    bool expert_sigmoid{false};    ///< scores by sigmoid, not softmax
    bool expert_normalise{false};  ///< the weights of those used are made to add up to 1
    bool expert_normalise_given{false};
    double expert_scale{1};

    // latent attention
    std::int64_t q_rank{0};
    std::int64_t kv_rank{0};

    /// Throws model_errc::unsupported: "<file>: <sentence>".
    [[noreturn]] void refuse(const std::string& sentence) const;
    /// Throws model_errc::bad_config: "<file>: <sentence>".
    [[noreturn]] void fail(const std::string& sentence) const;
};

/// Those of a GGUF file: "general.architecture", and the keys that begin with its name. Sizes are
/// in ranges no real model leaves, so that their products can be counted.
/// Errors: model_errc::bad_file for keys that are missing or out of range; model_errc::unsupported.
hyperparameters read_hyperparameters(const weights::gguf_checkpoint& file);

/// Those of a config.json as transformers writes it; `architecture` is the GGUF name of its
/// `model_type`. Errors: model_errc::bad_config, model_errc::unsupported.
hyperparameters
read_hyperparameters(const support::json_file& config, const std::string& architecture);

}  // namespace modelpool::decoder

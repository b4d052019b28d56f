#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "models/pooling.hpp"

namespace modelpool::models {

/// The activation of a Dense module.
enum class dense_activation { identity, tanh, relu, gelu, sigmoid, silu };

/// A Dense module: activation(x · weightᵀ + bias), plus x where `residual` says so.
struct dense_config {
    std::filesystem::path dir;  ///< holds the module's weights
    std::size_t in_features{0};
    std::size_t out_features{0};
    bool bias{true};
    bool residual{false};
    dense_activation activation{dense_activation::tanh};
};

/// A Normalize module: scales a row to unit length.
struct normalize_config {};

using head_step = std::variant<dense_config, normalize_config>;

/// What the files of sentence-transformers say of a checkpoint, apart from its weights.
/// Source: https://github.com/huggingface/sentence-transformers/tree/v6.2.0
struct sentence_modules {
    /// Holds config.json, the tokenizer and the encoder's weights: the checkpoint's folder, or
    /// "0_Transformer" in it.
    std::filesystem::path transformer_dir;
    models::pooling pooling;
    bool pooling_given{
        false};  ///< by a Pooling module; otherwise the family may know better than the mean
    /// What the pooling says its input's size is.
    std::optional<std::size_t> pooling_dim;
    /// What follows the pooling. A Normalize at the end is left out: rows are scaled by whoever
    /// asks for it.
    std::vector<head_step> head;
    /// Where the checkpoint has heads for several sizes of a row ("2_Dense_1024", "2_Dense_256"):
    /// each of them by its size, that of `head` among them. Empty where there is no choice.
    std::map<std::size_t, dense_config> dense_choices;
    /// The limit of tokens a text, special ones included.
    std::optional<std::size_t> max_tokens;
    /// Texts are lower-cased before the tokenizer sees them.
    bool lower_case{false};
    std::map<std::string, std::string> prompts;
    std::optional<std::string> default_prompt;

    /// Numbers of a row, where the encoder's have `hidden_size`.
    std::size_t output_dim(std::size_t hidden_size) const noexcept;
    /// The sizes that a row may have, the smallest first.
    std::vector<std::size_t> output_dims(std::size_t hidden_size) const;
};

/// Reads modules.json, the Pooling and Dense configurations, sentence_bert_config.json,
/// config_sentence_transformers.json and the limit in tokenizer_config.json, each where present. A
/// checkpoint without modules.json is mean-pooled, and goes through its "2_Dense_1024" or else the
/// smallest of its "2_Dense_{size}" folders, where it has such.
/// Errors: model_errc::bad_file (not JSON), model_errc::bad_config (a field missing, of the wrong
/// type or out of range), model_errc::unsupported (a module or an activation by its name).
sentence_modules blocking_read_sentence_modules(const std::filesystem::path& dir);

/// Throws model_errc::bad_config where the modules do not fit an encoder of `hidden_size`: `dir` is
/// for the message.
void check_dimensions(
    const sentence_modules& modules, std::size_t hidden_size, const std::filesystem::path& dir);

}  // namespace modelpool::models

#pragma once

#include <modelpool/capability/model.hpp>

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <map>
#include <optional>
#include <vector>

#include "models/sentence_transformers.hpp"
#include "torch/weight_reader.hpp"

namespace modelpool::models {

/// The Dense and Normalize modules that follow the pooling of a sentence-transformers checkpoint,
/// in f32. Immutable once read.
class sentence_head {
public:
    /// Errors: those of weights::checkpoint and nn::weight_reader, for each Dense module's own
    /// folder.
    static sentence_head blocking_read(const sentence_modules& modules, const stop_flag& stop);

    bool empty() const noexcept { return steps_.empty(); }
    /// rows: [n_texts, pooled dimension]; result: [n_texts, output dimension].
    at::Tensor run(const at::Tensor& rows) const;
    /// The same with the head for rows of `dim` numbers, one of `sentence_modules::output_dims`.
    at::Tensor run(const at::Tensor& rows, std::size_t dim) const;

    const nn::weight_footprint& footprint() const noexcept { return footprint_; }

private:
    struct dense {
        dense_activation activation{dense_activation::tanh};
        bool residual{false};
        at::Tensor weight;           // [out, in]
        at::Tensor bias;             // [out]; undefined where there is none
        at::Tensor residual_weight;  // [out, in]; undefined where the input is added as it is

        static dense
        blocking_read(const dense_config& config, const stop_flag& stop, nn::weight_footprint& sum);
        at::Tensor run(const at::Tensor& rows) const;
    };

    std::vector<std::optional<dense>> steps_;  // an empty one normalizes
    std::map<std::size_t, dense> choices_;     // by size of a row; empty where there is one only
    nn::weight_footprint footprint_;
};

}  // namespace modelpool::models

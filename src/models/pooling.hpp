#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

namespace modelpool::models {

/// How the rows of a text's tokens become one row. The names are those of sentence-transformers.
enum class pooling_mode { cls, max, mean, mean_sqrt_len_tokens, weightedmean, lasttoken };

std::string_view to_string(pooling_mode mode) noexcept;

/// One row a text: the results of `modes`, one after the other.
/// Source: https://github.com/huggingface/sentence-transformers/blob/v6.2.0/sentence_transformers/sentence_transformer/modules/pooling.py
struct pooling {
    std::vector<pooling_mode> modes{pooling_mode::mean};
    bool include_prompt{true};  ///< whether the tokens of a prompt take part

    /// Numbers of a pooled row.
    std::size_t output_dim(std::size_t dim) const noexcept { return modes.size() * dim; }
};

/// The final hidden states of one text.
struct token_rows {
    std::span<const float> values;  ///< [n_tokens, dim], row-major
    std::size_t dim{0};
    std::size_t n_prompt_tokens{0};  ///< leading rows left out of the pooling
};

/// Pools one text, in f32 and in the order of its tokens, so that the result depends on nothing else. A text
/// with no row left to pool gives zeroes, except that `cls` is its first row.
std::vector<float> pool(const pooling& how, const token_rows& rows);

}  // namespace modelpool::models

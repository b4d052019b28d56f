#pragma once

#include <cstdint>

namespace modelpool::nn {

/// The sizes of a T5 encoder. Apart from it, so that a checkpoint can be looked at without
/// libtorch.
struct t5_config {
    std::int64_t vocab_size{0};
    std::int64_t d_model{0};
    std::int64_t d_kv{0};  ///< of each head
    std::int64_t d_ff{0};
    std::int64_t n_layers{0};
    std::int64_t n_heads{0};
    std::int64_t n_buckets{32};      ///< of relative positions, both directions together
    std::int64_t max_distance{128};  ///< from here on they share a bucket
    double epsilon{1e-6};
};

}  // namespace modelpool::nn

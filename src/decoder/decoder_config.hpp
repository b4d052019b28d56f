#pragma once

#include <vector>

#include "decoder/hyperparameters.hpp"
#include "decoder/rope.hpp"

namespace modelpool::decoder {

/// What a family makes of its hyperparameters: which parts its layers have. A part that the sizes
/// say nothing of (biases, norms of queries and keys, experts of a layer) is there where the
/// checkpoint has its tensors.
struct decoder_config {
    hyperparameters sizes;
    rope_pairs pairs{rope_pairs::halves};
    bool fused_qkv{false};         ///< one matrix of queries, keys and values: "attn_qkv"
    bool fused_gate_up{false};     ///< "ffn_up" holds the gate first
    bool takes_biases{false};      ///< of queries, keys and values
    bool takes_head_norms{false};  ///< of each head's queries and keys, before positions
    bool latent_attention{false};  ///< arXiv:2405.04434, §2.1
    float softmax_scale{1.0F};
};

}  // namespace modelpool::decoder

#pragma once

#include <cstddef>
#include <cstdint>

#include "support/json.hpp"
#include "torch/llama_encoder_config.hpp"

namespace modelpool::models {

/// The fields of an NV-Embed v2 config.json that its computation depends on.
/// Source: https://huggingface.co/nvidia/NV-Embed-v2/blob/main/configuration_nvembed.py
struct nv_embed_config {
    nn::llama_encoder_config text;
    std::int64_t n_latents{512};
    std::int64_t n_heads{8};
    std::int64_t head_size{4096};  ///< of each head, so that all of them are wider than the states
    bool normalize{false};
    bool mask_instruction{true};

    /// Errors: model_errc::bad_config (a field missing, of the wrong type or out of range),
    /// model_errc::unsupported (another architecture, or a variant of this one, by name).
    static nv_embed_config read(const support::json_file& file);

    /// Latents of all heads side by side.
    std::int64_t latent_width() const noexcept { return n_heads * n_latents; }
    /// Bytes of the matrices that the latents are folded into, in f32.
    std::size_t folded_bytes() const noexcept;
    /// Bytes of the temporaries of one replica that computes `n_rows` tokens at once.
    std::size_t scratch_bytes(std::int64_t n_rows, std::size_t element_bytes) const noexcept;
};

}  // namespace modelpool::models

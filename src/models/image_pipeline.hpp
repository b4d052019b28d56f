#pragma once

#include <modelpool/capability/text_to_image.hpp>
#include <modelpool/models/load_options.hpp>
#include <modelpool/text/tokenizer.hpp>

#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include "support/json.hpp"
#include "weights/tensor_source.hpp"

namespace modelpool::models {

/// One network of an image pipeline: what its config.json says, and its tensors by the names of the
/// diffusers or transformers class ("transformer_blocks.0.attn.to_q.weight",
/// "encoder.block.0.layer.0.SelfAttention.q.weight", "text_model.embeddings.token_embedding.weight",
/// "decoder.mid_block.attentions.0.to_q.weight").
///
/// Tensors whose original form differs come in the form of these classes: linears of the VAE's
/// attention have two dimensions, fused projections come apart, and of the last modulations
/// (`norm_out.linear`, the last `norm1_context.linear` of SD3) the scale comes first. T5's embedding
/// table is "shared.weight". Both sources of names and shapes:
/// https://github.com/huggingface/diffusers/tree/v0.36.0/src/diffusers/models
/// https://github.com/huggingface/transformers/tree/v5.23.0/src/transformers/models
struct image_component {
    support::json_file config;
    std::shared_ptr<const weights::tensor_source> tensors;
};

/// How one text encoder's prompts become ids. They are cut to the encoder's length, and filled up
/// to it with `pad_id`.
struct prompt_tokenizer {
    text::tokenizer tokenizer;
    text::token_id pad_id{0};  ///< of `pad_token` in tokenizer_config.json
};

/// Everything a pipeline is made from, by the folders of the diffusers layout. All files are opened
/// and their headers checked, so whatever is missing has been said; no tensor has been read.
struct image_pipeline_files {
    std::string name;  ///< the folder, for messages
    image_component transformer;
    image_component vae;
    image_component text_encoder;                   ///< CLIP-L
    image_component text_encoder_2;                 ///< FLUX: T5; SD3: CLIP-G
    std::optional<image_component> text_encoder_3;  ///< SD3: T5
    prompt_tokenizer tokenizer;
    prompt_tokenizer tokenizer_2;
    std::optional<prompt_tokenizer> tokenizer_3;
    support::json_file scheduler;  ///< scheduler_config.json
};

/// What of an image pipeline stays in memory between its phases.
enum class component_memory {
    together = 1,  ///< everything, once loaded
    in_turn        ///< encoders, transformer and decoder only while they work, one after another
};

/// How an image pipeline is loaded.
struct image_load_options {
    /// dtype: `automatic` and `f32` compute in f32 with weights kept as stored; `bf16` computes the
    /// layers in bf16; `q8_0` and `q4_k` store the linears of the transformer and of T5 as such
    /// blocks, and compute in bf16 where the processor has tiles for it, else in f32. Tensors that
    /// are stored as blocks stay such, whatever the dtype; in bf16 they are widened to bf16 on the
    /// way into a product of many rows.
    load_options base;
    component_memory memory{component_memory::together};
    /// The most that a part takes which is loaded in turn: each replica counts it as its own.
    std::size_t turn_bytes{0};
    /// What a request leaves open, where the caller knows more of the checkpoint than its files
    /// say. 0 and nothing: 4 steps without guidance, but 28 with 3.5 for a FLUX that is told of
    /// its guidance.
    std::size_t default_steps{0};
    std::optional<float> default_guidance;
};

/// Makes a FLUX.1 pipeline (FluxPipeline). With `together` all tensors are read now, otherwise only
/// those of the autoencoder's decoder.
///
/// What it makes: a seed draws the noise that torch's generator for the CPU draws, in f32, so the
/// reference begins from the same with the same seed. An image to begin from is scaled to the size
/// asked for, and encoded; latents that are given with it take the place of the noise. Prompts are
/// cut to their limit of tokens, as by the reference. A preview decodes what the latest step would
/// lead to at once, from at most 16 latents along a side. The states of the last 8 prompts are
/// kept. A stop is heeded between the blocks of every network; the call then returns any value.
/// Requests are refused before anything is computed: errc::invalid_argument for sizes, counts,
/// strengths and latents that do not fit; errc::unsupported for a negative prompt that the family
/// has no use for; text_errc::too_long for prompts of more than 1 MiB; text_errc::not_utf8.
/// Runs: blocking, on the calling thread, which is the one that must use and destroy the model.
/// Errors: model_errc::bad_config, missing_tensor, shape_mismatch, dtype_mismatch, unsupported;
/// operation_aborted when asked to stop.
std::unique_ptr<image_generator>
make_flux(image_pipeline_files files, const image_load_options& options);

/// Makes a Stable Diffusion 3 or 3.5 pipeline (StableDiffusion3Pipeline). Without `text_encoder_3`
/// its part of the prompt is zeros, as in the reference. Otherwise as `make_flux`.
std::unique_ptr<image_generator>
make_sd3(image_pipeline_files files, const image_load_options& options);

}  // namespace modelpool::models

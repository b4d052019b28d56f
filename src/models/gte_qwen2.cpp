// GTE-Qwen2 encoders for text embedding: Qwen2 whose tokens see their whole text, pooled at the
// last one.
//
// Paper:      https://arxiv.org/abs/2308.03281
// Upstream:   https://huggingface.co/Alibaba-NLP/gte-Qwen2-1.5B-instruct/blob/main/modeling_qwen.py
// Checkpoint: https://huggingface.co/Alibaba-NLP/gte-Qwen2-1.5B-instruct

#include <modelpool/models/gte_qwen2.hpp>

#include <c10/core/InferenceMode.h>

#include <utility>

#include "models/llama_embedder.hpp"
#include "models/qwen2_config.hpp"
#include "support/json.hpp"
#include "torch/errors.hpp"

namespace modelpool::models {

std::unique_ptr<embedder>
load_gte_qwen2(const std::filesystem::path& dir, const load_options& options)
{
    return nn::translated("loading " + dir.string(), [&]() -> std::unique_ptr<embedder> {
        const c10::InferenceMode no_autograd;
        sentence_modules modules = blocking_read_sentence_modules(dir);
        if (!modules.pooling_given) modules.pooling.modes = {pooling_mode::lasttoken};
        const nn::llama_encoder_config config =
            read_qwen2_encoder_config(support::json_file::blocking_read(
                modules.transformer_dir / "config.json", model_errc::bad_config));
        auto parts = std::make_shared<llama_embedder_parts>(llama_embedder_parts{
            embedder_parts::blocking_read(
                "gte-qwen2", std::move(modules), size_of(config), options),
            {}});
        blocking_read_encoder(*parts, config, "model", options.stop());
        return make_llama_embedder(std::move(parts));
    });
}

}  // namespace modelpool::models

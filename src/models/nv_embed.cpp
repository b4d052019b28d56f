// NV-Embed v2 for text embedding: Mistral whose tokens see their whole text, then attention to
// learned latents.
//
// Paper:      https://arxiv.org/abs/2405.17428
// Upstream:   https://huggingface.co/nvidia/NV-Embed-v2/blob/main/modeling_nvembed.py
// Checkpoint: https://huggingface.co/nvidia/NV-Embed-v2

#include <modelpool/models/nv_embed.hpp>

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/softmax.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "models/llama_embedder.hpp"
#include "models/nv_embed_config.hpp"
#include "support/json.hpp"
#include "support/stop.hpp"
#include "torch/errors.hpp"
#include "torch/layers.hpp"
#include "torch/scratch.hpp"
#include "torch/stored_linear.hpp"
#include "torch/threads.hpp"
#include "weights/safetensors.hpp"

namespace modelpool::models {
namespace {

namespace fs = std::filesystem;
using support::json_file;
using bias = nn::stored_linear::bias;

constexpr auto f32 = c10::ScalarType::Float;
// The vendor's `nn.LayerNorm` has no epsilon of its own.
constexpr double norm_epsilon = 1e-5;

// ---- latent attention ----------------------------------------------------------------------------------

// Tokens attend to latents that are the same for every text, so what the checkpoint computes keys
// and values with is multiplied out once: scores are x · keysᵀ and what attention makes of them is
// weights · values.
struct folded_latents {
    at::Tensor keys;    // [n_heads * n_latents, hidden_size] f32, scaled by 1/sqrt(head size)
    at::Tensor values;  // [n_heads * n_latents, hidden_size] f32

    static folded_latents
    read(const nn::weight_reader& reader, const nv_embed_config& config, const stop_flag& stop)
    {
        const std::int64_t hidden = config.text.hidden_size;
        const std::int64_t size = config.head_size;
        const std::int64_t inner = config.n_heads * size;
        const nn::weight_reader cross = reader.in("cross_attend_blocks.0");
        const at::Tensor latents =
            nn::layer_norm::read(cross.in("norm_context"), hidden, norm_epsilon)
                .run(reader.read("latents", {config.n_latents, hidden}, f32));
        const at::Tensor to_q = cross.stored("fn.to_q.weight", {inner, hidden});
        const at::Tensor to_kv = cross.stored("fn.to_kv.weight", {2 * inner, hidden});
        const at::Tensor to_out = cross.stored("fn.to_out.weight", {hidden, inner});
        folded_latents result;
        result.keys = at::empty({config.latent_width(), hidden}, at::TensorOptions{}.dtype(f32));
        result.values = at::empty_like(result.keys);
        const double scale = 1 / std::sqrt(static_cast<double>(size));
        for (std::int64_t head = 0; head < config.n_heads; ++head) {
            support::end_if_stopped(stop, "loading NV-Embed's latents");
            const auto rows = [&](const at::Tensor& weight, std::int64_t first) {
                return weight.narrow(0, first + head * size, size).to(f32);
            };
            at::Tensor keys = result.keys.narrow(0, head * config.n_latents, config.n_latents);
            at::Tensor values = result.values.narrow(0, head * config.n_latents, config.n_latents);
            at::mm_out(keys, at::mm(latents, rows(to_kv, 0).t()), rows(to_q, 0));
            keys.mul_(scale);
            const at::Tensor out = to_out.narrow(1, head * size, size).to(f32);
            at::mm_out(values, at::mm(latents, rows(to_kv, inner).t()), out.t());
        }
        return result;
    }
};

struct latent_attention {
    nn::layer_norm attention_norm;
    folded_latents latents;
    nn::layer_norm feed_forward_norm;
    nn::stored_linear up;    // net.0: what is multiplied, then what goes through GELU
    nn::stored_linear down;  // net.2
};

// What replicas share.
struct nv_shared : llama_embedder_parts {
    nv_embed_config config;
    latent_attention latent;
};

// ---- forward -------------------------------------------------------------------------------------------

class nv_embedder final : public packed_embedder {
public:
    explicit nv_embedder(std::shared_ptr<const nv_shared> shared)
        : packed_embedder{shared}
        , shared_{std::move(shared)}
        , scratch_{shared_->encoder}
        , scores_{shared_->config.latent_width(), f32}
        , inner_{8 * shared_->config.text.hidden_size, f32}
    {}

    std::unique_ptr<embedder> replicate() const override
    {
        return std::make_unique<nv_embedder>(shared_);
    }

private:
    at::Tensor
    encode(const at::Tensor& ids, const nn::packed_block& block, run_context& context) override
    {
        const at::Tensor hidden = shared_->encoder.run(ids, block, scratch_, context);
        nn::use_threads(context.n_threads());
        for (std::int64_t first = 0; first < block.n_rows; first += nn::default_block_rows) {
            if (context.stop_requested()) return hidden;
            const std::int64_t n = std::min(nn::default_block_rows, block.n_rows - first);
            const at::Tensor rows = hidden.narrow(0, first, n);
            attend_to_latents(rows);
            feed_forward(rows);
        }
        return hidden;
    }

    // hidden: [n, hidden_size] f32, added to.
    void attend_to_latents(at::Tensor hidden)
    {
        const latent_attention& latent = shared_->latent;
        const nv_embed_config& config = shared_->config;
        at::Tensor scores = scores_.rows(hidden.size(0));
        at::mm_out(scores, latent.attention_norm.run(hidden), latent.latents.keys.t());
        const at::Tensor weights =
            at::softmax(scores.view({-1, config.n_heads, config.n_latents}), -1).view_as(scores);
        hidden.addmm_(weights, latent.latents.values);
    }

    void feed_forward(const at::Tensor& hidden)
    {
        const latent_attention& latent = shared_->latent;
        const std::int64_t width = 4 * shared_->config.text.hidden_size;
        const at::Tensor inner = inner_.rows(hidden.size(0));
        latent.up.run(latent.feed_forward_norm.run(hidden), inner, room_);
        at::Tensor gate = inner.narrow(1, width, width);
        nn::apply(nn::activation::gelu, gate);
        latent.down.add_to(gate.mul_(inner.narrow(1, 0, width)), hidden, room_);
    }

    std::shared_ptr<const nv_shared> shared_;
    nn::llama_encoder::scratch scratch_;
    nn::row_buffer scores_;
    nn::row_buffer inner_;
    nn::widening_buffer room_;
};

// ---- loading -------------------------------------------------------------------------------------------

void read_latent_attention(nv_shared& shared, const stop_flag& stop)
{
    const auto source = weights::checkpoint::blocking_open(shared.modules.transformer_dir);
    const std::int64_t hidden = shared.config.text.hidden_size;
    // What is folded is read on an account of its own, since nothing of it is kept.
    const nn::weight_reader passing = nn::weight_reader{source, stop}.in("latent_attention_model");
    shared.latent.latents = folded_latents::read(passing, shared.config, stop);
    const nn::weight_reader kept = nn::weight_reader{source, stop}.in("latent_attention_model");
    const nn::weight_reader attend = kept.in("cross_attend_blocks.0");
    const nn::weight_reader feed = kept.in("cross_attend_blocks.1");
    latent_attention& latent = shared.latent;
    latent.attention_norm = nn::layer_norm::read(attend.in("norm"), hidden, norm_epsilon);
    latent.feed_forward_norm = nn::layer_norm::read(feed.in("norm"), hidden, norm_epsilon);
    latent.up =
        nn::stored_linear::read(feed, "fn.net.0", {hidden, 8 * hidden}, {f32, bias::stored});
    latent.down =
        nn::stored_linear::read(feed, "fn.net.2", {4 * hidden, hidden}, {f32, bias::stored});
    shared.add_weights(kept.footprint());
    shared.weights.copied_bytes += shared.config.folded_bytes();
    kept.drop_pages();
}

// "</s>", unless tokenizer_config.json names another end of text.
std::string end_of_text(const fs::path& dir)
{
    const std::string usual = "</s>";
    const fs::path path = dir / "tokenizer_config.json";
    std::error_code ignored;
    if (!fs::exists(path, ignored)) return usual;
    const json_file file = json_file::blocking_read(path, model_errc::bad_config);
    if (!file.root().is_object()) return usual;
    const auto token = file.root().find("eos_token");
    if (token == file.root().end()) return usual;
    const nlohmann::json text =
        token->is_object() ? token->value("content", nlohmann::json{}) : *token;
    return text.is_string() ? text.get<std::string>() : usual;
}

// The vendor's own pooling goes before what modules.json says.
text_rules vendor_rules(sentence_modules& modules, const nv_embed_config& config)
{
    modules.pooling.modes = {pooling_mode::mean};
    modules.pooling.include_prompt = !config.mask_instruction;
    if (config.normalize) modules.head.emplace_back(normalize_config{});
    text_rules rules;
    if (config.mask_instruction) rules.count = prompt_count::prompt_alone;
    rules.suffix = end_of_text(modules.transformer_dir);
    return rules;
}

}  // namespace

std::unique_ptr<embedder> load_nv_embed(const fs::path& dir, const load_options& options)
{
    return nn::translated("loading " + dir.string(), [&]() -> std::unique_ptr<embedder> {
        const c10::InferenceMode no_autograd;
        sentence_modules modules = blocking_read_sentence_modules(dir);
        const nv_embed_config config = nv_embed_config::read(json_file::blocking_read(
            modules.transformer_dir / "config.json", model_errc::bad_config));
        text_rules rules = vendor_rules(modules, config);
        auto shared = std::make_shared<nv_shared>(nv_shared{
            {embedder_parts::blocking_read(
                 "nv-embed", std::move(modules), size_of(config.text), options, std::move(rules)),
             {}},
            config,
            {}});
        blocking_read_encoder(*shared, config.text, "embedding_model", options.stop());
        read_latent_attention(*shared, options.stop());
        shared->replica_bytes =
            config.scratch_bytes(shared->max_block_rows(), c10::elementSize(shared->dtype));
        return std::make_unique<nv_embedder>(std::move(shared));
    });
}

}  // namespace modelpool::models

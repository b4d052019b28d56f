// Jina-BERT v2 encoders for text embedding: positions are penalties on attention (ALiBi), the
// feed-forward is gated.
//
// Paper:      https://arxiv.org/abs/2310.19923
// Upstream:   https://huggingface.co/jinaai/jina-bert-implementation/blob/main/modeling_bert.py
// Checkpoint: https://huggingface.co/jinaai/jina-embeddings-v2-base-en

#include <modelpool/models/jina_bert.hpp>

#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <utility>

#include "models/jina_bert_config.hpp"
#include "models/packed_embedder.hpp"
#include "support/json.hpp"
#include "torch/attention.hpp"
#include "torch/errors.hpp"
#include "torch/layers.hpp"
#include "torch/scratch.hpp"
#include "torch/stored_linear.hpp"
#include "torch/threads.hpp"
#include "torch/weight_reader.hpp"
#include "weights/safetensors.hpp"

namespace modelpool::models {
namespace {

namespace fs = std::filesystem;
using bias = nn::stored_linear::bias;

// ---- modules, named as the checkpoint's keys -----------------------------------------------------------

struct jina_embeddings {
    at::Tensor word;  // [vocab_size, hidden_size], as stored
    at::Tensor type;  // [hidden_size] f32, the row of token type 0
    nn::layer_norm norm;

    static jina_embeddings read(const nn::weight_reader& reader, const jina_bert_config& config)
    {
        const std::int64_t hidden = config.hidden_size;
        jina_embeddings result;
        result.word = reader.stored("word_embeddings.weight", {config.vocab_size, hidden});
        result.type = reader
                          .read(
                              "token_type_embeddings.weight",
                              {config.type_vocab_size, hidden},
                              c10::ScalarType::Float)
                          .select(0, 0);
        result.norm = nn::layer_norm::read(reader.in("LayerNorm"), hidden, config.layer_norm_eps);
        return result;
    }
};

struct jina_layer {
    nn::stored_linear query;
    nn::stored_linear key;
    nn::stored_linear value;
    nn::stored_linear attention_output;
    nn::layer_norm attention_norm;
    nn::stored_linear
        gated_layers;  // what goes through the activation, then what it is multiplied with
    nn::stored_linear wo;
    nn::layer_norm mlp_norm;

    static jina_layer
    read(const nn::weight_reader& reader, const jina_bert_config& config, c10::ScalarType dtype)
    {
        const std::int64_t hidden = config.hidden_size;
        const std::int64_t inner = config.intermediate_size;
        const double eps = config.layer_norm_eps;
        const auto linear = [&](const char* name, std::int64_t n_in, std::int64_t n_out, bias use) {
            return nn::stored_linear::read(reader, name, {n_in, n_out}, {dtype, use});
        };
        jina_layer result;
        result.query = linear("attention.self.query", hidden, hidden, bias::stored);
        result.key = linear("attention.self.key", hidden, hidden, bias::stored);
        result.value = linear("attention.self.value", hidden, hidden, bias::stored);
        result.attention_output = linear("attention.output.dense", hidden, hidden, bias::stored);
        result.attention_norm =
            nn::layer_norm::read(reader.in("attention.output.LayerNorm"), hidden, eps);
        result.gated_layers = linear("mlp.gated_layers", hidden, 2 * inner, bias::none);
        result.wo = linear("mlp.wo", inner, hidden, bias::stored);
        result.mlp_norm = nn::layer_norm::read(reader.in("mlp.layernorm"), hidden, eps);
        return result;
    }
};

// What replicas share.
struct jina_shared : embedder_parts {
    jina_bert_config config;
    jina_embeddings embeddings;
    std::vector<jina_layer> layers;
};

// ---- forward -------------------------------------------------------------------------------------------

// The buffers of one replica.
struct jina_scratch {
    nn::row_buffer hidden;    // [n, hidden_size] f32
    nn::row_buffer narrowed;  // [n, hidden_size], the hidden states as the layers' dtype
    nn::row_buffer qkv;       // [n, 3 * hidden_size]
    nn::row_buffer context;   // [n, hidden_size]
    nn::row_buffer inner;     // [n, 2 * intermediate_size]
    nn::alibi_attention attention;
    nn::widening_buffer room;

    jina_scratch(const jina_bert_config& config, c10::ScalarType dtype)
        : hidden{config.hidden_size, c10::ScalarType::Float}
        , narrowed{config.hidden_size, dtype}
        , qkv{3 * config.hidden_size, dtype}
        , context{config.hidden_size, dtype}
        , inner{2 * config.intermediate_size, dtype}
        , attention{config.num_attention_heads}
    {}
};

class jina_embedder final : public packed_embedder {
public:
    explicit jina_embedder(std::shared_ptr<const jina_shared> shared)
        : packed_embedder{shared}
        , shared_{std::move(shared)}
        , scratch_{shared_->config, shared_->dtype}
    {}

    std::unique_ptr<embedder> replicate() const override
    {
        return std::make_unique<jina_embedder>(shared_);
    }

private:
    at::Tensor
    encode(const at::Tensor& ids, const nn::packed_block& block, run_context& context) override
    {
        at::Tensor hidden = scratch_.hidden.rows(block.n_rows);
        nn::gather_rows(shared_->embeddings.word, ids, hidden);
        hidden = shared_->embeddings.norm.run(hidden.add_(shared_->embeddings.type));
        for (const jina_layer& layer : shared_->layers) {
            if (context.stop_requested()) return hidden;
            nn::use_threads(context.n_threads());
            attend(layer, block, hidden);
            hidden = layer.attention_norm.run(hidden);
            feed_forward(layer, hidden);
            hidden = layer.mlp_norm.run(hidden);
            context.step_done();
        }
        return hidden;
    }

    // hidden: [n, hidden_size] f32, added to.
    void attend(const jina_layer& layer, const nn::packed_block& block, const at::Tensor& hidden)
    {
        const std::int64_t width = shared_->config.hidden_size;
        const at::Tensor x = as_computed(hidden);
        const at::Tensor qkv = scratch_.qkv.rows(block.n_rows);
        layer.query.run(x, qkv.narrow(1, 0, width), scratch_.room);
        layer.key.run(x, qkv.narrow(1, width, width), scratch_.room);
        layer.value.run(x, qkv.narrow(1, 2 * width, width), scratch_.room);
        at::Tensor context = scratch_.context.rows(block.n_rows);
        scratch_.attention.run(qkv, block.groups, context);
        layer.attention_output.add_to(context, hidden, scratch_.room);
    }

    // A few rows at a time, since the inner states of a long text would not fit the cache.
    void feed_forward(const jina_layer& layer, const at::Tensor& hidden)
    {
        const std::int64_t width = shared_->config.intermediate_size;
        for (std::int64_t first = 0; first < hidden.size(0); first += nn::default_block_rows) {
            const std::int64_t n = std::min(nn::default_block_rows, hidden.size(0) - first);
            const at::Tensor rows = hidden.narrow(0, first, n);
            const at::Tensor inner = scratch_.inner.rows(n);
            layer.gated_layers.run(as_computed(rows), inner, scratch_.room);
            at::Tensor gate = inner.narrow(1, 0, width);
            nn::apply(shared_->config.gate, gate);
            layer.wo.add_to(gate.mul_(inner.narrow(1, width, width)), rows, scratch_.room);
        }
    }

    at::Tensor as_computed(const at::Tensor& hidden)
    {
        return nn::as_dtype(hidden, shared_->dtype, scratch_.narrowed);
    }

    std::shared_ptr<const jina_shared> shared_;
    jina_scratch scratch_;
};

// ---- loading -------------------------------------------------------------------------------------------

void read_weights(jina_shared& shared, const stop_flag& stop)
{
    const nn::weight_reader files{
        weights::checkpoint::blocking_open(shared.modules.transformer_dir), stop};
    // A checkpoint saved from a model with a task's head has the encoder under "bert.".
    const bool nested = files.has("bert.embeddings.word_embeddings.weight");
    const nn::weight_reader reader = files.in(nested ? "bert" : "");
    shared.embeddings = jina_embeddings::read(reader.in("embeddings"), shared.config);
    for (std::int64_t i = 0; i < shared.config.num_hidden_layers; ++i)
        shared.layers.push_back(jina_layer::read(
            reader.in("encoder.layer." + std::to_string(i)), shared.config, shared.dtype));
    shared.add_weights(files.footprint());
    files.drop_pages();
}

}  // namespace

std::unique_ptr<embedder> load_jina_bert(const fs::path& dir, const load_options& options)
{
    return nn::translated("loading " + dir.string(), [&]() -> std::unique_ptr<embedder> {
        const c10::InferenceMode no_autograd;
        sentence_modules modules = blocking_read_sentence_modules(dir);
        const jina_bert_config config = jina_bert_config::read(support::json_file::blocking_read(
            modules.transformer_dir / "config.json", model_errc::bad_config));
        const encoder_size size{
            config.vocab_size, config.hidden_size, config.max_position_embeddings};
        auto shared = std::make_shared<jina_shared>(jina_shared{
            embedder_parts::blocking_read("jina-bert", std::move(modules), size, options),
            config,
            {},
            {}});
        read_weights(*shared, options.stop());
        shared->replica_bytes =
            config.scratch_bytes(shared->max_block_rows(), c10::elementSize(shared->dtype));
        return std::make_unique<jina_embedder>(std::move(shared));
    });
}

}  // namespace modelpool::models

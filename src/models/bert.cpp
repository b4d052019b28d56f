// BERT encoders for text embedding: the MiniLM family, BGE, E5, GTE (v1), LaBSE and others whose
// `model_type` is "bert".
//
// Paper:      https://arxiv.org/abs/1810.04805 (BERT), https://arxiv.org/abs/1908.10084 (Sentence-BERT)
// Upstream:   https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/bert/modeling_bert.py
// Checkpoint: https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2

#include <modelpool/models/bert.hpp>

#include <c10/core/InferenceMode.h>

#include <optional>
#include <utility>

#include "models/bert_config.hpp"
#include "models/packed_embedder.hpp"
#include "support/json.hpp"
#include "torch/errors.hpp"
#include "torch/layers.hpp"
#include "torch/scratch.hpp"
#include "torch/threads.hpp"
#include "torch/tile_encoder.hpp"
#include "torch/tile_reader.hpp"
#include "torch/weight_reader.hpp"
#include "weights/safetensors.hpp"

namespace modelpool::models {
namespace {

namespace fs = std::filesystem;
using support::json_file;

// ---- modules, named as the checkpoint's keys -----------------------------------------------------------

struct bert_embeddings {
    at::Tensor word;  // [vocab_size, hidden_size], as stored
    at::Tensor
        position;  // [max_position_embeddings, hidden_size] f32, with token type 0 added to each row
    nn::layer_norm norm;

    static bert_embeddings read(const nn::weight_reader& reader, const bert_config& config)
    {
        const std::int64_t hidden = config.hidden_size;
        const auto f32 = c10::ScalarType::Float;
        bert_embeddings result;
        result.word = reader.stored("word_embeddings.weight", {config.vocab_size, hidden});
        const at::Tensor position = reader.read(
            "position_embeddings.weight", {config.max_position_embeddings, hidden}, f32);
        const at::Tensor type =
            reader.read("token_type_embeddings.weight", {config.type_vocab_size, hidden}, f32);
        result.position = position.add(type.select(0, 0));
        result.norm = nn::layer_norm::read(reader.in("LayerNorm"), hidden, config.layer_norm_eps);
        return result;
    }
};

struct bert_layer {
    nn::linear attention_self;  // query, key and value
    nn::linear attention_output;
    nn::layer_norm attention_norm;
    nn::linear intermediate;
    nn::linear output;
    nn::layer_norm output_norm;

    static bert_layer
    read(const nn::weight_reader& reader, const bert_config& config, c10::ScalarType dtype)
    {
        const std::int64_t hidden = config.hidden_size;
        const std::int64_t inner = config.intermediate_size;
        const double eps = config.layer_norm_eps;
        bert_layer result;
        result.attention_self = nn::linear::read_fused(
            reader.in("attention.self"), {"query", "key", "value"}, {hidden, hidden}, dtype);
        result.attention_output =
            nn::linear::read(reader, "attention.output.dense", {hidden, hidden}, dtype);
        result.attention_norm =
            nn::layer_norm::read(reader.in("attention.output.LayerNorm"), hidden, eps);
        result.intermediate =
            nn::linear::read(reader, "intermediate.dense", {hidden, inner}, dtype);
        result.output = nn::linear::read(reader, "output.dense", {inner, hidden}, dtype);
        result.output_norm = nn::layer_norm::read(reader.in("output.LayerNorm"), hidden, eps);
        return result;
    }
};

// What replicas share.
struct bert_shared : embedder_parts {
    bert_config config;
    bert_embeddings embeddings;
    std::vector<bert_layer> layers;
    std::shared_ptr<const nn::tile_weights> tiles;  // instead of layers, where they compute
};

nn::tile_shape tiles_of(const bert_config& config, c10::ScalarType dtype)
{
    return config.tiles(
        dtype == c10::ScalarType::Float ? kernels::bf16_parts::two : kernels::bf16_parts::one);
}

nn::tile_layer read_tile_layer(
    const nn::weight_reader& reader, const bert_config& config, kernels::bf16_parts parts)
{
    const std::int64_t hidden = config.hidden_size;
    const std::int64_t inner = config.intermediate_size;
    const auto linear =
        [&](const std::vector<std::string>& names, std::int64_t n_in, std::int64_t n_out) {
            return nn::read_tile_linear(reader, names, {n_in, n_out}, parts);
        };
    const auto norm = [&](const char* name) { return nn::read_tile_norm(reader.in(name), hidden); };
    return {
        linear(
            {"attention.self.query", "attention.self.key", "attention.self.value"}, hidden, hidden),
        linear({"attention.output.dense"}, hidden, hidden),
        norm("attention.output.LayerNorm"),
        linear({"intermediate.dense"}, hidden, inner),
        linear({"output.dense"}, inner, hidden),
        norm("output.LayerNorm")};
}

// ---- forward -------------------------------------------------------------------------------------------

// The buffers of one replica.
struct bert_scratch {
    nn::row_buffer hidden;    // [n, hidden_size] f32
    nn::row_buffer narrowed;  // [n, hidden_size], the hidden states as the layers' dtype
    nn::row_buffer qkv;       // [n, 3 * hidden_size]
    nn::row_buffer context;   // [n, hidden_size]
    nn::row_buffer inner;     // [n, intermediate_size]

    bert_scratch(const bert_config& config, c10::ScalarType dtype)
        : hidden{config.hidden_size, c10::ScalarType::Float}
        , narrowed{config.hidden_size, dtype}
        , qkv{3 * config.hidden_size, dtype}
        , context{config.hidden_size, dtype}
        , inner{config.intermediate_size, dtype}
    {}
};

class bert_embedder final : public packed_embedder {
public:
    explicit bert_embedder(std::shared_ptr<const bert_shared> shared)
        : packed_embedder{shared}
        , shared_{std::move(shared)}
        , scratch_{shared_->config, shared_->dtype}
    {
        if (shared_->tiles) tiles_.emplace(shared_->tiles);
    }

    std::unique_ptr<embedder> replicate() const override
    {
        return std::make_unique<bert_embedder>(shared_);
    }

private:
    at::Tensor
    encode(const at::Tensor& ids, const nn::packed_block& block, run_context& context) override
    {
        if (tiles_) return encode_in_tiles(ids, block, context);
        at::Tensor hidden = embed_tokens(ids, block);
        hidden = shared_->embeddings.norm.run(hidden);
        for (const bert_layer& layer : shared_->layers) {
            if (context.stop_requested()) return hidden;
            nn::use_threads(context.n_threads());
            hidden = run_layer(layer, block, hidden);
            context.step_done();
        }
        return hidden;
    }

    at::Tensor embed_tokens(const at::Tensor& ids, const nn::packed_block& block)
    {
        const bert_embeddings& table = shared_->embeddings;
        const std::int64_t hidden_size = shared_->config.hidden_size;
        at::Tensor hidden = scratch_.hidden.rows(block.n_rows);
        nn::gather_rows(table.word, ids, hidden);
        for (const nn::text_group& group : block.groups)
            hidden.narrow(0, group.first_row, group.n_rows())
                .view({group.n_texts, group.length, hidden_size})
                .add_(table.position.narrow(0, 0, group.length));
        return hidden;
    }

    // Threads other than the caller's are the encoder's own: libtorch's would wait for work beside
    // them.
    at::Tensor
    encode_in_tiles(const at::Tensor& ids, const nn::packed_block& block, run_context& context)
    {
        nn::use_threads(1);
        at::Tensor hidden = embed_tokens(ids, block);
        const auto n = static_cast<std::size_t>(hidden.numel());
        tiles_->run({hidden.mutable_data_ptr<float>(), n}, block, context);
        return hidden;
    }

    // hidden: [n, hidden_size] f32, overwritten; result: the same shape.
    at::Tensor run_layer(const bert_layer& layer, const nn::packed_block& block, at::Tensor hidden)
    {
        const std::int64_t n_rows = block.n_rows;
        at::Tensor qkv = scratch_.qkv.rows(n_rows);
        at::Tensor context = scratch_.context.rows(n_rows);
        layer.attention_self.run(as_computed(hidden), qkv);
        nn::attend_within_texts(qkv, block.groups, shared_->config.num_attention_heads, context);
        layer.attention_output.add_to(context, hidden);
        hidden = layer.attention_norm.run(hidden);

        at::Tensor inner = scratch_.inner.rows(n_rows);
        layer.intermediate.run(as_computed(hidden), inner);
        nn::apply(shared_->config.hidden_act, inner);
        layer.output.add_to(inner, hidden);
        return layer.output_norm.run(hidden);
    }

    at::Tensor as_computed(const at::Tensor& hidden)
    {
        return nn::as_dtype(hidden, shared_->dtype, scratch_.narrowed);
    }

    std::shared_ptr<const bert_shared> shared_;
    bert_scratch scratch_;
    std::optional<nn::tile_encoder> tiles_;
};

// ---- loading -------------------------------------------------------------------------------------------

// Weights that are repacked are read apart, since none of their tensors stays.
void read_tiles(
    bert_shared& shared,
    const nn::tile_shape& shape,
    const std::string& module,
    const stop_flag& stop)
{
    const nn::weight_reader reader =
        nn::weight_reader{weights::checkpoint::blocking_open(shared.modules.transformer_dir), stop}
            .in(module);
    nn::tile_weights weights;
    weights.shape = shape;
    weights.embedding_norm =
        nn::read_tile_norm(reader.in("embeddings.LayerNorm"), shape.hidden_size);
    for (std::int64_t i = 0; i < shared.config.num_hidden_layers; ++i)
        weights.layers.push_back(read_tile_layer(
            reader.in("encoder.layer." + std::to_string(i)), shared.config, shape.parts));
    shared.weights.copied_bytes += weights.n_bytes();
    shared.tiles = std::make_shared<const nn::tile_weights>(std::move(weights));
    reader.drop_pages();
}

void read_weights(bert_shared& shared, const stop_flag& stop)
{
    const nn::weight_reader files{
        weights::checkpoint::blocking_open(shared.modules.transformer_dir), stop};
    // A checkpoint saved from a model with a task's head has the encoder under "bert.".
    const bool nested = files.has("bert.embeddings.word_embeddings.weight");
    const nn::weight_reader reader = files.in(nested ? "bert" : "");
    shared.embeddings = bert_embeddings::read(reader.in("embeddings"), shared.config);
    const nn::tile_shape tiles = tiles_of(shared.config, shared.dtype);
    if (tiles.runs_here()) {
        read_tiles(shared, tiles, nested ? "bert" : "", stop);
    } else {
        for (std::int64_t i = 0; i < shared.config.num_hidden_layers; ++i)
            shared.layers.push_back(bert_layer::read(
                reader.in("encoder.layer." + std::to_string(i)), shared.config, shared.dtype));
    }
    shared.add_weights(files.footprint());
    shared.weights.copied_bytes += shared.embeddings.position.nbytes();
    files.drop_pages();
}

}  // namespace

std::unique_ptr<embedder> load_bert(const fs::path& dir, const load_options& options)
{
    return nn::translated("loading " + dir.string(), [&]() -> std::unique_ptr<embedder> {
        const c10::InferenceMode no_autograd;
        sentence_modules modules = blocking_read_sentence_modules(dir);
        const bert_config config = bert_config::read(json_file::blocking_read(
            modules.transformer_dir / "config.json", model_errc::bad_config));
        const encoder_size size{
            config.vocab_size, config.hidden_size, config.max_position_embeddings};
        auto shared = std::make_shared<bert_shared>(bert_shared{
            embedder_parts::blocking_read("bert", std::move(modules), size, options),
            config,
            {},
            {},
            nullptr});
        read_weights(*shared, options.stop());
        shared->replica_bytes =
            config.replica_bytes(shared->max_block_rows(), c10::elementSize(shared->dtype));
        return std::make_unique<bert_embedder>(std::move(shared));
    });
}

}  // namespace modelpool::models

// BERT encoders for text embedding: the MiniLM family, BGE, E5, GTE (v1), LaBSE and others whose `model_type` is
// "bert".
//
// Paper:      https://arxiv.org/abs/1810.04805 (BERT), https://arxiv.org/abs/1908.10084 (Sentence-BERT)
// Upstream:   https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/bert/modeling_bert.py
// Checkpoint: https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2

#include <modelpool/models/bert.hpp>

#include <ATen/ops/from_blob.h>
#include <ATen/ops/index_select.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "models/bert_config.hpp"
#include "models/sentence_head.hpp"
#include "models/sentence_transformers.hpp"
#include "models/text_preparer.hpp"
#include "support/json.hpp"
#include "support/stop.hpp"
#include "torch/errors.hpp"
#include "torch/layers.hpp"
#include "torch/packing.hpp"
#include "torch/scratch.hpp"
#include "torch/threads.hpp"
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

// What replicas share. Immutable once loaded.
struct bert_shared {
    bert_config config;
    c10::ScalarType dtype{c10::ScalarType::Float};
    sentence_modules modules;
    text_preparer preparer;
    embedder_info info;
    bert_embeddings embeddings;
    std::vector<bert_layer> layers;
    sentence_head head;
    nn::weight_footprint weights;
};

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

class bert_embedder final : public embedder {
public:
    explicit bert_embedder(std::shared_ptr<const bert_shared> shared)
        : shared_{std::move(shared)}
        , scratch_{shared_->config, shared_->dtype}
    {}

    const embedder_info& info() const noexcept override { return shared_->info; }

    prepared_text prepare(const embed_input& input) const override
    {
        return shared_->preparer.prepare(input);
    }

    std::vector<item_result<std::vector<float>>>
    run(std::span<const prepared_text> batch, run_context& context) override
    {
        return nn::translated("bert", [&] { return run_batch(batch, context); });
    }

    std::unique_ptr<embedder> replicate() const override
    {
        return std::make_unique<bert_embedder>(shared_);
    }

    footprint bytes() const override
    {
        footprint result;
        result.shared_bytes = shared_->weights.copied_bytes;
        result.mapped_bytes = shared_->weights.mapped_bytes;
        result.replica_bytes = shared_->config.scratch_bytes(
            std::max(bert_config::block_rows, static_cast<std::int64_t>(info().max_tokens)),
            c10::elementSize(shared_->dtype));
        return result;
    }

    void warm_up(run_context& context) override
    {
        embed_input input;
        input.text = "warm up";
        input.dimension = info().dim;
        input.max_tokens = info().max_tokens;
        const prepared_text text = prepare(input);
        for (const auto& row : run({&text, 1}, context))
            if (!row.ok()) std::rethrow_exception(row.failure());
    }

private:
    std::vector<item_result<std::vector<float>>>
    run_batch(std::span<const prepared_text> batch, run_context& context)
    {
        const c10::InferenceMode no_autograd;
        nn::use_threads(context.n_threads());
        std::vector<item_result<std::vector<float>>> results(
            batch.size(), item_result<std::vector<float>>{std::vector<float>{}});
        std::vector<std::size_t> wanted;
        std::vector<std::size_t> lengths;
        for (std::size_t i = 0; i < batch.size(); ++i) {
            lengths.push_back(batch[i].n_tokens());
            if (std::exception_ptr problem = shared_->preparer.problem(batch[i], info()))
                results[i] = std::move(problem);
            else
                wanted.push_back(i);
        }
        const std::vector<nn::packed_block> blocks =
            nn::pack(wanted, lengths, bert_config::block_rows);
        for (const nn::packed_block& block : blocks)
            if (!context.stop_requested()) run_block(batch, block, context, results);
        if (context.stop_requested()) {
            const auto stopped = std::make_exception_ptr(
                error{support::operation_aborted(), "embedding: stopped on request"});
            std::ranges::fill(results, stopped);
        }
        return results;
    }

    void run_block(
        std::span<const prepared_text> batch,
        const nn::packed_block& block,
        run_context& context,
        std::vector<item_result<std::vector<float>>>& results)
    {
        const at::Tensor hidden = encode(batch, block, context);
        if (context.stop_requested()) return;
        const auto dim = static_cast<std::size_t>(shared_->config.hidden_size);
        const std::span<const float> values{
            hidden.const_data_ptr<float>(), static_cast<std::size_t>(hidden.numel())};
        std::vector<float> pooled;
        std::size_t row = 0;
        for (const std::size_t i : block.texts) {
            const std::size_t n_tokens = batch[i].n_tokens();
            const token_rows rows{
                values.subspan(row * dim, n_tokens * dim), dim, batch[i].n_prompt_tokens};
            row += n_tokens;
            std::vector<float> result = pool(shared_->modules.pooling, rows);
            if (shared_->head.empty())
                results[i] = std::move(result);
            else
                pooled.insert(pooled.end(), result.begin(), result.end());
        }
        if (!shared_->head.empty()) run_head(pooled, block, results);
    }

    void run_head(
        std::vector<float>& pooled,
        const nn::packed_block& block,
        std::vector<item_result<std::vector<float>>>& results) const
    {
        const auto n_texts = static_cast<std::int64_t>(block.texts.size());
        const at::Tensor rows = at::from_blob(
            pooled.data(), {n_texts, static_cast<std::int64_t>(pooled.size()) / n_texts});
        const at::Tensor out = shared_->head.run(rows).contiguous();
        const float* values = out.const_data_ptr<float>();
        const std::int64_t dim = out.size(1);
        for (const std::size_t i : block.texts) {
            results[i] = std::vector<float>(values, values + dim);
            values += dim;
        }
    }

    // [n_rows, hidden_size] f32, of any content once a stop is requested.
    at::Tensor encode(
        std::span<const prepared_text> batch, const nn::packed_block& block, run_context& context)
    {
        at::Tensor hidden = embed_tokens(batch, block);
        for (const bert_layer& layer : shared_->layers) {
            if (context.stop_requested()) return hidden;
            nn::use_threads(context.n_threads());
            hidden = run_layer(layer, block, hidden);
            context.step_done();
        }
        return hidden;
    }

    at::Tensor embed_tokens(std::span<const prepared_text> batch, const nn::packed_block& block)
    {
        std::vector<std::int32_t> ids;
        ids.reserve(static_cast<std::size_t>(block.n_rows));
        for (const std::size_t i : block.texts)
            ids.insert(ids.end(), batch[i].tokens.begin(), batch[i].tokens.end());
        const at::Tensor index = at::from_blob(
            ids.data(), {block.n_rows}, at::TensorOptions{}.dtype(c10::ScalarType::Int));
        const bert_embeddings& table = shared_->embeddings;
        const std::int64_t hidden_size = shared_->config.hidden_size;
        at::Tensor hidden = scratch_.hidden.rows(block.n_rows);
        if (table.word.scalar_type() == c10::ScalarType::Float)
            at::index_select_out(hidden, table.word, 0, index);
        else
            hidden.copy_(at::index_select(table.word, 0, index));
        for (const nn::text_group& group : block.groups)
            hidden.narrow(0, group.first_row, group.n_rows())
                .view({group.n_texts, group.length, hidden_size})
                .add_(table.position.narrow(0, 0, group.length));
        return table.norm.run(hidden);
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

    // The hidden states in the layers' dtype.
    at::Tensor as_computed(const at::Tensor& hidden)
    {
        if (shared_->dtype == hidden.scalar_type()) return hidden;
        at::Tensor narrowed = scratch_.narrowed.rows(hidden.size(0));
        narrowed.copy_(hidden);
        return narrowed;
    }

    std::shared_ptr<const bert_shared> shared_;
    bert_scratch scratch_;
};

// ---- loading -------------------------------------------------------------------------------------------

c10::ScalarType compute_dtype(const load_options& options)
{
    if (!options.device().is_cpu())
        throw error{
            model_errc::unsupported,
            "bert does not run on device '" + options.device().str() + "'; supported: cpu"};
    switch (options.dtype()) {
    case dtype::automatic:
    case dtype::f32:
        return c10::ScalarType::Float;
    case dtype::bf16:
        return c10::ScalarType::BFloat16;
    default:
        throw error{
            model_errc::unsupported,
            "bert does not compute in dtype '" + std::string{to_string(options.dtype())} +
                "'; supported: auto, f32, bf16"};
    }
}

embedder_info describe(const sentence_modules& modules, const bert_config& config)
{
    embedder_info info;
    info.dim = modules.output_dim(static_cast<std::size_t>(config.hidden_size));
    info.dimensions = {info.dim};
    const auto positions = static_cast<std::size_t>(config.max_position_embeddings);
    info.max_tokens = std::min(modules.max_tokens.value_or(positions), positions);
    info.prompts = modules.prompts;
    info.default_prompt = modules.default_prompt;
    return info;
}

void read_weights(bert_shared& shared, const stop_flag& stop)
{
    const nn::weight_reader files{
        weights::checkpoint::blocking_open(shared.modules.transformer_dir), stop};
    // A checkpoint saved from a model with a task's head has the encoder under "bert.".
    const bool nested = files.has("bert.embeddings.word_embeddings.weight");
    const nn::weight_reader reader = files.in(nested ? "bert" : "");
    shared.embeddings = bert_embeddings::read(reader.in("embeddings"), shared.config);
    for (std::int64_t i = 0; i < shared.config.num_hidden_layers; ++i)
        shared.layers.push_back(bert_layer::read(
            reader.in("encoder.layer." + std::to_string(i)), shared.config, shared.dtype));
    shared.head = sentence_head::blocking_read(shared.modules, stop);
    shared.weights = files.footprint();
    shared.weights.mapped_bytes += shared.head.footprint().mapped_bytes;
    shared.weights.copied_bytes +=
        shared.head.footprint().copied_bytes + shared.embeddings.position.nbytes();
    files.drop_pages();
}

}  // namespace

std::unique_ptr<embedder> load_bert(const fs::path& dir, const load_options& options)
{
    return nn::translated("loading " + dir.string(), [&]() -> std::unique_ptr<embedder> {
        const c10::InferenceMode no_autograd;
        const c10::ScalarType dtype = compute_dtype(options);
        sentence_modules modules = blocking_read_sentence_modules(dir);
        const bert_config config = bert_config::read(json_file::blocking_read(
            modules.transformer_dir / "config.json", model_errc::bad_config));
        check_dimensions(modules, static_cast<std::size_t>(config.hidden_size), dir);
        text_preparer preparer =
            text_preparer::blocking_load(modules, static_cast<std::size_t>(config.vocab_size));
        embedder_info info = describe(modules, config);
        auto shared = std::make_shared<bert_shared>(bert_shared{
            config,
            dtype,
            std::move(modules),
            std::move(preparer),
            std::move(info),
            {},
            {},
            {},
            {}});
        read_weights(*shared, options.stop());
        return std::make_unique<bert_embedder>(std::move(shared));
    });
}

}  // namespace modelpool::models

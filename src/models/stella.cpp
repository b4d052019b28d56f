// Stella v5 encoders for text embedding, with a head for each size of a row: 1.5B over Qwen2, 400M
// over the architecture of GTE v1.5, which calls itself "new".
//
// Paper:      https://arxiv.org/abs/2412.19048 Upstream:
// https://huggingface.co/Alibaba-NLP/new-impl/blob/main/modeling.py (400M) Checkpoint:
// https://huggingface.co/dunzhang/stella_en_400M_v5,
// https://huggingface.co/dunzhang/stella_en_1.5B_v5

#include <modelpool/models/stella.hpp>

#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <utility>

#include "models/llama_embedder.hpp"
#include "models/new_config.hpp"
#include "models/packed_embedder.hpp"
#include "models/qwen2_config.hpp"
#include "support/json.hpp"
#include "torch/errors.hpp"
#include "torch/layers.hpp"
#include "torch/rope.hpp"
#include "torch/scratch.hpp"
#include "torch/stored_linear.hpp"
#include "torch/threads.hpp"
#include "weights/safetensors.hpp"

namespace modelpool::models {
namespace {

namespace fs = std::filesystem;
using support::json_file;
using bias = nn::stored_linear::bias;

// ---- modules of "new", named as the checkpoint's keys --------------------------------------------------

struct new_embeddings {
    at::Tensor word;  // [vocab_size, hidden_size], as stored
    at::Tensor
        type;  // [hidden_size] f32, the row of token type 0; undefined where there are no types
    nn::layer_norm norm;

    static new_embeddings read(const nn::weight_reader& reader, const new_config& config)
    {
        const std::int64_t hidden = config.hidden_size;
        new_embeddings result;
        result.word = reader.stored("word_embeddings.weight", {config.vocab_size, hidden});
        if (config.type_vocab_size > 0)
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

struct new_layer {
    std::vector<nn::stored_linear> qkv;  // one that gives all three side by side, or three
    nn::stored_linear o_proj;
    nn::layer_norm attn_ln;
    nn::stored_linear up_gate_proj;  // what is multiplied, then what goes through the activation
    nn::stored_linear down_proj;
    nn::layer_norm mlp_ln;

    static new_layer
    read(const nn::weight_reader& reader, const new_config& config, c10::ScalarType dtype)
    {
        const std::int64_t hidden = config.hidden_size;
        const std::int64_t inner = config.intermediate_size;
        const double eps = config.layer_norm_eps;
        const auto linear = [&](const char* name, std::int64_t n_in, std::int64_t n_out, bias use) {
            return nn::stored_linear::read(reader, name, {n_in, n_out}, {dtype, use});
        };
        new_layer result;
        if (config.pack_qkv)
            result.qkv.push_back(linear("attention.qkv_proj", hidden, 3 * hidden, bias::stored));
        else
            for (const char* name : {"attention.q_proj", "attention.k_proj", "attention.v_proj"})
                result.qkv.push_back(linear(name, hidden, hidden, bias::stored));
        result.o_proj = linear("attention.o_proj", hidden, hidden, bias::stored);
        result.attn_ln = nn::layer_norm::read(reader.in("attn_ln"), hidden, eps);
        result.up_gate_proj = linear("mlp.up_gate_proj", hidden, 2 * inner, bias::none);
        result.down_proj = linear("mlp.down_proj", inner, hidden, bias::stored);
        result.mlp_ln = nn::layer_norm::read(reader.in("mlp_ln"), hidden, eps);
        return result;
    }
};

// What replicas share.
struct new_shared : embedder_parts {
    new_config config;
    new_embeddings embeddings;
    std::vector<new_layer> layers;
};

// ---- forward of "new" ----------------------------------------------------------------------------------

// The buffers of one replica.
struct new_scratch {
    nn::row_buffer hidden;    // [n, hidden_size] f32
    nn::row_buffer narrowed;  // [n, hidden_size], the hidden states as the layers' dtype
    nn::row_buffer qkv;       // [n, 3 * hidden_size]
    nn::row_buffer context;   // [n, hidden_size]
    nn::row_buffer inner;     // [n, 2 * intermediate_size]
    nn::rope positions;
    nn::widening_buffer room;

    new_scratch(const new_config& config, c10::ScalarType dtype)
        : hidden{config.hidden_size, c10::ScalarType::Float}
        , narrowed{config.hidden_size, dtype}
        , qkv{3 * config.hidden_size, dtype}
        , context{config.hidden_size, dtype}
        , inner{2 * config.intermediate_size, dtype}
        , positions{config.frequencies()}
    {}
};

class new_embedder final : public packed_embedder {
public:
    explicit new_embedder(std::shared_ptr<const new_shared> shared)
        : packed_embedder{shared}
        , shared_{std::move(shared)}
        , scratch_{shared_->config, shared_->dtype}
    {}

    std::unique_ptr<embedder> replicate() const override
    {
        return std::make_unique<new_embedder>(shared_);
    }

private:
    at::Tensor
    encode(const at::Tensor& ids, const nn::packed_block& block, run_context& context) override
    {
        const new_embeddings& table = shared_->embeddings;
        at::Tensor hidden = scratch_.hidden.rows(block.n_rows);
        nn::gather_rows(table.word, ids, hidden);
        if (table.type.defined()) hidden.add_(table.type);
        hidden = table.norm.run(hidden);
        for (const new_layer& layer : shared_->layers) {
            if (context.stop_requested()) return hidden;
            nn::use_threads(context.n_threads());
            attend(layer, block, hidden);
            hidden = layer.attn_ln.run(hidden);
            feed_forward(layer, hidden);
            hidden = layer.mlp_ln.run(hidden);
            context.step_done();
        }
        return hidden;
    }

    // hidden: [n, hidden_size] f32, added to.
    void attend(const new_layer& layer, const nn::packed_block& block, const at::Tensor& hidden)
    {
        const std::int64_t n_heads = shared_->config.num_attention_heads;
        const at::Tensor x = as_computed(hidden);
        const at::Tensor qkv = scratch_.qkv.rows(block.n_rows);
        std::int64_t column = 0;
        for (const nn::stored_linear& one : layer.qkv) {
            one.run(x, qkv.narrow(1, column, one.n_out()), scratch_.room);
            column += one.n_out();
        }
        scratch_.positions.turn(qkv, block.groups, 2 * n_heads);
        at::Tensor context = scratch_.context.rows(block.n_rows);
        nn::attend_within_texts(qkv, block.groups, n_heads, context);
        layer.o_proj.add_to(context, hidden, scratch_.room);
    }

    // A few rows at a time, since the inner states of a long text would not fit the cache.
    void feed_forward(const new_layer& layer, const at::Tensor& hidden)
    {
        const std::int64_t width = shared_->config.intermediate_size;
        for (std::int64_t first = 0; first < hidden.size(0); first += nn::default_block_rows) {
            const std::int64_t n = std::min(nn::default_block_rows, hidden.size(0) - first);
            const at::Tensor part = hidden.narrow(0, first, n);
            const at::Tensor inner = scratch_.inner.rows(n);
            layer.up_gate_proj.run(as_computed(part), inner, scratch_.room);
            at::Tensor gate = inner.narrow(1, width, width);
            nn::apply(shared_->config.hidden_act, gate);
            layer.down_proj.add_to(gate.mul_(inner.narrow(1, 0, width)), part, scratch_.room);
        }
    }

    at::Tensor as_computed(const at::Tensor& hidden)
    {
        return nn::as_dtype(hidden, shared_->dtype, scratch_.narrowed);
    }

    std::shared_ptr<const new_shared> shared_;
    new_scratch scratch_;
};

// ---- loading -------------------------------------------------------------------------------------------

std::unique_ptr<embedder>
load_new(const json_file& file, sentence_modules modules, const load_options& options)
{
    const new_config config = new_config::read(file);
    const encoder_size size{config.vocab_size, config.hidden_size, config.max_position_embeddings};
    auto shared = std::make_shared<new_shared>(new_shared{
        embedder_parts::blocking_read("stella", std::move(modules), size, options),
        config,
        {},
        {}});
    const nn::weight_reader files{
        weights::checkpoint::blocking_open(shared->modules.transformer_dir), options.stop()};
    const bool nested = files.has("new.embeddings.word_embeddings.weight");
    const nn::weight_reader reader = files.in(nested ? "new" : "");
    shared->embeddings = new_embeddings::read(reader.in("embeddings"), config);
    for (std::int64_t i = 0; i < config.num_hidden_layers; ++i)
        shared->layers.push_back(new_layer::read(
            reader.in("encoder.layer." + std::to_string(i)), config, shared->dtype));
    shared->add_weights(files.footprint());
    files.drop_pages();
    shared->replica_bytes =
        config.scratch_bytes(shared->max_block_rows(), c10::elementSize(shared->dtype));
    return std::make_unique<new_embedder>(std::move(shared));
}

std::unique_ptr<embedder>
load_qwen2(const json_file& file, sentence_modules modules, const load_options& options)
{
    const nn::llama_encoder_config config = read_qwen2_encoder_config(file);
    auto parts = std::make_shared<llama_embedder_parts>(llama_embedder_parts{
        embedder_parts::blocking_read("stella", std::move(modules), size_of(config), options), {}});
    blocking_read_encoder(*parts, config, "model", options.stop());
    return make_llama_embedder(std::move(parts));
}

}  // namespace

std::unique_ptr<embedder> load_stella(const fs::path& dir, const load_options& options)
{
    return nn::translated("loading " + dir.string(), [&]() -> std::unique_ptr<embedder> {
        const c10::InferenceMode no_autograd;
        sentence_modules modules = blocking_read_sentence_modules(dir);
        const json_file file = json_file::blocking_read(
            modules.transformer_dir / "config.json", model_errc::bad_config);
        const bool over_qwen2 = file.find_string("model_type") == "qwen2";
        return over_qwen2 ? load_qwen2(file, std::move(modules), options)
                          : load_new(file, std::move(modules), options);
    });
}

}  // namespace modelpool::models

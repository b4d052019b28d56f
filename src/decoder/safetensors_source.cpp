// Source of the names: https://github.com/huggingface/transformers, the modules of LlamaModel and
// its descendants.

#include <modelpool/error.hpp>

#include <array>
#include <set>
#include <utility>

#include "decoder/weight_source.hpp"
#include "support/printable.hpp"

namespace modelpool::decoder {
namespace {

using support::in_quotes;
using name_pair = std::pair<std::string_view, std::string_view>;

constexpr std::array<name_pair, 3> outer_names{
    {{"token_embd.", "model.embed_tokens."},
     {"output_norm.", "model.norm."},
     {"output.", "lm_head."}}};

// Of a layer; a "*" in the second stands for an expert.
constexpr std::array<name_pair, 26> layer_names{
    {{"attn_norm.", "input_layernorm."},
     {"ffn_norm.", "post_attention_layernorm."},
     {"attn_q.", "self_attn.q_proj."},
     {"attn_k.", "self_attn.k_proj."},
     {"attn_v.", "self_attn.v_proj."},
     {"attn_qkv.", "self_attn.qkv_proj."},
     {"attn_output.", "self_attn.o_proj."},
     {"attn_q_norm.", "self_attn.q_norm."},
     {"attn_k_norm.", "self_attn.k_norm."},
     {"attn_q_a.", "self_attn.q_a_proj."},
     {"attn_q_a_norm.", "self_attn.q_a_layernorm."},
     {"attn_q_b.", "self_attn.q_b_proj."},
     {"attn_kv_a_mqa.", "self_attn.kv_a_proj_with_mqa."},
     {"attn_kv_a_norm.", "self_attn.kv_a_layernorm."},
     {"attn_kv_b.", "self_attn.kv_b_proj."},
     {"ffn_gate.", "mlp.gate_proj."},
     {"ffn_up.", "mlp.up_proj."},
     {"ffn_down.", "mlp.down_proj."},
     {"ffn_gate_inp.", "mlp.gate."},
     {"exp_probs_b.bias", "mlp.gate.e_score_correction_bias"},
     {"ffn_gate_exps.", "mlp.experts.*.gate_proj."},
     {"ffn_up_exps.", "mlp.experts.*.up_proj."},
     {"ffn_down_exps.", "mlp.experts.*.down_proj."},
     {"ffn_gate_shexp.", "mlp.shared_experts.gate_proj."},
     {"ffn_up_shexp.", "mlp.shared_experts.up_proj."},
     {"ffn_down_shexp.", "mlp.shared_experts.down_proj."}}};

// Decoders of vision-language models lie in a scope of their own, by one of two habits: what begins
// with "model.", and what begins with "lm_head.".
struct name_scope {
    std::string_view model{"model."};
    std::string_view head{"lm_head."};
};

name_scope scope_of(const weights::checkpoint& files)
{
    constexpr std::array<name_scope, 2> inner{
        {{"language_model.model.", "language_model.lm_head."},
         {"model.language_model.", "lm_head."}}};
    for (const name_scope& one : inner)
        if (files.find(std::string{one.model} + "embed_tokens.weight") != nullptr) return one;
    return {};
}

class safetensors_source final : public weight_source {
public:
    safetensors_source(
        std::shared_ptr<const weights::checkpoint> files, const hyperparameters& about)
        : files_{std::move(files)}
        , fused_gate_up_{about.architecture == "phi3"}
        , where_{scope_of(*files_)}
        , mixtral_{files_->find(scoped("model.layers.0.block_sparse_moe.gate.weight")) != nullptr}
    {}

    bool has(std::string_view name) const override
    {
        return files_->find(translate(name, 0)) != nullptr;
    }

    stored_matrix
    matrix(const std::string& name, std::int64_t n_rows, std::int64_t n_columns) const override
    {
        return need(translate(name, 0), {n_rows, n_columns});
    }

    std::vector<stored_matrix> experts(
        const std::string& name,
        std::int64_t n_experts,
        std::int64_t n_rows,
        std::int64_t n_columns) const override
    {
        std::vector<stored_matrix> made;
        for (std::int64_t i = 0; i < n_experts; ++i)
            made.push_back(need(translate(name, i), {n_rows, n_columns}));
        return made;
    }

    std::vector<float> numbers(const std::string& name, std::int64_t n) const override
    {
        const stored_matrix row = need(translate(name, 0), {n});
        std::vector<float> values(static_cast<std::size_t>(n));
        kernels::dequantize_row(row.type, row.data.data(), n, values.data());
        return values;
    }

    void release(const stored_matrix& matrix) const noexcept override
    {
        files_->drop_pages(matrix.data);
    }

    std::vector<std::string> unused() const override { return {}; }
    std::size_t weight_bytes() const noexcept override { return files_->weight_bytes(); }

private:
    std::string scoped(std::string name) const
    {
        for (const auto& [from, to] :
             {name_pair{"model.", where_.model}, name_pair{"lm_head.", where_.head}})
            if (name.starts_with(from)) return std::string{to} + name.substr(from.size());
        return name;
    }

    std::string translate(std::string_view name, std::int64_t expert) const
    {
        return scoped(plain_name(name, expert));
    }

    std::string plain_name(std::string_view name, std::int64_t expert) const
    {
        for (const auto& [from, to] : outer_names)
            if (name.starts_with(from))
                return std::string{to} + std::string{name.substr(from.size())};
        constexpr std::string_view block = "blk.";
        const std::size_t dot = name.find('.', block.size());
        if (!name.starts_with(block) || dot == std::string_view::npos) return std::string{name};
        const std::string layer{name.substr(block.size(), dot - block.size())};
        const std::string_view rest = name.substr(dot + 1);
        for (const auto& [from, to] : layer_names) {
            if (!rest.starts_with(from)) continue;
            std::string inner = std::string{to} + std::string{rest.substr(from.size())};
            if (from == "ffn_up." && fused_gate_up_) inner = "mlp.gate_up_proj.weight";
            if (mixtral_) inner = mixtral_name(from, std::move(inner));
            const std::size_t star = inner.find('*');
            if (star != std::string::npos) inner.replace(star, 1, std::to_string(expert));
            return std::string{"model.layers."}.append(layer).append(".").append(inner);
        }
        return std::string{name};
    }

    static std::string mixtral_name(std::string_view from, std::string otherwise)
    {
        if (from == "ffn_gate_inp.") return "block_sparse_moe.gate.weight";
        if (from == "ffn_gate_exps.") return "block_sparse_moe.experts.*.w1.weight";
        if (from == "ffn_down_exps.") return "block_sparse_moe.experts.*.w2.weight";
        if (from == "ffn_up_exps.") return "block_sparse_moe.experts.*.w3.weight";
        return otherwise;
    }

    stored_matrix need(const std::string& name, const std::vector<std::int64_t>& shape) const
    {
        const weights::tensor_view* const tensor = files_->find(name);
        const auto describe = [&] {
            return files_->path().string() + ": the tensor " + in_quotes(name);
        };
        if (tensor == nullptr)
            throw error{
                model_errc::missing_tensor,
                files_->path().string() + ": lacks the tensor " + in_quotes(name)};
        if (tensor->shape != shape)
            throw error{
                model_errc::shape_mismatch,
                describe() + " must have the shape " + weights::shape_text(shape) + ", found " +
                    weights::shape_text(tensor->shape)};
        stored_matrix made;
        switch (tensor->type) {
        case weights::element::f32:
            made.type = kernels::block_type::f32;
            break;
        case weights::element::f16:
            made.type = kernels::block_type::f16;
            break;
        case weights::element::bf16:
            made.type = kernels::block_type::bf16;
            break;
        default:
            throw error{
                model_errc::dtype_mismatch,
                describe() + " is stored as " + std::string{weights::to_string(tensor->type)} +
                    "; expected F32, F16 or BF16"};
        }
        made.n_rows = shape.size() > 1 ? shape[0] : 1;
        made.n_columns = shape.back();
        made.data = tensor->data;
        made.name = name;
        return made;
    }

    std::shared_ptr<const weights::checkpoint> files_;
    bool fused_gate_up_;
    name_scope where_;
    bool mixtral_;
};

}  // namespace

std::unique_ptr<weight_source>
make_weight_source(std::shared_ptr<const weights::checkpoint> files, const hyperparameters& about)
{
    return std::make_unique<safetensors_source>(std::move(files), about);
}

}  // namespace modelpool::decoder

// Source of the fields: https://github.com/huggingface/transformers, the configuration classes of
// LlamaConfig, Qwen2Config, Qwen3Config, Qwen3MoeConfig, Phi3Config and DeepseekV3Config.

#include <modelpool/error.hpp>

#include <cmath>
#include <optional>

#include "decoder/hyperparameters.hpp"
#include "support/printable.hpp"

namespace modelpool::decoder {
namespace {

using support::json_file;

constexpr std::int64_t most_layers = 4096;
constexpr std::int64_t most_positions = std::int64_t{1} << 30U;
constexpr std::int64_t widest = std::int64_t{1} << 20U;

class config_reader {
public:
    config_reader(const json_file& config, const std::string& architecture)
        : config_{config}
    {
        made_.file = config.name();
        made_.architecture = architecture;
    }

    hyperparameters read()
    {
        read_sizes();
        read_experts();
        read_rope();
        const auto activation = config_.find_string("hidden_act");
        if (config_.find_bool("mlp_bias").value_or(false))
            made_.refuse("mlp_bias is true, which is not supported");
        if (activation && *activation != "silu")
            made_.refuse(
                "hidden_act is " + support::in_quotes(*activation) +
                ", which is not supported; supported is silu");
        return std::move(made_);
    }

private:
    std::int64_t need(const char* key, std::int64_t most) const
    {
        return config_.need_int(key, 1, most);
    }
    std::int64_t count(const char* key, std::int64_t most, std::int64_t otherwise = 0) const
    {
        return config_.find_int(key, 0, most).value_or(otherwise);
    }

    void read_sizes()
    {
        made_.n_layers = need("num_hidden_layers", most_layers);
        made_.context_length = need("max_position_embeddings", most_positions);
        made_.hidden = need("hidden_size", widest);
        made_.n_heads = need("num_attention_heads", widest);
        made_.n_kv_heads = count("num_key_value_heads", widest, made_.n_heads);
        made_.n_feed_forward = count("intermediate_size", widest);
        made_.vocab_size = need("vocab_size", most_positions);
        made_.norm_epsilon = config_.find_number("rms_norm_eps").value_or(1e-6);
        if (!(made_.norm_epsilon >= 0 && made_.norm_epsilon < 1))
            config_.fail("rms_norm_eps must be a number from 0 to 1");
        made_.key_size = count("head_dim", widest);
        if (made_.key_size == 0) made_.key_size = made_.hidden / made_.n_heads;
        made_.value_size = made_.key_size;
        made_.n_rotary = made_.key_size;
        made_.q_rank = count("q_lora_rank", widest);
        made_.kv_rank = count("kv_lora_rank", widest);
        if (made_.kv_rank > 0) {
            made_.n_rotary = need("qk_rope_head_dim", widest);
            made_.key_size = need("qk_nope_head_dim", widest) + made_.n_rotary;
            made_.value_size = need("v_head_dim", widest);
        }
        read_partial(config_.find_number("partial_rotary_factor").value_or(1));
        made_.sliding_window = count("sliding_window", most_positions);
        if (!config_.find_bool("use_sliding_window").value_or(true)) made_.sliding_window = 0;
    }

    void read_partial(double factor)
    {
        if (!(factor > 0 && factor <= 1))
            config_.fail("partial_rotary_factor must be above 0 and at most 1");
        if (made_.kv_rank == 0)
            made_.n_rotary =
                static_cast<std::int64_t>(static_cast<double>(made_.key_size) * factor);
    }

    void read_experts()
    {
        made_.n_experts = count("num_experts", widest);
        if (made_.n_experts == 0) made_.n_experts = count("n_routed_experts", widest);
        if (made_.n_experts == 0) made_.n_experts = count("num_local_experts", widest);
        made_.n_experts_used = count("num_experts_per_tok", widest);
        made_.n_expert_feed_forward = count("moe_intermediate_size", widest, made_.n_feed_forward);
        made_.n_shared_experts = count("n_shared_experts", widest);
        made_.n_leading_dense = count("first_k_dense_replace", most_layers);
        made_.n_expert_groups = count("n_group", widest, 1);
        made_.n_expert_groups_used = count("topk_group", widest, 1);
        const std::string scoring =
            config_.find_string("scoring_func")
                .value_or(made_.architecture == "deepseek2" ? "sigmoid" : "softmax");
        if (scoring != "sigmoid" && scoring != "softmax")
            made_.refuse(
                "scoring_func is " + support::in_quotes(scoring) +
                ", which is not supported; supported are softmax and sigmoid");
        made_.expert_sigmoid = scoring == "sigmoid";
        const auto normalise = config_.find_bool("norm_topk_prob");
        made_.expert_normalise_given = normalise.has_value();
        made_.expert_normalise = normalise.value_or(false);
        made_.expert_scale = config_.find_number("routed_scaling_factor").value_or(1);
        if (count("decoder_sparse_step", widest, 1) != 1 || count("moe_layer_freq", widest, 1) != 1)
            made_.refuse("mixtures of experts in some layers only are not supported");
        const auto dense = config_.root().find("mlp_only_layers");
        if (dense != config_.root().end() && dense->is_array() && !dense->empty())
            made_.refuse("mlp_only_layers names layers, which is not supported");
    }

    void read_rope()
    {
        made_.rope_base = config_.find_number("rope_theta").value_or(10'000);
        for (const char* key : {"rope_scaling", "rope_parameters"}) {
            const auto inner = config_.root().find(key);
            if (inner == config_.root().end() || inner->is_null()) continue;
            if (!inner->is_object()) config_.fail(std::string{key} + " must be an object");
            read_rope(
                json_file{inner->dump(), config_.name() + ": " + key, model_errc::bad_config});
        }
        if (!(made_.rope_base > 0)) config_.fail("rope_theta must be above 0");
        // Phi-3 and Phi-4 have it beside the object.
        made_.scaling.original_context = count(
            "original_max_position_embeddings", most_positions, made_.scaling.original_context);
        if (made_.scaling.original_context == 0)
            made_.scaling.original_context = made_.context_length;
        if (made_.scaling.type == rope_scaling::kind::longrope && made_.scaling.factor <= 1)
            made_.scaling.factor = static_cast<double>(made_.context_length) /
                                   static_cast<double>(made_.scaling.original_context);
    }

    void read_rope(const json_file& inner)
    {
        rope_scaling& scaling = made_.scaling;
        if (const auto partial = inner.find_number("partial_rotary_factor")) read_partial(*partial);
        made_.rope_base = inner.find_number("rope_theta").value_or(made_.rope_base);
        std::string type = inner.find_string("rope_type").value_or("");
        if (type.empty()) type = inner.find_string("type").value_or("default");
        using kind = rope_scaling::kind;
        if (type == "linear")
            scaling.type = kind::linear;
        else if (type == "yarn")
            scaling.type = kind::yarn;
        else if (type == "llama3")
            scaling.type = kind::llama3;
        else if (type == "longrope" || type == "su")
            scaling.type = kind::longrope;
        else if (type != "default" && type != "none" && type != "dynamic")
            made_.refuse(
                "rope_scaling is " + support::in_quotes(type) + ", which is not supported");
        // What stretches only beyond the context of the checkpoint changes nothing within it.
        if (type == "dynamic") return;
        scaling.factor = inner.find_number("factor").value_or(1);
        scaling.original_context =
            inner.find_int("original_max_position_embeddings", 1, most_positions).value_or(0);
        scaling.beta_fast = inner.find_number("beta_fast").value_or(32);
        scaling.beta_slow = inner.find_number("beta_slow").value_or(1);
        scaling.low_frequency_factor = inner.find_number("low_freq_factor").value_or(1);
        scaling.high_frequency_factor = inner.find_number("high_freq_factor").value_or(4);
        scaling.attention_factor = inner.find_number("attention_factor").value_or(0);
        scaling.short_factors = factors(inner, "short_factor");
        scaling.long_factors = factors(inner, "long_factor");
        read_mscale(inner);
    }

    // DeepSeek's own: cosines and sines are scaled by the quotient of two terms, softmax by the
    // square of the second.
    void read_mscale(const json_file& inner)
    {
        rope_scaling& scaling = made_.scaling;
        const double all = inner.find_number("mscale_all_dim").value_or(0);
        const double one = inner.find_number("mscale").value_or(0);
        if (made_.architecture == "deepseek2") scaling.log_multiplier = 0.1 * all;
        if (scaling.type != rope_scaling::kind::yarn || scaling.attention_factor > 0) return;
        const double term = scaling.factor > 1 ? std::log(scaling.factor) * 0.1 : 0;
        const bool has_both = one != 0 && all != 0;
        scaling.attention_factor = has_both ? (one * term + 1) / (all * term + 1) : term + 1;
    }

    static std::vector<float> factors(const json_file& inner, const char* key)
    {
        std::vector<float> values;
        const auto found = inner.root().find(key);
        if (found == inner.root().end() || found->is_null()) return values;
        if (!found->is_array()) inner.fail(std::string{key} + " must be an array of numbers");
        for (const auto& value : *found) {
            if (!value.is_number()) inner.fail(std::string{key} + " must be an array of numbers");
            values.push_back(value.get<float>());
        }
        return values;
    }

    const json_file& config_;
    hyperparameters made_;
};

}  // namespace

hyperparameters read_hyperparameters(const json_file& config, const std::string& architecture)
{
    return config_reader{config, architecture}.read();
}

}  // namespace modelpool::decoder

// Source of the keys: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md

#include <modelpool/error.hpp>

#include <optional>

#include "decoder/hyperparameters.hpp"
#include "support/printable.hpp"

namespace modelpool::decoder {
namespace {

constexpr std::int64_t most_layers = 4096;
constexpr std::int64_t most_positions = std::int64_t{1} << 30U;
constexpr std::int64_t widest = std::int64_t{1} << 20U;

class gguf_reader {
public:
    explicit gguf_reader(const weights::gguf_checkpoint& file)
        : file_{file}
        , header_{file.header()}
    {
        made_.file = file.name();
        made_.from_gguf = true;
        made_.architecture = header_.need_string("general.architecture");
    }

    hyperparameters read()
    {
        read_sizes();
        read_positions();
        read_experts();
        made_.q_rank = count("attention.q_lora_rank", widest);
        made_.kv_rank = count("attention.kv_lora_rank", widest);
        return std::move(made_);
    }

private:
    std::string key(const char* name) const { return made_.architecture + "." + name; }

    std::int64_t need(const char* name, std::int64_t most) const
    {
        return header_.need_int(key(name), 1, most);
    }
    std::int64_t count(const char* name, std::int64_t most, std::int64_t otherwise = 0) const
    {
        return header_.find_int(key(name), 0, most).value_or(otherwise);
    }
    double number(const char* name, double otherwise) const
    {
        return header_.find_number(key(name)).value_or(otherwise);
    }

    void read_sizes()
    {
        made_.n_layers = need("block_count", most_layers);
        made_.context_length = need("context_length", most_positions);
        made_.hidden = need("embedding_length", widest);
        made_.n_heads = need("attention.head_count", widest);
        made_.n_kv_heads = count("attention.head_count_kv", widest, made_.n_heads);
        made_.n_feed_forward = count("feed_forward_length", widest);
        // Models with latent attention have the sizes of a head apart from those of the cache.
        made_.key_size = count("attention.key_length_mla", widest);
        if (made_.key_size == 0) made_.key_size = count("attention.key_length", widest);
        made_.value_size = count("attention.value_length_mla", widest);
        if (made_.value_size == 0) made_.value_size = count("attention.value_length", widest);
        const std::int64_t usual = made_.hidden / made_.n_heads;
        if (made_.key_size == 0) made_.key_size = usual;
        if (made_.value_size == 0) made_.value_size = usual;
        made_.norm_epsilon = number("attention.layer_norm_rms_epsilon", -1);
        if (!(made_.norm_epsilon >= 0 && made_.norm_epsilon < 1))
            header_.fail(
                "the key '" + key("attention.layer_norm_rms_epsilon") +
                "' must be a number from 0 to 1");
        made_.sliding_window = count("attention.sliding_window", most_positions);
        const weights::gguf_tensor* words = file_.find("token_embd.weight");
        if (words == nullptr)
            throw error{
                model_errc::missing_tensor, made_.file + ": lacks the tensor 'token_embd.weight'"};
        if (words->dims.size() != 2 || words->dims[1] < 1 || words->dims[1] > most_positions)
            throw error{
                model_errc::shape_mismatch,
                made_.file + ": the tensor 'token_embd.weight' must have two dimensions"};
        made_.vocab_size = words->dims[1];
    }

    void read_positions()
    {
        made_.rope_base = number("rope.freq_base", 10'000);
        if (!(made_.rope_base > 0))
            header_.fail("the key '" + key("rope.freq_base") + "' must be above 0");
        made_.n_rotary = count("rope.dimension_count", widest, made_.key_size);
        rope_scaling& scaling = made_.scaling;
        const std::string_view type =
            header_.find_string(key("rope.scaling.type")).value_or("none");
        if (type == "linear")
            scaling.type = rope_scaling::kind::linear;
        else if (type == "yarn")
            scaling.type = rope_scaling::kind::yarn;
        else if (type == "longrope")
            scaling.type = rope_scaling::kind::longrope;
        else if (type != "none" && !type.empty())
            made_.refuse(
                "rope.scaling.type is " + support::in_quotes(type) + ", which is not supported");
        scaling.factor = number("rope.scaling.factor", number("rope.scale_linear", 1));
        // Files of the first years say the factor alone.
        if (type == "none" && !header_.find(key("rope.scaling.type")) && scaling.factor > 1)
            scaling.type = rope_scaling::kind::linear;
        scaling.original_context =
            count("rope.scaling.original_context_length", most_positions, made_.context_length);
        scaling.beta_fast = number("rope.scaling.yarn_beta_fast", 32);
        scaling.beta_slow = number("rope.scaling.yarn_beta_slow", 1);
        scaling.log_multiplier = number("rope.scaling.yarn_log_multiplier", 0);
        scaling.attention_factor = number("rope.scaling.attn_factor", 0);
    }

    void read_experts()
    {
        made_.n_experts = count("expert_count", widest);
        made_.n_experts_used = count("expert_used_count", widest);
        made_.n_expert_feed_forward =
            count("expert_feed_forward_length", widest, made_.n_feed_forward);
        made_.n_shared_experts = count("expert_shared_count", widest);
        made_.n_leading_dense = count("leading_dense_block_count", most_layers);
        made_.n_expert_groups = count("expert_group_count", widest, 1);
        made_.n_expert_groups_used = count("expert_group_used_count", widest, 1);
        const std::int64_t gating = count("expert_gating_func", 16, 1);
        if (gating > 2)
            made_.refuse(
                "expert_gating_func is " + std::to_string(gating) +
                ", which is not supported; supported are 1 (softmax) and 2 (sigmoid)");
        made_.expert_sigmoid = gating == 2;
        const auto normalise = header_.find_bool(key("expert_weights_norm"));
        made_.expert_normalise_given = normalise.has_value();
        made_.expert_normalise = normalise.value_or(false);
        made_.expert_scale = number("expert_weights_scale", 1);
        if (made_.expert_scale == 0)
            made_.expert_scale = 1;  // as some files say that there is none
    }

    const weights::gguf_checkpoint& file_;
    const weights::gguf_header& header_;
    hyperparameters made_;
};

}  // namespace

void hyperparameters::refuse(const std::string& sentence) const
{
    throw error{model_errc::unsupported, file + ": " + sentence};
}

void hyperparameters::fail(const std::string& sentence) const
{
    throw error{model_errc::bad_config, file + ": " + sentence};
}

hyperparameters read_hyperparameters(const weights::gguf_checkpoint& file)
{
    return gguf_reader{file}.read();
}

}  // namespace modelpool::decoder

#!/usr/bin/env python3
"""Makes the files of tests/data/decoders: small decoders of each architecture with random weights, as transformers
writes them and as GGUF, with the logits that the reference implementation computes.

    make_decoder_cases.py OUTPUT_DIR [--seed N]

Needs the Python packages torch, transformers, safetensors and gguf (0.19).
"""
import argparse
import json
import pathlib
import shutil

import gguf
import numpy as np
import torch
import transformers
from safetensors.numpy import save_file

N_IDS = 12
ROPE_LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 8}
ROPE_YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8, "beta_fast": 4.0,
             "beta_slow": 1.0}
ROPE_DEEPSEEK = {**ROPE_YARN, "mscale": 1.0, "mscale_all_dim": 1.0}
ROPE_LINEAR = {"rope_type": "linear", "factor": 2.0}
ROPE_LONG = {"rope_type": "longrope", "short_factor": [1.0, 1.1, 1.2, 1.4], "long_factor": [1.0, 2.0, 3.0, 4.0]}


def byte_letters():
    """The letters by which byte-level vocabularies write bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {b: chr(b) for b in plain}
    for b in range(256):
        if b not in letters:
            letters[b] = chr(256 + len(letters) - len(plain))
    return letters


LETTERS = byte_letters()
TOKENS = [LETTERS[b] for b in range(256)] + ["he", "ll", "<|end|>", "<|start|>"]
MERGES = ["h e", "l l"]
END, START = 258, 259
TEMPLATE = ("{% for m in messages %}<|start|>{{ m.role }}:{{ m.content }}<|end|>{% endfor %}"
            "{% if add_generation_prompt %}<|start|>assistant:{% endif %}")


def sizes(**more):
    return dict(vocab_size=len(TOKENS), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
                num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64, eos_token_id=END,
                bos_token_id=START, pad_token_id=0, **more)


def cases():
    t = transformers
    moe = dict(num_experts=6, num_experts_per_tok=3, moe_intermediate_size=24, norm_topk_prob=True)
    latent = dict(q_lora_rank=16, kv_lora_rank=16, qk_nope_head_dim=8, qk_rope_head_dim=8, v_head_dim=12,
                  moe_intermediate_size=24, n_routed_experts=8, num_experts_per_tok=3, n_shared_experts=2,
                  first_k_dense_replace=1, routed_scaling_factor=1.5, norm_topk_prob=True, n_group=4, topk_group=2)
    same_heads = sizes()
    same_heads["num_key_value_heads"] = 4
    three = sizes()
    three.update(num_attention_heads=3, num_key_value_heads=1, hidden_size=36)
    return {
        "llama": t.LlamaConfig(**sizes(), tie_word_embeddings=False),
        "llama_scaled": t.LlamaConfig(**three, rope_scaling=ROPE_LLAMA3, tie_word_embeddings=True),
        "qwen2": t.Qwen2Config(**sizes(), rope_scaling=ROPE_LINEAR, tie_word_embeddings=True),
        "qwen3": t.Qwen3Config(**sizes(), head_dim=16, tie_word_embeddings=True),
        "qwen3_yarn": t.Qwen3Config(**sizes(), head_dim=16, rope_scaling=ROPE_YARN, tie_word_embeddings=False),
        "qwen3moe": t.Qwen3MoeConfig(**sizes(), head_dim=16, tie_word_embeddings=False, **moe),
        "phi3": t.Phi3Config(**sizes(), tie_word_embeddings=False, partial_rotary_factor=0.5),
        "phi3_window": t.Phi3Config(**sizes(), tie_word_embeddings=False, sliding_window=5),
        "phi3_long": t.Phi3Config(**sizes(), tie_word_embeddings=False, original_max_position_embeddings=32,
                                  rope_scaling=ROPE_LONG),
        "deepseek2": t.DeepseekV3Config(**same_heads, rope_scaling=ROPE_DEEPSEEK, tie_word_embeddings=False, **latent),
        "deepseek2_direct": t.DeepseekV3Config(
            **same_heads, tie_word_embeddings=False,
            **{**latent, "q_lora_rank": None, "n_group": 1, "topk_group": 1, "n_shared_experts": 1}),
    }


LAYER_NAMES = {
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.qkv_proj": "attn_qkv", "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "self_attn.q_a_proj": "attn_q_a", "self_attn.q_a_layernorm": "attn_q_a_norm", "self_attn.q_b_proj": "attn_q_b",
    "self_attn.kv_a_proj_with_mqa": "attn_kv_a_mqa", "self_attn.kv_a_layernorm": "attn_kv_a_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.gate_up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "mlp.gate": "ffn_gate_inp", "mlp.shared_experts.gate_proj": "ffn_gate_shexp",
    "mlp.shared_experts.up_proj": "ffn_up_shexp", "mlp.shared_experts.down_proj": "ffn_down_shexp",
}
OUTER_NAMES = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def permuted(weight, n_heads):
    """Rows of queries or keys with the halves of each head interleaved, as GGUF files of Llama have them."""
    n = weight.shape[0] // n_heads // 2
    return weight.reshape(n_heads, 2, n, -1).swapaxes(1, 2).reshape(weight.shape)


def gguf_tensors(arch, config, state):
    tensors, experts = {}, {}
    for name, weight in state.items():
        stem, ending = name.rsplit(".", 1)
        if stem in OUTER_NAMES:
            tensors[f"{OUTER_NAMES[stem]}.{ending}"] = weight
            continue
        _, _, layer, rest = stem.split(".", 3)
        block = f"blk.{layer}."
        if ending == "e_score_correction_bias":
            tensors[block + "exp_probs_b.bias"] = weight
        elif ".experts." in rest:
            _, _, expert, part = rest.split(".")
            experts.setdefault(block + f"ffn_{part.removesuffix('_proj')}_exps.weight", {})[int(expert)] = weight
        elif rest == "self_attn.kv_b_proj":
            heads = weight.reshape(config.num_attention_heads, -1, config.kv_lora_rank)
            plain = config.qk_nope_head_dim
            tensors[block + "attn_k_b.weight"] = np.ascontiguousarray(heads[:, :plain].swapaxes(1, 2))
            tensors[block + "attn_v_b.weight"] = np.ascontiguousarray(heads[:, plain:])
        else:
            if arch == "llama" and rest == "self_attn.q_proj":
                weight = permuted(weight, config.num_attention_heads)
            if arch == "llama" and rest == "self_attn.k_proj":
                weight = permuted(weight, config.num_key_value_heads)
            tensors[f"{block}{LAYER_NAMES[rest]}.{ending}"] = weight
    for name, parts in experts.items():
        tensors[name] = np.stack([parts[i] for i in range(len(parts))])
    return tensors


def llama3_divisors(config):
    rope, n = rope_of(config), config.hidden_size // config.num_attention_heads
    base = rope.get("rope_theta") or 10000.0
    found = []
    for i in range(0, n, 2):
        wave = 2 * np.pi * base ** (i / n)
        original, low, high = rope["original_max_position_embeddings"], rope["low_freq_factor"], rope["high_freq_factor"]
        if wave < original / high:
            found.append(1.0)
        elif wave > original / low:
            found.append(rope["factor"])
        else:
            smooth = (original / wave - low) / (high - low)
            found.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return np.array(found, np.float32)


def rope_of(config):
    return getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}


def write_values(writer, arch, config):
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    rope = rope_of(config)
    writer.add_rope_freq_base(float(rope.get("rope_theta") or getattr(config, "rope_theta", None) or 10000.0))
    if arch == "deepseek2":
        write_latent(writer, config)
    else:
        writer.add_head_count_kv(config.num_key_value_heads)
        head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        writer.add_key_length(head)
        writer.add_value_length(head)
        writer.add_rope_dimension_count(int(head * (rope.get("partial_rotary_factor")
                                                    or getattr(config, "partial_rotary_factor", None) or 1.0)))
    if arch == "qwen3moe":
        writer.add_expert_count(config.num_experts)
        writer.add_expert_used_count(config.num_experts_per_tok)
        writer.add_expert_feed_forward_length(config.moe_intermediate_size)
    if getattr(config, "sliding_window", None):
        writer.add_sliding_window(config.sliding_window)
    kind = rope.get("rope_type", "default")
    if kind in ("linear", "yarn"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(kind))
        writer.add_rope_scaling_factor(rope["factor"])
    if kind == "longrope":
        writer.add_rope_scaling_orig_ctx_len(config.original_max_position_embeddings)
    if kind == "yarn":
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
        writer.add_rope_scaling_yarn_beta_fast(rope["beta_fast"])
        writer.add_rope_scaling_yarn_beta_slow(rope["beta_slow"])
        if arch == "deepseek2":
            writer.add_rope_scaling_yarn_log_mul(0.1 * rope["mscale_all_dim"])


def write_latent(writer, config):
    if config.q_lora_rank:
        writer.add_q_lora_rank(config.q_lora_rank)
    writer.add_head_count_kv(1)
    writer.add_kv_lora_rank(config.kv_lora_rank)
    writer.add_key_length(config.kv_lora_rank + config.qk_rope_head_dim)
    writer.add_value_length(config.kv_lora_rank)
    writer.add_key_length_mla(config.qk_nope_head_dim + config.qk_rope_head_dim)
    writer.add_value_length_mla(config.v_head_dim)
    writer.add_rope_dimension_count(config.qk_rope_head_dim)
    writer.add_expert_count(config.n_routed_experts)
    writer.add_expert_used_count(config.num_experts_per_tok)
    writer.add_expert_feed_forward_length(config.moe_intermediate_size)
    writer.add_expert_shared_count(config.n_shared_experts)
    writer.add_expert_group_count(config.n_group)
    writer.add_expert_group_used_count(config.topk_group)
    writer.add_leading_dense_block_count(config.first_k_dense_replace)
    writer.add_expert_weights_scale(config.routed_scaling_factor)
    writer.add_expert_weights_norm(config.norm_topk_prob)
    writer.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)


def write_gguf(path, arch, config, state):
    writer = gguf.GGUFWriter(path, arch)
    writer.add_name("test")
    write_values(writer, arch, config)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(TOKENS)
    writer.add_token_types([1] * 258 + [3, 3])
    writer.add_token_merges(MERGES)
    writer.add_eos_token_id(END)
    writer.add_bos_token_id(START)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)
    for name, tensor in gguf_tensors(arch, config, state).items():
        writer.add_tensor(name, np.ascontiguousarray(tensor))
    if arch == "llama" and rope_of(config).get("rope_type") == "llama3":
        writer.add_tensor("rope_freqs.weight", llama3_divisors(config))
    if rope_of(config).get("rope_type") == "longrope":
        for which in ("long", "short"):
            writer.add_tensor(f"rope_factors_{which}.weight", np.array(rope_of(config)[f"{which}_factor"], np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_tokenizer(out):
    vocab = {token: i for i, token in enumerate(TOKENS[:258])}
    added = [{"id": i, "content": TOKENS[i], "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": False, "special": True} for i in (END, START)]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    (out / "tokenizer.json").write_text(json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": level, "post_processor": None, "decoder": level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "vocab": vocab,
                  "merges": MERGES}}))
    (out / "chat_template.jinja").write_text(TEMPLATE)


def make(out, name, config, seed):
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval().float()
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if "norm" in key:
                weight.copy_(1 + 0.2 * torch.randn_like(weight))
            else:
                weight.copy_(0.25 * torch.randn_like(weight))
        for key, weight in model.named_buffers():
            if key.endswith("e_score_correction_bias"):
                weight.copy_(0.1 * torch.randn_like(weight))
        ids = torch.randint(0, 256, (1, N_IDS))
        logits = model(ids).logits[0].numpy()
    out.mkdir(parents=True)
    model.save_pretrained(out, safe_serialization=True)
    (out / "generation_config.json").unlink(missing_ok=True)
    from safetensors.numpy import load_file
    state = load_file(out / "model.safetensors")
    write_gguf(out / "model.gguf", name.split("_")[0], config, state)
    write_tokenizer(out)
    save_file({"ids": ids[0].numpy().astype(np.int32), "logits": logits}, out / "expected.safetensors")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    shutil.rmtree(given.output, ignore_errors=True)
    for i, (name, config) in enumerate(cases().items()):
        make(given.output / name, name, config, given.seed + i)


if __name__ == "__main__":
    main()

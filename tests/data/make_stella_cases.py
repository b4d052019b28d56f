#!/usr/bin/env python3
"""Makes tests/data/stella: tiny seeded Stella v5 checkpoints and what their formulas give.

Run it from any folder with a Python that has torch, transformers, tokenizers, safetensors and
sentence-transformers; it replaces tests/data/stella. `--seed N --output DIR` makes other checkpoints of the same
kinds. Qwen2 is computed by transformers; the other architecture, "new", is written down from
Alibaba-NLP/new-impl, modeling.py, one text at a time and without any of its shortcuts.
"""

import math

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

import qwen2_encoder
from embedding_cases import TEXTS, Weights, main, write_case, write_json, write_modules
from make_bert_cases import VOCABULARY, make_tokenizer

MEAN = {"word_embedding_dimension": 24, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
PROMPT = "Instruct: Retrieve semantically similar text.\nQuery: "


def add_heads(folder, sizes):
    heads = {}
    for size in sizes:
        path = folder / f"2_Dense_{size}"
        write_json(path / "config.json", {
            "in_features": 24, "out_features": size, "bias": True,
            "activation_function": "torch.nn.modules.linear.Identity"})
        weight, bias = torch.randn(size, 24) * 0.3, torch.randn(size) * 0.3
        save_file({"linear.weight": weight, "linear.bias": bias}, path / "model.safetensors")
        heads[size] = (weight, bias)
    return heads


def finish(folder, tokenizer, encode, heads, usual, limit, texts=TEXTS, prompt=""):
    ids = tokenizer([prompt + t for t in texts], truncation=True, max_length=limit)["input_ids"]
    pooled = [encode(x).mean(0) for x in ids]
    if not heads:
        write_case(folder, texts, ids, pooled, limit, prompt)
        return
    rows = {size: [F.linear(p, *head) for p in pooled] for size, head in heads.items()}
    write_case(folder, texts, ids, rows[usual], limit, prompt, rows)


def make_new(folder, dtype=torch.float32, prefix="new.", **changes):
    c = dict(
        architectures=["NewModel"], model_type="new", position_embedding_type="rope", layer_norm_type="layer_norm",
        hidden_act="gelu", hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=20,
        layer_norm_eps=1e-12, max_position_embeddings=1300, type_vocab_size=2, rope_theta=160000.0,
        rope_scaling={"type": "ntk", "factor": 2.0}, pack_qkv=True, logn_attention_scale=False,
        vocab_size=len(VOCABULARY) + 3) | changes
    write_json(folder / "config.json", c)
    tokenizer = make_tokenizer()
    tokenizer.model_max_length = int(1e30)
    tokenizer.save_pretrained(folder)
    h, inner, heads, eps = c["hidden_size"], c["intermediate_size"], c["num_attention_heads"], c["layer_norm_eps"]
    w = Weights(dtype)

    def add_linear(name, n_out, n_in, bias=True):
        w.add(name + ".weight", n_out, n_in)
        if bias:
            w.add(name + ".bias", n_out)

    def add_norm(name):
        w.add(name + ".weight", h, mean=1.0)
        w.add(name + ".bias", h)

    w.add("embeddings.word_embeddings.weight", c["vocab_size"], h)
    if c["type_vocab_size"]:
        w.add("embeddings.token_type_embeddings.weight", c["type_vocab_size"], h)
    add_norm("embeddings.LayerNorm")
    for i in range(c["num_hidden_layers"]):
        layer = f"encoder.layer.{i}."
        if c["pack_qkv"]:
            add_linear(layer + "attention.qkv_proj", 3 * h, h)
        else:
            for name in "qkv":
                add_linear(layer + f"attention.{name}_proj", h, h)
        add_linear(layer + "attention.o_proj", h, h)
        add_norm(layer + "attn_ln")
        add_linear(layer + "mlp.up_gate_proj", 2 * inner, h, bias=False)
        add_linear(layer + "mlp.down_proj", h, inner)
        add_norm(layer + "mlp_ln")
    w.save(folder, prefix)

    size = h // heads
    factor = (c["rope_scaling"] or {"factor": 1.0})["factor"]
    base = c["rope_theta"] * factor
    turns = 1.0 / base ** (torch.arange(0, size, 2).float() / size) / factor ** (2 / size)

    def rotate(x, angle):
        a, b = x.chunk(2, -1)
        return x * angle.cos() + torch.cat((-b, a), -1) * angle.sin()

    def linear(name, x):
        return F.linear(x, w(name + ".weight"), w(name + ".bias"))

    def norm(name, x):
        return F.layer_norm(x, (h,), w(name + ".weight"), w(name + ".bias"), eps)

    def encode(ids):
        n = len(ids)
        angle = torch.outer(torch.arange(n).float(), turns).repeat(1, 2)
        x = w("embeddings.word_embeddings.weight")[ids]
        if c["type_vocab_size"]:
            x = x + w("embeddings.token_type_embeddings.weight")[0]
        x = norm("embeddings.LayerNorm", x)
        for i in range(c["num_hidden_layers"]):
            layer = f"encoder.layer.{i}."
            if c["pack_qkv"]:
                parts = linear(layer + "attention.qkv_proj", x).split(h, -1)
            else:
                parts = [linear(layer + f"attention.{name}_proj", x) for name in "qkv"]
            q, k, v = (part.view(n, heads, size).transpose(0, 1) for part in parts)
            scores = rotate(q, angle) @ rotate(k, angle).transpose(1, 2) / math.sqrt(size)
            context = (scores.softmax(-1) @ v).transpose(0, 1).reshape(n, h)
            x = norm(layer + "attn_ln", x + linear(layer + "attention.o_proj", context))
            up, gate = F.linear(x, w(layer + "mlp.up_gate_proj.weight")).split(inner, -1)
            x = norm(layer + "mlp_ln", x + linear(layer + "mlp.down_proj", up * F.gelu(gate)))
        return x

    return tokenizer, encode


def new_f32(folder):
    """The layout of stella_en_400M_v5: keys under "new.", a head named by modules.json, others beside it."""
    tokenizer, encode = make_new(folder)
    heads = add_heads(folder, [8, 20, 32])
    write_modules(folder, ["Transformer", "Pooling", "Dense_20"], MEAN, 40)
    write_json(folder / "config_sentence_transformers.json", {"prompts": {"s2s_query": PROMPT}})
    finish(folder, tokenizer, encode, heads, 20, 40, prompt=PROMPT)


def new_plain_f16(folder):
    """GTE v1.5's variants: no scaling of positions, separate projections, no token types, no heads, long."""
    tokenizer, encode = make_new(
        folder, torch.float16, prefix="", pack_qkv=False, type_vocab_size=0, rope_scaling=None)
    finish(folder, tokenizer, encode, {}, 0, 1300, [*TEXTS, "the cat sat on a mat and the dog ran, " * 105])


def qwen2_f16(folder):
    """The layout of stella_en_1.5B_v5 as a fetch without modules.json leaves it: the heads' folders alone."""
    tokenizer, encode = qwen2_encoder.make_model(folder, torch.float16, n_files=2, is_causal=False)
    heads = add_heads(folder, [16, 12])
    finish(folder, tokenizer, encode, heads, 12, 2048)


if __name__ == "__main__":
    main("stella", [new_f32, new_plain_f16, qwen2_f16], __doc__)

#!/usr/bin/env python3
"""Makes tests/data/jina_bert: tiny seeded Jina-BERT v2 checkpoints and what their formula gives.

Run it from any folder with a Python that has torch, transformers, tokenizers, safetensors and
sentence-transformers; it replaces tests/data/jina_bert. `--seed N --output DIR` makes other checkpoints of the
same kinds. The formula is written down from jinaai/jina-bert-implementation, modeling_bert.py, one text at a
time and without any of its shortcuts.
"""

import math

import torch
import torch.nn.functional as F

from embedding_cases import TEXTS, Weights, main, write_case, write_json, write_modules
from make_bert_cases import VOCABULARY, make_tokenizer

MEAN = {"word_embedding_dimension": 24, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}


def slopes(n):
    def of_power(n):
        start = 2 ** (-(2 ** -(math.log2(n) - 3)))
        return [start * start ** i for i in range(n)]

    if math.log2(n).is_integer():
        return of_power(n)
    power = 2 ** math.floor(math.log2(n))
    return of_power(power) + slopes(2 * power)[0::2][:n - power]


def make_weights(c, dtype):
    w = Weights(dtype)
    h, inner = c["hidden_size"], c["intermediate_size"]

    def norm(name):
        w.add(name + ".weight", h, mean=1.0)
        w.add(name + ".bias", h)

    w.add("embeddings.word_embeddings.weight", c["vocab_size"], h)
    w.add("embeddings.token_type_embeddings.weight", 2, h)
    norm("embeddings.LayerNorm")
    for i in range(c["num_hidden_layers"]):
        layer = f"encoder.layer.{i}."
        for name in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            w.add(layer + name + ".weight", h, h)
            w.add(layer + name + ".bias", h)
        norm(layer + "attention.output.LayerNorm")
        w.add(layer + "mlp.gated_layers.weight", 2 * inner, h)
        w.add(layer + "mlp.wo.weight", h, inner)
        w.add(layer + "mlp.wo.bias", h)
        norm(layer + "mlp.layernorm")
    w.add("pooler.dense.weight", h, h)
    w.add("pooler.dense.bias", h)
    return w


def forward(w, c, ids):
    h, heads, inner, eps = c["hidden_size"], c["num_attention_heads"], c["intermediate_size"], c["layer_norm_eps"]
    act = {"geglu": F.gelu, "reglu": F.relu}[c["feed_forward_type"]]

    def norm(name, x):
        return F.layer_norm(x, (h,), w(name + ".weight"), w(name + ".bias"), eps)

    def linear(name, x):
        return F.linear(x, w(name + ".weight"), w(name + ".bias"))

    n = len(ids)
    place = torch.arange(n)
    bias = -torch.tensor(slopes(heads)).view(-1, 1, 1) * (place[None, :] - place[:, None]).abs()
    x = w("embeddings.word_embeddings.weight")[ids] + w("embeddings.token_type_embeddings.weight")[0]
    x = norm("embeddings.LayerNorm", x)
    for i in range(c["num_hidden_layers"]):
        layer = f"encoder.layer.{i}."
        q, k, v = (linear(layer + f"attention.self.{name}", x).view(n, heads, -1).transpose(0, 1)
                   for name in ("query", "key", "value"))
        scores = q @ k.transpose(1, 2) / math.sqrt(h // heads) + bias
        context = (scores.softmax(-1) @ v).transpose(0, 1).reshape(n, h)
        x = norm(layer + "attention.output.LayerNorm", x + linear(layer + "attention.output.dense", context))
        both = F.linear(x, w(layer + "mlp.gated_layers.weight"))
        x = norm(layer + "mlp.layernorm", x + linear(layer + "mlp.wo", act(both[:, :inner]) * both[:, inner:]))
    return x.mean(0)


def make(folder, dtype=torch.float32, prefix="", texts=TEXTS, limit=None, **changes):
    c = dict(
        architectures=["JinaBertForMaskedLM"], model_type="bert", position_embedding_type="alibi",
        feed_forward_type="geglu", hidden_act="gelu", hidden_size=24, num_hidden_layers=2, num_attention_heads=6,
        intermediate_size=20, layer_norm_eps=1e-12, max_position_embeddings=1300, type_vocab_size=2,
        vocab_size=len(VOCABULARY) + 3) | changes
    write_json(folder / "config.json", c)
    tokenizer = make_tokenizer()
    tokenizer.model_max_length = int(1e30)
    tokenizer.save_pretrained(folder)
    w = make_weights(c, dtype)
    w.save(folder, prefix)
    if limit:
        write_modules(folder, ["Transformer", "Pooling"], MEAN, limit)
    ids = tokenizer(texts, truncation=True, max_length=limit or 1300)["input_ids"]
    write_case(folder, texts, ids, [forward(w, c, x) for x in ids], limit or 1300)


def mean_f16(folder):
    """The layout of jina-embeddings-v2-base-en: f16, and a number of heads that is no power of two."""
    make(folder, torch.float16, limit=40)


def long_bf16(folder):
    """A text longer than a block of tokens, without the files of sentence-transformers."""
    make(folder, torch.bfloat16, texts=[*TEXTS, "the cat sat on a mat and the dog ran, " * 105])


def reglu_f32(folder):
    """A masked language model's names, ReLU for the gate, a power of two of heads."""
    make(folder, prefix="bert.", feed_forward_type="reglu", num_attention_heads=4, layer_norm_eps=1e-5)


if __name__ == "__main__":
    main("jina_bert", [mean_f16, long_bf16, reglu_f32], __doc__)

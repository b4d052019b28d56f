#!/usr/bin/env python3
"""Makes tests/data/gte_qwen2: tiny seeded GTE-Qwen2 checkpoints and what transformers computes on them.

Run it from any folder with a Python that has torch, transformers, tokenizers and safetensors; it replaces
tests/data/gte_qwen2. `--seed N --output DIR` makes other checkpoints of the same kinds.
"""

import torch

from embedding_cases import TEXTS, main, write_case, write_json, write_modules
from qwen2_encoder import make_model

LAST = {"word_embedding_dimension": 24, "pooling_mode_mean_tokens": False, "pooling_mode_lasttoken": True}
OWN_CODE = {"auto_map": {"AutoModel": "modeling_qwen.Qwen2Model"}}


def finish(folder, tokenizer, encode, limit, texts=TEXTS, prompt=""):
    ids = tokenizer([prompt + t for t in texts], truncation=True, max_length=limit)["input_ids"]
    write_case(folder, texts, ids, [encode(x)[-1] for x in ids], limit, prompt)


def sharded_f16(folder):
    """The layout of gte-Qwen2-1.5B-instruct: several files, a language model's names, a prompt for queries."""
    tokenizer, encode = make_model(folder, torch.float16, n_files=2, is_causal=False, **OWN_CODE)
    write_modules(folder, ["Transformer", "Pooling", "Normalize"], LAST, 64)
    write_json(folder / "config_sentence_transformers.json", {
        "prompts": {"query": "Instruct: find it\nQuery: "}, "default_prompt_name": None})
    finish(folder, tokenizer, encode, 64, prompt="Instruct: find it\nQuery: ")


def long_bf16(folder):
    """Only `auto_map` says that it is an encoder; no files of sentence-transformers; a text of several blocks."""
    tokenizer, encode = make_model(folder, torch.bfloat16, **OWN_CODE)
    finish(folder, tokenizer, encode, 2048, [*TEXTS[:3], "the cat sat on a mat and the dog ran, " * 45])


def plain_f32(folder):
    """An encoder's own names, in f32."""
    tokenizer, encode = make_model(folder, prefix="", n_layers=1, is_causal=False)
    finish(folder, tokenizer, encode, 2048)


if __name__ == "__main__":
    main("gte_qwen2", [sharded_f16, long_bf16, plain_f32], __doc__)

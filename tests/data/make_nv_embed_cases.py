#!/usr/bin/env python3
"""Makes tests/data/nv_embed: tiny seeded NV-Embed v2 checkpoints and what their formula gives.

Run it from any folder with a Python that has torch, transformers, tokenizers and safetensors; it replaces
tests/data/nv_embed. `--seed N --output DIR` makes other checkpoints of the same kinds. Mistral is computed by
transformers; what follows it is written down from nvidia/NV-Embed-v2, modeling_nvembed.py (`encode`, in the
vendor's way and not in that of sentence-transformers).
"""

import math

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, normalizers, processors
from transformers import MistralConfig, MistralModel, PreTrainedTokenizerFast

from embedding_cases import TEXTS, Weights, main, write_case, write_json, write_modules

PROMPT = "Instruct: find what answers the question\nQuery: "


def make_tokenizer():
    vocabulary = ["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)] + ["\u2581"]
    vocabulary += [chr(c) for c in range(33, 127)]
    merges = [("t", "h"), ("th", "e"), ("a", "t"), ("\u2581", "the"), ("\u2581", "a"), ("n", "d"), ("e", "r")]
    vocabulary += [a + b for a, b in merges]
    tokenizer = Tokenizer(models.BPE(
        {t: i for i, t in enumerate(vocabulary)}, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="</s>",
        model_max_length=int(1e30))


def make(folder, dtype, limit, texts=TEXTS, prompt="", modules=True, n_files=1, normalize=False, n_layers=2, h=16):
    tokenizer = make_tokenizer()
    heads, size, n_latents = 3, 8, 5
    text = dict(
        vocab_size=len(tokenizer), hidden_size=h, intermediate_size=20, num_hidden_layers=n_layers, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=1300, rms_norm_eps=1e-5, rope_theta=10000.0,
        hidden_act="silu", sliding_window=8)
    latent = dict(
        hidden_dim=h, latent_dim=h, num_cross_heads=heads, cross_dim_head=size, num_latents_value=n_latents,
        output_normalize=normalize, model_type="latent_attention")
    write_json(folder / "config.json", {
        "architectures": ["NVEmbedModel"], "model_type": "nvembed", "hidden_size": h, "padding_side": "right",
        "is_mask_instruction": True, "add_eos": True, "text_config": text | {"model_type": "bidir_mistral"},
        "latent_attention_config": latent})
    tokenizer.save_pretrained(folder)
    # A window would cut what a token sees; the vendor's attention has none.
    model = MistralModel(MistralConfig(**(text | {"sliding_window": None}))).eval()
    w = Weights(dtype)
    for name, parameter in model.named_parameters():
        w.add("embedding_model." + name, *parameter.shape, mean=1.0 if "norm" in name else 0.0)
        parameter.data.copy_(w("embedding_model." + name))
    top = "latent_attention_model."
    attend, feed = top + "cross_attend_blocks.0.", top + "cross_attend_blocks.1."
    w.add(top + "latents", n_latents, h, std=1.0)
    w.add(attend + "fn.to_q.weight", heads * size, h)
    w.add(attend + "fn.to_kv.weight", 2 * heads * size, h)
    w.add(attend + "fn.to_out.weight", h, heads * size)
    for norm in (attend + "norm", attend + "norm_context", feed + "norm"):
        w.add(norm + ".weight", h, mean=1.0)
        w.add(norm + ".bias", h)
    w.add(feed + "fn.net.0.weight", 8 * h, h)
    w.add(feed + "fn.net.0.bias", 8 * h)
    w.add(feed + "fn.net.2.weight", h, 4 * h)
    w.add(feed + "fn.net.2.bias", h)
    w.save(folder, n_files=n_files)
    if modules:
        mean = {"word_embedding_dimension": h, "pooling_mode_mean_tokens": True, "include_prompt": False}
        write_modules(folder, ["Transformer", "Pooling", "Normalize"], mean, limit)

    def norm(name, x):
        return F.layer_norm(x, (h,), w(name + ".weight"), w(name + ".bias"))

    def encode(ids, n_instruction):
        n = len(ids)
        x = model(input_ids=torch.tensor([ids]), attention_mask=torch.zeros(1, 1, n, n)).last_hidden_state[0]
        q = F.linear(norm(attend + "norm", x), w(attend + "fn.to_q.weight"))
        context = norm(attend + "norm_context", w(top + "latents"))
        k, v = F.linear(context, w(attend + "fn.to_kv.weight")).chunk(2, -1)
        q, k, v = (t.view(t.shape[0], heads, size).transpose(0, 1) for t in (q, k, v))
        weights = (q @ k.transpose(1, 2) / math.sqrt(size)).softmax(-1)
        mixed = (weights @ v).transpose(0, 1).reshape(n, heads * size)
        x = F.linear(mixed, w(attend + "fn.to_out.weight")) + x
        inner = F.linear(norm(feed + "norm", x), w(feed + "fn.net.0.weight"), w(feed + "fn.net.0.bias"))
        value, gate = inner.chunk(2, -1)
        x = F.linear(value * F.gelu(gate), w(feed + "fn.net.2.weight"), w(feed + "fn.net.2.bias")) + x
        return x[n_instruction:].mean(0)

    ids = tokenizer([prompt + t + "</s>" for t in texts], truncation=True, max_length=limit)["input_ids"]
    n_instruction = len(tokenizer.tokenize(prompt)) if prompt else 0
    rows = [encode(x, n_instruction) for x in ids]
    if normalize:
        rows = [F.normalize(x, dim=0) for x in rows]
    write_case(folder, texts, ids, rows, limit, prompt, n_prompt_tokens=n_instruction)


def query_f16(folder):
    """The layout of NV-Embed-v2: several files, an instruction, a limit that cuts the end of the longest text."""
    make(folder, torch.float16, 96, prompt=PROMPT, n_files=2)


def long_bf16(folder):
    """Without an instruction or the files of sentence-transformers; a text of several blocks."""
    make(folder, torch.bfloat16, 1300, [*TEXTS[:3], "the cat sat on a mat and the dog ran, " * 35], modules=False)


def unit_f32(folder):
    """The latent model scales its rows itself."""
    make(folder, torch.float32, 128, TEXTS[:4], normalize=True, prompt=PROMPT, n_layers=1, h=8)


if __name__ == "__main__":
    main("nv_embed", [query_f16, long_bf16, unit_f32], __doc__)

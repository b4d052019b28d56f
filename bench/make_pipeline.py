#!/usr/bin/env python3
"""Writes an image pipeline of random weights, of real or of tiny shape, without holding it in memory.

    make_pipeline.py flux|sd3 FOLDER [--format bf16|q8_0|q4_k] [--tiny] [--blocks N] [--single-blocks N]

The transformer, T5 and the VAE are single files in the names of their makers (GGUF where the format is one of
blocks); no config.json is written, since the shapes tell what it would say. The tokenizers know single bytes only.
What such a pipeline paints is noise, but it takes the memory and the time of a real one. Needs Python alone.
"""

import argparse
import json
import math
import pathlib
import random
import struct

POOL_VALUES = 1 << 20  # numbers that are drawn; longer tensors repeat them from another place on


def bf16(value):
    return struct.unpack("<I", struct.pack("<f", value))[0] >> 16


class Numbers:
    """Bytes of tensors, of numbers between one and two times a scale, either sign."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.pools = {}

    def bf16_pool(self, exponent):
        low = self.random.randbytes(POOL_VALUES)
        high = self.random.randbytes(POOL_VALUES)
        odd, rest = (exponent & 1) << 7, exponent >> 1
        pool = bytearray(2 * POOL_VALUES)
        pool[0::2] = low.translate(bytes(odd | (b & 0x7F) for b in range(256)))
        pool[1::2] = high.translate(bytes((b & 0x80) | rest for b in range(256)))
        return bytes(pool)

    def q8_0_pool(self, scale):
        n_blocks = POOL_VALUES // 32
        pool = bytearray(self.random.randbytes(34 * n_blocks))
        d = struct.pack("<e", scale / 64)
        for i in range(2):
            pool[i::34] = bytes([d[i]]) * n_blocks
        return bytes(pool)

    def q4_k_pool(self, scale):
        n_blocks = POOL_VALUES // 256
        pool = bytearray(self.random.randbytes(144 * n_blocks))
        # Scales and minima of sub-blocks all 32: value = d * 32 * code - dmin * 32.
        d = struct.pack("<e", scale / 256) + struct.pack("<e", scale / 34)
        for i in range(4):
            pool[i::144] = bytes([d[i]]) * n_blocks
        scales = bytes([32] * 8 + [0] * 4)
        for i in range(12):
            pool[4 + i::144] = bytes([scales[i]]) * n_blocks
        return bytes(pool)

    def pool(self, kind, scale):
        exponent = max(1, min(254, 127 + math.floor(math.log2(scale))))
        key = (kind, exponent)
        if key not in self.pools:
            rounded = 2.0 ** (exponent - 127)
            make = {"BF16": lambda: self.bf16_pool(exponent), "Q8_0": lambda: self.q8_0_pool(rounded),
                    "Q4_K": lambda: self.q4_k_pool(rounded)}[kind]
            self.pools[key] = make()
        return self.pools[key]

    def write(self, out, kind, shape, n_bytes, norm):
        if norm is not None:
            one = struct.pack("<f", norm) if kind == "F32" else struct.pack("<H", bf16(norm))
            out.write(one * (n_bytes // len(one)))
            return
        pool = self.pool(kind, 0.5 / math.sqrt(math.prod(shape[1:])))
        unit = BLOCKS[kind][1]
        at = self.random.randrange(len(pool) // unit) * unit
        while n_bytes > 0:
            part = memoryview(pool)[at:at + n_bytes]
            out.write(part)
            n_bytes -= len(part)
            at = 0


BLOCKS = {"F32": (1, 4), "BF16": (1, 2), "Q8_0": (32, 34), "Q4_K": (256, 144)}
GGUF_TYPES = {"F32": 0, "Q8_0": 8, "Q4_K": 12, "BF16": 30}


def size_of(kind, shape):
    n, n_bytes = BLOCKS[kind]
    return math.prod(shape) // n * n_bytes


def fixed_value(name, shape):
    """Norms are ones and biases zeros; None for what is drawn."""
    if name.endswith(".bias"):
        return 0.0
    return 1.0 if len(shape) == 1 else None


def write_safetensors(path, tensors, numbers):
    head, at = {}, 0
    for name, shape in tensors:
        n = size_of("BF16", shape)
        head[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + n]}
        at += n
    text = json.dumps(head, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for name, shape in tensors:
            numbers.write(out, "BF16", shape, size_of("BF16", shape), fixed_value(name, shape))


def write_gguf(path, architecture, tensors, kind, numbers):
    def string(text):
        return struct.pack("<Q", len(text)) + text.encode()

    def kind_of(name, shape):
        fits = len(shape) == 2 and shape[-1] % BLOCKS[kind][0] == 0 and "attn_rel_b" not in name
        return kind if fits else "F32"

    places, at = [], 0
    for name, shape in tensors:
        places.append(at)
        at += (size_of(kind_of(name, shape), shape) + 31) // 32 * 32
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), 1)
    head += string("general.architecture") + struct.pack("<I", 8) + string(architecture)
    for (name, shape), place in zip(tensors, places):
        head += string(name) + struct.pack("<I", len(shape))
        head += b"".join(struct.pack("<Q", n) for n in reversed(shape))
        head += struct.pack("<IQ", GGUF_TYPES[kind_of(name, shape)], place)
    head += b"\0" * (-len(head) % 32)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as out:
        out.write(head)
        for name, shape in tensors:
            own = kind_of(name, shape)
            n = size_of(own, shape)
            fixed = fixed_value(name, shape)
            if own == "F32" and fixed is None:
                fixed = 0.01  # what fits no block is small: embeddings of the time and of patches
            numbers.write(out, own, shape, n, fixed)
            out.write(b"\0" * (-n % 32))


def linear(name, n_out, n_in):
    return [(name + ".weight", [n_out, n_in]), (name + ".bias", [n_out])]


def conv(name, n_out, n_in, side):
    return [(name + ".weight", [n_out, n_in, side, side]), (name + ".bias", [n_out])]


def norm(name, n):
    return [(name + ".weight", [n]), (name + ".bias", [n])]


def flux(width, context, pooled, n_double, n_single):
    made = linear("img_in", width, 64) + linear("txt_in", width, context)
    for name, n_in in (("time_in", 256), ("vector_in", pooled)):
        made += linear(name + ".in_layer", width, n_in) + linear(name + ".out_layer", width, width)
    for i in range(n_double):
        for side in ("img", "txt"):
            block = f"double_blocks.{i}.{side}_"
            made += linear(block + "mod.lin", 6 * width, width) + linear(block + "attn.qkv", 3 * width, width)
            made += [(block + "attn.norm.query_norm.scale", [128]), (block + "attn.norm.key_norm.scale", [128])]
            made += linear(block + "attn.proj", width, width)
            made += linear(block + "mlp.0", 4 * width, width) + linear(block + "mlp.2", width, 4 * width)
    for i in range(n_single):
        block = f"single_blocks.{i}."
        made += linear(block + "linear1", 7 * width, width) + linear(block + "linear2", width, 5 * width)
        made += [(block + "norm.query_norm.scale", [128]), (block + "norm.key_norm.scale", [128])]
        made += linear(block + "modulation.lin", 3 * width, width)
    return made + linear("final_layer.adaLN_modulation.1", 2 * width, width) + linear("final_layer.linear", 64, width)


def sd3(width, context, pooled, n_blocks, n_places):
    made = conv("x_embedder.proj", width, 16, 2) + [("pos_embed", [1, n_places * n_places, width])]
    made += linear("context_embedder", width, context)
    for name, n_in in (("t_embedder", 256), ("y_embedder", pooled)):
        made += linear(name + ".mlp.0", width, n_in) + linear(name + ".mlp.2", width, width)
    for i in range(n_blocks):
        for side in ("x_block", "context_block"):
            block = f"joint_blocks.{i}.{side}."
            is_end = side == "context_block" and i == n_blocks - 1
            made += linear(block + "adaLN_modulation.1", (2 if is_end else 6) * width, width)
            made += linear(block + "attn.qkv", 3 * width, width)
            made += [(block + "attn.ln_q.weight", [64]), (block + "attn.ln_k.weight", [64])]
            if is_end:
                continue
            made += linear(block + "attn.proj", width, width)
            made += linear(block + "mlp.fc1", 4 * width, width) + linear(block + "mlp.fc2", width, 4 * width)
    return made + linear("final_layer.adaLN_modulation.1", 2 * width, width) + linear("final_layer.linear", 64, width)


def resnet(name, n_in, n_out):
    made = norm(name + "norm1", n_in) + conv(name + "conv1", n_out, n_in, 3)
    made += norm(name + "norm2", n_out) + conv(name + "conv2", n_out, n_out, 3)
    return made + (conv(name + "nin_shortcut", n_out, n_in, 1) if n_in != n_out else [])


def middle(name, n):
    made = resnet(name + "block_1.", n, n) + norm(name + "attn_1.norm", n)
    for part in ("q", "k", "v", "proj_out"):
        made += conv(name + "attn_1." + part, n, n, 1)
    return made + resnet(name + "block_2.", n, n)


def vae(channels, n_resnets):
    made = conv("encoder.conv_in", channels[0], 3, 3)
    n_in = channels[0]
    for i, n in enumerate(channels):
        for j in range(n_resnets):
            made += resnet(f"encoder.down.{i}.block.{j}.", n_in, n)
            n_in = n
        if i + 1 < len(channels):
            made += conv(f"encoder.down.{i}.downsample.conv", n, n, 3)
    made += middle("encoder.mid.", n_in) + norm("encoder.norm_out", n_in) + conv("encoder.conv_out", 32, n_in, 3)
    made += conv("decoder.conv_in", n_in, 16, 3) + middle("decoder.mid.", n_in)
    for i in reversed(range(len(channels))):
        for j in range(n_resnets + 1):
            made += resnet(f"decoder.up.{i}.block.{j}.", n_in, channels[i])
            n_in = channels[i]
        if i > 0:
            made += conv(f"decoder.up.{i}.upsample.conv", n_in, n_in, 3)
    return made + norm("decoder.norm_out", n_in) + conv("decoder.conv_out", 3, n_in, 3)


def clip(width, inner, n_layers, n_tokens, projects):
    made = [("text_model.embeddings.token_embedding.weight", [n_tokens, width]),
            ("text_model.embeddings.position_embedding.weight", [77, width])]
    for i in range(n_layers):
        layer = f"text_model.encoder.layers.{i}."
        made += norm(layer + "layer_norm1", width) + norm(layer + "layer_norm2", width)
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            made += linear(layer + "self_attn." + part, width, width)
        made += linear(layer + "mlp.fc1", inner, width) + linear(layer + "mlp.fc2", width, inner)
    made += norm("text_model.final_layer_norm", width)
    return made + ([("text_projection.weight", [width, width])] if projects else [])


T5_GGUF = {"layer.0.SelfAttention.": "attn_", "relative_attention_bias": "rel_b", "layer.0.layer_norm": "attn_norm",
           "layer.1.DenseReluDense.wi_0": "ffn_gate", "layer.1.DenseReluDense.wi_1": "ffn_up",
           "layer.1.DenseReluDense.wo": "ffn_down", "layer.1.layer_norm": "ffn_norm",
           "encoder.block": "enc.blk", "encoder.final_layer_norm": "enc.output_norm", "shared": "token_embd"}


def t5(width, inner, n_heads, head, n_layers, n_tokens):
    made = [("shared.weight", [n_tokens, width]), ("encoder.final_layer_norm.weight", [width])]
    for i in range(n_layers):
        block = f"encoder.block.{i}."
        attention = block + "layer.0.SelfAttention."
        if i == 0:
            made.append((attention + "relative_attention_bias.weight", [32, n_heads]))
        made += [(attention + part + ".weight", [n_heads * head, width]) for part in "qkv"]
        made += [(attention + "o.weight", [width, n_heads * head]), (block + "layer.0.layer_norm.weight", [width])]
        made += [(block + "layer.1.DenseReluDense.wi_0.weight", [inner, width]),
                 (block + "layer.1.DenseReluDense.wi_1.weight", [inner, width]),
                 (block + "layer.1.DenseReluDense.wo.weight", [width, inner]), (block + "layer.1.layer_norm.weight", [width])]
    return made


def to_gguf(name):
    for theirs, ours in T5_GGUF.items():
        name = name.replace(theirs, ours)
    return name


def byte_characters():
    """GPT-2's characters for bytes."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(len(others))]


def write_clip_tokenizer(folder, pad):
    folder.mkdir(parents=True, exist_ok=True)
    characters = byte_characters()
    words = characters + [c + "</w>" for c in characters] + ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "CLIPTokenizer", "bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>", "pad_token": pad, "model_max_length": 77}))
    return len(words)


def write_t5_tokenizer(folder):
    folder.mkdir(parents=True, exist_ok=True)
    special = ["<pad>", "</s>", "<unk>"]
    vocabulary = [[word, 0.0] for word in special] + [["\u2581", -2.0]]
    vocabulary += [[chr(c), -3.0 - c / 1000] for c in range(33, 127)]
    (folder / "tokenizer.json").write_text(json.dumps({
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": i, "content": word, "single_word": False, "lstrip": False, "rstrip": False,
                          "normalized": False, "special": True} for i, word in enumerate(special)],
        "normalizer": None,
        "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True},
        "post_processor": {"type": "TemplateProcessing",
                           "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}],
                           "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}},
                                    {"Sequence": {"id": "B", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}],
                           "special_tokens": {"</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}}},
        "decoder": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True},
        "model": {"type": "Unigram", "unk_id": 2, "vocab": vocabulary, "byte_fallback": False}}))
    (folder / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "T5Tokenizer", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}))
    return len(vocabulary)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("family", choices=("flux", "sd3"))
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--format", choices=("bf16", "q8_0", "q4_k"), default="bf16")
    parser.add_argument("--tiny", action="store_true", help="of a few kilobytes, for tests")
    parser.add_argument("--blocks", type=int, help="of the transformer (default: all; of FLUX the double ones)")
    parser.add_argument("--single-blocks", type=int, help="of FLUX (default: all)")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    numbers = Numbers(given.seed)
    folder, tiny, is_flux = given.folder, given.tiny, given.family == "flux"
    n_clip = write_clip_tokenizer(folder / "tokenizer", "<|endoftext|>")
    if not is_flux:
        write_clip_tokenizer(folder / "tokenizer_2", "!")
    n_t5 = write_t5_tokenizer(folder / ("tokenizer_2" if is_flux else "tokenizer_3"))

    def count(asked, real, small):
        return asked if asked is not None else (small if tiny else real)

    encoders = folder / "text_encoders"
    write_safetensors(encoders / "clip_l.safetensors",
                      clip(64, 64, 2, n_clip, not is_flux) if tiny else clip(768, 3072, 12, 49408, not is_flux), numbers)
    if not is_flux:
        write_safetensors(encoders / "clip_g.safetensors",
                          clip(64, 64, 2, n_clip, True) if tiny else clip(1280, 5120, 32, 49408, True), numbers)
    encoder = t5(192, 64, 3, 64, 2, n_t5) if tiny else t5(4096, 10240, 64, 64, 24, 32128)
    if is_flux:
        n_single = count(given.single_blocks, 38, 2)
        n_double = count(given.blocks, 19, 2)
        network = flux(128, 192, 64, n_double, n_single) if tiny else flux(3072, 4096, 768, n_double, n_single)
        name = "flux1-schnell"
    else:
        n_blocks = count(given.blocks, 38, 3)
        network = sd3(128, 192, 128, n_blocks, 24) if tiny else sd3(2432, 4096, 2048, n_blocks, 192)
        name = "sd3.5_large_turbo"
    decoder = vae([32, 32, 32, 64], 1) if tiny else vae([128, 256, 512, 512], 2)
    write_safetensors(folder / "ae.safetensors", decoder, numbers)
    if given.format == "bf16":
        write_safetensors(encoders / "t5xxl_bf16.safetensors", encoder, numbers)
        write_safetensors(folder / f"{name}.safetensors", network, numbers)
    else:
        kind = given.format.upper()
        write_gguf(encoders / f"t5xxl-{kind}.gguf", "t5encoder", [(to_gguf(n), s) for n, s in encoder], kind, numbers)
        write_gguf(folder / f"{name}-{kind}.gguf", given.family, network, kind, numbers)


if __name__ == "__main__":
    main()

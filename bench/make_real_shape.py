"""Writes checkpoints of the real shapes of public models, with random weights.

    python make_real_shape.py CASE OUTPUT [--layers N] [--seed S]

CASE is one of those that --list prints, such as qwen3-1.7b:Q4_K_M (a GGUF file), or llama-7b:f16 and llava-7b:f16
(folders of safetensors). Tensors are written one after another: memory stays at about 100 MB whatever the size of the model.

Weights of a quantised type are drawn as blocks, with scales about which activations stay finite; mixes are those
of the public files. Vocabularies have the real sizes: the bytes, and words that nothing joins. Answers are noise,
but speed and memory are those of the real files.

Needs numpy and gguf (0.19).
"""

import argparse
import json
import pathlib
import sys

import gguf
import numpy as np

Q = gguf.GGMLQuantizationType
POOL_BYTES = 24 << 20


# ---- numbers ---------------------------------------------------------------------------------------------

def halves(values):
    return values.astype("<f2").view(np.uint8).reshape(len(values), 2)


class Numbers:
    """Random tensors: parts of a pool, from places that differ."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.pools = {}

    def blocks(self, kind, n):
        """Blocks of deviation 1, but for the f16 scale, which is returned as the offsets to multiply."""
        raw = self.random.integers(0, 256, (n, gguf.GGML_QUANT_SIZES[kind][1]), dtype=np.uint8)
        size = self.random.uniform(0.8, 1.2, n).astype(np.float32)
        six_bits = [0xA0] * 8 + [0x00] * 4  # all scales and minima are 32
        if kind == Q.Q4_0:
            return raw, [(0, size / 4.6)]
        if kind == Q.Q8_0:
            return raw, [(0, size / 73.9)]
        if kind == Q.Q4_K:
            raw[:, 4:16] = six_bits
            return raw, [(0, size / (32 * 4.61)), (2, 7.5 * size / (32 * 4.61))]
        if kind == Q.Q5_K:
            raw[:, 4:16] = six_bits
            return raw, [(0, size / (32 * 9.23)), (2, 15.5 * size / (32 * 9.23))]
        if kind == Q.Q6_K:
            raw[:, 192:208] = 32
            return raw, [(208, size / (32 * 18.5))]
        raise ValueError(kind)

    def pool(self, kind, deviation):
        key = (kind, round(float(deviation), 6))
        if key not in self.pools:
            if kind in (Q.F32, Q.F16, Q.BF16):
                numbers = self.random.standard_normal(POOL_BYTES // 4, dtype=np.float32) * np.float32(deviation)
                if kind == Q.BF16:
                    pool = (numbers.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
                else:
                    pool = numbers.astype("<f4" if kind == Q.F32 else "<f2").view(np.uint8)
            else:
                n = POOL_BYTES // gguf.GGML_QUANT_SIZES[kind][1]
                raw, scales = self.blocks(kind, n)
                for offset, scale in scales:
                    raw[:, offset:offset + 2] = halves(scale * deviation)
                pool = raw.reshape(-1)
            self.pools = dict(list(self.pools.items())[-3:])
            self.pools[key] = pool
        return self.pools[key]

    def bytes_of(self, kind, n_elements, deviation):
        """Yields the bytes of a tensor in parts."""
        block, block_bytes = gguf.GGML_QUANT_SIZES[kind]
        left = n_elements // block * block_bytes
        pool = self.pool(kind, deviation)
        while left > 0:
            first = int(self.random.integers(0, len(pool) // block_bytes // 2)) * block_bytes
            part = pool[first:first + left]
            yield part
            left -= len(part)


# ---- vocabularies ----------------------------------------------------------------------------------------

def byte_words():
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(b) if b in plain else chr(next(others)) for b in range(256)]


TEMPLATE = ("{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
            "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")


def words(n):
    special = ["<|im_start|>", "<|im_end|>"]
    first = byte_words() + ["ab"]
    return first + [f"w{i}" for i in range(n - len(first) - len(special))] + special


# ---- GGUF ------------------------------------------------------------------------------------------------

def takes_more_bits(layer, n_layers):
    """Which layers have a few tensors in Q6_K, in a Q4_K_M mix."""
    eighth = n_layers // 8
    return layer < eighth or layer >= 7 * eighth or (layer - eighth) % 3 == 2


def kind_of(mix, name, layer, n_layers, tied):
    if mix != "Q4_K_M":
        return Q[mix]
    if name == "output" or (name == "token_embd" and tied):
        return Q.Q6_K
    if name == "attn_qkv":
        return Q.Q5_K
    if name in ("attn_v", "attn_v_b", "ffn_down", "ffn_down_exps", "ffn_down_shexp") and takes_more_bits(layer, n_layers):
        return Q.Q6_K
    return Q.Q4_K


class Shape:
    """The tensors of a model: (name, rows and columns as numpy has them, or None where it is a norm)."""

    def __init__(self, arch, n_layers, hidden, vocab, keys, tied=False):
        self.arch, self.n_layers, self.hidden, self.vocab, self.tied = arch, n_layers, hidden, vocab, tied
        self.keys = {"block_count": n_layers, "embedding_length": hidden, "vocab_size": vocab, **keys}

    def layer(self, index):
        raise NotImplementedError

    def tensors(self):
        yield "token_embd", -1, (self.vocab, self.hidden)
        yield "output_norm", -1, (self.hidden,)
        if not self.tied:
            yield "output", -1, (self.vocab, self.hidden)
        for index in range(self.n_layers):
            yield "attn_norm", index, (self.hidden,)
            yield "ffn_norm", index, (self.hidden,)
            for name, *shape in self.layer(index):
                yield name, index, tuple(shape)


class Qwen3(Shape):
    def __init__(self, n_layers, hidden, n_heads, n_kv, head, inner, vocab, context, experts=None, tied=False):
        keys = {"context_length": context, "attention.head_count": n_heads, "attention.head_count_kv": n_kv,
                "attention.key_length": head, "attention.value_length": head, "feed_forward_length": inner,
                "attention.layer_norm_rms_epsilon": 1e-6, "rope.freq_base": 1e6}
        if experts:
            keys |= {"expert_count": experts[0], "expert_used_count": experts[1],
                     "expert_feed_forward_length": experts[2]}
        super().__init__("qwen3moe" if experts else "qwen3", n_layers, hidden, vocab, keys, tied)
        self.heads, self.inner, self.experts = (n_heads, n_kv, head), inner, experts

    def layer(self, index):
        n_heads, n_kv, head = self.heads
        yield "attn_q", n_heads * head, self.hidden
        yield "attn_k", n_kv * head, self.hidden
        yield "attn_v", n_kv * head, self.hidden
        yield "attn_output", self.hidden, n_heads * head
        yield "attn_q_norm", head
        yield "attn_k_norm", head
        if self.experts:
            n, _, inner = self.experts
            yield "ffn_gate_inp", n, self.hidden
            yield "ffn_gate_exps", n, inner, self.hidden
            yield "ffn_up_exps", n, inner, self.hidden
            yield "ffn_down_exps", n, self.hidden, inner
        else:
            yield "ffn_gate", self.inner, self.hidden
            yield "ffn_up", self.inner, self.hidden
            yield "ffn_down", self.hidden, self.inner


class Phi4(Shape):
    def __init__(self, n_layers):
        super().__init__("phi3", n_layers, 5120, 100352, {
            "context_length": 32768, "attention.head_count": 40, "attention.head_count_kv": 10,
            "feed_forward_length": 17920, "attention.layer_norm_rms_epsilon": 1e-5, "rope.freq_base": 500000.0,
            "rope.dimension_count": 128})

    def layer(self, index):
        yield "attn_qkv", 5120 + 2 * 1280, 5120
        yield "attn_output", 5120, 5120
        yield "ffn_up", 2 * 17920, 5120
        yield "ffn_down", 5120, 17920


class KimiK2(Shape):
    def __init__(self, n_layers):
        super().__init__("deepseek2", n_layers, 7168, 163840, {
            "context_length": 131072, "attention.head_count": 64, "attention.head_count_kv": 1,
            "attention.q_lora_rank": 1536, "attention.kv_lora_rank": 512, "attention.key_length": 576,
            "attention.value_length": 512, "attention.key_length_mla": 192, "attention.value_length_mla": 128,
            "feed_forward_length": 18432, "expert_feed_forward_length": 2048, "expert_count": 384,
            "expert_used_count": 8, "expert_shared_count": 1, "leading_dense_block_count": 1,
            "expert_group_count": 1, "expert_group_used_count": 1, "expert_weights_scale": 2.827,
            "expert_weights_norm": True, "expert_gating_func": 2, "attention.layer_norm_rms_epsilon": 1e-6,
            "rope.freq_base": 50000.0, "rope.dimension_count": 64, "rope.scaling.type": "yarn",
            "rope.scaling.factor": 32.0, "rope.scaling.original_context_length": 4096,
            "rope.scaling.yarn_log_multiplier": 0.1})

    def layer(self, index):
        hidden = self.hidden
        yield "attn_q_a", 1536, hidden
        yield "attn_q_a_norm", 1536
        yield "attn_q_b", 64 * 192, 1536
        yield "attn_kv_a_mqa", 576, hidden
        yield "attn_kv_a_norm", 512
        yield "attn_k_b", 64, 512, 128
        yield "attn_v_b", 64, 128, 512
        yield "attn_output", hidden, 64 * 128
        if index == 0:
            yield "ffn_gate", 18432, hidden
            yield "ffn_up", 18432, hidden
            yield "ffn_down", hidden, 18432
            return
        yield "ffn_gate_inp", 384, hidden
        yield "exp_probs_b.bias", 384
        yield "ffn_gate_exps", 384, 2048, hidden
        yield "ffn_up_exps", 384, 2048, hidden
        yield "ffn_down_exps", 384, hidden, 2048
        yield "ffn_gate_shexp", 2048, hidden
        yield "ffn_up_shexp", 2048, hidden
        yield "ffn_down_shexp", hidden, 2048


def write_gguf(shape, mix, path, seed):
    writer = gguf.GGUFWriter(path, shape.arch)
    writer.add_name("random")
    for key, value in shape.keys.items():
        name = f"{shape.arch}.{key}"
        add = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
        add[type(value)](name, value)
    tokens = words(shape.vocab)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * (len(tokens) - 2) + [3, 3])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(len(tokens) - 2)
    writer.add_eos_token_id(len(tokens) - 1)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)
    tensors = []
    for name, layer, dims in shape.tensors():
        is_matrix = len(dims) > 1 and name != "ffn_gate_inp"
        kind = kind_of(mix, name, layer, shape.n_layers, shape.tied) if is_matrix else Q.F32
        if dims[-1] % gguf.GGML_QUANT_SIZES[kind][0] != 0:
            kind = Q.Q8_0
        full = name if name.endswith(".bias") else name + ".weight"
        full = full if layer < 0 else f"blk.{layer}.{full}"
        block, block_bytes = gguf.GGML_QUANT_SIZES[kind]
        n = int(np.prod(dims, dtype=np.int64))
        n_bytes = n // block * block_bytes
        # The writer takes the shape of a quantised tensor in bytes.
        stored = (*dims[:-1], dims[-1] // block * block_bytes) if block > 1 else dims
        dtype = np.dtype({Q.F32: np.float32, Q.F16: np.float16}.get(kind, np.uint8))
        writer.add_tensor_info(full, stored, dtype, n_bytes, None if block == 1 and kind != Q.BF16 else kind)
        tensors.append((full, kind, n, n_bytes, dims))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    numbers = Numbers(seed)
    out = writer.fout[0]
    for name, kind, n, n_bytes, dims in tensors:
        out.write(bytes(-out.tell() % writer.data_alignment))
        if len(dims) == 1 and not name.endswith(".bias"):
            out.write(np.ones(n, np.float32).tobytes())
        else:
            deviation = 0.02 if len(dims) == 1 else dims[-1] ** -0.5
            for part in numbers.bytes_of(kind, n, deviation):
                out.write(part)
    out.write(bytes(-out.tell() % writer.data_alignment))
    writer.close()


# ---- safetensors -----------------------------------------------------------------------------------------

LLAMA_7B = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096,
            "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32,
            "head_dim": 128, "vocab_size": 32000, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": False, "bos_token_id": 257,
            "eos_token_id": 258, "attention_bias": False, "mlp_bias": False}


CLIP_LARGE = {"model_type": "clip_vision_model", "hidden_size": 1024, "intermediate_size": 4096,
              "num_hidden_layers": 24, "num_attention_heads": 16, "num_channels": 3, "image_size": 336,
              "patch_size": 14, "projection_dim": 768, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}
LLAVA_7B = {"architectures": ["LlavaForConditionalGeneration"], "model_type": "llava", "vision_config": CLIP_LARGE,
            "text_config": {**LLAMA_7B, "vocab_size": 32064}, "image_token_index": 259, "ignore_index": -100,
            "projector_hidden_act": "gelu", "vision_feature_layer": -2, "vision_feature_select_strategy": "default",
            "tie_word_embeddings": False}
LLAVA_TEMPLATE = ("{% for message in messages %}{{ message['role'].upper() + ': ' }}"
                  "{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}"
                  "{% endfor %}{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}"
                  "{{ part['text'] + ' ' }}{% endfor %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}"
                  "{% endif %}")
PREPROCESSOR = {"image_processor_type": "CLIPImageProcessor", "do_convert_rgb": True, "do_resize": True,
                "size": {"shortest_edge": 336}, "resample": 3, "do_center_crop": True,
                "crop_size": {"height": 336, "width": 336}, "do_rescale": True, "rescale_factor": 1 / 255,
                "do_normalize": True, "image_mean": [0.48145466, 0.4578275, 0.40821073],
                "image_std": [0.26862954, 0.26130258, 0.27577711]}


def clip_tensors(config):
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    patch, n_patches = config["patch_size"], (config["image_size"] // config["patch_size"]) ** 2
    yield "embeddings.class_embedding", (hidden,)
    yield "embeddings.patch_embedding.weight", (hidden, 3, patch, patch)
    yield "embeddings.position_embedding.weight", (n_patches + 1, hidden)
    norms = ["pre_layrnorm", "post_layernorm"]
    for i in range(config["num_hidden_layers"]):
        layer = f"encoder.layers.{i}."
        norms += [layer + "layer_norm1", layer + "layer_norm2"]
        for name, *shape in [("mlp.fc1", inner, hidden), ("mlp.fc2", hidden, inner),
                             *((f"self_attn.{name}_proj", hidden, hidden) for name in ("q", "k", "v", "out"))]:
            yield f"{layer}{name}.weight", tuple(shape)
            yield f"{layer}{name}.bias", tuple(shape[:1])
    for name in norms:
        yield name + ".weight", (hidden,)
        yield name + ".bias", (hidden,)


def llava_tensors(config):
    """Under the names of the public checkpoint."""
    vision, text = config["vision_config"], config["text_config"]
    for name, shape in clip_tensors(vision):
        yield "vision_tower.vision_model." + name, shape
    for name, n_in in (("linear_1", vision["hidden_size"]), ("linear_2", text["hidden_size"])):
        yield f"multi_modal_projector.{name}.weight", (text["hidden_size"], n_in)
        yield f"multi_modal_projector.{name}.bias", (text["hidden_size"],)
    for name, shape in llama_tensors(text):
        yield "language_model." + name, shape


def llama_tensors(config):
    hidden, inner, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    yield "model.embed_tokens.weight", (vocab, hidden)
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        for name in ("q", "k", "v", "o"):
            yield f"{layer}self_attn.{name}_proj.weight", (hidden, hidden)
        yield layer + "mlp.gate_proj.weight", (inner, hidden)
        yield layer + "mlp.up_proj.weight", (inner, hidden)
        yield layer + "mlp.down_proj.weight", (hidden, inner)
        yield layer + "input_layernorm.weight", (hidden,)
        yield layer + "post_attention_layernorm.weight", (hidden,)
    yield "model.norm.weight", (hidden,)
    yield "lm_head.weight", (vocab, hidden)


def write_tokenizer(folder, template=TEMPLATE, more=()):
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    vocabulary = {word: i for i, word in enumerate(byte_words() + ["ab"])}
    special = ["<|im_start|>", "<|im_end|>", *more]
    added = [{"id": 257 + i, "content": content} for i, content in enumerate(special)]
    for token in added:
        token |= {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    document = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
                "pre_tokenizer": level, "post_processor": None, "decoder": level,
                "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                          "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                          "vocab": vocabulary, "merges": [["a", "b"]]}}
    (folder / "tokenizer.json").write_text(json.dumps(document))
    (folder / "chat_template.jinja").write_text(template)


def write_llama(config, folder, seed):
    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(folder)
    write_safetensors(config, list(llama_tensors(config)), folder, seed)


def write_llava(config, folder, seed):
    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(folder, LLAVA_TEMPLATE, ["<image>"])
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR, indent=1))
    write_safetensors(config, list(llava_tensors(config)), folder, seed)


def write_safetensors(config, tensors, folder, seed, n_shards=3):
    (folder / "config.json").write_text(json.dumps({**config, "dtype": "float16"}, indent=1))
    numbers = Numbers(seed)
    per_shard = sum(int(np.prod(shape)) for _, shape in tensors) / n_shards
    shards, n_in_all = [[] for _ in range(n_shards)], 0
    for name, shape in tensors:
        shards[min(int(n_in_all / per_shard), n_shards - 1)].append((name, shape))
        n_in_all += int(np.prod(shape))
    weight_map = {}
    for index, shard in enumerate(shards):
        file = f"model-{index + 1:05}-of-{n_shards:05}.safetensors"
        header, end = {"__metadata__": {"format": "pt"}}, 0
        for name, shape in shard:
            begin, end = end, end + 2 * int(np.prod(shape))
            header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [begin, end]}
            weight_map[name] = file
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        with open(folder / file, "wb") as out:
            out.write(len(text).to_bytes(8, "little") + text)
            for name, shape in shard:
                if len(shape) == 1:
                    of_norm = name.endswith("norm.weight") or "layer_norm" in name or "layrnorm" in name
                    fill = np.ones if of_norm and name.endswith(".weight") else np.zeros
                    out.write(fill(shape, np.float16).tobytes())
                    continue
                n_in = int(np.prod(shape[1:]))
                for part in numbers.bytes_of(Q.F16, shape[0] * n_in, n_in ** -0.5):
                    out.write(part)
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": 2 * n_in_all}, "weight_map": weight_map}))


# ---- cases -----------------------------------------------------------------------------------------------

def qwen3_small(n_layers):
    return Qwen3(n_layers, 2048, 16, 8, 128, 6144, 151936, 40960, tied=True)


def qwen3_moe(n_layers):
    return Qwen3(n_layers, 2048, 32, 4, 128, 6144, 151936, 262144, experts=(128, 8, 768))


MODELS = {"qwen3-1.7b": (qwen3_small, 28), "phi-4": (Phi4, 40), "qwen3-30b-a3b": (qwen3_moe, 48),
          "kimi-k2": (KimiK2, 2)}
MIXES = ("Q4_K_M", "Q8_0", "Q4_0", "F16")


def main():
    cases = [f"{model}:{mix}" for model in MODELS for mix in MIXES] + ["llama-7b:f16", "llava-7b:f16"]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case", nargs="?", metavar="CASE")
    parser.add_argument("output", nargs="?", type=pathlib.Path)
    parser.add_argument("--layers", type=int, help="fewer layers than the model has")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--list", action="store_true", help="print the cases")
    given = parser.parse_args()
    if given.list:
        print("\n".join(cases))
        return
    if given.case not in cases or given.output is None:
        parser.error("expected a case (see --list) and an output path")
    model, mix = given.case.split(":")
    if model in ("llama-7b", "llava-7b"):
        text = LLAMA_7B if model == "llama-7b" else LLAVA_7B["text_config"]
        text = {**text, "num_hidden_layers": given.layers or text["num_hidden_layers"]}
        if model == "llama-7b":
            write_llama(text, given.output, given.seed)
        else:
            write_llava({**LLAVA_7B, "text_config": text}, given.output, given.seed)
        return
    make, n_layers = MODELS[model]
    write_gguf(make(given.layers or n_layers), mix, given.output, given.seed)


if __name__ == "__main__":
    sys.exit(main())

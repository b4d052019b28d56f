#!/usr/bin/env python3
"""Makes tests/data/llava: tiny seeded LLaVA checkpoints, and what transformers answers with them about the images
of tests/data/clip.

Run it from any folder with a Python that has torch, transformers, tokenizers, safetensors, gguf and Pillow; it
replaces tests/data/llava. `--seed N --output DIR` makes other checkpoints of the same kinds.

Each folder is a checkpoint with a `case.json` beside its files, whose items have: images (names), prompt (with
<image> where they stand in it), text (what the template makes of it), prompt_ids (with every position of an image),
ids (greedy) as long as the choice was clear, and logits (of the first).
"""

import argparse
import json
import pathlib
import shutil

import gguf
import numpy
import torch
from PIL import Image, ImageOps
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

import make_decoder_cases as decoders_made

HERE = pathlib.Path(__file__).parent
MARK = "<image>"
N_IDS = 10
# Those of bytes, and a few of their own at the end.
TOKENS = decoders_made.TOKENS[:258] + ["<s>", "</s>", MARK, "<pad>"]
BEGIN, END, PICTURE, PAD = range(258, 262)
TEMPLATE = (
    "{% for m in messages %}{{ m['role'].upper() + ': ' }}"
    "{% for part in m['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\\n' }}{% endfor %}"
    "{% for part in m['content'] | selectattr('type', 'equalto', 'text') %}{{ part['text'] + ' ' }}{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}")
ITEMS = [
    (["wide.png"], "What is it?"),
    (["tall.webp", "palette.png"], "Which?"),
    ([], "Hello there"),
    (["grey.png"], "At the end: <image>"),
    (["alpha.png", "one.png", "alpha.png"], "<image> or <image>? <image>"),
]


def make_tokenizer(with_mark=True):
    vocab = {token: i for i, token in enumerate(TOKENS[:258])}
    merges = [tuple(m.split()) for m in decoders_made.MERGES]
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(TOKENS[258:])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", BEGIN)])
    return tokenizer


def configuration(**changes):
    vision = dict(
        hidden_size=24, intermediate_size=36, num_hidden_layers=4, num_attention_heads=4, image_size=28, patch_size=7,
        projection_dim=8, hidden_act="quick_gelu")
    text = dict(
        vocab_size=len(TOKENS) + 2, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=160, eos_token_id=END, bos_token_id=BEGIN, pad_token_id=PAD,
        tie_word_embeddings=False)
    for part in (vision, text):
        part.update({k: changes.pop(k) for k in list(changes) if k in part})
    return LlavaConfig(
        vision_config=CLIPVisionConfig(**vision), text_config=LlamaConfig(**text), image_token_id=PICTURE,
        **{"image_seq_length": 16, "tie_word_embeddings": False, **changes})


def key_layout(state, layout):
    """Names as of a year: `flat` as transformers 5 writes them."""
    changed = {}
    for name, tensor in state.items():
        if layout == "old":
            name = name.replace("model.vision_tower.", "vision_tower.vision_model.")
            name = name.replace("model.multi_modal_projector.", "multi_modal_projector.")
            name = name.replace("model.language_model.", "language_model.model.")
            name = name.replace("lm_head.", "language_model.lm_head.")
        elif layout == "flat":
            name = name.replace("model.vision_tower.", "vision_tower.")
            name = name.replace("model.multi_modal_projector.", "multi_modal_projector.")
            name = name.replace("model.language_model.", "language_model.model.")
            name = name.replace("lm_head.", "language_model.lm_head.")
        else:
            name = name.replace("model.vision_tower.", "model.vision_tower.vision_model.")
        changed[name] = tensor.contiguous()
    return changed


def save_weights(folder, state, n_files):
    if n_files == 1:
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
        return
    place = {}
    for i in range(n_files):
        name = f"model-{i + 1:05}-of-{n_files:05}.safetensors"
        part = {k: state[k] for k in sorted(state)[i::n_files]}
        save_file(part, folder / name, metadata={"format": "pt"})
        place |= dict.fromkeys(part, name)
    index = {"metadata": {}, "weight_map": place}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")


def text_of(images, prompt):
    marks = "" if MARK in prompt else f"{MARK}\n" * len(images)
    return f"USER: {marks}{prompt} ASSISTANT:"


@torch.no_grad()
def answer(model, tokenizer, processor, images, prompt):
    text = text_of(images, prompt)
    n_positions = None
    pixels = [torch.from_numpy(numpy.asarray(processor(i)["pixel_values"])) for i in images]
    if pixels:
        pixels = torch.cat(pixels)
        n_positions = model.get_image_features(pixel_values=pixels[:1]).pooler_output[0].shape[0]
    ids = []
    for token in tokenizer.encode(text).ids:
        ids += [token] * n_positions if token == PICTURE else [token]
    prompt_ids, made, first = list(ids), [], None
    while len(made) < N_IDS:
        given = dict(input_ids=torch.tensor([ids]))
        if len(pixels):
            given["pixel_values"] = pixels
        logits = model(**given).logits[0, -1].float()
        best = torch.topk(logits, 2).values
        # The reference takes the mark in an answer for an image that is missing.
        is_mark = int(logits.argmax()) == PICTURE
        if is_mark or (best[0] - best[1]).item() < 1e-3 * logits.std().item():
            break
        first = logits.tolist() if first is None else first
        made.append(int(logits.argmax()))
        ids.append(made[-1])
    return {"prompt": prompt, "text": text, "prompt_ids": prompt_ids, "ids": made, "logits": first}


def checkpoint(folder, pictures, *, config, layout, dtype=torch.float32, n_files=1, crop=28, change=None):
    model = LlavaForConditionalGeneration(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape) * (0.1 if parameter.ndim < 2 else 0.25)
            if "norm" in name and name.endswith("weight"):
                noise += 1
            if "embed_tokens" in name:
                noise *= 2
            parameter.copy_(noise.to(dtype).float())
    if change:
        change(model)
    folder.mkdir(parents=True)
    written = config.to_dict() | {"architectures": ["LlavaForConditionalGeneration"]}
    (folder / "config.json").write_text(json.dumps(written, indent=1, default=str) + "\n")
    preprocessor = dict(
        image_processor_type="CLIPImageProcessor", do_convert_rgb=True, do_resize=True, do_center_crop=True,
        do_rescale=True, do_normalize=True, size={"shortest_edge": crop}, crop_size={"height": crop, "width": crop},
        resample=3, rescale_factor=1 / 255, image_mean=[0.48145466, 0.4578275, 0.40821073],
        image_std=[0.26862954, 0.26130258, 0.27577711])
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor, indent=1) + "\n")
    tokenizer = make_tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    named = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(named) + "\n")
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": TEMPLATE}) + "\n")
    state = {k: v.to(dtype) for k, v in model.state_dict().items() if not k.endswith("position_ids")}
    save_weights(folder, key_layout(state, layout), n_files)
    processor = CLIPImageProcessorPil(**preprocessor)
    items = []
    for names, prompt in ITEMS:
        opened = [ImageOps.exif_transpose(Image.open(pictures / n)).convert("RGB") for n in names]
        items.append({"images": names, **answer(model, tokenizer, processor, opened, prompt)})
    assert sum(len(item["ids"]) for item in items) >= 3 * len(items), "choices are too close; take another seed"
    (folder / "case.json").write_text(json.dumps({"items": items}) + "\n")
    return model


TOWER_NAMES = {
    "embeddings.class_embedding": "v.class_embd", "embeddings.patch_embedding": "v.patch_embd",
    "embeddings.position_embedding": "v.position_embd", "pre_layrnorm": "v.pre_ln",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.out_proj": "attn_out", "layer_norm1": "ln1", "layer_norm2": "ln2",
    # As the first converter had them, and the public files have them still.
    "mlp.fc1": "ffn_down", "mlp.fc2": "ffn_up"}


def encoder_tensors(state, n_layers):
    """What a file of an image encoder has: without the last layer, which nothing looks at."""
    for name, tensor in state.items():
        if name.startswith("model.multi_modal_projector.linear_"):
            which, ending = name.removeprefix("model.multi_modal_projector.linear_").split(".")
            yield f"mm.{2 * (int(which) - 1)}.{ending}", tensor
        elif name.startswith("model.vision_tower."):
            stem = name.removeprefix("model.vision_tower.")
            stem, ending = (stem, "") if stem.endswith("class_embedding") else stem.rsplit(".", 1)
            if stem in TOWER_NAMES:
                yield TOWER_NAMES[stem] + (f".{ending}" if ending else ""), tensor
            elif stem.startswith("encoder.layers."):
                _, _, layer, part = stem.split(".", 3)
                if int(layer) < n_layers - 1:
                    yield f"v.blk.{layer}.{TOWER_NAMES[part]}.{ending}", tensor


def write_encoder(path, config, state, quantized):
    vision = config.vision_config
    writer = gguf.GGUFWriter(path, "clip")
    for key, value in (("has_text_encoder", False), ("has_vision_encoder", True), ("has_llava_projector", True),
                       ("use_gelu", False)):
        writer.add_bool(f"clip.{key}", value)
    writer.add_string("clip.projector_type", "mlp")
    for key, value in (
            ("image_size", vision.image_size), ("patch_size", vision.patch_size),
            ("embedding_length", vision.hidden_size), ("feed_forward_length", vision.intermediate_size),
            ("projection_dim", vision.projection_dim), ("attention.head_count", vision.num_attention_heads),
            ("block_count", vision.num_hidden_layers - 1)):
        writer.add_uint32(f"clip.vision.{key}", value)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", vision.layer_norm_eps)
    writer.add_array("clip.vision.image_mean", [0.48145466, 0.4578275, 0.40821073])
    writer.add_array("clip.vision.image_std", [0.26862954, 0.26130258, 0.27577711])
    for name, tensor in encoder_tensors(state, vision.num_hidden_layers):
        values = tensor.float().numpy()
        if name == quantized:
            packed = gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor(name, packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor(name, values if values.ndim == 1 else values.astype(numpy.float16))
    finish(writer)


def write_decoder(path, config, state):
    """Of the first years: without a template, and without a token for images."""
    writer = gguf.GGUFWriter(path, "llama")
    decoders_made.write_values(writer, "llama", config.text_config)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([t.replace(MARK, "<extra>") for t in TOKENS] + ["<more>", "<most>"])
    writer.add_token_types([1] * 258 + [3] * 6)
    writer.add_token_merges(decoders_made.MERGES)
    writer.add_bos_token_id(BEGIN)
    writer.add_eos_token_id(END)
    writer.add_add_bos_token(True)
    plain = {k.replace("model.language_model.", "model."): v.float().numpy() for k, v in state.items()
             if k.startswith(("model.language_model.", "lm_head."))}
    for name, values in decoders_made.gguf_tensors("llama", config.text_config, plain).items():
        writer.add_tensor(name, numpy.ascontiguousarray(values if values.ndim == 1 else values.astype(numpy.float16)))
    finish(writer)


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def gguf_checkpoint(folder, pictures, config):
    """The same answers from a file of the decoder and one of the image encoder."""
    quantized = "v.blk.1.attn_out.weight"
    half = "model.vision_tower.encoder.layers.1.self_attn.out_proj.weight"
    def prepare(model):
        weight = model.get_parameter(half)
        packed = gguf.quants.quantize(weight.detach().numpy(), gguf.GGMLQuantizationType.Q8_0)
        values = gguf.quants.dequantize(packed, gguf.GGMLQuantizationType.Q8_0)
        with torch.no_grad():
            weight.copy_(torch.from_numpy(values))
    model = checkpoint(folder, pictures, config=config, layout="flat", dtype=torch.float16, change=prepare)
    for name in [p.name for p in folder.iterdir() if p.name != "case.json"]:
        (folder / name).unlink()
    state = model.state_dict()
    write_decoder(folder / "model-f16.gguf", config, state)
    write_encoder(folder / "mmproj-model-f16.gguf", config, state, quantized)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=pathlib.Path, default=HERE / "llava")
    given = parser.parse_args()
    torch.manual_seed(given.seed)
    shutil.rmtree(given.output, ignore_errors=True)
    pictures = HERE / "clip" / "images"
    checkpoint(given.output / "flat_f32", pictures, config=configuration(), layout="flat")
    checkpoint(
        given.output / "layers_f16", pictures, layout="old", dtype=torch.float16, n_files=3,
        config=configuration(vision_feature_layer=[-2, 1, -1], projector_hidden_act="gelu", num_key_value_heads=4))
    checkpoint(
        given.output / "full_bf16", pictures, layout="nested", dtype=torch.bfloat16, crop=30,
        config=configuration(
            vision_feature_select_strategy="full", vision_feature_layer=-1, multimodal_projector_bias=False,
            image_size=30, image_seq_length=17, hidden_act="quick_gelu"))
    gguf_checkpoint(given.output / "gguf_f16", pictures, configuration(hidden_size=32))


if __name__ == "__main__":
    main()

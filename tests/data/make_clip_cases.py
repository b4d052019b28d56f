#!/usr/bin/env python3
"""Makes tests/data/clip: tiny seeded CLIP checkpoints, images, and what transformers computes with them.

Run it from any folder with a Python that has torch, transformers, tokenizers, safetensors and Pillow; it
replaces tests/data/clip. `--seed N --output DIR` makes other checkpoints of the same kinds.

images/ holds the images. Each other folder is a checkpoint with a `case.json` beside its files:
  images (names), texts, max_tokens, ids (one list a text), image_rows and text_rows (projected, not scaled to
  unit length), logit_scale, and pixels: the mean and the mean square of each image's prepared pixels.
"""

import argparse
import json
import pathlib
import shutil

import numpy
import torch
from PIL import Image, ImageOps
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

TEXTS = [
    "a photo of a cat",
    "",
    "Two dogs & 3 discs!",
    "the dog ran to the cat and the cat ran to the dog and both of them sat on the mat, all day long",
    "caf\u00e9 \u4e2d\u6587",
    "a photo of a dog",
]


def make_tokenizer(max_tokens):
    tokenizer = Tokenizer(models.BPE(unk_token="<|endoftext|>", end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(r"'s|'t|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"), "removed", invert=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.BPEDecoder()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=600, initial_alphabet=alphabet, end_of_word_suffix="</w>", show_progress=False,
        special_tokens=["<|startoftext|>"])
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.add_special_tokens(["<|startoftext|>", "<|endoftext|>"])
    begin, end = (tokenizer.token_to_id(t) for t in ("<|startoftext|>", "<|endoftext|>"))
    tokenizer.post_processor = processors.RobertaProcessing(
        ("<|endoftext|>", end), ("<|startoftext|>", begin), False, False)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|startoftext|>", eos_token="<|endoftext|>",
        unk_token="<|endoftext|>", pad_token="<|endoftext|>", model_max_length=max_tokens)


def make_images(folder, rng):
    folder.mkdir(parents=True)
    def picture(width, height):
        small = rng.integers(0, 256, (5, 7, 3), dtype=numpy.uint8)
        return Image.fromarray(small).resize((width, height), Image.BICUBIC)
    wide, tall, exact = picture(61, 34), picture(23, 50), picture(40, 40)
    alpha = Image.fromarray(rng.integers(0, 256, (34, 61), dtype=numpy.uint8))
    turned = Image.Exif()
    turned[0x112] = 6
    wide.save(folder / "wide.png")
    tall.save(folder / "tall.webp", lossless=True)
    exact.convert("L").save(folder / "grey.png")
    rgba = wide.copy()
    rgba.putalpha(alpha)
    rgba.save(folder / "alpha.png")
    tall.quantize(19).save(folder / "palette.png")
    wide.save(folder / "turned.png", exif=turned)
    Image.fromarray(rng.integers(0, 256, (1, 1, 3), dtype=numpy.uint8)).save(folder / "one.png")
    picture(3, 120).save(folder / "strip.png")
    return sorted(p.name for p in folder.iterdir())


def checkpoint(folder, names, images, *, config, preprocessor, dtype=torch.float32, n_files=1):
    text = config["text_config"]
    tokenizer = make_tokenizer(text["max_position_embeddings"])
    text["vocab_size"] = len(tokenizer) + 3
    if text.get("eos_token_id") != 2:
        text["eos_token_id"] = tokenizer.eos_token_id
    model = CLIPModel(CLIPConfig(**config)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape) * (0.05 if parameter.ndim < 2 else 0.25)
            if "norm" in name and name.endswith("weight"):
                noise += 1
            if name == "logit_scale":
                noise = torch.tensor(2.6)
            parameter.copy_(noise.to(dtype).float())
    folder.mkdir(parents=True)
    model.config.save_pretrained(folder)
    written = json.loads((folder / "config.json").read_text())
    for part in ("text_config", "vision_config"):
        written[part] = config[part] | {"model_type": written[part]["model_type"]}
    (folder / "config.json").write_text(json.dumps(written, indent=1) + "\n")
    tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor, indent=1) + "\n")
    state = {k: v.to(dtype).contiguous() for k, v in model.state_dict().items() if not k.endswith("position_ids")}
    keys = sorted(state)
    if n_files == 1:
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    else:
        place = {}
        for i in range(n_files):
            name = f"model-{i + 1:05}-of-{n_files:05}.safetensors"
            part = {k: state[k] for k in keys[i::n_files]}
            save_file(part, folder / name, metadata={"format": "pt"})
            place |= dict.fromkeys(part, name)
        index = {"metadata": {}, "weight_map": place}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")

    processor = CLIPImageProcessorPil(**preprocessor)
    opened = [ImageOps.exif_transpose(Image.open(images / n)).convert("RGB") for n in names]
    pixels = torch.cat([torch.from_numpy(numpy.asarray(processor(i)["pixel_values"])) for i in opened])
    ids = [tokenizer(t, truncation=True)["input_ids"] for t in TEXTS]

    def features(output):
        return (output if torch.is_tensor(output) else output.pooler_output)[0].tolist()

    with torch.no_grad():
        image_rows = [features(model.get_image_features(pixel_values=p[None])) for p in pixels]
        text_rows = [features(model.get_text_features(
            input_ids=torch.tensor([i]), attention_mask=torch.ones(1, len(i), dtype=torch.long))) for i in ids]
    values = pixels.double()
    case = {
        "images": names, "texts": TEXTS, "max_tokens": text["max_position_embeddings"], "ids": ids,
        "image_rows": image_rows, "text_rows": text_rows,
        "logit_scale": model.logit_scale.exp().item(),
        "pixels": [[p.mean().item(), p.square().mean().item()] for p in values],
    }
    (folder / "case.json").write_text(json.dumps(case) + "\n")


def sizes(text_hidden=16, vision_hidden=24, **changes):
    text = dict(
        hidden_size=text_hidden, intermediate_size=40, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=20, eos_token_id=2, hidden_act="quick_gelu")
    vision = dict(
        hidden_size=vision_hidden, intermediate_size=36, num_hidden_layers=3, num_attention_heads=4,
        image_size=32, patch_size=8, hidden_act="quick_gelu")
    for key, value in changes.items():
        for part in (text, vision):
            if key in part:
                part[key] = value
    return dict(projection_dim=12, text_config=text, vision_config=vision)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path(__file__).parent / "clip")
    given = parser.parse_args()
    torch.manual_seed(given.seed)
    shutil.rmtree(given.output, ignore_errors=True)
    images = given.output / "images"
    names = make_images(images, numpy.random.default_rng(given.seed))
    openai = dict(
        feature_extractor_type="CLIPFeatureExtractor", do_resize=True, do_center_crop=True, do_normalize=True,
        size=32, crop_size=32, resample=3, image_mean=[0.48145466, 0.4578275, 0.40821073],
        image_std=[0.26862954, 0.26130258, 0.27577711])
    checkpoint(given.output / "plain_f32", names, images, config=sizes(), preprocessor={
        **openai, "size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}})
    # Another activation, an end token by its id, an image size that patches do not fill, no crop.
    checkpoint(given.output / "gelu_bf16", names, images, dtype=torch.bfloat16, config=sizes(
        hidden_act="gelu", eos_token_id=7, image_size=30), preprocessor=dict(
            do_resize=True, size={"height": 30, "width": 30}, resample=2, do_center_crop=False,
            do_rescale=True, rescale_factor=1 / 127.5, image_mean=[1, 1, 1], image_std=[1, 1, 1]))
    # The crop is larger than what is resized, so there is a border.
    checkpoint(given.output / "sharded_f16", names, images, dtype=torch.float16, n_files=3, config=sizes(
        text_hidden=24, vision_hidden=16), preprocessor={
            **openai, "size": {"shortest_edge": 27}, "crop_size": {"height": 32, "width": 32}, "resample": 1})


if __name__ == "__main__":
    main()

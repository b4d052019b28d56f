#!/usr/bin/env python3
"""Makes tests/data/pipelines: tiny seeded image pipelines, and what diffusers computes with them.

Run it from any folder with a Python that has torch, diffusers, transformers, tokenizers, safetensors and Pillow;
it replaces tests/data/pipelines. `--seed N --output DIR` makes other pipelines of the same kinds.

picture.png is what images begin from. Each folder is a pipeline in the layout of diffusers, with a `case.json`:
  images: what was asked for (prompt, negative, width, height, steps, guidance, seed, tokens; with `strength` it
    begins from picture.png; `tiled`: decoded tile by tile) with the sigmas of its steps, and
`expected.safetensors`: of image i the final latents `latents_i` [1, C, h, w] and `pixels_i` [H, W, 3], 0 to 255.
"""

import argparse
import json
import pathlib
import shutil

import numpy
import torch
from diffusers import (
    AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxImg2ImgPipeline, FluxPipeline, FluxTransformer2DModel,
    SD3Transformer2DModel, StableDiffusion3Img2ImgPipeline, StableDiffusion3Pipeline)
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, PreTrainedTokenizerFast, T5Config, T5EncoderModel)

from make_clip_cases import make_tokenizer

PROMPT = "the dog ran to a cat & 3 discs"
LONG = " ".join(["the cat and the dog sat on the mat, all day long"] * 8)


def t5_tokenizer():
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -2.0)]
    pieces += [(c, -4.0 - i / 9) for i, c in enumerate("etaoinsrhldcumfgpwybvk,.&3")]
    pieces += [(w, -3.0 - i / 7) for i, w in enumerate(["\u2581the", "\u2581cat", "\u2581dog", "at", "\u2581a"])]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.add_special_tokens(["<pad>", "</s>", "<unk>"])
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="</s>", unk_token="<unk>", pad_token="<pad>", model_max_length=512)


def clip_tokenizer(pad):
    tokenizer = make_tokenizer(20)
    tokenizer.pad_token = pad
    return tokenizer


def clip(kind, width, tokenizer, **changes):
    config = dict(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=24, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=20, projection_dim=width, eos_token_id=2,
        hidden_act="quick_gelu")
    return kind(CLIPTextConfig(**config | changes))


def t5(width, tokenizer):
    return T5EncoderModel(T5Config(
        vocab_size=len(tokenizer), d_model=width, d_kv=6, d_ff=20, num_layers=2, num_heads=3,
        feed_forward_proj="gated-gelu", relative_attention_num_buckets=8, relative_attention_max_distance=20))


def vae(widths, **changes):
    config = dict(
        block_out_channels=widths, down_block_types=["DownEncoderBlock2D"] * len(widths),
        up_block_types=["UpDecoderBlock2D"] * len(widths), latent_channels=4, norm_num_groups=4, layers_per_block=1,
        sample_size=64, scaling_factor=0.36, shift_factor=0.12, use_quant_conv=False, use_post_quant_conv=False)
    return AutoencoderKL(**config | changes)


def seed_weights(module, dtype):
    """Weights that keep states of the size of one, as numbers of `dtype`."""
    module.eval()
    for name, parameter in module.named_parameters():
        fan = parameter[0].numel() if parameter.ndim > 1 else 100
        noise = torch.randn(parameter.shape) * (1.2 if parameter.ndim > 1 else 1) / fan**0.5
        if "norm" in name and name.endswith("weight") and parameter.ndim == 1:
            noise += 1
        parameter.data.copy_(noise.to(dtype).float())
    return module


def write_part(folder, module, dtype):
    module.save_pretrained(folder)
    for path in [*folder.glob("*.safetensors"), *folder.glob("*.index.json")]:
        path.unlink()
    state = {k: v.to(dtype).contiguous() for k, v in module.state_dict().items() if not k.endswith("position_ids")}
    if "shared.weight" in state:
        state.pop("encoder.embed_tokens.weight", None)
    if isinstance(module, CLIPTextModel) and not any(k.startswith("text_model.") for k in state):
        state = {f"text_model.{k}": v for k, v in state.items()}  # as every published checkpoint has them
    name = "model" if hasattr(module.config, "model_type") else "diffusion_pytorch_model"
    save_file(state, folder / f"{name}.safetensors", metadata={"format": "pt"})


def run_image(pipe, kinds, wanted, picture):
    pipe = (kinds[1] if "strength" in wanted else kinds[0])(**pipe.components)
    pipe.set_progress_bar_config(disable=True)
    options = dict(
        prompt=wanted["prompt"], width=wanted["width"], height=wanted["height"],
        num_inference_steps=wanted["steps"], guidance_scale=wanted["guidance"],
        generator=torch.Generator().manual_seed(wanted["seed"]), max_sequence_length=wanted["tokens"])
    if "negative" in wanted:
        options["negative_prompt"] = wanted["negative"]
    if "strength" in wanted:
        options |= dict(image=picture, strength=wanted["strength"])
    steps = []
    options["callback_on_step_end"] = lambda pipe, i, t, kept: (steps.append(kept["latents"].clone()), {})[1]
    pipe.vae.enable_tiling() if wanted.get("tiled") else pipe.vae.disable_tiling()
    pixels = pipe(**options, output_type="np").images[0]
    latents = steps[-1]
    if latents.ndim == 3:
        latents = pipe._unpack_latents(latents, wanted["height"], wanted["width"], pipe.vae_scale_factor)
    sigmas = pipe.scheduler.sigmas.tolist()[-(len(steps) + 1):]
    return sigmas, latents.contiguous(), torch.from_numpy((pixels * 255).round().astype("uint8")).contiguous()


def pipeline(folder, kinds, parts, images, picture, dtype):
    for module in parts.values():
        if isinstance(module, torch.nn.Module):
            seed_weights(module, dtype)
    pipe = kinds[0](**parts)
    folder.mkdir(parents=True)
    index = {"_class_name": kinds[0].__name__}
    for name, part in parts.items():
        if part is None:
            index[name] = [None, None]
            continue
        index[name] = ["diffusers" if "diffusers" in type(part).__module__ else "transformers", type(part).__name__]
        if isinstance(part, torch.nn.Module):
            write_part(folder / name, part, dtype)
        else:
            part.save_pretrained(folder / name)
        if name.startswith("tokenizer"):
            index[name] = ["transformers", "T5TokenizerFast" if part.pad_token == "<pad>" else "CLIPTokenizer"]
    (folder / "model_index.json").write_text(json.dumps(index, indent=1) + "\n")
    expected = {}
    with torch.no_grad():
        for i, wanted in enumerate(images):
            wanted["sigmas"], expected[f"latents_{i}"], expected[f"pixels_{i}"] = run_image(
                pipe, kinds, wanted, picture)
    save_file(expected, folder / "expected.safetensors")
    (folder / "case.json").write_text(json.dumps({"images": images}) + "\n")


def image(**changes):
    return dict(prompt=PROMPT, width=32, height=24, steps=3, guidance=0.0, seed=7, tokens=24) | changes


def flux(widths, **changes):
    clip_ids, t5_ids = clip_tokenizer("<|endoftext|>"), t5_tokenizer()
    config = dict(
        patch_size=1, in_channels=16, num_layers=1, num_single_layers=2, attention_head_dim=12,
        num_attention_heads=2, joint_attention_dim=18, pooled_projection_dim=16, guidance_embeds=False,
        axes_dims_rope=[2, 4, 6])
    return dict(
        transformer=FluxTransformer2DModel(**config | changes), vae=vae(widths), text_encoder=clip(
            CLIPTextModel, 16, clip_ids), text_encoder_2=t5(18, t5_ids), tokenizer=clip_ids, tokenizer_2=t5_ids)


def sd3(widths, with_t5=True, **changes):
    first, second, third = clip_tokenizer("<|endoftext|>"), clip_tokenizer("!"), t5_tokenizer()
    config = dict(
        sample_size=8, patch_size=2, in_channels=4, out_channels=4, num_layers=2, attention_head_dim=8,
        num_attention_heads=3, joint_attention_dim=30, caption_projection_dim=24, pooled_projection_dim=28,
        pos_embed_max_size=10, qk_norm="rms_norm")
    kind = CLIPTextModelWithProjection
    return dict(
        transformer=SD3Transformer2DModel(**config | changes), vae=vae(
            widths, scaling_factor=1.5, shift_factor=0.06, use_quant_conv=True, use_post_quant_conv=True),
        text_encoder=clip(kind, 12, first), text_encoder_2=clip(kind, 16, second, hidden_act="gelu"),
        text_encoder_3=t5(30, third) if with_t5 else None, tokenizer=first, tokenizer_2=second,
        tokenizer_3=third if with_t5 else None)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path(__file__).parent / "pipelines")
    given = parser.parse_args()
    torch.manual_seed(given.seed)
    shutil.rmtree(given.output, ignore_errors=True)
    given.output.mkdir(parents=True)
    small = numpy.random.default_rng(given.seed).integers(0, 256, (5, 6, 3), dtype=numpy.uint8)
    picture = Image.fromarray(small).resize((32, 24), Image.BICUBIC)
    picture.save(given.output / "picture.png")
    fluxes = (FluxPipeline, FluxImg2ImgPipeline)
    sd3s = (StableDiffusion3Pipeline, StableDiffusion3Img2ImgPipeline)
    flow = FlowMatchEulerDiscreteScheduler
    pipeline(
        given.output / "flux_bf16", fluxes, flux([8, 8]) | dict(scheduler=flow(shift=1.0)),
        [image(), image(steps=1, width=8, height=8, seed=2**40 + 3), image(prompt=LONG, tokens=16, strength=0.6, steps=5),
         image(width=88, height=72, steps=1, tiled=True)],
        picture, torch.bfloat16)
    pipeline(
        given.output / "flux_guided", fluxes, flux([8, 8], guidance_embeds=True) | dict(
            scheduler=flow(shift=3.0, use_dynamic_shifting=True)),
        [image(guidance=3.5, steps=4)], picture, torch.float32)
    pipeline(
        given.output / "sd3_f16", sd3s, sd3([4, 8, 12]) | dict(scheduler=flow(shift=3.0)),
        [image(guidance=1.0, steps=4), image(guidance=4.5, negative="a dog", steps=4),
         image(guidance=2.0, prompt="", steps=2), image(guidance=1.0, strength=0.5, steps=4)],
        picture, torch.float16)
    pipeline(
        given.output / "sd3_dual", sd3s, sd3([8, 8], with_t5=False, dual_attention_layers=[0], qk_norm=None) | dict(
            scheduler=flow(shift=3.0)),
        [image(guidance=3.0, width=20, height=36)], picture, torch.float32)


if __name__ == "__main__":
    main()

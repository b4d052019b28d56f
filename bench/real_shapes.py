#!/usr/bin/env python3
"""Checkpoints of random numbers with the shapes of real models, and what loading and running them takes.

    real_shapes.py make MODEL FOLDER [--layers N]     streams one to disk, in bf16
    real_shapes.py measure MODELPOOL FOLDER           estimate, load time, memory and speed with 1 and 4 workers

The small checkpoints of the tests give the names, the configuration and the tokenizer; only sizes are changed.
MODEL: jina-v2, stella-400m, gte-qwen2-1.5b, nv-embed-v2, clip-base, clip-large. Needs numpy.
"""

import argparse
import json
import os
import pathlib
import re
import resource
import shutil
import struct
import subprocess
import sys
import time

DATA = pathlib.Path(__file__).parent.parent / "tests" / "data"
QWEN2 = {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12,
         "num_key_value_heads": 2, "vocab_size": 151646, "max_position_embeddings": 32768}
MISTRAL = {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
           "num_key_value_heads": 8, "vocab_size": 32000, "max_position_embeddings": 32768}


def clip(text, vision, patch, size, dim):
    return {
        "from": "clip/gelu_bf16",
        "config": {
            "projection_dim": dim,
            "text_config": {"hidden_size": text, "intermediate_size": 4 * text, "num_hidden_layers": 12,
                            "num_attention_heads": text // 64, "max_position_embeddings": 77, "vocab_size": 49408,
                            "eos_token_id": 49407},
            "vision_config": {"hidden_size": vision, "intermediate_size": 4 * vision,
                              "num_hidden_layers": 12 if vision == 768 else 24,
                              "num_attention_heads": vision // 64, "image_size": size, "patch_size": patch}},
        "sizes": {"text": {16: text, 40: 4 * text, 20: 77, 327: 49408, 12: dim},
                  "vis": {24: vision, 36: 4 * vision, 10: (size // patch) ** 2 + 1, 8: patch, 12: dim}}}


# For each the small checkpoint, what its configuration is changed to, and what its sizes become.
MODELS = {
    "jina-v2": {
        "from": "jina_bert/mean_f16",
        "config": {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
                   "num_attention_heads": 12, "vocab_size": 30528, "max_position_embeddings": 8192},
        "sizes": {"": {24: 768, 20: 3072, 40: 6144, 79: 30528}}},
    "stella-400m": {
        "from": "stella/new_plain_f16",
        "config": {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
                   "num_attention_heads": 16, "vocab_size": 30528, "max_position_embeddings": 8192},
        "sizes": {"": {24: 1024, 20: 4096, 40: 8192, 72: 3072, 79: 30528}}},
    "gte-qwen2-1.5b": {
        "from": "gte_qwen2/long_bf16", "config": QWEN2,
        "sizes": {"": {24: 1536, 28: 8960, 8: 256, 265: 151646}}},
    "nv-embed-v2": {
        "from": "nv_embed/long_bf16",
        "config": {"hidden_size": 4096, "text_config": MISTRAL,
                   "latent_attention_config": {"hidden_dim": 4096, "latent_dim": 4096, "num_cross_heads": 8,
                                               "cross_dim_head": 4096, "num_latents_value": 512}},
        "sizes": {"latent": {16: 4096, 24: 32768, 48: 65536, 5: 512, 128: 32768, 64: 16384},
                  "embedding": {16: 4096, 20: 14336, 8: 1024, 361: 32000}}},
    "clip-base": clip(512, 768, 32, 224, 512),
    "clip-large": clip(768, 1024, 14, 336, 768),
}


def merged(old, new):
    return {**old, **{k: merged(old[k], v) if isinstance(v, dict) else v for k, v in new.items()}}


def header_of(path):
    with open(path, "rb") as file:
        size, = struct.unpack("<Q", file.read(8))
        return {k: v for k, v in json.loads(file.read(size)).items() if k != "__metadata__"}


def tensors_of(model, config):
    """Names and shapes of the real checkpoint; layers are copies of the first."""
    sizes = MODELS[model]["sizes"]
    for name, tensor in header_of(DATA / MODELS[model]["from"] / "model.safetensors").items():
        scope = max((s for s in sizes if name.startswith(s)), key=len, default="")
        shape = [sizes.get(scope, {}).get(n, n) for n in tensor["shape"]]
        layer = re.search(r"(layers?\.)(\d+)\.", name)
        if not layer:
            yield name, shape
        elif layer[2] == "0":
            part = {"text": "text_config", "vis": "vision_config", "embedding": "text_config"}.get(scope)
            own = config.get(part, config)
            for i in range(own["num_hidden_layers"]):
                yield name.replace(layer[0], f"{layer[1]}{i}.", 1), shape


def count(shape):
    n = 1
    for size in shape:
        n *= size
    return n


def make(given):
    import numpy
    source = DATA / MODELS[given.model]["from"]
    shutil.copytree(source, given.folder)
    (given.folder / "case.json").unlink(missing_ok=True)
    config = merged(json.loads((source / "config.json").read_text()), MODELS[given.model]["config"])
    if given.layers:
        (config if "text_config" not in config else config["text_config"])["num_hidden_layers"] = given.layers
    (given.folder / "config.json").write_text(json.dumps(config))
    steps = given.folder / "preprocessor_config.json"
    if steps.exists():
        size = config["vision_config"]["image_size"]
        steps.write_text(json.dumps({
            "image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": size}, "do_resize": True,
            "resample": 3, "do_center_crop": True, "crop_size": {"height": size, "width": size},
            "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True, "do_convert_rgb": True,
            "image_mean": [0.48145466, 0.4578275, 0.40821073],
            "image_std": [0.26862954, 0.26130258, 0.27577711]}))
    pooling = given.folder / "1_Pooling" / "config.json"
    if pooling.exists():
        values = json.loads(pooling.read_text())
        pooling.write_text(json.dumps({**values, "word_embedding_dimension": config["hidden_size"]}))
    offset, header = 0, {}
    for name, shape in tensors_of(given.model, config):
        n_bytes = 2 * count(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + n_bytes]}
        offset += n_bytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    # About ±0.01, the same 32 MiB again and again.
    numbers = numpy.random.default_rng(0).integers(0, 2 ** 16, 1 << 24, dtype=numpy.uint16)
    block = ((numbers & 0x80ff) | 0x3c00).tobytes()
    with open(given.folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for first in range(0, offset, len(block)):
            file.write(block[:offset - first])
    print(f"{given.folder}: {offset / 2 ** 20:.0f} MiB")


def run(command):
    begun = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, problem = child.communicate()
    took = time.perf_counter() - begun
    if child.returncode != 0:
        sys.exit(problem.decode())
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return json.loads(out), took, peak


def measure(given):
    """Each command runs in a Python of its own, since the system keeps one peak for all children."""
    model = ["--model", str(given.folder)]
    about, _, _ = run([given.modelpool, "inspect", *model, "--json"])
    weights = (given.folder / "model.safetensors").stat().st_size / 2 ** 20
    print(json.dumps(about))
    if about["capability"] == "image_embedding":
        command = [given.modelpool, "embed-image", *model, *given.images, "--text", "a cat", "--json"]
    else:
        texts = ["the cat sat on a mat and the dog ran to the cat"] * given.texts
        command = [given.modelpool, "embed", *model, "--json", *texts]
    for workers in given.workers:
        done, took, peak = in_child([*command, "--workers", str(workers)])
        tokens = done.get("usage", {}).get("tokens", 0)
        print(f"{workers} workers: {took:.2f} s with the load, {tokens} tokens, peak {peak:.0f} MiB, "
              f"{peak / weights:.3f} x {weights:.0f} MiB of weights")


def in_child(command):
    code = "import json, sys; sys.path.insert(0, sys.argv[1]); import real_shapes; " \
           "print(json.dumps(real_shapes.run(sys.argv[2:])))"
    out = subprocess.run([sys.executable, "-B", "-c", code, os.path.dirname(os.path.abspath(__file__)), *command],
                         stdout=subprocess.PIPE, check=True)
    return json.loads(out.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("make")
    one.add_argument("model", choices=MODELS)
    one.add_argument("folder", type=pathlib.Path)
    one.add_argument("--layers", type=int, default=0)
    one.set_defaults(run=make)
    one = commands.add_parser("measure")
    one.add_argument("modelpool")
    one.add_argument("folder", type=pathlib.Path)
    one.add_argument("--texts", type=int, default=16)
    one.add_argument("--images", nargs="*", default=[])
    one.add_argument("--workers", type=int, nargs="*", default=[1, 4])
    one.set_defaults(run=measure)
    given = parser.parse_args()
    given.run(given)


if __name__ == "__main__":
    main()

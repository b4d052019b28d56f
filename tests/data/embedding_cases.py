"""What the scripts that make embedding checkpoints share. Each folder they write is a checkpoint with a
`case.json` beside its files:
  texts, prompt (put before every text), max_tokens, ids (one list a text), rows (pooled, not scaled to unit
  length), f32 numbers written with nine digits; `rows_by_dim` where there are heads of several sizes.
"""

import argparse
import json
import pathlib
import shutil

import torch
from safetensors.torch import save_file

TEXTS = [
    "The cat sat on a mat.",
    "x",
    "Dogs running, running! Caf\u00e9?",
    "\u4e2d\u6587 and \U0001f600 and \x01 control",
    "the dog ran to the cat and the cat ran to the dog and both of them sat on the mat, all day long",
    "run",
    "A cat",
]


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1) + "\n")


def write_modules(folder, names, pooling, max_tokens):
    """The files of sentence-transformers. A module's folder is "<index>_<name>", its class what comes first."""
    entries = []
    for i, name in enumerate(names):
        path = "" if i == 0 else f"{i}_{name}"
        kind = f"sentence_transformers.models.{name.split('_')[0]}"
        entries.append({"idx": i, "name": str(i), "path": path, "type": kind})
    write_json(folder / "modules.json", entries)
    write_json(folder / "1_Pooling" / "config.json", pooling)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": max_tokens, "do_lower_case": False})


class Weights(dict):
    """Seeded tensors by name; a checkpoint of `dtype` and the same numbers in f32 to compute with."""

    def __init__(self, dtype=torch.float32):
        super().__init__()
        self.dtype = dtype

    def add(self, name, *shape, mean=0.0, std=0.3):
        stored = (torch.randn(*shape) * std + mean).to(self.dtype)
        self[name] = stored
        return stored.float()

    def __call__(self, name):
        return self[name].float()

    def save(self, folder, prefix="", n_files=1):
        names = sorted(self)
        named = {prefix + name: self[name].contiguous() for name in names}
        if n_files == 1:
            save_file(named, folder / "model.safetensors", metadata={"format": "pt"})
            return
        index, keys = {}, sorted(named)
        for part in range(n_files):
            file = f"model-{part + 1:05}-of-{n_files:05}.safetensors"
            mine = keys[part * len(keys) // n_files:(part + 1) * len(keys) // n_files]
            save_file({k: named[k] for k in mine}, folder / file, metadata={"format": "pt"})
            index |= {k: file for k in mine}
        size = sum(t.numel() * t.element_size() for t in named.values())
        write_json(folder / "model.safetensors.index.json", {"metadata": {"total_size": size}, "weight_map": index})


def numbers(row):
    return [float(f"{x:.9g}") for x in row.tolist()]


def write_case(folder, texts, ids, rows, max_tokens, prompt="", rows_by_dim=None, **more):
    case = {"made_with": f"torch {torch.__version__.split('+')[0]}", "texts": texts, "prompt": prompt,
            "max_tokens": max_tokens, "ids": ids, "rows": [numbers(r) for r in rows]} | more
    if rows_by_dim:
        case["rows_by_dim"] = {str(d): [numbers(r) for r in found] for d, found in rows_by_dim.items()}
    (folder / "case.json").write_text(json.dumps(case) + "\n")


def main(family, cases, doc):
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path(__file__).parent / family)
    arguments = parser.parse_args()
    shutil.rmtree(arguments.output, ignore_errors=True)
    for number, case in enumerate(cases):
        torch.manual_seed(arguments.seed * 1000 + number)
        folder = arguments.output / case.__name__
        folder.mkdir(parents=True)
        with torch.inference_mode():
            case(folder)
        for file in folder.rglob("*.safetensors"):
            file.chmod(0o644)
        print(folder.name, sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()), "bytes")

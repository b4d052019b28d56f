#!/usr/bin/env python3
"""Makes tests/data/bert: tiny seeded BERT checkpoints and what sentence-transformers computes on them.

Run it from any folder with a Python that has torch, transformers, tokenizers and sentence-transformers; it
replaces tests/data/bert. `--seed N --output DIR` makes other checkpoints of the same kinds, to test on demand.

Each folder under bert/ is a checkpoint with a `case.json` beside its files:
  texts, prompt (put before every text), max_tokens, ids (one list a text), rows (pooled, not scaled to unit
  length), f32 numbers written with nine digits.
"""

import argparse
import json
import pathlib
import shutil

import sentence_transformers
import torch
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForMaskedLM, BertModel, PreTrainedTokenizerFast

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PIECES = ["the", "cat", "dog", "sat", "on", "a", "mat", "run", "##s", "##ning", "query", "cafe", "1", "2", "!"]
PIECES += [".", ",", ":", "?", "\u4e2d", "\u6587"]
LETTERS = [chr(c) for c in range(ord("a"), ord("z") + 1)]
VOCABULARY = SPECIAL + PIECES + [x for x in LETTERS if x != "a"] + ["##" + x for x in LETTERS if x != "s"]

TEXTS = [
    "The cat sat on a mat.",
    "",
    "x",
    "Dogs running, running! Caf\u00e9?",
    "\u4e2d\u6587 and \U0001f600 and \x01 control",
    "the dog ran to the cat and the cat ran to the dog and both of them sat on the mat, all day long",
    "run",
    "A cat",
]


def make_tokenizer(lowercase=True):
    tokenizer = Tokenizer(models.WordPiece({t: i for i, t in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase, strip_accents=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(SPECIAL)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]", model_max_length=24)


def config(**changes):
    values = dict(
        vocab_size=len(VOCABULARY) + 3, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=24, max_position_embeddings=32, type_vocab_size=2, initializer_range=0.4)
    return BertConfig(**(values | changes))


def randomise(model):
    """Norms and biases too: as initialised they would hide a swapped or forgotten one."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0, 0.3)
            elif "LayerNorm.weight" in name:
                parameter.uniform_(0.5, 1.5)
    return model.eval()


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1) + "\n")


def write_modules(folder, names):
    entries = []
    for i, name in enumerate(names):
        path = "" if i == 0 else f"{i}_{name}"
        entries.append({"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{name}"})
        (folder / path).mkdir(exist_ok=True)
    write_json(folder / "modules.json", entries)


def save(folder, model, tokenizer, **options):
    model.save_pretrained(folder, **options)
    tokenizer.save_pretrained(folder)
    for name in ("special_tokens_map.json", "vocab.txt", "generation_config.json"):
        (folder / name).unlink(missing_ok=True)


def write_case(folder, prompt=""):
    model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
    modules = list(model)
    # The reference fails on a limit above the number of positions; the library is to stop at that number.
    limit = model.max_seq_length = min(model.max_seq_length, 32)
    kept = len(modules)
    while type(modules[kept - 1]).__name__ == "Normalize":
        kept -= 1
    model = SentenceTransformer(modules=modules[:kept], device="cpu")
    rows = [model.encode([t], prompt=prompt, normalize_embeddings=False)[0].tolist() for t in TEXTS]
    ids = model.tokenizer([prompt + t for t in TEXTS], truncation=True, max_length=limit)["input_ids"]
    case = {
        "made_with": f"sentence-transformers {sentence_transformers.__version__}",
        "texts": TEXTS, "prompt": prompt, "max_tokens": limit, "ids": ids,
        "rows": [[float(f"{x:.9g}") for x in row] for row in rows],
    }
    (folder / "case.json").write_text(json.dumps(case) + "\n")


def plain_f32(folder):
    """No sentence-transformers files: mean pooling, and the tokenizer's own limit of 24."""
    save(folder, randomise(BertModel(config())), make_tokenizer())
    write_case(folder)


def mean_f16(folder):
    """The layout of all-MiniLM-L6-v2 in f16: pooling switches, a limit of its own, prompts."""
    save(folder, randomise(BertModel(config(hidden_act="gelu_new"))).half(), make_tokenizer())
    write_modules(folder, ["Transformer", "Pooling", "Normalize"])
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 12, "do_lower_case": False})
    write_json(folder / "1_Pooling" / "config.json", {
        "word_embedding_dimension": 16, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True,
        "pooling_mode_max_tokens": False, "pooling_mode_mean_sqrt_len_tokens": False})
    write_json(folder / "config_sentence_transformers.json", {
        "prompts": {"query": "query: ", "none": None}, "default_prompt_name": "query"})
    write_case(folder, prompt="query: ")


def cls_bf16(folder):
    """bf16, the pooling as a name, lower-casing asked for of a tokenizer that does not lower-case."""
    save(folder, randomise(BertModel(config(num_attention_heads=4))).bfloat16(), make_tokenizer(lowercase=False))
    write_modules(folder, ["Transformer", "Pooling", "Normalize"])
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 64, "do_lower_case": True})
    write_json(folder / "1_Pooling" / "config.json", {"embedding_dimension": 16, "pooling_mode": "cls"})
    write_case(folder)


def max_sharded(folder):
    """A masked language model's checkpoint: names under "bert.", a head to ignore, several files."""
    save(folder, randomise(BertForMaskedLM(config(hidden_act="relu"))), make_tokenizer(), max_shard_size="12KB")
    write_modules(folder, ["Transformer", "Pooling"])
    write_json(folder / "1_Pooling" / "config.json", {
        "word_embedding_dimension": 16, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": False,
        "pooling_mode_max_tokens": True})
    write_case(folder)


def joined_dense(folder):
    """Three poolings side by side without the prompt's tokens, then Dense, Normalize, Dense, Normalize."""
    save(folder, randomise(BertModel(config(layer_norm_eps=1e-5))), make_tokenizer())
    names = ["Transformer", "Pooling", "Dense", "Normalize", "Dense", "Normalize"]
    write_modules(folder, names)
    write_json(folder / "1_Pooling" / "config.json", {
        "embedding_dimension": 16, "pooling_mode": ["weightedmean", "mean_sqrt_len_tokens", "lasttoken"],
        "include_prompt": False})
    dense = sentence_transformers.models.Dense
    dense(48, 10, bias=False, activation_function=torch.nn.GELU()).save(str(folder / "2_Dense"))
    dense(10, 10, activation_function=torch.nn.Identity(), use_residual=True).save(str(folder / "4_Dense"))
    write_case(folder, prompt="query: ")


def wide_f32(folder):
    """Sizes that processors with tiles for bf16 take: 32 inputs at once, heads of 16."""
    sizes = dict(hidden_size=32, intermediate_size=64, initializer_range=0.2)
    save(folder, randomise(BertModel(config(**sizes))), make_tokenizer())
    write_case(folder)


CASES = [plain_f32, mean_f16, cls_bf16, max_sharded, joined_dense, wide_f32]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path(__file__).parent / "bert")
    arguments = parser.parse_args()
    shutil.rmtree(arguments.output, ignore_errors=True)
    for number, case in enumerate(CASES):
        torch.manual_seed(arguments.seed * 1000 + number)
        folder = arguments.output / case.__name__
        folder.mkdir(parents=True)
        case(folder)
        print(folder.name, sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()), "bytes")


if __name__ == "__main__":
    main()

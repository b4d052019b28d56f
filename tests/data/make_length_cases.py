#!/usr/bin/env python3
"""Makes the cases of tests/data/lengths: what the `tokenizers` package makes of texts that are cut and filled up.

    make_length_cases.py [--seed N] [--cases N] TOKENIZERS_DIR OUTPUT_FILE

Needs the Python package tokenizers (0.23).
"""
import argparse
import json
import pathlib
import random

from tokenizers import Tokenizer

NAMES = ["wordpiece", "bpe-roberta", "unigram"]
TEXTS = [
    "", "a", "The quick brown fox jumps over the lazy dog.", " Hello  World ", "IT'S WE'LL they've don't",
    "Der Fluss fließt über die Brücke", "x y z", "1 234 567,89", "東京 tower",
]


def part_of(encoding):
    return {"ids": encoding.ids, "tokens": encoding.tokens, "offsets": encoding.offsets, "types": encoding.type_ids,
            "special": encoding.special_tokens_mask, "attention": encoding.attention_mask}


def make_case(rng, tokenizer):
    is_pair = rng.random() < 0.5
    n_added = tokenizer.num_special_tokens_to_add(is_pair)
    case = {"texts": [rng.choice(TEXTS) for _ in range(2 if is_pair else rng.choice([1, 3]))], "pair": is_pair}
    tokenizer.no_truncation()
    tokenizer.no_padding()
    if rng.random() < 0.9:
        limit = n_added + rng.randrange(1, 12)
        case["truncation"] = {
            "max_length": limit, "stride": rng.randrange(0, limit - n_added) if not is_pair else 0,
            "direction": rng.choice(["left", "right"]),
            "strategy": rng.choice(["longest_first", "only_first", "only_second"]) if is_pair else "longest_first"}
        tokenizer.enable_truncation(**case["truncation"])
    if rng.random() < 0.6:
        case["padding"] = {
            "direction": rng.choice(["left", "right"]), "pad_id": 3, "pad_type_id": rng.choice([0, 5]), "pad_token": "<p>",
            "length": rng.choice([None, 4, 20]), "pad_to_multiple_of": rng.choice([None, 8])}
        tokenizer.enable_padding(**case["padding"])
    case["file"] = {key: json.loads(tokenizer.to_str())[key] for key in ("truncation", "padding")}
    try:
        made = [tokenizer.encode(*case["texts"])] if is_pair else tokenizer.encode_batch(case["texts"])
    except Exception:
        return case | {"error": True}
    return case | {"made": [part_of(each) | {"overflow": [part_of(more) for more in each.overflowing]} for each in made]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, default=10)
    parser.add_argument("tokenizers", type=pathlib.Path)
    parser.add_argument("output", type=pathlib.Path)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    made = {}
    for name in NAMES:
        tokenizer = Tokenizer.from_file(str(options.tokenizers / name / "tokenizer.json"))
        made[name] = [make_case(rng, tokenizer) for _ in range(options.cases)]
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(made, ensure_ascii=False, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()

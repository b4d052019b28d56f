#!/usr/bin/env python3
"""Compares `modelpool tokenize` with the reference on random hard strings: ids, offsets, and what decoding gives back.

    compare_tokenizers.py [--seed N] [--count N] [--long] [--limit N] MODELPOOL FOLDER_OR_FILE...

A folder with a tokenizer.json, or such a file, is compared with the package tokenizers; a .model file of SentencePiece
with the package sentencepiece (pieces alone: without the special tokens, which its users add). Prints the first
differences of each tokenizer and a line that counts them; exits with 1 if there is one.

Needs the Python packages tokenizers (0.23) and sentencepiece (0.2).
"""
import argparse
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import unicodedata

BLOCKS = [
    (0x0000, 0x0020), (0x0020, 0x007F), (0x007F, 0x00A0), (0x00A0, 0x0250), (0x0250, 0x0300), (0x0300, 0x0370),
    (0x0370, 0x0590), (0x0590, 0x0700), (0x0700, 0x0900), (0x0900, 0x0E00), (0x0E00, 0x1100), (0x1100, 0x1200),
    (0x1200, 0x1E00), (0x1E00, 0x2000), (0x2000, 0x2070), (0x2070, 0x2E80), (0x2E80, 0x3040), (0x3040, 0x3400),
    (0x3400, 0x4E00), (0x4E00, 0xA000), (0xA000, 0xAC00), (0xAC00, 0xD7B0), (0xD7B0, 0xD800), (0xE000, 0xF900),
    (0xF900, 0xFB00), (0xFB00, 0xFE00), (0xFE00, 0xFE30), (0xFE30, 0xFFF0), (0xFFF0, 0x10000), (0x10000, 0x1D000),
    (0x1D000, 0x1F000), (0x1F000, 0x1FB00), (0x1FB00, 0x20000), (0x20000, 0x32000), (0x32000, 0xE0000),
    (0xE0000, 0xE0200), (0xE0200, 0xF0000), (0xF0000, 0x110000),
]
WORDS = (
    "the quick brown fox can't we'll IT'S they've ISN'T naïve Café fiſh Straße ΟΔΟΣ İstanbul Привет мир 東京都 한국어 "
    "สวัสดี नमस्ते مرحبا שלום 12345 3.14 1,000 ² ½ Ⅷ foo_bar x=y*z; def f(x): <tag> </s> <s> [CLS] [MASK] <|im_end|> "
    "http://a.b/c?d=e#f a@b.cc ... -- — “q” ‘r’ … ﬁ ① ｆｕｌｌ ﾊﾝ ㌀ ℃ Ω Å"
).split()
SPACES = [" ", " ", " ", "  ", "\n", "\r\n", "\t", "\n\n ", "\u00a0", "\u3000", "\u2009", "\u200b", "\u0085", "\u2028"]
EMOJI = ["\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f44d\U0001f3fd", "\U0001f1e9\U0001f1ea", "\u2764\ufe0f",
         "\U0001f3f4\U000e0067\U000e0062\U000e007f", "1\ufe0f\u20e3", "\U0001f600"]


def long_texts():
    """Texts of a megabyte: one character again and again, and words without a space between."""
    yield "a" * 1_000_000
    yield "\u00e9" * 500_000
    yield "\U0001f600" * 250_000
    yield (EMOJI[0] + EMOJI[4]) * 20_000
    yield "e" + "\u0301" * 500_000
    yield "".join(WORDS) * (1_000_000 // sum(map(len, WORDS)))
    rng = random.Random(1)
    yield "".join(chr(rng.randrange(0x61, 0x7B)) for _ in range(1_000_000))


# UTF-8 has no halves of surrogate pairs: as bytes they are no text.
HALVES = [b"\xed\xa0\x80", b"a\xed\xaf\xbfb", b"\xed\xb0\x80", b"\xed\xbf\xbf", b"\xed\xa0\xbd\xed\xb8\x80"]


def random_text(rng):
    parts = []
    for _ in range(rng.choice([1, 1, 2, 4, 8, 16])):
        kind = rng.random()
        if kind < 0.3:
            parts.append(rng.choice(SPACES + [""]) + rng.choice(WORDS))
        elif kind < 0.6:
            low, high = rng.choice(BLOCKS)
            parts.append("".join(chr(rng.randrange(low, high)) for _ in range(rng.choice([1, 2, 5, 12]))))
        elif kind < 0.7:
            parts.append("".join(rng.choice(SPACES) for _ in range(rng.choice([1, 2, 7]))))
        elif kind < 0.78:
            parts.append(rng.choice(EMOJI) * rng.choice([1, 2]))
        elif kind < 0.86:
            marks = "".join(chr(rng.randrange(0x300, 0x370)) for _ in range(rng.choice([1, 3, 9])))
            parts.append(rng.choice("aeoEnксいกक") + marks)
        elif kind < 0.9:
            parts.append(rng.choice("aAé東.!  _▁Ġ#") * rng.choice([2, 17, 130]))
        elif kind < 0.94:
            form = rng.choice(["NFC", "NFD", "NFKC", "NFKD"])
            parts.append(unicodedata.normalize(form, rng.choice(WORDS)))
        elif kind < 0.97:
            parts.append("".join(chr(rng.choice([rng.randrange(0x20, 0x7F), rng.randrange(0, 0x800)])) for _ in range(9)))
        else:
            while True:
                char = rng.randrange(0x110000)
                if not 0xD800 <= char < 0xE000:
                    break
            parts.append(chr(char))
    return "".join(parts)


class Json:
    """tokenizers' own reader."""

    def __init__(self, path):
        from tokenizers import Tokenizer

        self.tokenizer = Tokenizer.from_file(str(path))
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.arguments = []

    def encode(self, texts):
        return [(e.ids, [list(o) for o in e.offsets]) for e in self.tokenizer.encode_batch(texts)]

    def decode(self, rows):
        return self.tokenizer.decode_batch(rows, skip_special_tokens=False)


class Pieces:
    """sentencepiece's own reader."""

    def __init__(self, path):
        import sentencepiece

        self.processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
        self.arguments = ["--no-special"]

    def encode(self, texts):
        return [(self.processor.encode(text), None) for text in texts]

    def decode(self, rows):
        return [self.processor.decode(row) for row in rows]


def run(binary, path, arguments, document):
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(document, file)
        file.flush()
        done = subprocess.run(
            [binary, "tokenize", "--model", str(path), "--input", file.name, "--json", *arguments], capture_output=True)
    if done.returncode:
        raise SystemExit(f"{path}: {done.stderr.decode(errors='replace')}")
    return json.loads(done.stdout)


def compare(binary, path, options):
    file = path / "tokenizer.json" if path.is_dir() else path
    reference = Pieces(file) if file.suffix == ".model" else Json(file)
    rng = random.Random(options.seed)
    n_bad = 0

    def differs(what, text, ours, theirs):
        nonlocal n_bad
        n_bad += 1
        if n_bad <= options.limit:
            shown = [str(each)[:2000] for each in (repr(text), ours, theirs)]
            print(f"{path}: {what} of {shown[0]}\n    ours   {shown[1]}\n    theirs {shown[2]}")

    for half in HALVES:
        done = subprocess.run([binary, "tokenize", "--model", str(path), half], capture_output=True)
        if done.returncode == 0 or b"UTF-8" not in done.stderr:
            differs("the refusal", half, done.stderr, "not valid UTF-8")
    batches = [[text] for text in long_texts()] if options.long else []
    for begin in range(0, options.count, 5000):
        batches.append([random_text(rng) for _ in range(min(5000, options.count - begin))])
    for texts in batches:
        ours = run(binary, path, reference.arguments, texts)
        theirs = reference.encode(texts)
        for text, ids, offsets, (their_ids, their_offsets) in zip(texts, ours["ids"], ours["offsets"], theirs):
            if ids != their_ids:
                differs("ids", text, ids, their_ids)
            elif their_offsets is not None and offsets != their_offsets:
                differs("offsets", text, offsets, their_offsets)
        rows = [ids for ids, _ in theirs]
        decoded = run(binary, path, ["--decode"], rows)["texts"]
        for row, text, their_text in zip(rows, decoded, reference.decode(rows)):
            if text != their_text:
                differs("the text", row, repr(text), repr(their_text))
    n_texts = sum(map(len, batches))
    print(f"{path}: {n_texts} texts, {n_bad} differences", flush=True)
    return n_bad


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--long", action="store_true", help="texts of a megabyte too")
    parser.add_argument("--limit", type=int, default=10, help="differences to print for each tokenizer")
    parser.add_argument("binary")
    parser.add_argument("paths", nargs="+", type=pathlib.Path)
    options = parser.parse_args()
    n_bad = sum([compare(options.binary, path, options) for path in options.paths])
    sys.exit(1 if n_bad else 0)


if __name__ == "__main__":
    main()

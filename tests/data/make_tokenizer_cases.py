#!/usr/bin/env python3
"""Makes the tokenizer cases of tests/data/tokenizers: small tokenizers of every kind, trained here on a few
sentences, and what the `tokenizers` package makes of hard texts with them.

    make_tokenizer_cases.py [--seed N] [--texts N] [--keep] OUTPUT_DIR

Training does not give the same tokenizer twice; --keep takes those that are in OUTPUT_DIR.

Needs the Python package tokenizers (0.23).
"""
import argparse
import json
import pathlib
import random
import struct

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers, processors, trainers

CORPUS = [
    "The quick brown fox jumps over the lazy dog, and the dog does not mind at all.",
    "Tokenizers cut text into pieces; models then read the pieces one by one.",
    "It's a small corpus, isn't it? We'll see what they've learnt from 1234 words (and 56 more).",
    "Der Fluss fließt über die Brücke, naïve Gäste trinken Café crème.",
    "Каждый охотник желает знать, где сидит фазан. 東京は夜の七時。 한국어 문장입니다.",
    "def main(args):\n    return [x ** 2 for x in args if x != 0]\n",
] * 3

HARD = [
    "", " ", "\n\n", "a", "A man is eating food.", " Hello  World ", "IT'S WE'LL they've", "don't do not",
    "1 234 567,89 ½ ²", "Café naïveté ÀÉÎ e\u0301a\u0300\u0323", "\ufb01ne \u2460 \uff21\uff22 \u00c5 \u212b",
    "\u0130stanbul \u00df \u03a3\u03a3", "東京 tower 한글 각", "\U0001f916\U0001f680 \U0001f1fa\U0001f1f3",
    "\x00 NUL \x01\x7f \u200b\u200d\ufeff", "\t\tdef f(x):\r\n\treturn x", "x" * 130, "ab" * 70,
    "[MASK] [SEP]x <tag> Yes  yes", "\u0e01\u0e49\u0e33 \u0928\u093f", "\u0301\u0300 \u05b0\u05b9", "foo@bar.baz -- !?",
    "\u2581under\u2581 score", "\u00a0nbsp\u3000wide\u2028line", "\U00032357 \U0001fae8 \u1c89",
]

ALPHABETS = [
    [chr(c) for c in range(0x20, 0x7F)],
    [chr(c) for c in range(0xA0, 0x250)],
    [chr(c) for c in range(0x300, 0x370)],
    [chr(c) for c in range(0x400, 0x460)],
    [chr(c) for c in range(0x900, 0x980)],
    [chr(c) for c in range(0x4E00, 0x4E80)] + [chr(c) for c in range(0xAC00, 0xAC80)],
    [chr(c) for c in range(0x1100, 0x1200)],
    [chr(c) for c in range(0x1F600, 0x1F650)],
    list(" \t\n\r\u00a0\u2009\u3000"),
]


def hard_texts(rng, n):
    texts = list(HARD)
    words = " ".join(CORPUS).split()
    for _ in range(n):
        parts = []
        for _ in range(rng.choice([1, 3, 6])):
            if rng.random() < 0.5:
                parts.append(rng.choice(["", " "]) + rng.choice(words))
            else:
                alphabet = rng.choice(ALPHABETS)
                parts.append("".join(rng.choice(alphabet) for _ in range(rng.choice([1, 2, 4]))))
        texts.append("".join(parts))
    return texts


def charsmap():
    """A SentencePiece character map of one-byte and two-byte keys, as a darts-clone double array."""
    rules = {b"\t": " ", b"\n": " ", b"A": "a", b"\xc2\xa0": " ", b"\xc3\x89": "e\u0301", b"\x01": "", b"Z": "zz"}
    texts, offsets = b"", {}
    for key, to in rules.items():
        offsets[key] = len(texts)
        texts += to.encode() + b"\0"
    # Every node has a block of 256 slots of its own: the child for byte b of the node at block B is B * 256 ^ b.
    units = [0] * (256 * 12)
    blocks = {b"": 1}
    units[0] = (256 << 10)
    next_block = 2
    for key in sorted(rules, key=len):
        for i in range(1, len(key) + 1):
            if key[:i] not in blocks:
                blocks[key[:i]] = next_block
                next_block += 1
                at = blocks[key[: i - 1]] * 256 ^ key[i - 1]
                units[at] = key[i - 1] | ((at ^ (blocks[key[:i]] * 256)) << 10)
                if key[:i] in rules:
                    units[at] |= 1 << 8
                    units[blocks[key[:i]] * 256] = offsets[key[:i]] | (1 << 31)
    raw = struct.pack("<I", 4 * len(units)) + struct.pack(f"<{len(units)}I", *units) + texts
    return raw


def wordpiece(**kwargs):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", **kwargs))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(CORPUS, trainers.WordPieceTrainer(
        vocab_size=260, special_tokens=special, show_progress=False))
    tokenizer.decoder = decoders.WordPiece()
    ends = [("[CLS]", tokenizer.token_to_id("[CLS]")), ("[SEP]", tokenizer.token_to_id("[SEP]"))]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends)
    return tokenizer, ends


def byte_bpe(pattern=None, **kwargs):
    tokenizer = Tokenizer(models.BPE(**kwargs))
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern is None)
    split = [pre_tokenizers.Split(Regex(pattern), "isolated")] if pattern else []
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(split + [byte_level]) if split else byte_level
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=420, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=["<|end|>"],
        show_progress=False, **kwargs))
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def byte_names():
    return [f"<0x{b:02X}>" for b in range(256)]


def llama():
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=560, special_tokens=["<unk>", "<s>", "</s>"] + byte_names(), show_progress=False))
    state = json.loads(tokenizer.to_str())
    state["model"]["byte_fallback"] = True
    state["added_tokens"] = [t for t in state["added_tokens"] if not t["content"].startswith("<0x")]
    tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.decoder = decoders.Sequence([
        decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=True, add_prefix_space=True),
        processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)])])
    return tokenizer


def unigram(byte_fallback=False):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    names = byte_names() if byte_fallback else []
    tokenizer.train_from_iterator(CORPUS, trainers.UnigramTrainer(
        vocab_size=180, special_tokens=["<unk>", "</s>"] + names, unk_token="<unk>", show_progress=False))
    if byte_fallback:
        state = json.loads(tokenizer.to_str())
        state["model"]["byte_fallback"] = True
        state["added_tokens"] = state["added_tokens"][:2]
        tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer


def cases():
    bert, ends = wordpiece()
    yield "wordpiece", bert

    cased, ends = wordpiece(max_input_chars_per_word=8)
    cased.normalizer = normalizers.BertNormalizer(
        clean_text=False, handle_chinese_chars=False, strip_accents=True, lowercase=False)
    cased.decoder = decoders.WordPiece(cleanup=False)
    cased.post_processor = processors.BertProcessing(ends[1], ends[0])
    cased.add_tokens([AddedToken("yes", single_word=True, normalized=False), AddedToken("<tag>", lstrip=True)])
    cased.add_special_tokens([AddedToken("[MASK]", lstrip=True, rstrip=True)])
    yield "wordpiece-added", cased

    gpt2 = byte_bpe()
    gpt2.post_processor = processors.ByteLevel(trim_offsets=True)
    yield "bpe-gpt2", gpt2

    roberta = byte_bpe()
    roberta.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    roberta.post_processor = processors.RobertaProcessing(("<|end|>", 0), ("<|end|>", 0))
    yield "bpe-roberta", roberta

    modern = byte_bpe(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+")
    modern.normalizer = normalizers.NFC()
    yield "bpe-split", modern

    clip = byte_bpe(end_of_word_suffix="</w>")
    clip.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    clip.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(r"'s|'t|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"), "removed", invert=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False)])
    clip.decoder = decoders.BPEDecoder()
    yield "bpe-suffix", clip

    yield "bpe-fallback", llama()

    pieces = unigram()
    pieces.normalizer = normalizers.Sequence([normalizers.NFKD(), normalizers.StripAccents(), normalizers.Nmt()])
    yield "unigram", pieces

    fallback = unigram(byte_fallback=True)
    fallback.normalizer = normalizers.Sequence([normalizers.Precompiled(charsmap()), normalizers.Strip()])
    fallback.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="first")])
    fallback.decoder = decoders.Sequence([decoders.Metaspace(prepend_scheme="first"), decoders.ByteFallback()])
    yield "unigram-fallback", fallback

    words = Tokenizer(models.WordLevel(unk_token="<unk>"))
    words.normalizer = normalizers.NFD()
    words.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Whitespace(), pre_tokenizers.Digits(individual_digits=False),
        pre_tokenizers.Punctuation("contiguous")])
    words.train_from_iterator(CORPUS, trainers.WordLevelTrainer(special_tokens=["<unk>"], show_progress=False))
    yield "wordlevel", words

    for behavior in ["removed", "merged_with_previous", "merged_with_next", "contiguous"]:
        words.normalizer = None
        words.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split("e", behavior), pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.Punctuation(behavior), pre_tokenizers.CharDelimiterSplit("o")])
        yield "wordlevel-" + behavior.replace("_", "-"), words


def row(tokenizer, text):
    encoded = tokenizer.encode(text)
    plain = tokenizer.encode(text, add_special_tokens=False)
    return {
        "text": text, "ids": encoded.ids, "plain": plain.ids, "tokens": encoded.tokens,
        "offsets": [list(o) for o in encoded.offsets],
        "decoded": tokenizer.decode(encoded.ids, skip_special_tokens=False),
        "decoded_plain": tokenizer.decode(encoded.ids),
    }


def pair_row(tokenizer, first, second, limit):
    """A pair of texts, whole or cut to a number of tokens."""
    tokenizer.no_truncation()
    if limit:
        tokenizer.enable_truncation(limit)
    encoded = tokenizer.encode(first, second)
    return {
        "first": first, "second": second, "limit": limit, "ids": encoded.ids, "types": encoded.type_ids,
        "special": encoded.special_tokens_mask, "tokens": encoded.tokens, "offsets": [list(o) for o in encoded.offsets],
    }


def pair_rows(tokenizer, rng):
    texts = hard_texts(rng, 6)
    n_added = tokenizer.num_special_tokens_to_add(True)
    limits = [0, 0, 0] + [n_added + n for n in range(1, 24)]
    rows = [pair_row(tokenizer, rng.choice(texts), rng.choice(texts), limit) for limit in limits]
    tokenizer.no_truncation()
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--texts", type=int, default=12, help="random texts beside the fixed ones")
    parser.add_argument("--keep", action="store_true", help="use the tokenizers in OUTPUT_DIR")
    parser.add_argument("output", type=pathlib.Path)
    options = parser.parse_args()
    for name, tokenizer in cases():
        rng = random.Random(f"{options.seed} {name}")
        folder = options.output / name
        folder.mkdir(parents=True, exist_ok=True)
        if options.keep:
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        else:
            state = json.loads(tokenizer.to_str())
            (folder / "tokenizer.json").write_text(json.dumps(state, ensure_ascii=False, separators=(",", ":")))
        rows = [row(tokenizer, text) for text in hard_texts(rng, options.texts)]
        (folder / "cases.json").write_text(json.dumps(rows, separators=(",", ":")))
        (folder / "pairs.json").write_text(json.dumps(pair_rows(tokenizer, rng), separators=(",", ":")))


if __name__ == "__main__":
    main()

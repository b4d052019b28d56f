#!/usr/bin/env python3
"""Makes the folders of tests/data/vocabularies: small tokenizers in every format but tokenizer.json, trained here on
the sentences of make_tokenizer_cases.py, and what the reference of each format makes of hard texts with them.

    make_vocabulary_cases.py [--seed N] [--texts N] [--charsmap NAME] OUTPUT_DIR

Needs the Python packages tokenizers (0.23), transformers (5.23), sentencepiece (0.2), tiktoken (0.14), gguf (0.19).
"""
import argparse
import base64
import json
import pathlib
import random
import tempfile

import gguf
import sentencepiece
import tiktoken
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from sentencepiece import sentencepiece_model_pb2
from transformers.convert_slow_tokenizer import bytes_to_unicode

from make_tokenizer_cases import CORPUS, hard_texts

KIMI = "|".join([
    r"[\p{Han}]+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"])
# Rules of a character map: what it replaces and what with, as code points.
RULES = [("\t", " "), ("\n", " "), ("\u3000", " "), ("\u00a0", " "), ("A", "a"), ("\u00c9", "\u00e9"), ("e\u0301", "\u00e9"),
         ("\ufb01", "fi"), ("\u2460", "1"), ("\u200b", ""), ("Z", "zz"), ("\u0e33", "\u0e4d\u0e32"), ("\u00bd", " 1/2")]


def write_json(path, value):
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace('},{"text"', '},\n{"text"')
    path.write_text(text + "\n", encoding="utf-8")


def row_of(tokenizer, text):
    """What a transformers tokenizer makes of a text."""
    ids = tokenizer(text)["input_ids"]
    return {"text": text, "ids": ids,
            "offsets": [list(o) for o in tokenizer(text, return_offsets_mapping=True)["offset_mapping"]],
            "decoded": tokenizer.decode(ids, clean_up_tokenization_spaces=False),
            "decoded_plain": tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)}


def write_bpe(folder, special, suffix=""):
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix=suffix))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=len(special) + 420 + 256 * bool(suffix), initial_alphabet=alphabet, special_tokens=special,
        end_of_word_suffix=suffix, show_progress=False))
    state = json.loads(tokenizer.to_str())["model"]
    merges = ["#version: 0.2"] + [" ".join(m) for m in state["merges"]]
    write_json(folder / "vocab.json", state["vocab"])
    (folder / "merges.txt").write_text("\n".join(merges) + "\n", encoding="utf-8")
    return state["vocab"]


def bert(folder):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(CORPUS, trainers.WordPieceTrainer(
        vocab_size=260, special_tokens=special, show_progress=False))
    vocab = tokenizer.get_vocab()
    (folder / "vocab.txt").write_text("\n".join(sorted(vocab, key=vocab.get)) + "\n", encoding="utf-8")
    write_json(folder / "tokenizer_config.json", {
        "tokenizer_class": "BertTokenizer", "do_lower_case": False, "strip_accents": True,
        "tokenize_chinese_chars": True, "model_max_length": 512})
    return transformers.BertTokenizer.from_pretrained(folder)


def gpt2(folder):
    write_bpe(folder, ["<|endoftext|>"])
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": True})
    return transformers.GPT2Tokenizer.from_pretrained(folder)


def roberta(folder):
    write_bpe(folder, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "RobertaTokenizer"})
    write_json(folder / "special_tokens_map.json", {
        "bos_token": "<s>", "eos_token": "</s>", "mask_token": {
            "content": "<mask>", "lstrip": True, "rstrip": False, "normalized": False, "single_word": False}})
    return transformers.RobertaTokenizer.from_pretrained(folder)


def qwen2(folder):
    vocab = write_bpe(folder, [])
    names = ["<|endoftext|>", "<|im_start|>", "<tool>"]
    write_json(folder / "tokenizer_config.json", {
        "tokenizer_class": "Qwen2Tokenizer", "bos_token": None, "eos_token": "<|im_start|>",
        "pad_token": "<|endoftext|>", "additional_special_tokens": ["<|im_start|>"], "unk_token": None,
        "added_tokens_decoder": {str(len(vocab) + i): {
            "content": name, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False,
            "special": name != "<tool>"} for i, name in enumerate(names)}})
    return transformers.Qwen2Tokenizer.from_pretrained(folder)


def clip(folder):
    write_bpe(folder, ["<|startoftext|>", "<|endoftext|>"], suffix="</w>")
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "CLIPTokenizer", "model_max_length": 10000})
    return transformers.CLIPTokenizer.from_pretrained(folder)


def train_pieces(path, charsmap, **kwargs):
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        (scratch / "corpus.txt").write_text("\n".join(CORPUS * 3), encoding="utf-8")
        if charsmap is None:
            rules = "\n".join(" ".join(f"{ord(c):X}" for c in a) + "\t" + " ".join(f"{ord(c):X}" for c in b)
                              for a, b in RULES)
            (scratch / "rules.tsv").write_text(rules + "\n", encoding="utf-8")
            kwargs["normalization_rule_tsv"] = str(scratch / "rules.tsv")
        else:
            kwargs["normalization_rule_name"] = charsmap
        sentencepiece.SentencePieceTrainer.train(
            input=str(scratch / "corpus.txt"), model_prefix=str(scratch / "m"), minloglevel=2,
            hard_vocab_limit=False, character_coverage=1.0, num_threads=1, **kwargs)
        path.write_bytes((scratch / "m.model").read_bytes())
    return sentencepiece.SentencePieceProcessor(model_file=str(path))


def piece_row(pieces, text, before=(), after=()):
    ids = list(before) + pieces.encode(text) + list(after)
    return {"text": text, "ids": ids}


def pieces_cases(folder, charsmap):
    """SentencePiece models, by a name: the processor, the ids before a text and those after it."""
    folder.joinpath("pieces-bpe").mkdir(parents=True, exist_ok=True)
    bpe = train_pieces(folder / "pieces-bpe" / "tokenizer.model", "identity", model_type="bpe", vocab_size=400,
                       byte_fallback=True, remove_extra_whitespaces=False, split_digits=True,
                       user_defined_symbols=["<tool>", "  "], allow_whitespace_only_pieces=True)
    write_json(folder / "pieces-bpe" / "tokenizer_config.json", {
        "tokenizer_class": "LlamaTokenizerFast", "legacy": False, "add_bos_token": True, "add_eos_token": False,
        "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"})
    yield "pieces-bpe", bpe, [bpe.bos_id()], []
    folder.joinpath("pieces-unigram").mkdir(parents=True, exist_ok=True)
    unigram = train_pieces(folder / "pieces-unigram" / "spiece.model", charsmap, model_type="unigram",
                           vocab_size=200, pad_id=0, eos_id=1, unk_id=2, bos_id=-1, user_defined_symbols=["dog", "<x>"])
    write_json(folder / "pieces-unigram" / "tokenizer_config.json", {
        "tokenizer_class": "T5Tokenizer", "extra_ids": 3, "eos_token": "</s>", "pad_token": "<pad>",
        "unk_token": "<unk>"})
    yield "pieces-unigram", unigram, [], [1]
    folder.joinpath("pieces-plain").mkdir(parents=True, exist_ok=True)
    plain = train_pieces(folder / "pieces-plain" / "tokenizer.model", charsmap, model_type="bpe", vocab_size=250,
                         add_dummy_prefix=False, treat_whitespace_as_suffix=True)
    yield "pieces-plain", plain, [], []


def kimi(folder):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=500, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    byte_of = {letter: byte for byte, letter in bytes_to_unicode().items()}
    vocab = tokenizer.get_vocab()
    ranks = {bytes(byte_of[c] for c in token): id for token, id in vocab.items()}
    lines = [base64.b64encode(token).decode() + f" {id}" for token, id in sorted(ranks.items(), key=lambda x: x[1])]
    (folder / "tiktoken.model").write_text("\n".join(lines) + "\n", encoding="ascii")
    named = {len(ranks): "[BOS]", len(ranks) + 1: "[EOS]", len(ranks) + 5: "<|im_end|>", len(ranks) + 9: "<tool>"}
    write_json(folder / "tokenizer_config.json", {
        "tokenizer_class": "TikTokenTokenizer", "bos_token": "[BOS]", "eos_token": "[EOS]",
        "added_tokens_decoder": {str(id): {
            "content": name, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False,
            "special": True} for id, name in named.items()}})
    special = {named.get(id, f"<|reserved_token_{id}|>"): id for id in range(len(ranks), len(ranks) + 256)}
    return tiktoken.Encoding(name="kimi", pat_str=KIMI, mergeable_ranks=ranks, special_tokens=special)


def gguf_writer(path, model, name="test"):
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(path, "test")
    writer.add_name(name)
    writer.add_tokenizer_model(model)
    return writer


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def gguf_bpe(path, pre, vocab, merges, control):
    """A GGUF of byte-level BPE, as a converter would write it; `control` maps tokens behind the vocabulary to ids."""
    writer = gguf_writer(path, "gpt2")
    writer.add_tokenizer_pre(pre)
    tokens = sorted(vocab, key=vocab.get)
    types = [gguf.TokenType.NORMAL] * len(tokens)
    for token, id in sorted(control.items(), key=lambda x: x[1]):
        while len(tokens) < id:
            tokens.append(f"[PAD{len(tokens)}]")
            types.append(gguf.TokenType.UNUSED)
        tokens.append(token)
        types.append(gguf.TokenType.USER_DEFINED if token == "<tool>" else gguf.TokenType.CONTROL)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_eos_token_id(len(tokens) - 1)
    writer.add_add_bos_token(False)
    finish(writer)


def gguf_pieces(path, pieces, model, charsmap=b"", name="test", **flags):
    writer = gguf_writer(path, model, name)
    writer.add_tokenizer_pre("default")
    kinds = gguf.TokenType
    tokens, scores, types = [], [], []
    for id in range(pieces.get_piece_size()):
        tokens.append(pieces.id_to_piece(id))
        scores.append(pieces.get_score(id))
        types.append(kinds.BYTE if pieces.is_byte(id) else kinds.UNKNOWN if pieces.is_unknown(id)
                     else kinds.CONTROL if pieces.is_control(id) else kinds.UNUSED if pieces.is_unused(id)
                     else kinds.NORMAL)
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    for key, id in [("bos", pieces.bos_id()), ("eos", pieces.eos_id()), ("unk", pieces.unk_id())]:
        if id >= 0:
            getattr(writer, f"add_{key}_token_id")(id)
    if charsmap:
        writer.add_precompiled_charsmap(charsmap)
    for key, value in flags.items():
        getattr(writer, "add_" + key)(value)
    finish(writer)


def gguf_bert(path, vocab):
    writer = gguf_writer(path, "bert")
    special = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
    tokens = sorted(vocab, key=vocab.get)
    writer.add_token_list([t if t in special else t[2:] if t.startswith("##") else "\u2581" + t for t in tokens])
    writer.add_token_types([gguf.TokenType.CONTROL if t in special else gguf.TokenType.NORMAL for t in tokens])
    writer.add_bos_token_id(vocab["[CLS]"])
    writer.add_sep_token_id(vocab["[SEP]"])
    writer.add_unk_token_id(vocab["[UNK]"])
    finish(writer)


def gguf_cases(folder, charsmap):
    """GGUF files by their names, with a function from a text to its ids."""
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        vocab = write_bpe(scratch, [])
        merges = (scratch / "merges.txt").read_text(encoding="utf-8").splitlines()[1:]
        control = {"<|endoftext|>": len(vocab), "<|im_start|>": len(vocab) + 1, "<tool>": len(vocab) + 2}
        gguf_bpe(folder / "qwen2.gguf", "qwen2", vocab, merges, control)
        write_json(scratch / "tokenizer_config.json", {
            "tokenizer_class": "Qwen2Tokenizer", "bos_token": None, "eos_token": "<|im_start|>", "unk_token": None,
            "added_tokens_decoder": {str(id): {
                "content": name, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False,
                "special": name != "<tool>"} for name, id in control.items()}})
        qwen = transformers.Qwen2Tokenizer.from_pretrained(scratch)
        yield "qwen2.gguf", lambda text: qwen(text)["input_ids"], ["<|im_start|>user\na<tool>b"]
    with tempfile.TemporaryDirectory() as scratch:
        bert(pathlib.Path(scratch))
        lower = transformers.BertTokenizer.from_pretrained(scratch, do_lower_case=True, strip_accents=None)
        gguf_bert(folder / "bert.gguf", lower.get_vocab())
        yield "bert.gguf", lambda text: lower(text)["input_ids"], ["a [MASK] b"]
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        llama = train_pieces(scratch / "l.model", "identity", model_type="bpe", vocab_size=420, byte_fallback=True,
                             remove_extra_whitespaces=False, allow_whitespace_only_pieces=True)
        gguf_pieces(folder / "llama.gguf", llama, "llama")
        yield "llama.gguf", lambda text: [1] + llama.encode(text), []
        t5 = train_pieces(scratch / "t.model", charsmap, model_type="unigram", vocab_size=180, pad_id=0, eos_id=1,
                          unk_id=2, bos_id=-1)
        proto = sentencepiece_model_pb2.ModelProto()
        proto.ParseFromString((scratch / "t.model").read_bytes())
        gguf_pieces(folder / "t5.gguf", t5, "t5", proto.normalizer_spec.precompiled_charsmap,
                    add_space_prefix=True, remove_extra_whitespaces=True)
        yield "t5.gguf", lambda text: t5.encode(text) + [1], []


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--texts", type=int, default=12, help="random texts beside the fixed ones")
    parser.add_argument("--charsmap", help="a built-in normalisation in place of the small one: nmt_nfkc")
    parser.add_argument("output", type=pathlib.Path)
    options = parser.parse_args()

    def texts_for(name, extra):
        return hard_texts(random.Random(f"{options.seed} {name}"), options.texts) + extra

    for make, extra in [(bert, ["a [MASK] b[SEP]"]), (gpt2, ["a<|endoftext|> b"]), (roberta, ["a <mask> b</s>"]),
                        (qwen2, ["<|im_start|>user\na<tool>b"]), (clip, ["a<|endoftext|>b <|startoftext|>", "a<|EndOfText|>b", "\u0e01\u0e49'S's"])]:
        folder = options.output / make.__name__
        folder.mkdir(parents=True, exist_ok=True)
        tokenizer = make(folder)
        write_json(folder / "cases.json", [row_of(tokenizer, text) for text in texts_for(make.__name__, extra)])
    for name, pieces, before, after in pieces_cases(options.output, options.charsmap):
        # The reference ends a text at NUL in some places, and is no judge of it.
        texts = [t for t in texts_for(name, ["a<tool>b   c dogs <x>"]) if "\0" not in t]
        rows = [piece_row(pieces, text, before, after) for text in texts]
        write_json(options.output / name / "cases.json", rows)
    for name, encode, extra in gguf_cases(options.output / "gguf", options.charsmap):
        texts = [t for t in texts_for(name, extra) if "\0" not in t]
        rows = [{"text": text, "ids": encode(text)} for text in texts]
        write_json(options.output / "gguf" / (name + ".json"), rows)
    folder = options.output / "kimi"
    folder.mkdir(parents=True, exist_ok=True)
    encoding = kimi(folder)
    rows = []
    for text in texts_for("kimi", ["[BOS]a<tool>b<|im_end|>", "\u6771\u4eacTower\u304b\u306aKana'LL \u0130'S"]):
        ids = encoding.encode(text, allowed_special="all")
        rows.append({"text": text, "ids": ids, "decoded": encoding.decode(ids)})
    write_json(folder / "cases.json", rows)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Compares text_bench with the Python packages tokenizers and jinja2, in turns, one thread each, by processor time.

    text_compare.py [--rounds N] [--texts FILE] TEXT_BENCH (FOLDER | TEMPLATE.jinja)...

A folder holds a tokenizer.json; FILE has a text a line (the texts of Python's own help by default). Prints the median
of both and how many times faster text_bench is.

Needs the Python packages tokenizers (0.23), jinja2 (3.1) and transformers (5.23).
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"

CONVERSATION = [
    {"role": "system", "content": "You are a helpful assistant. Answer briefly."},
    {"role": "user", "content": "Name three lakes in Finland, and say how deep they are. " * 4},
    {"role": "assistant", "content": "Saimaa (85 m), Inari (92 m) and Päijänne (95 m). " * 4},
    {"role": "user", "content": "Which of them is the largest?"},
    {"role": "assistant", "content": "Saimaa."},
    {"role": "user", "content": "And how many people live around it? " * 4},
]


class Bench:
    def __init__(self, binary):
        self.process = subprocess.Popen([binary], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def seconds(self, *command):
        self.process.stdin.write(" ".join(map(str, command)) + "\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


def seconds_of(work):
    begun = time.process_time()
    work()
    return time.process_time() - begun


def in_turns(n_rounds, ours, theirs):
    """The medians of both, after a round that does not count."""
    ours(), theirs()
    rows = [(ours(), theirs()) for _ in range(n_rounds)]
    return [statistics.median(column) for column in zip(*rows)]


def print_rates(name, n_bytes, ours, theirs):
    print(f"{name:44} {n_bytes / ours / 1e6:9.2f} MB/s {n_bytes / theirs / 1e6:9.2f} MB/s   {theirs / ours:6.1f} x", flush=True)


def compare_tokenizer(bench, folder, texts_file, n_rounds, scratch):
    from tokenizers import Tokenizer

    file = folder / "tokenizer.json"
    name = folder.parent.name if folder.name == "model" else folder.name
    loads = in_turns(n_rounds, lambda: bench.seconds("load", file), lambda: seconds_of(lambda: Tokenizer.from_file(str(file))))
    print_rates(f"{name} load", file.stat().st_size, *loads)
    peer = Tokenizer.from_file(str(file))
    peer.no_truncation()
    peer.no_padding()
    texts = texts_file.read_text().splitlines()
    n_bytes = texts_file.stat().st_size

    def encode():
        for text in texts:
            peer.encode(text)

    def encode_fast():
        for text in texts:
            peer.encode_batch_fast([text])

    for verb, work in (("encode", encode), ("encode", encode_fast), ("offsets", encode)):
        label = verb + (" (encode_batch_fast)" if work is encode_fast else "")
        print_rates(f"{name} {label}", n_bytes, *in_turns(
            n_rounds, lambda: bench.seconds(verb, file, texts_file), lambda: seconds_of(work)))
    rows = [peer.encode(text).ids for text in texts]

    def decode():
        for row in rows:
            peer.decode(row, skip_special_tokens=False)

    print_rates(f"{name} decode", n_bytes, *in_turns(
        n_rounds, lambda: bench.seconds("decode", file, texts_file), lambda: seconds_of(decode)))
    prose = bench.seconds("encode", file, texts_file) / n_bytes
    for label, text in (("one letter", "a" * 1_000_000), ("no space", ("".join(texts).replace(" ", "") * 3)[:1_000_000])):
        long_file = scratch / (label.replace(" ", "_") + ".txt")
        long_file.write_text(text)
        ours = min(bench.seconds("encode", file, long_file) for _ in range(3))
        size = long_file.stat().st_size
        print(f"{name} 1 MB, {label}: {size / ours / 1e6:.2f} MB/s, {ours / size / prose:.2f} x the time of prose per byte", flush=True)


def compare_template(bench, file, n_rounds, scratch):
    from transformers.utils.chat_template_utils import _compile_jinja_template

    said, messages = scratch / "messages.txt", scratch / "messages.json"
    said.write_text("".join(f"{message['role']}\t{message['content']}\n" for message in CONVERSATION))
    messages.write_text(json.dumps(CONVERSATION))
    template = _compile_jinja_template(file.read_text())
    n_times = 300

    def render():
        for _ in range(n_times):
            template.render(messages=CONVERSATION, tools=None, documents=None, add_generation_prompt=True,
                            bos_token="<s>", eos_token="</s>")

    for verb, given, label in (("render", said, ""), ("render_json", messages, " (messages as JSON)")):
        ours, theirs = in_turns(n_rounds, lambda: bench.seconds(verb, file, given, n_times), lambda: seconds_of(render))
        name = file.stem + label
        print(f"{name:44} {n_times / ours:9.0f} /s   {n_times / theirs:9.0f} /s     {theirs / ours:6.1f} x", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--texts", type=pathlib.Path)
    parser.add_argument("binary")
    parser.add_argument("subjects", nargs="+", type=pathlib.Path)
    options = parser.parse_args()
    bench = Bench(options.binary)
    with tempfile.TemporaryDirectory() as folder:
        scratch = pathlib.Path(folder)
        texts = options.texts
        if texts is None:
            from pydoc_data import topics

            texts = scratch / "texts.txt"
            lines = "\n".join(topics.topics.values()).splitlines()
            texts.write_text("\n".join(line for line in lines if line.strip()) + "\n")
        print(f"{'':44} {'text_bench':>14} {'peer':>14}")
        for subject in options.subjects:
            if subject.suffix == ".jinja":
                compare_template(bench, subject, options.rounds, scratch)
            else:
                compare_tokenizer(bench, subject, texts.resolve(), options.rounds, scratch)


if __name__ == "__main__":
    main()

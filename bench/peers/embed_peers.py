#!/usr/bin/env python3
"""Embeds with one peer of modelpool and prints its figures as `modelpool bench embed --json` does.

    embed_peers.py PEER MODEL_FOLDER WORK_FOLDER [--dtype f32|bf16|int8] [--threads N]

PEER: sentence-transformers, onnxruntime, openvino, ctranslate2. WORK_FOLDER keeps converted models. Needs the
peer's own Python packages; torch and transformers too, for the conversion. Tokenising is part of every figure.
Texts are sorted by length and cut into batches, as each peer does best.
"""

import argparse
import json
import pathlib
import threading
import time

import workloads


class Tokens:
    def __init__(self, folder):
        from tokenizers import Tokenizer
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(256)

    def batches(self, texts, size):
        """Lists of token lists of about one length, and where each text lies."""
        ids = [e.ids for e in self.tokenizer.encode_batch(texts)]
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        for first in range(0, len(order), size):
            yield [ids[i] for i in order[first:first + size]]


def padded(batch):
    import numpy
    width = max(map(len, batch))
    ids = numpy.zeros((len(batch), width), dtype=numpy.int64)
    mask = numpy.zeros_like(ids)
    for row, tokens in enumerate(batch):
        ids[row, :len(tokens)] = tokens
        mask[row, :len(tokens)] = 1
    return ids, mask


def pooled(hidden, mask):
    import numpy
    weights = mask[..., None].astype(numpy.float32)
    rows = (hidden * weights).sum(1) / weights.sum(1)
    return rows / numpy.linalg.norm(rows, axis=1, keepdims=True)


def export_onnx(folder, work):
    path = work / "model.onnx"
    if path.exists():
        return path
    import torch
    from transformers import BertModel
    model = BertModel.from_pretrained(folder, attn_implementation="eager", add_pooling_layer=False).eval()
    ids = torch.ones((2, 5), dtype=torch.int64)

    class Encoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, input_ids, attention_mask):
            return self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state

    axes = {0: "batch", 1: "length"}
    torch.onnx.export(
        Encoder(), (ids, ids), str(path), input_names=["input_ids", "attention_mask"],
        output_names=["hidden"], dynamic_axes={"input_ids": axes, "attention_mask": axes, "hidden": axes},
        opset_version=17, dynamo=False)
    return path


class OnnxRuntime:
    batch = 32

    def __init__(self, folder, work, dtype, threads):
        import onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.tokens = Tokens(folder)
        self.session = onnxruntime.InferenceSession(
            str(export_onnx(folder, work)), options, providers=["CPUExecutionProvider"])

    def embed(self, texts):
        for batch in self.tokens.batches(texts, self.batch):
            ids, mask = padded(batch)
            hidden, = self.session.run(None, {"input_ids": ids, "attention_mask": mask})
            pooled(hidden, mask)


class OpenVino:
    batch = 32

    def __init__(self, folder, work, dtype, threads):
        import openvino
        core = openvino.Core()
        names = {"f32": "f32", "bf16": "bf16"}
        self.tokens = Tokens(folder)
        self.model = core.compile_model(str(export_onnx(folder, work)), "CPU", {
            "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": names[dtype]})

    def embed(self, texts):
        for batch in self.tokens.batches(texts, self.batch):
            ids, mask = padded(batch)
            hidden = self.model.create_infer_request().infer([ids, mask])[0]
            pooled(hidden, mask)


class CTranslate2:
    batch = 64

    def __init__(self, folder, work, dtype, threads):
        import ctranslate2
        converted = work / "ctranslate2"
        if not converted.exists():
            ctranslate2.converters.TransformersConverter(str(folder)).convert(str(converted))
        names = {"f32": "float32", "bf16": "bfloat16", "int8": "int8"}
        self.tokens = Tokens(folder)
        self.encoder = ctranslate2.Encoder(str(converted), compute_type=names[dtype], intra_threads=threads)

    def embed(self, texts):
        import numpy
        for batch in self.tokens.batches(texts, self.batch):
            hidden = numpy.array(self.encoder.forward_batch(batch).last_hidden_state)
            pooled(hidden, padded(batch)[1])


class SentenceTransformers:
    def __init__(self, folder, work, dtype, threads):
        import torch
        from sentence_transformers import SentenceTransformer
        torch.set_num_threads(threads)
        names = {"f32": torch.float32, "bf16": torch.bfloat16}
        self.model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": names[dtype]})

    def embed(self, texts):
        self.model.encode(texts, batch_size=32, show_progress_bar=False, normalize_embeddings=True)


PEERS = {"sentence-transformers": SentenceTransformers, "onnxruntime": OnnxRuntime, "openvino": OpenVino,
         "ctranslate2": CTranslate2}


def quantile(values, q):
    return sorted(values)[round(q * (len(values) - 1))]


def measure(peer, lengths, seconds):
    """The figures by name: tokens a second as the best of three, milliseconds."""
    figures = {}
    for name in ("short", "mixed", "long"):
        texts = workloads.texts_of(name)
        best = min(timed(peer.embed, texts) for _ in range(3))
        figures[name] = (lengths[name] / best, "tokens/s")
    one = workloads.texts_of("one_text")
    times = [timed(peer.embed, one) * 1e3 for _ in range(300)]
    figures["one_text_p50"] = (quantile(times, 0.5), "ms")
    figures["one_text_p99"] = (quantile(times, 0.99), "ms")
    figures["callers_16"], figures["callers_16_p99"] = callers(peer, 16, seconds)
    return figures


def callers(peer, n, seconds):
    texts = workloads.texts_of("short")
    end = time.perf_counter() + seconds
    times = [[] for _ in range(n)]

    def call(i):
        k = i * len(texts) // n
        while time.perf_counter() < end:
            times[i].append(timed(peer.embed, [texts[k % len(texts)]]) * 1e3)
            k += 1

    threads = [threading.Thread(target=call, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    together = [t for each in times for t in each]
    return (len(together) / seconds, "texts/s"), (quantile(together, 0.99), "ms")


def timed(run, argument):
    begun = time.perf_counter()
    run(argument)
    return time.perf_counter() - begun


def main():
    begun = time.perf_counter()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("--dtype", default="f32", choices=("f32", "bf16", "int8"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5, help="of sixteen callers")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    peer = PEERS[given.peer](given.model, given.work, given.dtype, given.threads)
    peer.embed(workloads.texts_of("one_text"))
    first = time.perf_counter() - begun
    tokens = Tokens(given.model)
    lengths = {name: sum(len(e.ids) for e in tokens.tokenizer.encode_batch(workloads.texts_of(name)))
               for name in ("short", "mixed", "long")}
    figures = {"first_row": (first * 1e3, "ms"), **measure(peer, lengths, given.seconds)}
    print(json.dumps({"figures": {name: {"value": value, "unit": unit}
                                  for name, (value, unit) in figures.items()}}))


if __name__ == "__main__":
    main()

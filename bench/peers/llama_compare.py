#!/usr/bin/env python3
"""Compares `modelpool bench generate` with llama.cpp on one GGUF file, in one run.

    bench/peers/llama_compare.py MODELPOOL MODEL.gguf [--threads N] [--rounds N] [--prompt N] [--context N] [--tokens N]

Runs with a Python that has llama-cpp-python, built on this machine so that it uses all that the processor has:

    CMAKE_ARGS=-DGGML_NATIVE=ON pip install --no-binary llama-cpp-python llama-cpp-python

The programs take turns, each round in processes of their own; the best of the rounds counts, since whatever else
the machine does only makes a run slower, and the ratios of those are what says something. Both are given prompts of
pseudo-random tokens and go on after an end of the text. `first_token` is load to first token of a prompt of one,
from files that the system has in memory. `prefill` is of one prompt of --prompt tokens, `prefill_fast` with modelpool's
option of that name, `decode_of_N` of N streams together after --context tokens each, `peak` the most memory in MiB.
Prints one JSON document, with the machine's load before each round.

Some builds of llama.cpp end by a signal in prompts with quantised weights that they have repacked; --plain has them
compute on the file's own layout, which is slower.
"""

import argparse
import ctypes
import json
import os
import resource
import subprocess
import sys
import time

STREAMS = (1, 4, 16)
LESS_IS_BETTER = ("first_token", "load", "peak")


def tokens(stream, count, vocab):
    return [(stream * 7919 + k * 104729) % vocab for k in range(count)]


def child(arguments):
    """One measurement of llama.cpp; prints figures as {name: value}."""
    import llama_cpp as peer

    peer.llama_backend_init()
    begin = time.perf_counter()
    model_params = peer.llama_model_default_params()
    model_params.n_gpu_layers = 0
    model_params.use_extra_bufts = not arguments.plain
    model = peer.llama_model_load_from_file(arguments.model.encode(), model_params)
    vocab = peer.llama_vocab_n_tokens(peer.llama_model_get_vocab(model))

    def context_of(streams, length):
        params = peer.llama_context_default_params()
        params.n_ctx = streams * (length + 16)
        params.n_batch = params.n_ubatch = 512
        params.n_seq_max = streams
        params.n_threads = params.n_threads_batch = arguments.threads
        return peer.llama_init_from_model(model, params)

    def step(context, rows):
        """Rows are (token, position, stream, wants logits)."""
        batch = peer.llama_batch_init(len(rows), 0, 1)
        batch.n_tokens = len(rows)
        for i, (token, position, stream, wanted) in enumerate(rows):
            batch.token[i] = token
            batch.pos[i] = position
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = stream
            batch.logits[i] = wanted
        if peer.llama_decode(context, batch) != 0:
            raise SystemExit("llama_decode failed")
        chosen = []
        for i, row in enumerate(rows):
            if row[3]:
                logits = peer.llama_get_logits_ith(context, i)
                values = ctypes.cast(logits, ctypes.POINTER(ctypes.c_float * vocab)).contents
                chosen.append(best_of(values))
        peer.llama_batch_free(batch)
        return chosen

    import numpy

    def best_of(values):
        return int(numpy.frombuffer(values, dtype=numpy.float32).argmax())

    def prefill(context, stream, count):
        """The token after a prompt of so many."""
        prompt = tokens(stream, count, vocab)
        for first in range(0, count, 512):
            part = prompt[first:first + 512]
            ends = first + len(part) == count
            chosen = step(context, [(t, first + k, stream, ends and k + 1 == len(part)) for k, t in enumerate(part)])
        return chosen[0]

    figures = {}
    context = context_of(1, 16)
    step(context, [(1, 0, 0, True)])
    figures["first_token"] = time.perf_counter() - begin
    peer.llama_free(context)
    context = context_of(1, arguments.prompt)
    begin = time.perf_counter()
    prefill(context, 0, arguments.prompt)
    figures["prefill"] = arguments.prompt / (time.perf_counter() - begin)
    peer.llama_free(context)
    for streams in STREAMS:
        context = context_of(streams, arguments.context + arguments.tokens)
        last = [prefill(context, stream, arguments.context) for stream in range(streams)]
        begin = time.perf_counter()
        for k in range(arguments.tokens - 1):
            last = step(context, [(t, arguments.context + k, s, True) for s, t in enumerate(last)])
        figures[f"decode_of_{streams}"] = streams * (arguments.tokens - 1) / (time.perf_counter() - begin)
        peer.llama_free(context)
    figures["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(figures))


def ours(arguments):
    def run(*more):
        command = [arguments.modelpool, "bench", "generate", "--json", "--model", arguments.model]
        command += ["--threads", str(arguments.threads), *more]
        found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        return {name: each["value"] for name, each in found["figures"].items()}

    prompt = ["--prompt-tokens", str(arguments.prompt), "--tokens", "2", "--streams", "1"]
    fast = run(*prompt, "--prefill", "fast")
    exact = run(*prompt)
    figures = run(
        "--prompt-tokens", str(arguments.context), "--tokens", str(arguments.tokens), "--streams", *map(str, STREAMS))
    figures["prefill"] = exact["prefill"]
    figures["prefill_fast"] = fast["prefill"]
    figures["first_token"] = min(each["load"] + each["first_token"] for each in (fast, exact, figures))
    return figures


def theirs(arguments):
    command = [sys.executable, __file__, "--child", arguments.modelpool, arguments.model]
    command += ["--threads", str(arguments.threads), "--prompt", str(arguments.prompt)]
    command += ["--context", str(arguments.context), "--tokens", str(arguments.tokens)]
    if arguments.plain:
        command.append("--plain")
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modelpool")
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--context", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--plain", action="store_true", help="llama.cpp computes on the file's own layout")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments)
        return
    best = {"modelpool": {}, "llama.cpp": {}}
    loads = []
    for _ in range(arguments.rounds):
        loads.append(os.getloadavg()[0])
        for name, measure in (("modelpool", ours), ("llama.cpp", theirs)):
            for figure, value in measure(arguments).items():
                better = min if figure in LESS_IS_BETTER else max
                best[name][figure] = better(best[name].get(figure, value), value)
    best["llama.cpp"]["prefill_fast"] = best["llama.cpp"]["prefill"]
    ratios = {}
    for figure, theirs_is in best["llama.cpp"].items():
        ours_is = best["modelpool"][figure]
        ratios[figure] = theirs_is / ours_is if figure in LESS_IS_BETTER else ours_is / theirs_is
    print(json.dumps({"best": best, "times_better": ratios, "load_before": loads}, indent=2))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Runs `modelpool bench embed` and its peers in turns, and prints the best figures of each side by side.

    embed_compare.py MODELPOOL MODEL_FOLDER WORK_FOLDER [--dtype f32|bf16|int8] [--rounds N] [--peers A B]

Whatever else the machine does then meets all alike. Peers run in this very Python: see embed_peers.py.
"""

import argparse
import json
import pathlib
import subprocess
import sys

HIGHER = ("tokens/s", "texts/s")


def figures_of(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        print(" ".join(command) + ": " + done.stderr.strip().splitlines()[-1], file=sys.stderr)
        return {}
    return json.loads(done.stdout.strip().splitlines()[-1])["figures"]


def better(a, b):
    if a is None or b is None:
        return a or b
    return max(a, b, key=lambda f: f["value"] if f["unit"] in HIGHER else -f["value"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modelpool")
    parser.add_argument("model")
    parser.add_argument("work")
    parser.add_argument("--dtype", default="f32")
    parser.add_argument("--threads", default="2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", nargs="*",
                        default=["sentence-transformers", "onnxruntime", "openvino", "ctranslate2"])
    given = parser.parse_args()
    script = str(pathlib.Path(__file__).parent / "embed_peers.py")
    commands = {"modelpool": [given.modelpool, "bench", "embed", "--model", given.model, "--dtypes", given.dtype,
                              "--threads", given.threads, "--json"]}
    for peer in given.peers:
        commands[peer] = [sys.executable, script, peer, given.model, given.work, "--dtype", given.dtype,
                          "--threads", given.threads]
    best = {name: {} for name in commands}
    for _ in range(given.rounds):
        for name, command in commands.items():
            for figure, value in figures_of(command).items():
                best[name][figure] = better(best[name].get(figure), value)
    print(f"{'':16}" + "".join(f"{name:>22}" for name in commands))
    for figure, value in best["modelpool"].items():
        row = [best[name].get(figure) for name in commands]
        cells = "".join(f"{one['value']:>22.4g}" if one else f"{'':>22}" for one in row)
        print(f"{figure:16}{cells} {value['unit']}")


if __name__ == "__main__":
    main()

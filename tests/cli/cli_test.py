#!/usr/bin/env python3
"""Tests of the command line program: cli_test.py BINARY DATA_FOLDER TEST_NAME"""

import base64
import contextlib
import hashlib
import json
import math
import os
import pathlib
import pty
import random
import re
import signal
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import unittest
import zipfile

sys.dont_write_bytecode = True
from loopback_hub import COMMIT, LoopbackHub  # noqa: E402

# Nothing here may ask a network beyond this machine, or read the user's own cache.
for variable in [name for name in os.environ if name.startswith("HF_") or name.lower().endswith("_proxy")]:
    del os.environ[variable]
os.environ["HF_HUB_OFFLINE"] = "1"

BINARY, DATA = sys.argv[1], pathlib.Path(sys.argv[2]).resolve()
MODEL = DATA / "bert" / "plain_f32"
CLIP = DATA / "clip"
TEXTS = ["the cat", "a [MASK] sat", "", "[x, y]", "models", "{}", "café ☕"]
LIMIT_S = 50


def wait_for_handler(pid, number):
    """Until the process would not simply die of that signal: it catches it, or has a thread that asks for it."""
    for _ in range(int(LIMIT_S / 0.01)):
        masks = re.findall(r"^Sig(?:Cgt|Blk):\s*([0-9a-f]+)", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M)
        if any(int(mask, 16) >> (number - 1) & 1 for mask in masks):
            return
        time.sleep(0.01)
    raise AssertionError(f"signal {number} is not caught")


class Ran:
    def __init__(self, *arguments, stdin=b"", env=None):
        done = subprocess.run([BINARY, *map(str, arguments)], input=stdin, capture_output=True, timeout=LIMIT_S, env=env)
        self.status, self.out, self.err = done.returncode, done.stdout, done.stderr.decode()

    def json(self):
        return json.loads(self.out)


class CliTest(unittest.TestCase):
    def setUp(self):
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        self.dir = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))

    def write(self, name, content):
        path = self.dir / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def embed(self, *arguments, **options):
        return Ran("embed", "--model", MODEL, *arguments, **options)

    def good(self, ran):
        self.assertEqual((ran.status, ran.err), (0, ""))
        return ran

    def refused(self, ran, status, *words):
        """Failed with that status and one line that holds all words; with a document where asked for."""
        self.assertEqual(ran.status, status, ran.err)
        self.assertEqual(ran.err.count("\n"), 1, ran.err)
        self.assertTrue(ran.err.startswith("modelpool: "), ran.err)
        for word in words:
            self.assertIn(word, ran.err)

    def refused_as(self, ran, status, code, *words):
        self.refused(ran, status, *words)
        self.assertEqual(ran.json()["error"]["code"], code)
        self.assertTrue(ran.err.rstrip("\n").endswith(ran.json()["error"]["message"]))

    def hub(self, files):
        """A hub with these files, and what a program needs in its environment to use it."""
        server = LoopbackHub(files)
        self.addCleanup(server.close)
        environment = {**os.environ, "HF_ENDPOINT": server.url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(self.dir / "home"),
                       "HF_HUB_CACHE": str(self.dir / "hub")}
        return server, environment

    # ---- embed ----

    def test_embed_prints_one_document_of_unit_rows(self):
        got = self.good(self.embed("--json", *TEXTS)).json()
        self.assertEqual(set(got), {"model", "dim", "normalized", "embeddings", "usage"})
        self.assertEqual(got["model"], str(MODEL))
        self.assertIs(got["normalized"], True)
        self.assertEqual(len(got["embeddings"]), len(TEXTS))
        for row in got["embeddings"]:
            self.assertEqual(len(row), got["dim"])
            self.assertAlmostEqual(sum(x * x for x in row), 1, places=5)
        self.assertGreater(got["usage"]["tokens"], 2 * len(TEXTS))

    def test_embed_reads_the_same_texts_in_every_form(self):
        want = self.good(self.embed("--json", *TEXTS)).json()["embeddings"]
        array = self.write("t.json", json.dumps(TEXTS))
        lines = self.write("t.jsonl", "\n\n".join(json.dumps({"text": t, "other": 1}) for t in TEXTS) + "\n")
        plain = self.write("t.txt", "\ufeff" + "\r\n".join(TEXTS))
        for file in (array, lines, plain):
            self.assertEqual(self.good(self.embed("--json", "--input", file)).json()["embeddings"], want, file)
        piped = self.embed("--json", "--input", "-", stdin="\n".join(TEXTS).encode() + b"\n")
        self.assertEqual(self.good(piped).json()["embeddings"], want)

    def test_embed_prints_floats_that_read_back_alike_in_every_form(self):
        want = self.good(self.embed("--json", *TEXTS)).json()["embeddings"]
        for row in want:
            for x in row:
                self.assertTrue(math.isclose(struct.unpack("f", struct.pack("f", x))[0], x, rel_tol=1e-7))
        plain = self.good(self.embed(*TEXTS)).out.decode().splitlines()
        self.assertEqual([[float(x) for x in row.split(" ")] for row in plain], want)
        rows = [json.loads(line) for line in self.good(self.embed("--json-lines", *TEXTS)).out.splitlines()]
        self.assertEqual([r["index"] for r in rows], list(range(len(TEXTS))))
        self.assertEqual([r["embedding"] for r in rows], want)

    def test_embed_keeps_the_order_of_many_texts(self):
        texts = [f"the cat {i % 7} sat {'on ' * (i % 40)}" for i in range(1500)]
        file = self.write("t.json", json.dumps(texts))
        want = self.good(self.embed("--json", "--workers", 1, "--input", file)).json()["embeddings"]
        got = self.good(self.embed("--workers", 3, "--input", file)).out.decode().splitlines()
        self.assertEqual(len(got), len(texts))
        for i in range(0, len(texts), 97):
            for a, b in zip(map(float, got[i].split()), want[i]):
                self.assertAlmostEqual(a, b, places=5)

    def test_embed_int8_and_binary_stand_for_the_same_rows(self):
        want = self.good(self.embed("--json", *TEXTS)).json()
        int8 = self.good(self.embed("--json", "--encoding", "int8", *TEXTS)).json()
        for steps, scale, row in zip(int8["embeddings"], int8["scales"], want["embeddings"]):
            for step, x in zip(steps, row):
                self.assertIsInstance(step, int)
                self.assertLessEqual(abs(step * scale - x), scale * 0.51)
        binary = self.good(self.embed("--json", "--encoding", "binary", *TEXTS)).json()
        for packed, row in zip(binary["embeddings"], want["embeddings"]):
            bits = "".join(f"{byte:08b}" for byte in packed)
            self.assertEqual(bits[: len(row)], "".join("1" if x > 0 else "0" for x in row))

    def test_embed_options_change_the_rows(self):
        plain = self.good(self.embed("--json", "cat")).json()
        raw = self.good(self.embed("--json", "--no-normalize", "cat")).json()
        self.assertIs(raw["normalized"], False)
        self.assertNotEqual(raw["embeddings"], plain["embeddings"])
        joined = self.good(self.embed("--json", "the cat")).json()["embeddings"]
        self.assertEqual(self.good(self.embed("--json", "--prompt", "the ", "cat")).json()["embeddings"], joined)
        empty = self.good(self.embed("--json", "--prompt=", "cat")).json()["embeddings"]
        self.assertEqual(empty, self.good(self.embed("--json", "--prompt", "", "cat")).json()["embeddings"])
        self.assertNotEqual(self.good(self.embed("--json", "--prompt", "[x]", "cat")).json()["embeddings"], empty)
        cut = self.good(self.embed("--json", "--max-tokens", 3, "the cat sat")).json()
        self.assertEqual(cut["usage"], {"tokens": 3, "truncated": 1})

    def test_embed_obeys_the_prompts_of_the_checkpoint(self):
        model = DATA / "bert" / "mean_f16"
        want = self.good(Ran("embed", "--json", "--model", model, "--prompt", "query: ", "cat")).json()["embeddings"]
        for more in ([], ["--prompt-name", "query"]):
            got = self.good(Ran("embed", "--json", "--model", model, *more, "cat")).json()["embeddings"]
            self.assertEqual(got, want)
        self.refused(Ran("embed", "x", "--model", model, "--prompt-name", "nonsense"), 2, "nonsense", "query")
        self.refused(Ran("embed", "x", "--model", model, "--prompt-name", "query", "--prompt", "a"), 2)

    def test_embed_names_the_text_that_is_too_long(self):
        limit = ("--max-tokens", 4, "--on-too-long", "error")
        file = self.write("t.txt", "a\n" * 400 + "the cat sat on the mat\n")
        self.refused_as(self.embed("--json", "--input", file, *limit), 2, "text.too_long", "t.txt: line 401")

    def test_embed_names_the_line_that_is_not_utf8(self):
        file = self.write("t.txt", b"fine\nbad \xff\n")
        self.refused_as(self.embed("--json", "--input", file), 2, "text.not_utf8", "t.txt: line 2")
        self.refused(self.embed("--input", "-", stdin=b"\xc3"), 2, "standard input: line 1")

    def test_embed_refuses_bad_input_files(self):
        for name, content, word in (
            ("a.json", '["x", 1]', "element 2"), ("b.json", '{"a":1}', "expected an array"),
            ("c.json", '["x"', "not valid JSON"), ("d.json", b'["\xff"]', "not valid JSON"),
            ("e.json", "[" * 100000, "deep"), ("f.jsonl", '{"text":"a"}\n{"txt":1}', "line 2"),
            ("g.jsonl", '{"text":1}', "must be a string"), ("h.jsonl", "3", "line 1"),
            ("i.txt", "", "no texts"), ("j.json", "[]", "no texts"), ("k.json", b'["a"]\0["b"]', "NUL"),
        ):
            self.refused_as(self.embed("--json", "--input", self.write(name, content)), 2, "usage", word)
        self.refused(self.embed("--input", self.dir / "none.txt"), 2, "none.txt")
        self.refused(self.embed("--input", self.dir), 2, "cannot be read")
        self.refused(self.embed(), 2, "no texts")
        self.refused(self.embed("x", "--input", "-"), 2, "both")

    def test_bad_usage_ends_with_2_and_one_line(self):
        for arguments in (
            [], ["nonsense"], ["embed", "x"], ["embed", "--nonsense"],
            *(["embed", "x", "--model", MODEL, *more] for more in (
                ["--dim", "0"], ["--dim", "-1"], ["--dim", "x"], ["--max-tokens", "0"], ["--threads", "0"],
                ["--workers", "0"], ["--device", "tpu"], ["--dtype", "f8"], ["--encoding", "f16"],
                ["--on-too-long", "cry"], ["--memory-limit", "lots"], ["--memory-limit", "0"],
                ["--memory-limit", "99999999999G"], ["--memory-limit", "1X"], ["--log-level", "loud"],
                ["--prompt-name", "nonsense"], ["--dim", "5000"], ["--json-lines"])),
            ["embed", "x", "--model", self.dir / "none"], ["embed", "x", "--model", "org/none"],
            ["embed", "x", "--model", "minilm", "--cache-dir", self.dir],
            ["tokenize", "--model", MODEL, "--decode", "x"],
        ):
            ran = Ran(*arguments, "--json")
            self.refused(ran, 2)
            self.assertIn("code", ran.json()["error"])

    def test_a_broken_checkpoint_ends_with_1_and_names_the_tensor(self):
        for file in MODEL.rglob("*"):
            if file.is_file():
                target = self.dir / "m" / file.relative_to(MODEL)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(file.read_bytes())
        weights = self.dir / "m" / "model.safetensors"
        whole = weights.read_bytes()
        weights.write_bytes(whole.replace(b"embeddings.word_embeddings.weight", b"embeddings.wordXembeddings.weight"))
        self.refused_as(
            Ran("embed", "x", "--json", "--model", self.dir / "m"), 1, "model.missing_tensor", "word_embeddings")
        weights.write_bytes(whole[:-7])
        self.refused_as(Ran("embed", "x", "--json", "--model", self.dir / "m"), 1, "model.bad_file")

    def test_a_memory_limit_that_is_too_small_is_a_typed_failure(self):
        self.refused_as(self.embed("--json", "--memory-limit", "1K", "x"), 1, "pool.memory_exhausted")
        self.good(self.embed("--memory-limit", "1GiB", "x"))

    # ---- render ----

    def template_folder(self, source):
        self.write("tokenizer_config.json", json.dumps({"chat_template": source, "bos_token": "<s>"}))
        return self.dir

    def test_render_writes_a_conversation_as_the_template_has_it(self):
        model = self.template_folder(
            "{{ bos_token }}{% for m in messages %}{{ m.role }}:{{ m.content }};{% endfor %}"
            "{{ tools | tojson }}{{ x }}{{ add_generation_prompt }}\n")
        messages = self.write("m.json", json.dumps([{"role": "user", "content": "caf\u00e9"}]))
        tools = self.write("t.json", '[{"a": 1.0}]')
        plain = self.good(Ran("render", "--model", model, "--messages", messages))
        self.assertEqual(plain.out.decode(), "<s>user:caf\u00e9;nullTrue")
        full = Ran("render", "--model", model, "--messages", messages, "--tools", tools, "--set", 'x=[1, "b"]',
                   "--set", "add_generation_prompt=false", "--json")
        self.assertEqual(self.good(full).json(), {"text": "<s>user:caf\u00e9;[{\"a\": 1.0}][1, 'b']False"})
        piped = Ran("render", "--model", model, "--messages", "-", stdin=b"[]")
        self.assertEqual(self.good(piped).out.decode(), "<s>nullTrue")

    def test_render_says_what_a_template_refuses(self):
        model = self.template_folder("\n{{ raise_exception('roles must alternate') }}")
        messages = self.write("m.json", "[]")
        self.refused_as(Ran("render", "--model", model, "--messages", messages, "--json"), 2, "invalid_argument",
                        "line 2", "roles must alternate")
        self.refused(Ran("render", "--model", model, "--messages", self.write("n.json", "{")), 2, "messages", "JSON")
        self.refused(Ran("render", "--model", model, "--messages", messages, "--set", "x"), 2, "--set")
        self.refused(Ran("render", "--model", model, "--messages", self.dir / "nope"), 2, "nope")
        self.refused(Ran("render", "--model", model), 2, "--messages")
        self.template_folder("{{")
        self.refused_as(Ran("render", "--model", model, "--messages", messages, "--json"), 1, "text.bad_file", "line 1")

    # ---- signals and pipes ----

    def interrupted(self, number, texts, n_rows, *arguments):
        with subprocess.Popen([BINARY, "embed", "--model", str(MODEL), "--input", "-", *arguments], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
            running.stdin.write(texts)
            running.stdin.flush()
            first = b"".join(running.stdout.readline() for _ in range(n_rows))
            running.send_signal(number)
            try:
                out = first + running.stdout.read()
                running.wait(LIMIT_S)
                return running.returncode, out, running.stderr.read().decode()
            finally:
                running.kill()

    def test_a_signal_ends_with_130_and_no_half_document(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            # More than a pipe holds: once it is written, the program is reading, and it waits for more.
            status, out, err = self.interrupted(number, b"the cat sat\n" * 20000, 0, "--json")
            self.assertEqual((status, err), (130, "modelpool: embed: interrupted\n"))
            self.assertEqual(json.loads(out)["error"]["code"], "cancelled")

    def test_a_signal_ends_a_stream_after_a_whole_line(self):
        status, out, err = self.interrupted(signal.SIGINT, b"the cat\n" * 500, 1, "--json-lines")
        self.assertEqual((status, err), (130, "modelpool: embed: interrupted\n"))
        self.assertTrue(out.endswith(b"}\n"))
        for line in out.splitlines():
            json.loads(line)

    def test_rows_of_a_pipe_come_while_it_is_open(self):
        with subprocess.Popen([BINARY, "embed", "--model", str(MODEL), "--input", "-", "--json-lines"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
            for index in range(3):
                running.stdin.write(b"a cat\n")
                running.stdin.flush()
                self.assertEqual(json.loads(running.stdout.readline())["index"], index)
            running.stdin.close()
            self.assertEqual((running.stdout.read(), running.wait(LIMIT_S)), (b"", 0))

    def test_a_closed_pipe_is_quiet(self):
        file = self.write("t.txt", "the cat\n" * 3000)
        with subprocess.Popen([BINARY, "embed", "--model", str(MODEL), "--input", str(file)],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
            running.stdout.readline()
            running.stdout.close()
            self.assertEqual((running.stderr.read(), running.wait(LIMIT_S)), (b"", 1))

    def test_a_full_disk_is_reported(self):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([BINARY, "models"], stdout=full, stderr=subprocess.PIPE, timeout=LIMIT_S)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"modelpool: models: writing standard output", done.stderr)

    def test_two_programs_at_once_give_the_same(self):
        arguments = [BINARY, "embed", "--model", str(MODEL), "--json", *TEXTS]
        running = [subprocess.Popen(arguments, stdout=subprocess.PIPE) for _ in range(2)]
        first, second = (one.communicate(timeout=LIMIT_S)[0] for one in running)
        self.assertEqual(json.loads(first), json.loads(second))

    # ---- the other commands ----

    def test_tokenize_prints_ids_tokens_and_offsets(self):
        got = self.good(Ran("tokenize", "--model", MODEL, "--json", *TEXTS)).json()
        bare = self.good(Ran("tokenize", "--model", MODEL, "--json", "--no-special", *TEXTS)).json()
        for i, text in enumerate(TEXTS):
            self.assertEqual(len(got["ids"][i]), len(got["tokens"][i]))
            self.assertEqual(len(got["ids"][i]), len(got["offsets"][i]))
            self.assertEqual((got["tokens"][i][0], got["tokens"][i][-1]), ("[CLS]", "[SEP]"))
            self.assertEqual(got["ids"][i][1:-1], bare["ids"][i])
            for begin, end in bare["offsets"][i]:
                self.assertTrue(0 <= begin <= end <= len(text))
        lines = self.good(Ran("tokenize", "--model", MODEL, "--json-lines", *TEXTS)).out.splitlines()
        self.assertEqual([json.loads(line)["ids"] for line in lines], got["ids"])

    def test_tokenize_decodes_what_it_encoded(self):
        ids = self.good(Ran("tokenize", "--model", MODEL, "--json", "the cat", "a")).json()["ids"]
        file = self.write("ids.json", json.dumps(ids))
        whole = self.good(Ran("tokenize", "--model", MODEL, "--decode", "--input", file, "--json")).json()["texts"]
        self.assertTrue(whole[0].startswith("[CLS]"))
        bare = self.good(Ran("tokenize", "--model", MODEL, "--decode", "--no-special", "--input", file)).out
        self.assertNotIn(b"[CLS]", bare)
        for content in ("[[99999999]]", "[[-1]]", "[[1.5]]", "[1]", "[[4294967296]]"):
            bad = self.write("bad.json", content)
            self.refused(Ran("tokenize", "--model", MODEL, "--decode", "--input", bad), 2, "element 1")

    def test_tokenize_needs_the_tokenizer_alone(self):
        self.write("tokenizer.json", (MODEL / "tokenizer.json").read_bytes())
        for model in (self.dir, self.dir / "tokenizer.json"):
            self.good(Ran("tokenize", "--model", model, "the cat"))
        self.refused(Ran("tokenize", "--model", self.dir, "--input", "-", stdin=b"ok\n\xff"), 2, "line 2")

    def test_plain_output_holds_no_control_characters(self):
        name = self.dir / "a\x1b[31m\nb"
        self.refused(Ran("embed", "x", "--model", name), 2, "\\x1b")

    def embed_image(self, *arguments, **options):
        return Ran("embed-image", "--model", CLIP / "plain_f32", *arguments, **options)

    def clip_case(self):
        case = json.loads((CLIP / "plain_f32" / "case.json").read_text())
        return case, [CLIP / "images" / name for name in case["images"]]

    def test_embed_image_prints_rows_of_images_and_texts(self):
        case, images = self.clip_case()
        texts = self.write("t.json", json.dumps(case["texts"]))
        got = self.good(self.embed_image(*images, "--texts", texts, "--no-normalize", "--json")).json()
        names = {"model", "dim", "embeddings", "text_embeddings", "similarity", "logit_scale"}
        self.assertEqual(set(got), names)
        self.assertEqual(got["dim"], len(case["image_rows"][0]))
        self.assertAlmostEqual(got["logit_scale"], case["logit_scale"], places=4)
        for found, wanted in (("embeddings", "image_rows"), ("text_embeddings", "text_rows")):
            self.assertEqual(len(got[found]), len(case[wanted]))
            for a, b in zip(sum(got[found], []), sum(case[wanted], [])):
                self.assertAlmostEqual(a, b, delta=1e-4)
        unit = self.good(self.embed_image(*images, "--texts", texts, "--json")).json()
        for i, image in enumerate(unit["embeddings"]):
            self.assertAlmostEqual(sum(x * x for x in image), 1, places=5)
            for k, text in enumerate(unit["text_embeddings"]):
                cosine = sum(a * b for a, b in zip(image, text))
                self.assertAlmostEqual(unit["similarity"][i][k], cosine, places=5)
                self.assertAlmostEqual(got["similarity"][i][k], cosine, places=5)

    def test_embed_image_takes_texts_and_images_in_every_form(self):
        _, images = self.clip_case()
        want = self.good(self.embed_image(images[0], images[1], "--text", "a cat", "a dog", "--json")).json()
        again = self.embed_image(images[0], images[1], "--text", "a cat", "--text", "a dog", "--json")
        self.assertEqual(self.good(again).json(), want)
        uri = "data:image/png;base64," + base64.b64encode(images[0].read_bytes()).decode()
        by_uri = self.good(self.embed_image(uri, images[1], "--json")).json()
        for a, b in zip(sum(by_uri["embeddings"], []), sum(want["embeddings"], [])):
            self.assertAlmostEqual(a, b, places=5)
        self.assertEqual((by_uri["text_embeddings"], by_uri["similarity"]), ([], [[], []]))
        lines = self.good(self.embed_image(images[0], images[1], "--text", "a cat", "a dog")).out.decode().splitlines()
        rows = want["embeddings"] + want["text_embeddings"]
        self.assertEqual([[float(x) for x in line.split(" ")] for line in lines], rows)

    def test_embed_image_names_what_it_cannot_use(self):
        _, images = self.clip_case()
        broken = self.write("broken.png", images[0].read_bytes()[:60])
        ran = self.embed_image(images[1], broken, "--json")
        self.refused_as(ran, 2, "invalid_argument", "image 1", "broken.png", "truncated")
        self.refused(self.embed_image(self.write("e.png", ""), images[0]), 2, "image 0", "no bytes")
        self.refused(self.embed_image(self.dir / "none.png"), 2, "none.png", "no such file")
        self.refused(self.embed_image("data:image/png;base64,!!"), 2, "base64")
        self.refused(self.embed_image(), 2, "no images")
        self.refused(Ran("embed-image", "--model", MODEL, images[0]), 2, "text_embedding", "image_embedding")
        self.refused(Ran("embed", "x", "--model", CLIP / "plain_f32"), 2, "image_embedding", "text_embedding")

    def test_inspect_tells_what_a_checkpoint_is(self):
        got = self.good(Ran("inspect", "--model", MODEL, "--json")).json()
        size = (MODEL / "model.safetensors").stat().st_size
        self.assertEqual((got["family"], got["capability"], got["runnable"]), ("bert", "text_embedding", True))
        self.assertTrue(0 < got["bytes"] < size)
        self.assertEqual(got["dim"], self.good(self.embed("--json", "x")).json()["dim"])
        self.assertIn(b"bert", self.good(Ran("inspect", MODEL)).out)
        self.write("config.json", '{"model_type":"novel","architectures":["NovelForCausalLM"]}')
        other = self.good(Ran("inspect", self.dir, "--json")).json()
        self.assertIs(other["runnable"], False)
        self.assertIn("novel", other["reason"])
        self.refused_as(Ran("embed", "x", "--json", "--model", self.dir), 1, "model.unsupported", "novel")

    def test_models_lists_the_catalogue_and_what_lies_in_the_cache(self):
        all_models = self.good(Ran("models", "--json", "--cache-dir", self.dir)).json()["models"]
        keys = [one["key"] for one in all_models]
        self.assertIn("sentence-transformers/all-MiniLM-L6-v2", keys)
        self.assertFalse(any(one["cached"] for one in all_models))
        self.assertEqual(self.good(Ran("models", "--cached", "--json", "--cache-dir", self.dir)).json(), {"models": []})
        (self.dir / "sentence-transformers").mkdir()
        os.symlink(MODEL, self.dir / "sentence-transformers" / "all-MiniLM-L6-v2")
        os.symlink(MODEL, self.dir / "own")
        cached = self.good(Ran("models", "--cached", "--json", "--cache-dir", self.dir)).json()["models"]
        self.assertEqual([one["key"] for one in cached], ["sentence-transformers/all-MiniLM-L6-v2"])
        want = self.good(self.embed("--json", "x")).json()["embeddings"]
        for name in ("minilm", "sentence-transformers/all-MiniLM-L6-v2", "own"):
            got = self.good(Ran("embed", "x", "--json", "--model", name, "--cache-dir", self.dir)).json()
            self.assertEqual((got["model"], got["embeddings"]), (name, want))

    def test_every_name_that_models_lists_resolves(self):
        unknown = "no key of the catalogue"
        self.assertIn(unknown, Ran("embed", "x", "--model", "nothing", "--offline", "--cache-dir", self.dir).err)
        for one in self.good(Ran("models", "--json", "--cache-dir", self.dir)).json()["models"]:
            for name in [one["key"], *one["aliases"]]:
                ran = Ran("embed", "x", "--model", name, "--offline", "--cache-dir", self.dir)
                self.assertNotIn(unknown, ran.err, name)

    def test_bench_pool_prints_one_document_of_figures(self):
        got = self.good(Ran("bench", "pool", "--json")).json()
        self.assertEqual(set(got), {"figures"})
        for name, one in got["figures"].items():
            self.assertRegex(name, r"^[a-z0-9_]+$")
            self.assertEqual(set(one), {"value", "unit"}, name)
            self.assertIsInstance(one["value"], (int, float), name)
            self.assertIsInstance(one["unit"], str, name)
        main = {"hop_p50_one_core", "embed_to_hop_two_cores", "look_up", "pool_of_1000_models", "heartbeat_p999", "idle_wake_ups"}
        self.assertLessEqual(main, set(got["figures"]))

    def test_bench_needs_a_group_that_there_is(self):
        self.refused_as(Ran("bench", "--json"), 2, "usage", "pool")
        self.refused_as(Ran("bench", "nonsense", "--json"), 2, "usage")
        self.refused_as(Ran("bench", "pool", "nonsense", "--json"), 2, "usage")
        self.assertIn(b"idle_wake_ups", self.good(Ran("bench", "pool", "--help")).out)

    def test_a_signal_ends_a_bench(self):
        with subprocess.Popen([BINARY, "bench", "pool", "--json"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
            # It measures once it has threads besides the main one and that of signals.
            while running.poll() is None and len(os.listdir(f"/proc/{running.pid}/task")) < 3:
                time.sleep(0.01)
            running.send_signal(signal.SIGINT)
            out, err = running.communicate(timeout=LIMIT_S)
        self.assertEqual((running.returncode, err), (130, b"modelpool: bench: interrupted\n"))
        self.assertEqual(json.loads(out)["error"]["code"], "cancelled")

    # ---- fetch and the cache ----

    FILES = {"config.json": b"{}", "sub/words.txt": b"some words", "model.bin": random.Random(1).randbytes(3_000_000)}

    def test_fetch_downloads_verifies_and_prints_one_document(self):
        server, env = self.hub(self.FILES)
        first = Ran("fetch", "org/model", "--json", env=env)
        got = self.good(first).json()
        self.assertEqual(list(got), ["repo", "commit", "dir", "files"])
        self.assertEqual((got["repo"], got["commit"]), ("org/model", COMMIT))
        for one in got["files"]:
            content = self.FILES[one["path"]]
            self.assertEqual((pathlib.Path(got["dir"]) / one["path"]).read_bytes(), content)
            self.assertEqual(one["bytes"], len(content))
            self.assertEqual(one["sha256"], hashlib.sha256(content).hexdigest())
            self.assertIs(one["cached"], False)
        before = server.body_bytes
        again = self.good(Ran("fetch", "org/model", "--json", env=env)).json()
        self.assertTrue(all(one["cached"] for one in again["files"]))
        offline = self.good(Ran("fetch", "org/model", "--json", "--offline", env=env)).json()
        self.assertEqual(offline["dir"], got["dir"])
        self.assertLess(server.body_bytes - before, 100)  # the commit's name, and no file

    def test_fetch_in_a_pipe_prints_the_folder_and_a_line(self):
        _, env = self.hub(self.FILES)
        ran = Ran("fetch", "org/model", env=env)
        self.assertEqual(ran.status, 0, ran.err)
        self.assertEqual(ran.out.decode(), str(self.dir / "hub/models--org--model/snapshots" / COMMIT) + "\n")
        self.assertRegex(ran.err, r"^fetched org/model at 0123456789abcdef\S*: 3 of 3 files, 2\.9 MiB in [\d.]+ s\n$")
        self.good(Ran("fetch", "org/model", env=env))  # nothing was downloaded, nothing is said

    def test_fetch_draws_a_line_for_each_file_on_a_terminal(self):
        server, env = self.hub({"a.bin": random.Random(2).randbytes(2_000_000),
                                "b.bin": random.Random(3).randbytes(2_000_000)})
        server.pause_s = 0.05
        ours, theirs = pty.openpty()
        with subprocess.Popen([BINARY, "fetch", "org/model"], env=env, stdout=subprocess.PIPE, stderr=theirs) as running:
            os.close(theirs)
            shown = b""
            with contextlib.suppress(OSError):  # the other end is closed
                while block := os.read(ours, 65536):
                    shown += block
            os.close(ours)
            self.assertEqual(running.wait(LIMIT_S), 0)
        text = shown.decode()
        self.assertRegex(text, r"a\.bin +\[#*\.*\] +\d+%")
        self.assertRegex(text, r"b\.bin +\[#*\.*\] +\d+%")
        self.assertRegex(text, r"\d of 2 files +\[#*\.*\] +\d+%  .* of 3\.8 MiB")
        self.assertIn("\x1b[", text)
        self.assertTrue(all(len(line) < 80 for line in re.sub(r"\x1b\[\d*[AJ]", "", text).splitlines()[:-1]), text)

    def test_fetch_takes_what_is_selected_into_a_folder(self):
        server, env = self.hub(self.FILES)
        folder = self.dir / "copy"
        got = self.good(Ran("fetch", "org/model@v1", "*.json", "--include", "sub/*", "--exclude", "*.bin",
                            "--local-dir", folder, "--json", env=env)).json()
        self.assertEqual([one["path"] for one in got["files"]], ["config.json", "sub/words.txt"])
        self.assertEqual(got["dir"], str(folder))
        self.assertEqual((folder / "sub/words.txt").read_bytes(), b"some words")
        self.assertIn("/api/models/org/model/revision/v1", server.requests)
        plan = self.good(Ran("fetch", "org/model", "--dry-run", env=env)).out.decode()
        self.assertEqual([line.split()[0] for line in plan.splitlines()], ["here", "download", "here"])
        self.assertFalse(any("model.bin" in path for path in server.requests))

    def test_fetch_says_what_went_wrong(self):
        server, env = self.hub(self.FILES)
        for arguments in (["org/other"], ["org/model@none"], ["org/model", "nope.json"], ["org/model", "*.none"]):
            self.refused_as(Ran("fetch", *arguments, "--json", env=env), 2, "hub.not_found")
        self.refused_as(Ran("fetch", "a/b/c", "--json", env=env), 2, "invalid_argument")
        self.refused(Ran("fetch", env=env), 2)
        self.refused(Ran("fetch", "org/model@v1", "--revision", "v2", env=env), 2, "--revision")
        server.damaged.add("model.bin")
        self.refused_as(Ran("fetch", "org/model", "--json", env=env), 1, "hub.corrupt", "model.bin", "twice the same")
        self.assertFalse((self.dir / "hub/models--org--model/blobs" / server.name_of("model.bin")).exists())
        self.refused_as(Ran("fetch", "org/model", "--json"), 1, "hub.unavailable", "offline")

    def test_an_interrupted_fetch_goes_on_where_it_stopped(self):
        server, env = self.hub({"model.bin": random.Random(4).randbytes(6_000_000)})
        server.pause_s = 0.02
        with subprocess.Popen([BINARY, "fetch", "org/model", "--json"], env=env, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as running:
            while server.body_bytes < 4_000_000 and running.poll() is None:
                time.sleep(0.01)
            running.send_signal(signal.SIGINT)
            out, err = running.communicate(timeout=LIMIT_S)
        self.assertEqual((running.returncode, err), (130, b"modelpool: fetch: interrupted\n"))
        self.assertEqual(json.loads(out)["error"]["code"], "cancelled")
        server.pause_s, server.body_bytes = 0, 0
        got = self.good(Ran("fetch", "org/model", "--json", env=env)).json()
        self.assertEqual(got["files"][0]["sha256"], server.name_of("model.bin"))
        self.assertLess(server.body_bytes, 4_500_000)

    def model_as_files(self):
        return {str(path.relative_to(MODEL)): path.read_bytes() for path in MODEL.rglob("*") if path.is_file()}

    def test_a_model_is_named_by_its_repository(self):
        server, env = self.hub({**self.model_as_files(), "pytorch_model.bin": b"other programs' weights"})
        want = self.good(self.embed("--json", "x")).json()["embeddings"]
        for _ in range(2):
            got = self.good(Ran("embed", "x", "--json", "--model", "org/model", env=env)).json()
            self.assertEqual((got["model"], got["embeddings"]), ("org/model", want))
        self.assertFalse(any("pytorch_model" in path for path in server.requests))
        tokens = self.good(Ran("tokenize", "x", "--json", "--model", "org/model", env=env)).json()
        self.assertEqual(tokens, self.good(Ran("tokenize", "x", "--json", "--model", MODEL)).json())
        server.close()  # what was fetched needs no hub
        got = self.good(Ran("embed", "x", "--json", "--model", "org/model", env=env)).json()
        self.assertEqual(got["embeddings"], want)

    def test_import_puts_folders_and_archives_into_the_cache(self):
        want = self.good(self.embed("--json", "x")).json()["embeddings"]
        packed, zipped = self.dir / "model.tar.gz", self.dir / "model.zip"
        with tarfile.open(packed, "w:gz") as archive:
            archive.add(MODEL, "tiny")
        with zipfile.ZipFile(zipped, "w") as archive:
            for name, content in self.model_as_files().items():
                archive.writestr(name, content)
        cache = ["--cache-dir", self.dir / "hub"]
        for number, source in enumerate((MODEL, packed, zipped)):
            command = ["cache", "import"] if number == 0 else ["import"]
            got = self.good(Ran(*command, source, f"my/own{number}", "--json", *cache)).json()
            self.assertEqual([one["repo"] for one in got["entries"]], [f"my/own{number}"])
            rows = self.good(Ran("embed", "x", "--json", "--model", f"my/own{number}", *cache)).json()["embeddings"]
            self.assertEqual(rows, want)
        self.assertEqual(list((self.dir / "hub").glob(".import*")), [])
        self.refused_as(Ran("import", self.dir / "none", "my/own", "--json", *cache), 2, "hub.not_found")
        self.refused(Ran("import", self.write("text", "no archive"), "my/own", *cache), 2, "archive")
        with tarfile.open(packed, "w") as archive:
            archive.add(MODEL / "config.json", "../../outside.json")
        self.refused(Ran("import", packed, "my/own", *cache), 2, "outside.json", "leads out")
        self.assertFalse((self.dir / "outside.json").exists())

    def test_the_cache_is_listed_verified_and_pruned(self):
        server, env = self.hub(self.FILES)
        self.good(Ran("fetch", "org/model", "--json", env=env))
        self.good(Ran("import", MODEL, "my/own", "--json", env=env))
        entries = self.good(Ran("cache", "list", "--json", env=env)).json()["entries"]
        self.assertEqual([one["repo"] for one in entries], ["my/own", "org/model"])
        self.assertEqual(entries[1]["bytes"], sum(map(len, self.FILES.values())))
        self.assertEqual(entries[1]["commits"][0]["refs"], ["main"])
        self.assertRegex(entries[1]["last_used"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        self.assertIn(b"org/model", self.good(Ran("cache", "list", env=env)).out)
        models = self.good(Ran("models", "--cached", "--json", env=env)).json()["models"]
        self.assertEqual([(one["key"], one["cached"]) for one in models], [("my/own", True), ("org/model", True)])
        self.assertEqual(models[1]["bytes"], entries[1]["bytes"])
        self.assertIn(b"2.9 MiB", self.good(Ran("models", "--cached", env=env)).out)

        self.assertEqual(self.good(Ran("cache", "verify", "--json", env=env)).json(), {"entries": []})
        blob = self.dir / "hub/models--org--model/blobs" / server.name_of("config.json")
        blob.write_bytes(b"[]")
        broken = Ran("cache", "verify", "--json", env=env)
        self.assertEqual(broken.status, 1)
        self.assertEqual([one["path"] for one in broken.json()["entries"]], ["config.json"])
        self.assertRegex(broken.err, r"^modelpool: cache: 1 of ")
        self.refused_as(Ran("cache", "verify", "org/none", "--json", env=env), 2, "hub.not_found")

        dry = self.good(Ran("cache", "prune", "--keep", "my/*", "--dry-run", "--json", env=env)).json()
        self.assertEqual((dry["removed"]["repositories"], len(dry["entries"])), (1, 2))
        used = self.good(Ran("cache", "prune", "--unused-for", 1, "--json", env=env)).json()
        self.assertEqual(len(used["entries"]), 2)
        kept = self.good(Ran("cache", "prune", "--keep", "my/*", "--json", env=env)).json()
        self.assertEqual([one["repo"] for one in kept["entries"]], ["my/own"])
        self.assertIn(b"1 repositories", self.good(Ran("cache", "prune", "my/own", env=env)).out)
        self.refused(Ran("cache", env=env), 2)
        self.refused(Ran("cache", "nonsense", env=env), 2)

    # ---- generate and chat ----

    def generate(self, *arguments, name="qwen3", **options):
        return Ran("generate", "--model", DATA / "decoders" / name / "model.gguf", *arguments, **options)

    def test_generate_gives_one_document(self):
        got = self.good(self.generate("--prompt", "hello", "--max-tokens", 6, "--ignore-eos", "--json",
                                      "--logprobs", 3)).json()
        self.assertEqual(set(got), {"text", "ids", "prompt_ids", "finish_reason", "usage", "timings", "logprobs"})
        self.assertEqual((len(got["ids"]), got["finish_reason"]), (6, "length"))
        self.assertEqual(got["usage"]["prompt_tokens"], len(got["prompt_ids"]))
        self.assertEqual(got["usage"]["generated_tokens"], 6)
        for one, chosen in zip(got["logprobs"], got["ids"]):
            self.assertEqual((one["id"], one["top"][0][0], len(one["top"])), (chosen, chosen, 3))
            self.assertAlmostEqual(one["logprob"], one["top"][0][1])

    def test_generate_takes_its_prompt_in_every_form(self):
        common = ("--max-tokens", 5, "--ignore-eos", "--json")
        want = self.good(self.generate("--prompt", "hello", *common)).json()
        file = self.write("prompt.txt", "hello")
        ids = self.write("ids.json", json.dumps(want["prompt_ids"]))
        for form in (("--prompt-file", file), ("--prompt-file", "-"), ("--raw-ids", ids)):
            got = self.good(self.generate(*form, *common, stdin=b"hello")).json()
            self.assertEqual((got["ids"], got["prompt_ids"]), (want["ids"], want["prompt_ids"]))
        folder = Ran("generate", "--model", DATA / "decoders" / "qwen3", "--prompt", "hello", *common)
        self.assertEqual(self.good(folder).json()["ids"], want["ids"])

    def test_generate_streams_the_same_text_in_every_form(self):
        common = ("--prompt", "hello", "--max-tokens", 8, "--ignore-eos")
        want = self.good(self.generate(*common, "--json")).json()
        plain = self.good(self.generate(*common)).out.decode()
        self.assertEqual(plain, want["text"] + "\n")
        events = [json.loads(line) for line in self.good(self.generate(*common, "--json-lines")).out.splitlines()]
        self.assertEqual("".join(e.get("text", "") for e in events), want["text"])
        self.assertEqual([i for e in events for i in e.get("ids", [])], want["ids"])
        self.assertEqual((events[-1]["event"], events[-1]["finish_reason"]), ("end", "length"))

    def test_generate_saves_the_logits_of_forced_tokens(self):
        forced = [5, 200, 17, 99]
        force = self.write("force.json", json.dumps(forced))
        file = self.dir / "logits.safetensors"
        got = self.good(self.generate("--prompt", "hello", "--max-tokens", 4, "--ignore-eos", "--json",
                                      "--force-ids", force, "--save-logits", file)).json()
        self.assertEqual(got["ids"], forced)
        raw = file.read_bytes()
        n = struct.unpack("<Q", raw[:8])[0]
        head = json.loads(raw[8:8 + n])["logits"]
        self.assertEqual((head["dtype"], head["shape"]), ("F32", [4, 260]))
        self.assertEqual(len(raw), 8 + n + 4 * 260 * 4)
        free = self.good(self.generate("--prompt", "hello", "--max-tokens", 1, "--ignore-eos", "--json")).json()
        first = struct.unpack("<260f", raw[8 + n:8 + n + 1040])
        self.assertEqual(max(range(260), key=lambda i: first[i]), free["ids"][0])

    def test_generate_stops_and_samples_as_it_is_told(self):
        common = ("--prompt", "hello", "--max-tokens", 12, "--ignore-eos", "--json")
        free = self.good(self.generate(*common)).json()
        barred = self.good(self.generate(*common, "--logit-bias", f"{free['ids'][0]}=-inf")).json()
        self.assertNotIn(free["ids"][0], barred["ids"])
        sampled = [self.good(self.generate(*common, "--temperature", 2, "--seed", seed)).json()["ids"]
                   for seed in (1, 1, 2)]
        self.assertEqual(sampled[0], sampled[1])
        self.assertNotEqual(sampled[0], sampled[2])
        places = [i for i, c in enumerate(free["text"]) if i > 0 and c.isascii() and free["text"].index(c) == i]
        if places:
            stopped = self.good(self.generate(*common, "--stop", free["text"][places[0]])).json()
            self.assertEqual((stopped["text"], stopped["finish_reason"]), (free["text"][:places[0]], "stop"))
        for form in ("f16", "bf16", "int8"):
            self.assertEqual(len(self.good(self.generate(*common, "--kv-dtype", form)).json()["ids"]), 12)
        self.assertEqual(len(self.good(self.generate(*common, "--prefill", "fast")).json()["ids"]), 12)

    def test_generate_refuses_what_it_cannot_do(self):
        self.refused_as(self.generate("--json"), 2, "usage", "--prompt")
        self.refused_as(self.generate("--json", "--prompt", "x", "--kv-dtype", "f8"), 2, "usage", "f8")
        self.refused_as(self.generate("--json", "--prompt", "x", "--prefill", "hasty"), 2, "usage", "hasty")
        self.refused_as(self.generate("--json", "--prompt", "x", "--temperature", -1), 2, "invalid_argument")
        self.refused_as(self.generate("--json", "--prompt", "x" * 100), 1, "model.context_overflow", "64")
        bad = self.write("bad.json", "[1, 300]")
        self.refused_as(self.generate("--json", "--raw-ids", bad), 2, "text.bad_id", "300")
        cut = self.write("cut.gguf", (DATA / "decoders" / "qwen3" / "model.gguf").read_bytes()[:9000])
        self.refused_as(Ran("generate", "--model", cut, "--prompt", "x", "--json"), 1, "model.bad_file", "cut.gguf")
        self.refused(Ran("generate", "--model", MODEL, "--prompt", "x"), 2, "text_embedding")

    def test_chat_answers_a_conversation(self):
        model = DATA / "decoders" / "qwen3" / "model.gguf"
        talk = self.write("talk.json", json.dumps([{"role": "user", "content": [{"type": "text", "text": "hi"}]}]))
        common = ("--model", model, "--messages", talk, "--max-tokens", 5, "--ignore-eos")
        got = self.good(Ran("chat", *common, "--json")).json()
        self.assertEqual(got["message"]["role"], "assistant")
        self.assertEqual(set(got["message"]), {"role", "content", "reasoning", "tool_calls"})
        self.assertEqual(len(got["ids"]), 5)
        rendered = Ran("generate", "--model", model, "--prompt", "<|start|>user:hi<|end|><|start|>assistant:",
                       "--max-tokens", 5, "--ignore-eos", "--json")
        self.assertEqual(self.good(rendered).json()["prompt_ids"], got["prompt_ids"])
        told = self.good(Ran("chat", *common, "--json", "--system", "be brief")).json()
        self.assertGreater(len(told["prompt_ids"]), len(got["prompt_ids"]))
        self.refused(Ran("chat", "--model", model), 2, "--messages")
        self.refused(Ran("chat", "--model", model, "--messages", self.write("m.json", "{}")), 2, "array")

    def test_a_signal_ends_a_generation(self):
        model = DATA / "decoders" / "deepseek2" / "model.gguf"
        with subprocess.Popen([BINARY, "generate", "--model", model, "--prompt-file", "-", "--json"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
            wait_for_handler(running.pid, signal.SIGINT)
            running.send_signal(signal.SIGINT)
            out, err = running.communicate(timeout=LIMIT_S)
        self.assertEqual((running.returncode, err), (130, b"modelpool: generate: interrupted\n"))
        self.assertEqual(json.loads(out)["error"]["code"], "cancelled")

    def test_inspect_describes_a_gguf_file(self):
        got = self.good(Ran("inspect", DATA / "decoders" / "deepseek2" / "model.gguf", "--json")).json()
        self.assertEqual((got["family"], got["capability"], got["runnable"]), ("deepseek2", "text_to_text", True))
        self.assertEqual(got["max_tokens"], 64)

    def test_a_repository_of_gguf_files_is_taken_in_its_usual_quantisation(self):
        model = (DATA / "decoders" / "qwen3" / "model.gguf").read_bytes()
        server, env = self.hub({"config.json": b"{}", "model-Q4_K_M.gguf": model, "model-Q8_0.gguf": b"GGUF, but cut"})
        got = self.good(Ran("generate", "--model", "org/model", "--prompt", "x", "--max-tokens", 2, "--json", env=env))
        self.assertEqual(len(got.json()["ids"]), 2)
        self.assertFalse([path for path in server.requests if "Q8_0" in str(path)])
        self.assertEqual(self.good(Ran("inspect", "org/model", "--json", env=env)).json()["family"], "qwen3")

    def test_a_repository_without_the_usual_quantisation_lists_what_it_has(self):
        _, env = self.hub({"README.md": b"x", "model-Q8_0.gguf": b"GGUF", "model-Q2_K.gguf": b"GGUF"})
        self.refused(Ran("inspect", "org/model", env=env), 2, "model-Q8_0.gguf", "model-Q2_K.gguf")

    def test_inspect_tells_what_quantised_weights_take(self):
        folder = DATA / "decoders" / "llama"
        plain = self.good(Ran("inspect", folder, "--json")).json()["memory"]
        small = self.good(Ran("inspect", folder, "--dtype", "q8_0", "--json")).json()["memory"]
        self.assertEqual(plain["resident_bytes"], 0)
        self.assertGreater(small["resident_bytes"], 0)
        self.assertLess(small["resident_bytes"] + small["mapped_bytes"], plain["mapped_bytes"])
        quantised = Ran("generate", "--model", folder, "--prompt", "x", "--max-tokens", 2, "--dtype", "q8_0", "--json")
        self.assertEqual(len(self.good(quantised).json()["ids"]), 2)

    def test_help_and_version_are_data(self):
        self.assertRegex(self.good(Ran("--version")).out.decode(), r"^modelpool \d+\.\d+\.\d+\n$")
        for command in ("embed", "embed-image", "generate", "chat", "describe", "imagine", "tokenize", "render", "inspect", "models", "bench", "fetch",
                        "import", "cache"):
            self.assertIn(command.encode(), self.good(Ran("--help")).out)
            self.assertIn(b"Examples:", self.good(Ran(command, "--help")).out)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *(f"CliTest.{name}" for name in sys.argv[3:])])

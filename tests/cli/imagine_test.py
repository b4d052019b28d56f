#!/usr/bin/env python3
"""Tests of the command line program with image pipelines: imagine_test.py BINARY DATA_FOLDER TEST_NAME"""

import json
import math
import os
import pty
import random
import signal
import struct
import subprocess
import sys
import unittest

sys.dont_write_bytecode = True
import cli_test  # noqa: E402
from cli_test import BINARY, DATA, LIMIT_S, Ran  # noqa: E402


class ImagineTest(cli_test.CliTest):
    def pipeline(self, family="flux", *options):
        """The folder of a tiny image pipeline."""
        folder = self.dir / f"{family}-pipeline"
        script = DATA.parent.parent / "bench" / "make_pipeline.py"
        subprocess.run([sys.executable, script, family, folder, "--tiny", *options], check=True, timeout=LIMIT_S)
        return folder

    def imagine(self, model, *arguments):
        return Ran("imagine", "--model", model, "--prompt", "a red fox", "--size", "64x48", "--steps", 2, *arguments)

    def latents(self, name):
        raw = (self.dir / name).read_bytes()
        n = struct.unpack("<Q", raw[:8])[0]
        return json.loads(raw[8:8 + n])["latents"], raw[8 + n:]

    def test_imagine_gives_one_document_and_the_image_of_its_seed(self):
        for family in ("flux", "sd3"):
            model = self.pipeline(family)
            file, kept = self.dir / "a.png", self.dir / "a.safetensors"
            got = self.good(self.imagine(model, "--seed", 7, "--output", file, "--save-latents", kept, "--json")).json()
            self.assertEqual(set(got), {"model", "output", "width", "height", "steps", "seed", "images", "timings"})
            self.assertEqual((got["output"], got["width"], got["height"]), (str(file), 64, 48))
            self.assertEqual((got["steps"], got["seed"]), (2, 7))
            self.assertEqual(set(got["timings"]), {"load_s", "encode_s", "step_s", "decode_s", "total_s"})
            png = file.read_bytes()
            self.assertEqual((png[:8], struct.unpack(">II", png[16:24])), (b"\x89PNG\r\n\x1a\n", (64, 48)))
            self.assertIn(b"iTXtparameters\0\0\0\0\0a red fox\nSteps: 2, Sampler: Euler, Seed: 7, Size: 64x48", png)
            head, numbers = self.latents("a.safetensors")
            self.assertEqual((head["dtype"], head["shape"]), ("F32", [1, 16, 6, 8]))
            again = self.good(self.imagine(model, "--seed", 7, "--output", self.dir / "b.jpg",
                                           "--save-latents", self.dir / "b.safetensors"))
            self.assertEqual(again.out.decode(), str(self.dir / "b.jpg") + "\n")
            self.assertEqual((self.dir / "b.jpg").read_bytes()[:3], b"\xff\xd8\xff")
            self.assertEqual(self.latents("b.safetensors")[1], numbers)
            self.good(self.imagine(model, "--seed", 8, "--output", self.dir / "c.webp", "--save-latents", kept))
            self.assertEqual((self.dir / "c.webp").read_bytes()[8:12], b"WEBP")
            self.assertNotEqual(self.latents("a.safetensors")[1], numbers)

    def test_imagine_makes_what_the_reference_makes(self):
        def tensor(path, name):
            raw = path.read_bytes()
            n = struct.unpack("<Q", raw[:8])[0]
            about = json.loads(raw[8:8 + n])[name]
            begin, end = about["data_offsets"]
            return struct.unpack(f"<{(end - begin) // 4}f", raw[8 + n + begin:8 + n + end])
        pipelines = DATA / "pipelines"
        for name in ("flux_bf16", "flux_guided", "sd3_f16", "sd3_dual"):
            model, kept = pipelines / name, self.dir / "kept.safetensors"
            for i, wanted in enumerate(json.loads((model / "case.json").read_text())["images"]):
                arguments = [
                    "--prompt", wanted["prompt"], "--size", f"{wanted['width']}x{wanted['height']}",
                    "--steps", wanted["steps"], "--guidance", wanted["guidance"], "--seed", wanted["seed"],
                    "--max-prompt-tokens", wanted["tokens"], "--save-latents", kept, "--output", self.dir / "x.png"]
                if "negative" in wanted:
                    arguments += ["--negative", wanted["negative"]]
                if "strength" in wanted:
                    arguments += ["--init-image", pipelines / "picture.png", "--strength", wanted["strength"]]
                self.good(Ran("imagine", "--model", model, "--dtype", "f32", *arguments))
                got, expected = tensor(kept, "latents"), tensor(model / "expected.safetensors", f"latents_{i}")
                self.assertEqual(len(got), len(expected))
                self.assertLess(max(abs(a - b) for a, b in zip(got, expected)), 2e-3, f"{name} {i}")

    def test_imagine_streams_an_event_a_step_of_several_images(self):
        model = self.pipeline()
        ran = self.good(self.imagine(model, "--seed", 3, "--count", 2, "--json-lines", "--output", self.dir / "x.png"))
        events = [json.loads(line) for line in ran.out.splitlines()]
        self.assertEqual([(e["event"], e.get("image"), e.get("step")) for e in events],
                         [("step", 0, 1), ("step", 0, 2), ("image", 0, None), ("step", 1, 1), ("step", 1, 2),
                          ("image", 1, None), ("end", None, None)])
        self.assertEqual([e["seed"] for e in events if e["event"] == "image"], [3, 4])
        self.good(self.imagine(model, "--seed", 4, "--output", self.dir / "alone.png"))
        self.assertEqual((self.dir / "x-2.png").read_bytes(), (self.dir / "alone.png").read_bytes())
        self.assertNotEqual((self.dir / "x-1.png").read_bytes(), (self.dir / "alone.png").read_bytes())

    def test_imagine_starts_from_latents_and_from_an_image(self):
        model = self.pipeline()
        header = json.dumps({"latents": {"dtype": "F32", "shape": [1, 16, 6, 8], "data_offsets": [0, 3072]}}).encode()
        values = [random.Random(1).gauss(0, 1) for _ in range(768)]
        given = self.write("given.safetensors", struct.pack("<Q", len(header)) + header + struct.pack("<768f", *values))
        first, second = self.dir / "1.png", self.dir / "2.png"
        self.good(self.imagine(model, "--latents", given, "--seed", 1, "--output", first))
        self.good(Ran("imagine", "--model", model, "--prompt", "a red fox", "--steps", 2, "--latents", given,
                      "--seed", 1, "--output", second))
        self.assertEqual(first.read_bytes(), second.read_bytes())
        for strength in ("0.5", "1"):
            changed = self.dir / f"changed-{strength}.png"
            self.good(self.imagine(model, "--init-image", first, "--strength", strength, "--seed", 1, "--output", changed))
            self.assertNotEqual(changed.read_bytes(), first.read_bytes())
        out = ("--output", self.dir / "no.png", "--json")
        self.refused_as(Ran("imagine", "--model", model, "--prompt", "x", "--size", "64x64", "--latents", given, *out),
                        2, "usage", "64x48", "64x64")
        values[5] = math.nan
        nan = self.write("nan.safetensors", struct.pack("<Q", len(header)) + header + struct.pack("<768f", *values))
        self.refused_as(self.imagine(model, "--latents", nan, *out), 2, "invalid_argument", "not finite")
        self.refused_as(self.imagine(model, "--latents", self.dir / "none", *out), 2, "invalid_argument", "none")
        self.refused_as(self.imagine(model, "--init-image", given, *out), 2, "invalid_argument", "given.safetensors")
        self.assertFalse((self.dir / "no.png").exists())

    def test_imagine_refuses_what_it_cannot_do_before_it_works(self):
        out = ("--output", self.dir / "x.png", "--json")
        nowhere = ("--model", self.dir / "none")
        self.refused_as(Ran("imagine", *nowhere, *out), 2, "usage", "--prompt")
        self.refused_as(Ran("imagine", *nowhere, "--prompt", "x", "--json"), 2, "usage", "--output")
        for options, word in ((("--steps", 0), "steps"), (("--size", "64"), "WIDTHxHEIGHT"), (("--size", "0x64"), "0x64"),
                              (("--strength", "0.5"), "--init-image"), (("--count", 0), "count")):
            self.refused_as(Ran("imagine", *nowhere, "--prompt", "x", *options, *out), 2, "usage", word)
        for place, word in ((self.dir / "x.gif", ".webp"), (self.dir / "no" / "x.png", "folder"), (self.dir, ".png")):
            ran = Ran("imagine", *nowhere, "--prompt", "x", "--output", place, "--json")
            self.refused_as(ran, 2, "usage", word)
        model = self.pipeline()
        for options, word in ((("--size", "64x50"), "50"), (("--size", "100000x64"), "100000")):
            self.refused_as(Ran("imagine", "--model", model, "--prompt", "x", *options, *out), 2, "invalid_argument", word)
        self.refused(Ran("embed", "--model", model, "x"), 2, "text_to_image")
        os.remove(model / "ae.safetensors")
        os.remove(model / "text_encoders" / "clip_l.safetensors")
        self.refused_as(self.imagine(model, *out), 1, "model.bad_file", "the vae", "the CLIP-L text encoder")
        self.assertEqual(sorted(f.name for f in self.dir.iterdir()), ["flux-pipeline"])

    def test_a_signal_ends_an_image(self):
        model = self.pipeline()
        command = [BINARY, "imagine", "--model", model, "--prompt", "x", "--size", "256x256", "--steps", "1000",
                   "--output", self.dir / "x.png", "--json-lines"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
            first = json.loads(running.stdout.readline())
            running.send_signal(signal.SIGINT)
            err = running.communicate(timeout=LIMIT_S)[1]
        self.assertEqual((first["event"], first["step"], first["steps"]), ("step", 1, 1000))
        self.assertEqual((running.returncode, err), (130, b"modelpool: imagine: interrupted\n"))
        self.assertEqual(sorted(f.name for f in self.dir.iterdir()), ["flux-pipeline"])

    def test_imagine_shows_its_steps_on_a_terminal(self):
        model = self.pipeline()
        main, side = pty.openpty()
        command = [BINARY, "imagine", "--model", model, "--prompt", "x", "--size", "64x64", "--steps", "2",
                   "--output", self.dir / "x.png"]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=side, timeout=LIMIT_S)
        os.close(side)
        shown = os.read(main, 65536).decode()
        os.close(main)
        self.assertEqual((done.returncode, done.stdout.decode()), (0, f"{self.dir / 'x.png'}\n"))
        self.assertIn("step 1 of 2", shown)
        self.assertIn("step 2 of 2", shown)
        self.assertTrue(shown.endswith("\r\x1b[K"), shown)

    def test_inspect_describes_an_image_pipeline(self):
        model = self.pipeline("sd3", "--format", "q8_0")
        got = self.good(Ran("inspect", model, "--json")).json()
        self.assertEqual((got["family"], got["architecture"], got["capability"], got["runnable"]),
                         ("sd3", "StableDiffusion3Pipeline", "text_to_image", True))
        self.assertEqual(set(got["dtypes"]), {"BF16", "F32", "Q8_0"})
        alone = self.good(Ran("inspect", model / "sd3.5_large_turbo-Q8_0.gguf", "--json")).json()
        self.assertEqual((alone["family"], alone["bytes"]), ("sd3", got["bytes"]))

    def test_of_a_pipeline_one_form_is_fetched(self):
        server, env = self.hub({
            "model_index.json": b'{"_class_name":"FluxPipeline"}', "flux1-schnell.safetensors": b"once",
            "transformer/config.json": b"{}", "transformer/diffusion_pytorch_model.safetensors": b"twice",
            "transformer/diffusion_pytorch_model.fp16.safetensors": b"and again", "vae/config.json": b"{ }"})
        ran = Ran("imagine", "--model", "org/model", "--prompt", "x", "--output", self.dir / "x.png", "--json", env=env)
        self.refused_as(ran, 1, "model.bad_file", "diffusion_pytorch_model.safetensors")
        fetched = {path.split("/", 5)[-1] for path in server.requests if "/resolve/" in path}
        self.assertEqual(fetched, {"model_index.json", "transformer/config.json", "vae/config.json",
                                   "transformer/diffusion_pytorch_model.safetensors"})

    def test_bench_imagine_prints_one_document_of_figures(self):
        got = self.good(Ran("bench", "imagine", "--model", self.pipeline(), "--side", 64, "--json")).json()
        self.assertEqual(set(got["figures"]), {"load", "encode", "encode_again", "step", "step_mean", "decode",
                                               "weights_in_memory", "weights_in_file", "peak"})
        self.assertGreater(got["figures"]["peak"]["value"], 0)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *(f"ImagineTest.{name}" for name in sys.argv[3:])])

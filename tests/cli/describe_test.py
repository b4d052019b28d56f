#!/usr/bin/env python3
"""Tests of what the command line program does with images: describe_test.py BINARY DATA_FOLDER TEST_NAME"""

import base64
import json
import os
import sys
import unittest

sys.dont_write_bytecode = True
import cli_test  # noqa: E402
from cli_test import CLIP, DATA, Ran  # noqa: E402


class DescribeTest(cli_test.CliTest):
    def describe(self, *arguments, **options):
        common = ("--max-tokens", 6, "--ignore-eos", "--json")
        return Ran("describe", "--model", DATA / "llava" / "flat_f32", *arguments, *common, **options)

    def test_describe_answers_about_images_in_every_form(self):
        items = json.loads((DATA / "llava" / "flat_f32" / "case.json").read_bytes())["items"]
        for item in items:
            images = [a for name in item["images"] for a in ("--image", CLIP / "images" / name)]
            got = self.good(self.describe(*images, "--prompt", item["prompt"])).json()
            self.assertEqual((got["prompt_ids"], got["ids"]), (item["prompt_ids"], item["ids"][:6]))
        uri = "data:image/png;base64," + base64.b64encode((CLIP / "images" / "wide.png").read_bytes()).decode()
        first = items[0]
        got = self.good(self.describe("--image", uri, "--prompt", first["prompt"])).json()
        self.assertEqual(got["ids"], first["ids"][:6])
        inspected = self.good(Ran("inspect", "--model", DATA / "llava" / "flat_f32", "--json")).json()
        self.assertEqual((inspected["family"], inspected["capability"]), ("llava", "vision"))

    def test_chat_takes_messages_with_images(self):
        item = json.loads((DATA / "llava" / "flat_f32" / "case.json").read_bytes())["items"][0]
        image = str(CLIP / "images" / item["images"][0])
        for part in ({"type": "image", "image": image}, {"type": "image_url", "image_url": {"url": image}}):
            content = [part, {"type": "text", "text": item["prompt"]}]
            talk = self.write("talk.json", json.dumps([{"role": "user", "content": content}]))
            got = self.good(Ran("chat", "--model", DATA / "llava" / "flat_f32", "--messages", talk, "--json",
                                "--max-tokens", 6, "--ignore-eos")).json()
            self.assertEqual((got["prompt_ids"], got["ids"]), (item["prompt_ids"], item["ids"][:6]))
        talk = self.write("talk.json", json.dumps([{"role": "user", "content": [{"type": "image"}]}]))
        self.refused(Ran("chat", "--model", DATA / "llava" / "flat_f32", "--messages", talk), 2, "message 1", "image")
        talk = self.write("talk.json", json.dumps([{"role": "user", "content": [{"type": "image", "image": image}]}]))
        self.refused(Ran("chat", "--model", DATA / "decoders" / "qwen3", "--messages", talk), 1, "no images")

    def test_describe_names_what_it_cannot_use(self):
        good, text = ("--image", CLIP / "images" / "wide.png"), ("--prompt", "What is it?")
        broken = self.write("broken.png", (CLIP / "images" / "wide.png").read_bytes()[:200])
        self.refused_as(self.describe(*good, "--image", broken, *text), 2, "invalid_argument", "image 1")
        self.refused_as(self.describe(*good, "--prompt", "<image> or <image>?"), 2, "invalid_argument", "2 <image>")
        self.refused_as(self.describe(*good * 11, *text), 1, "model.context_overflow", "160")
        self.refused_as(self.describe("--image", "http://127.0.0.1:1/a.png", *text, env={
            **os.environ, "HF_HUB_OFFLINE": "0"}), 1, "hub.denied", "127.0.0.1")
        self.refused_as(self.describe("--image", "data:image/png,x", *text), 2, "invalid_argument", "base64")
        self.refused(Ran("describe", "--model", DATA / "decoders" / "qwen3", *text), 2, "text_to_text", "vision")

    def test_bench_describe_prints_one_document_of_figures(self):
        ran = Ran("bench", "describe", "--model", DATA / "llava" / "flat_f32", "--tokens", 4, "--json")
        got = self.good(ran).json()["figures"]
        self.assertEqual(set(got), {"load", "image_encode", "prompt", "first_token", "first_token_again",
                                    "sooner_again", "decode", "weights_in_memory", "weights_in_file", "replica",
                                    "resident", "resident_in_files", "peak"})
        self.assertGreater(got["prompt"]["value"], 16)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *(f"DescribeTest.{name}" for name in sys.argv[3:])])

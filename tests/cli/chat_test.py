#!/usr/bin/env python3
"""Tests of structured answers and of conversations on a terminal: chat_test.py BINARY DATA_FOLDER TEST_NAME"""

import contextlib
import json
import os
import pty
import signal
import struct
import sys
import time
import unittest

sys.dont_write_bytecode = True
from cli_test import BINARY, DATA, CliTest, Ran  # noqa: E402


class ChatTest(CliTest):
    def test_generate_holds_to_a_json_schema(self):
        schema = self.write("schema.json", json.dumps({"enum": ["good", "bad", 12]}))
        n_whole = 0
        for seed in range(12):
            got = self.good(self.generate("--prompt", "hi", "--json-schema", schema, "--temperature", 1, "--seed", seed,
                                          "--max-tokens", 40, "--json")).json()
            if got["finish_reason"] == "stop":
                n_whole += 1
                self.assertIn(json.loads(got["text"]), ["good", "bad", 12])
        self.assertGreater(n_whole, 6)
        # The end of the JSON is an end also where that of the model is none.
        ended = self.good(self.generate("--prompt", "hi", "--json-schema", schema, "--ignore-eos", "--seed", 0,
                                        "--temperature", 1, "--json")).json()
        self.assertEqual(ended["finish_reason"], "stop")
        wide = self.write("wide.json", json.dumps({"type": "string", "minLength": 100}))
        cut = self.good(self.generate("--prompt", "hi", "--json-schema", wide, "--max-tokens", 9, "--json")).json()
        self.assertEqual((cut["finish_reason"], len(cut["ids"])), ("length", 9))
        bad = self.write("bad.json", '{"not": {}}')
        self.refused_as(self.generate("--prompt", "hi", "--json-schema", bad, "--json"), 2, "usage", "'not'", "bad.json")
        self.refused(self.generate("--prompt", "hi", "--json-schema", self.write("half.json", "{")), 2, "half.json")

    def test_chat_holds_to_a_json_schema(self):
        model = DATA / "decoders" / "qwen3" / "model.gguf"
        talk = self.write("talk.json", json.dumps([{"role": "user", "content": "hi"}]))
        schema = self.write("schema.json", json.dumps({"const": {"a": [True]}}))
        got = self.good(Ran("chat", "--model", model, "--messages", talk, "--json-schema", schema, "--seed", 3,
                            "--temperature", 1, "--logit-bias", "13=-inf", "--json")).json()
        if got["finish_reason"] == "stop":
            self.assertEqual(json.loads(got["message"]["content"]), {"a": [True]})
        else:
            self.assertEqual(got["finish_reason"], "length")

    def long_model(self):
        """The small model with room for a talk: its end is far enough to be stopped before it."""
        data = (DATA / "decoders" / "qwen3" / "model.gguf").read_bytes()
        key = b"qwen3.context_length" + struct.pack("<I", 4)
        at = data.index(key) + len(key)
        return self.write("long.gguf", data[:at] + struct.pack("<I", 1 << 15) + data[at + 4:])

    @contextlib.contextmanager
    def terminal(self, *arguments):
        """The program on a terminal of its own: what it writes until some text, and its keys."""
        pid, keys = pty.fork()
        if pid == 0:
            os.execv(BINARY, [BINARY, *map(str, arguments)])
        seen = bytearray()

        def until(text):
            while text not in seen:
                try:
                    more = os.read(keys, 4096)
                except OSError:
                    more = b""
                if not more:
                    raise AssertionError(f"no {text} in {bytes(seen)}")
                seen.extend(more)
            end = seen.index(text) + len(text)
            before = bytes(seen[:end])
            del seen[:end]
            return before

        try:
            yield until, lambda text: os.write(keys, text), lambda: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        finally:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
            os.close(keys)

    def test_chat_on_a_terminal_talks_until_its_end(self):
        chat = ("chat", "--model", DATA / "decoders" / "qwen3" / "model.gguf", "--max-tokens", 4, "--ignore-eos")
        for last, status in ((b"\x04", 0), (b"/exit\n", 0), (b"\x03", 130)):
            with self.terminal(*chat) as (until, press, end):
                until(b"> ")
                press(b"a\n")
                until(b"a\r\n")
                until(b"> ")
                press(b"/what\n")
                until(b"/clear")
                until(b"> ")
                press(b"x" * 100 + b"\n")  # more than the context holds
                until(b"modelpool: chat: ")
                until(b"> ")
                press(b"/clear\n")
                until(b"> ")
                press(b"b\n")
                until(b"b\r\n")
                until(b"> ")
                press(last)
                self.assertEqual(end(), status)

    def test_ctrl_c_stops_an_answer_and_not_the_chat(self):
        with self.terminal("chat", "--model", self.long_model(), "--ignore-eos") as (until, press, end):
            until(b"> ")
            for _ in range(2):
                press(b"hi\n")
                until(b"hi\r\n")
                time.sleep(0.1)  # somewhere in its answer
                press(b"\x03")
                until(b"(stopped)")
                until(b"> ")
            press(b"\x04")
            self.assertEqual(end(), 0)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *(f"ChatTest.{name}" for name in sys.argv[3:])])

#!/usr/bin/env python3
"""Checks that Python's huggingface_hub and modelpool::hub share one cache.

    tests/hub/interop.py HUB_TEST_PROGRAM

Exits with 77 where huggingface_hub is not installed. The hub is a server of this script's own.
"""

import hashlib
import http.server
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "config.json": b"{}",
    "sub/folder/words.txt": b"some words",
    "model.safetensors": random.Random(1).randbytes(3_000_000),
}
LARGE = {"model.safetensors"}


def blob_of(path):
    content = FILES[path]
    if path in LARGE:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Hub(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    body_bytes = 0
    pause_s = 0  # after every 100 kB of a body

    def log_message(self, *arguments):
        pass

    def answer(self, status, headers, body=b""):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            for begin in range(0, len(body), 100_000):
                self.wfile.write(body[begin:begin + 100_000])
                time.sleep(Hub.pause_s)

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = self.path.split("?")[0]
        if path.startswith("/api/models/org/model/tree/"):
            return self.answer(200, {}, json.dumps([self.entry(name) for name in FILES]).encode())
        if path.startswith("/api/models/org/model"):
            siblings = [{"rfilename": name} for name in FILES]
            return self.answer(200, {}, json.dumps(
                {"id": "org/model", "sha": COMMIT, "siblings": siblings}).encode())
        name = path.split("/", 5)[-1]
        if not path.startswith("/org/model/resolve/") or name not in FILES:
            return self.answer(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
        content = FILES[name]
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{blob_of(name)}"', "Accept-Ranges": "bytes"}
        status = 200
        wanted = self.headers.get("Range")
        if wanted and self.command == "GET":
            begin, end = wanted.removeprefix("bytes=").split("-")
            begin, end = int(begin), min(int(end or len(content)), len(content) - 1)
            headers["Content-Range"] = f"bytes {begin}-{end}/{len(content)}"
            content, status = content[begin:end + 1], 206
        if self.command == "GET":
            Hub.body_bytes += len(content)
        else:
            headers["Content-Length"] = str(len(content))
        self.answer(status, headers, content)

    @staticmethod
    def entry(name):
        size = len(FILES[name])
        result = {"type": "file", "path": name, "size": size, "oid": blob_of(name)}
        if name in LARGE:
            result["oid"] = "a" * 40
            result["lfs"] = {"oid": blob_of(name), "size": size, "pointerSize": 130}
        return result


class Interop(unittest.TestCase):
    program = None

    def setUp(self):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
        self.server.handle_error = lambda *arguments: None  # a client that leaves early is no fault
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.folder = tempfile.TemporaryDirectory()
        self.cache = Path(self.folder.name) / "hub"
        Hub.body_bytes = 0
        Hub.pause_s = 0
        self.environment = {
            **os.environ, "HF_ENDPOINT": f"http://127.0.0.1:{self.server.server_address[1]}",
            "HF_HUB_CACHE": str(self.cache), "HF_HOME": self.folder.name, "NO_PROXY": "127.0.0.1",
            "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1"}

    def tearDown(self):
        self.server.shutdown()
        self.server.server_close()
        self.folder.cleanup()

    def ours(self, offline=False):
        extra = {"HF_HUB_OFFLINE": "1"} if offline else {}
        return subprocess.Popen(
            [self.program, "hub child: fetches what the environment names"],
            env={**self.environment, **extra}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def python(self, code):
        return subprocess.Popen(
            [sys.executable, "-c", code], env=self.environment, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT)

    def ends_well(self, process):
        output = process.communicate(timeout=60)[0].decode()
        self.assertEqual(process.returncode, 0, output)
        return output

    def links(self):
        top = self.cache / "models--org--model/snapshots" / COMMIT
        return {name: os.readlink(top / name) for name in FILES}

    def test_python_reads_what_we_fetched(self):
        self.ends_well(self.ours())
        before = Hub.body_bytes
        output = self.ends_well(self.python(f"""
import huggingface_hub as h
for name in {list(FILES)!r}:
    print(h.hf_hub_download("org/model", name, local_files_only=True))
print(h.snapshot_download("org/model", local_files_only=True))
info = h.scan_cache_dir()
assert not info.warnings, info.warnings
repo, = info.repos
assert repo.nb_files == {len(FILES)}, repo
revision, = repo.revisions
assert revision.refs == frozenset(["main"]), revision
"""))
        self.assertIn(str(self.cache / "models--org--model/snapshots" / COMMIT), output)
        self.assertEqual(Hub.body_bytes, before)

    def test_we_read_what_python_fetched(self):
        self.ends_well(self.python(
            'import huggingface_hub as h; h.snapshot_download("org/model")'))
        by_python = self.links()
        before = Hub.body_bytes
        self.ends_well(self.ours(offline=True))
        self.ends_well(self.ours())
        self.assertEqual(Hub.body_bytes, before)
        self.assertEqual(self.links(), by_python)

    def test_python_finds_everything_after_we_were_killed(self):
        Hub.pause_s = 0.01
        dice = random.Random(3)
        for _ in range(10):
            one = self.ours()
            time.sleep(dice.uniform(0.05, 0.4))
            one.kill()
            one.communicate()
        Hub.pause_s = 0
        self.ends_well(self.ours())
        before = Hub.body_bytes
        self.ends_well(self.python(
            'import huggingface_hub as h; h.snapshot_download("org/model", local_files_only=True);'
            'info = h.scan_cache_dir(); assert not info.warnings, info.warnings'))
        self.assertEqual(Hub.body_bytes, before)
        for name, content in FILES.items():
            top = self.cache / "models--org--model/snapshots" / COMMIT
            self.assertEqual((top / name).read_bytes(), content)
        self.assertFalse([path for path in self.cache.rglob("*") if path.name.endswith((".incomplete", ".tmp"))])

    def test_we_finish_what_python_was_killed_at(self):
        Hub.pause_s = 0.01
        one = self.python('import huggingface_hub as h; h.snapshot_download("org/model")')
        time.sleep(1.0)
        one.kill()
        one.communicate()
        Hub.pause_s = 0
        self.ends_well(self.ours())
        for name, content in FILES.items():
            top = self.cache / "models--org--model/snapshots" / COMMIT
            self.assertEqual((top / name).read_bytes(), content)

    def test_links_are_the_same_text(self):
        self.ends_well(self.ours())
        expected = {name: "../" * (name.count("/") + 2) + "blobs/" + blob_of(name) for name in FILES}
        self.assertEqual(self.links(), expected)

    def test_both_at_once(self):
        for _ in range(5):
            subprocess.run(["rm", "-rf", self.cache], check=True)
            both = [self.python('import huggingface_hub as h; h.snapshot_download("org/model")'),
                    self.ours(), self.ours()]
            for one in both:
                self.ends_well(one)
            for name, content in FILES.items():
                top = self.cache / "models--org--model/snapshots" / COMMIT
                self.assertEqual((top / name).read_bytes(), content)

    def test_python_replaces_nothing_after_us(self):
        self.ends_well(self.ours())
        before = {path: path.stat().st_mtime_ns for path in self.cache.rglob("blobs/*")}
        self.ends_well(self.python(
            'import huggingface_hub as h; h.snapshot_download("org/model")'))
        after = {path: path.stat().st_mtime_ns for path in self.cache.rglob("blobs/*")}
        self.assertEqual(after, before)


if __name__ == "__main__":
    try:
        import huggingface_hub  # noqa: F401
    except ImportError:
        print("huggingface_hub is not installed: nothing is checked")
        sys.exit(77)
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    Interop.program = os.path.abspath(sys.argv.pop(1))
    unittest.main()

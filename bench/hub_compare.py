#!/usr/bin/env python3
"""Compares the hub with curl and with Python's huggingface_hub, on loopback, in one run.

    bench/hub_compare.py PROGRAM [--python PYTHON] [--rounds N] [--small-rounds N] [--work DIR]

PROGRAM is build/release/bench/hub_fetch; `modelpool` would do, but loads libtorch before it begins.
nginx serves files from DIR, which should be a tmpfs (/dev/shm unless given), and everything is written there.
The programs take turns; "s" is the best of the rounds, since whatever else the machine does only makes a run
slower, and ratios of those are what counts. PYTHON is one that has huggingface_hub; without it that column stays
empty. Prints one JSON document.
"""

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
MIB = 1 << 20


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Nginx:
    """A hub with the repositories of `sets`: name -> {path: (bytes, is_large)}."""

    def __init__(self, work, sets):
        self.hub, self.cdn = free_port(), free_port()
        self.root = work / "served"
        etags, sizes = [], []
        for repo, files in sets.items():
            entries = []
            for path, (content, large) in files.items():
                name = hashlib.sha256(content).hexdigest() if large else hashlib.sha1(
                    b"blob %d\0" % len(content) + content).hexdigest()
                place = self.root / ("cdn" if large else "files") / (name if large else f"{repo}/{path}")
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content)
                uri = f"/{repo}/resolve/{COMMIT}/{path}"
                etags.append(f'"{uri}" {name};')
                sizes.append(f'"{uri}" {len(content)};')
                entry = {"type": "file", "path": path, "size": len(content), "oid": name[:40]}
                if large:
                    entry["lfs"] = {"oid": name, "size": len(content), "pointerSize": 130}
                entries.append(entry)
            api = self.root / "api" / repo
            api.mkdir(parents=True)
            (api / "tree").write_text(json.dumps(entries))
            siblings = [{"rfilename": path} for path in files]
            (api / "revision").write_text(json.dumps({"id": repo, "sha": COMMIT, "siblings": siblings}))
        conf = work / "nginx.conf"
        as_root = "user root;" if os.geteuid() == 0 else ""  # its workers read a folder of ours
        conf.write_text(f"""
{as_root} daemon off; worker_processes 2; pid {work}/nginx.pid; error_log {work}/error.log crit;
events {{ worker_connections 512; }}
http {{
  access_log off; sendfile on; tcp_nopush on; etag off; keepalive_requests 100000;
  client_body_temp_path {work}/t1; proxy_temp_path {work}/t2; fastcgi_temp_path {work}/t3;
  uwsgi_temp_path {work}/t4; scgi_temp_path {work}/t5;
  map_hash_max_size 16384; map_hash_bucket_size 256;
  map $uri $blob {{ {' '.join(etags)} }}
  map $uri $blob_size {{ {' '.join(sizes)} }}
  server {{
    listen 127.0.0.1:{self.hub};
    location ~ ^/api/models/(?<repo>[^/]+/[^/]+)/tree/ {{ default_type application/json; alias {self.root}/api/$repo/tree; }}
    location ~ ^/api/models/(?<repo>[^/]+/[^/]+)(/revision/.*)?$ {{
      default_type application/json; alias {self.root}/api/$repo/revision; }}
    location ~ ^/org/(large|shards|slow)/resolve/ {{
      set $part cdn; if ($uri ~ ^/org/slow/) {{ set $part slow; }}
      add_header X-Repo-Commit {COMMIT} always; add_header X-Linked-Etag '"$blob"' always;
      add_header X-Linked-Size $blob_size always;
      return 302 http://127.0.0.1:{self.cdn}/$part/$blob; }}
    location ~ ^/(?<repo>org/[^/]+)/resolve/[^/]+/(?<path>.*)$ {{
      add_header X-Repo-Commit {COMMIT}; add_header ETag '"$blob"'; alias {self.root}/files/$repo/$path; }}
  }}
  server {{ listen 127.0.0.1:{self.cdn}; root {self.root}; location /cdn/ {{ etag on; }}
    location /slow/ {{ alias {self.root}/cdn/; etag on; limit_rate 20m; }} }}
}}
""")
        self.process = subprocess.Popen([shutil.which("nginx") or "/usr/sbin/nginx", "-c", str(conf), "-e", str(work / "error.log")])
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.cdn)) == 0:
                    return
            time.sleep(0.02)
        raise SystemExit("nginx does not answer: " + (work / "error.log").read_text())

    def stop(self):
        self.process.terminate()
        self.process.wait()


class Run:
    """One program's run: seconds, and the most memory it had."""

    def __init__(self, command, env=None):
        self.rss_mib = 0
        with tempfile.TemporaryFile() as errors:
            begun = time.monotonic()
            with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=errors) as running:
                # What wait4 tells includes the memory of this process, from before the exec.
                while running.poll() is None:
                    self.look(running.pid)
                    time.sleep(0.02)
            self.seconds = time.monotonic() - begun
            if running.returncode != 0:
                errors.seek(0)
                raise SystemExit(f"{command[0]} failed: {errors.read().decode()[-2000:]}")

    def look(self, pid):
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{pid}/status").read_text()
            peak = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
            self.rss_mib = max([self.rss_mib, *(int(kib) / 1024 for kib in peak)])


class Bench:
    def __init__(self, arguments, work):
        self.arguments, self.work = arguments, work
        big = os.urandom(1024 * MIB)
        self.sets = {
            "org/large": {"model.bin": (big, True)},
            "org/slow": {"model.bin": (big, True)},
            "org/shards": {f"model-{i:02}.bin": (big[i * 64 * MIB:(i + 1) * 64 * MIB], True) for i in range(16)},
            "org/small": {f"d{i % 16}/{i}.json": (os.urandom(2048), False) for i in range(2000)},
        }
        self.server = Nginx(work, self.sets)
        self.digest = hashlib.sha256(big).hexdigest()
        self.shards = [hashlib.sha256(one).hexdigest() for one, _ in self.sets["org/shards"].values()]
        self.sets.clear()

    def environment(self):
        cache = self.work / "cache"
        shutil.rmtree(cache, ignore_errors=True)
        return {**os.environ, "HF_ENDPOINT": f"http://127.0.0.1:{self.server.hub}", "HF_HUB_CACHE": str(cache),
                "HF_HOME": str(self.work / "home"), "NO_PROXY": "127.0.0.1", "HF_HUB_DISABLE_XET": "1",
                "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_OFFLINE": "0"}

    def ours(self, repo, *more):
        return Run([self.arguments.program, "fetch", f"{repo}@{COMMIT}", *more], self.environment())

    def python(self, repo):
        return Run([self.arguments.python, "-c", f"import huggingface_hub as h; h.snapshot_download('{repo}', "
                    f"revision='{COMMIT}')"], self.environment())

    def curl(self, names, then_hash=False, part="cdn"):
        """One after the other: what a script does."""
        targets = [self.work / f"curl.{i}" for i in range(len(names))]
        command = ["curl", "-sS"]
        for name, target in zip(names, targets):
            command += ["-o", str(target), f"http://127.0.0.1:{self.server.cdn}/{part}/{name}"]
        run = Run(command)
        if then_hash:
            run.seconds += Run(["openssl", "dgst", "-sha256", *map(str, targets)]).seconds
        for target in targets:
            target.unlink()
        return run

    def rounds(self, n, programs):
        runs = {name: [] for name in programs}
        for _ in range(n):
            for name, program in programs.items():
                runs[name].append(program())
        return {name: {"s": round(min(r.seconds for r in all_of), 3),
                       "median_s": round(statistics.median(r.seconds for r in all_of), 3),
                       "rss_mib": round(max(r.rss_mib for r in all_of), 1)} for name, all_of in runs.items()}

    def downloads(self, repo, names):
        programs = {"modelpool": lambda: self.ours(repo),
                    "modelpool_unverified": lambda: self.ours(repo, "--verify", "length"),
                    "curl": lambda: self.curl(names), "curl_then_openssl": lambda: self.curl(names, True)}
        if self.arguments.python:
            programs["python"] = lambda: self.python(repo)
        runs = self.rounds(self.arguments.rounds, programs)
        for run in runs.values():
            run["GB_per_s"] = round(1024 * MIB / run["s"] / 1e9, 3)
        ours, unverified = runs["modelpool"]["s"], runs["modelpool_unverified"]["s"]
        runs["ratios"] = {"verified_to_curl_then_openssl": round(runs["curl_then_openssl"]["s"] / ours, 2),
                          "unverified_to_curl": round(runs["curl"]["s"] / unverified, 2)}
        if self.arguments.python:
            runs["ratios"]["verified_to_python"] = round(runs["python"]["s"] / ours, 2)
        return runs

    def report(self):
        figures = {"one_file_of_1_GiB": self.downloads("org/large", [self.digest]),
                   "16_files_of_64_MiB": self.downloads("org/shards", self.shards)}
        small = {"modelpool": lambda: self.ours("org/small")}
        if self.arguments.python:
            small["python"] = lambda: self.python("org/small")
        many = figures["2000_files_of_2_KiB"] = self.rounds(self.arguments.small_rounds, small)
        if self.arguments.python:
            many["ratio_to_python"] = round(many["python"]["s"] / many["modelpool"]["s"], 2)
        slow = figures["1_GiB_at_20_MB_per_s_a_connection"] = self.rounds(1, {
            "modelpool": lambda: self.ours("org/slow"),
            "curl": lambda: self.curl([self.digest], part="slow")})
        slow["ratio_to_curl"] = round(slow["curl"]["s"] / slow["modelpool"]["s"], 2)
        return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--python")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--small-rounds", type=int, default=3)
    parser.add_argument("--work", default="/dev/shm")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.work, prefix="hub_compare.") as work:
        bench = Bench(arguments, Path(work))
        try:
            json.dump(bench.report(), sys.stdout, indent=1)
            print()
        finally:
            bench.server.stop()


if __name__ == "__main__":
    main()

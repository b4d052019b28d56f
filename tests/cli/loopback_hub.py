"""A hub on loopback for tests of the command line: one model repository, "org/model"."""

import hashlib
import http.server
import json
import threading
import time

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class LoopbackHub:
    """Serves `files`, a dictionary from paths to bytes; those of more than `large_from` bytes as large files."""

    def __init__(self, files, large_from=100_000):
        self.files, self.large_from = dict(files), large_from
        self.requests, self.body_bytes = [], 0
        self.pause_s = 0  # after every 100 kB of a body
        self.damaged = set()  # files that are sent with a wrong byte
        hub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments):
                pass

            def do_GET(self):
                hub.answer(self)

        # Large files come from another address, as those of the real one do.
        self.servers = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) for _ in range(2)]
        for server in self.servers:
            server.daemon_threads = True
            server.handle_error = lambda *arguments: None  # a client that leaves early is no fault
            threading.Thread(target=server.serve_forever, daemon=True).start()
        self.url, self.cdn = (f"http://127.0.0.1:{server.server_address[1]}" for server in self.servers)

    def close(self):
        """May be called again."""
        for server in self.servers:
            server.shutdown()
            server.server_close()

    def is_large(self, path):
        return len(self.files[path]) > self.large_from

    def name_of(self, path):
        content = self.files[path]
        if self.is_large(path):
            return hashlib.sha256(content).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()

    def entry(self, path):
        size, name = len(self.files[path]), self.name_of(path)
        result = {"type": "file", "path": path, "size": size, "oid": name}
        if self.is_large(path):
            result.update(oid="a" * 40, lfs={"oid": name, "size": size, "pointerSize": 130})
        return result

    def answer(self, peer):
        path = peer.path.split("?")[0]
        self.requests.append(path)
        if path.startswith("/api/models/org/model/revision/"):
            if path.rsplit("/", 1)[-1] == "none":
                return self.send(peer, 404, {"X-Error-Code": "RevisionNotFound"})
            return self.send(peer, 200, {}, json.dumps({"sha": COMMIT}).encode())
        if path.startswith("/api/models/org/model/tree/"):
            return self.send(peer, 200, {}, json.dumps([self.entry(name) for name in self.files]).encode())
        if path.startswith("/cdn/"):
            return self.send_file(peer, path.removeprefix("/cdn/"), {})
        name = path.split("/", 5)[-1]
        if not path.startswith("/org/model/resolve/"):
            return self.send(peer, 404, {"X-Error-Code": "RepoNotFound"})
        if name not in self.files:
            return self.send(peer, 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
        if self.is_large(name):
            return self.send(peer, 302, {
                "X-Repo-Commit": COMMIT, "X-Linked-Etag": f'"{self.name_of(name)}"',
                "X-Linked-Size": str(len(self.files[name])), "Location": f"{self.cdn}/cdn/{name}"})
        self.send_file(peer, name, {"X-Repo-Commit": COMMIT, "ETag": f'"{self.name_of(name)}"'})

    def send_file(self, peer, name, headers):
        content, status = self.files[name], 200
        if name in self.damaged:
            content = bytes([content[0] ^ 1]) + content[1:]
        wanted = peer.headers.get("Range")
        if wanted:
            begin, end = map(int, wanted.removeprefix("bytes=").split("-"))
            end = min(end, len(content) - 1)
            headers["Content-Range"] = f"bytes {begin}-{end}/{len(content)}"
            content, status = content[begin:end + 1], 206
        self.send(peer, status, headers, content)

    def send(self, peer, status, headers, body=b""):
        peer.send_response(status)
        for name, value in headers.items():
            peer.send_header(name, value)
        peer.send_header("Content-Length", str(len(body)))
        peer.end_headers()
        for begin in range(0, len(body), 100_000):
            peer.wfile.write(body[begin:begin + 100_000])
            self.body_bytes += len(body[begin:begin + 100_000])
            if self.pause_s:
                time.sleep(self.pause_s)

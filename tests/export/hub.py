"""A hub in a thread of the tests: the few addresses of huggingface.co that circlet speaks with, over real HTTP.

Repositories are made, files go by git blob or LFS, commits keep what was there, files are served whole or in part.
`faults` lets an address fail in a chosen way, once or for ever.
"""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_right"


@dataclass
class Repository:
    private: bool = False
    commits: list = field(default_factory=lambda: [("0" * 40, {})])  # (id, files by name: (content, is LFS))

    def at(self, revision):
        if revision in ("main", None):
            return self.commits[-1]
        return next((commit for commit in self.commits if commit[0] == revision), None)

    def add(self, files):
        before = self.commits[-1][1]
        commit = hashlib.sha1(repr((len(self.commits), sorted(files))).encode()).hexdigest()
        self.commits.append((commit, {**before, **files}))
        return commit


@dataclass
class Hub:
    url: str = ""
    repositories: dict = field(default_factory=dict)
    objects: dict = field(default_factory=dict)  # LFS, by SHA-256
    asked: list = field(default_factory=list)  # (method, path, range)
    faults: list = field(default_factory=list)  # (part of a path, function of the handler that answers instead, times)
    ranges: bool = True

    def fail(self, part, answer, times=10**6):
        self.faults.append([part, answer, times])


class Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status=200, content=b"", headers=()):
        raw = json.dumps(content).encode() if isinstance(content, dict | list) else content
        self.send_response(status)
        for name, value in {
            "Content-Length": str(len(raw)),
            "Content-Type": "application/json",
            **dict(headers),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(raw)

    def refuse(self, status, code=""):
        self.answer(status, {"error": "no"}, {"X-Error-Code": code, "X-Error-Message": "no"})

    def handle_one(self):
        hub, path = self.hub, unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        hub.asked.append((self.command, path, self.headers.get("Range")))
        for fault in hub.faults:
            if fault[0] in path and fault[2] > 0:
                fault[2] -= 1
                return fault[1](self)
        may = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if path == "/api/repos/create":
            return self.create(json.loads(body), may)
        if path == "/api/validate-yaml":
            return self.answer(200, {"errors": [], "warnings": []})
        if path.startswith("/upload/"):
            hub.objects[path.rpartition("/")[2]] = body
            return self.answer()
        if found := re.fullmatch(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", path):
            return self.answer(200, self.lfs(json.loads(body)))
        found = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|preupload|commit)/(.+))?", path)
        if found and self.command in ("GET", "POST"):
            return self.model(found[1], found[2], found[3], body, may)
        if found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self.serve(*found.groups(), may)
        return self.refuse(404)

    do_GET = do_POST = do_PUT = do_HEAD = handle_one

    def create(self, wanted, may):
        if not may:
            return self.refuse(401)
        name = f"{wanted['organization']}/{wanted['name']}"
        if wanted["organization"] == "others":
            return self.refuse(403)
        there = name in self.hub.repositories
        self.hub.repositories.setdefault(name, Repository(private=wanted.get("visibility") == "private"))
        return self.answer(409 if there else 200, {"url": f"{self.hub.url}/{name}"})

    def model(self, name, what, revision, body, may):
        repository = self.hub.repositories.get(name)
        if repository is None or (repository.private and not may):
            return self.refuse(404 if may else 401, "RepoNotFound")
        if what == "preupload":
            files = json.loads(body)["files"]
            modes = [
                {
                    "path": each["path"],
                    "shouldIgnore": False,
                    "oid": None,
                    "uploadMode": "regular" if each["path"].endswith((".md", ".json")) else "lfs",
                }
                for each in files
            ]
            return self.answer(200, {"files": modes})  # fmt: skip
        if what == "commit":
            return self.commit(name, repository, body)
        commit = repository.at(revision)
        if commit is None:
            return self.refuse(404, "RevisionNotFound")
        siblings = []
        for path, (content, is_lfs) in commit[1].items():
            sha256, blob = hashlib.sha256(content).hexdigest(), hashlib.sha1(b"blob %d\0" % len(content) + content)
            lfs = {"sha256": sha256, "size": len(content), "pointerSize": 130} if is_lfs else None
            siblings.append({"rfilename": path, "size": len(content), "blobId": blob.hexdigest(), "lfs": lfs})
        return self.answer(200, {"id": name, "modelId": name, "sha": commit[0], "private": repository.private,
                                 "siblings": siblings, "tags": [], "downloads": 0, "likes": 0})  # fmt: skip

    def commit(self, name, repository, body):
        files = {}
        for line in map(json.loads, body.decode().splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = (base64.b64decode(value["content"]), False)
            elif line["key"] == "lfsFile":
                files[value["path"]] = (self.hub.objects[value["oid"]], True)
        commit = repository.add(files)
        return self.answer(200, {"success": True, "commitOid": commit, "commitUrl": f"{self.hub.url}/{name}/commit/x"})

    def lfs(self, wanted):
        made = [
            {
                "oid": each["oid"],
                "size": each["size"],
                "actions": {"upload": {"href": f"{self.hub.url}/upload/{each['oid']}", "header": {}}},
            }
            for each in wanted["objects"]
        ]
        return {"transfer": "basic", "objects": made}  # fmt: skip

    def serve(self, name, revision, path, may):
        repository = self.hub.repositories.get(name)
        if repository is None or (repository.private and not may):
            return self.refuse(404, "RepoNotFound")
        content, _ = repository.at(revision)[1][path]
        start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if start and self.hub.ranges:
            part = content[int(start[1]) :]
            return self.answer(206, part, {"Content-Range": f"bytes {start[1]}-{len(content) - 1}/{len(content)}"})
        return self.answer(200, content)


@contextmanager
def running_hub():
    """A hub at a free port of this machine."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OwnHandler", (Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def cut_after(num_bytes):
    """Answer with that many bytes of a file, then break the connection off."""

    def answer(handler):
        name, revision, path = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", handler.path).groups()
        content, _ = handler.hub.repositories[name].at(revision)[1][path]
        start = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range") or "bytes=0-")
        begin = int(start[1])
        handler.send_response(206 if begin else 200)
        handler.send_header("Content-Length", str(len(content) - begin))
        handler.end_headers()
        handler.wfile.write(content[begin : begin + num_bytes])
        handler.wfile.flush()
        handler.close_connection = True
        handler.connection.shutdown(2)

    return answer

"""A Hub on this machine: as much of the Hugging Face Hub's HTTP API as publishing and loading a model takes."""

import base64
import hashlib
import json
import re
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from huggingface_hub import constants

WRITER, READER = "hf_writer", "hf_reader"  # tokens; without one a request is anonymous


@dataclass
class Repo:
    """A repository: the files of each commit, in order."""

    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def commit(self, files: dict[str, bytes]) -> str:
        oid = hashlib.sha1(f"{len(self.commits)}{sorted(files)}".encode()).hexdigest()
        self.commits[oid] = files
        return oid

    def resolve(self, revision: str) -> str | None:
        return list(self.commits)[-1] if revision == "main" else revision if revision in self.commits else None


@dataclass
class Fault:
    """What goes wrong with the next requests whose ``METHOD path`` matches a pattern."""

    pattern: str
    times: int = 1
    status: int = 0  # answer this instead
    cut: int | None = None  # or send so many bytes and hang up
    spoil: bool = False  # or send another last byte than the file has


class LocalHub(ThreadingHTTPServer):
    """Serves on 127.0.0.1 in a thread of its own, as a context manager: ``repos`` by name, large ``objects`` by their
    SHA-256, the ``faults`` to come, and the ``METHOD path`` of all requests ``seen``."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.repos, self.objects, self.faults, self.seen = {}, {}, [], []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error):
        self.shutdown()
        self.server_close()

    def connect(self, monkeypatch, cache: Path, token: str | None = WRITER) -> None:
        """Make huggingface_hub, in this process, speak to this server, with an empty cache and without waiting."""
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, self.url)
        for name, value in {"HUGGINGFACE_CO_URL_TEMPLATE": template, "ENDPOINT": self.url, "HF_HUB_CACHE": str(cache),
                            "HF_TOKEN_PATH": str(cache / "none"), "HF_HUB_DISABLE_XET": True}.items():
            monkeypatch.setattr(constants, name, value)
        monkeypatch.setattr(time, "sleep", lambda seconds: None)
        monkeypatch.setenv("HF_TOKEN", token or "")

    def add(self, repo: str, folder: Path, **options: bool) -> str:
        """Put a folder's files into a repository, as one commit."""
        there = self.repos.setdefault(repo, Repo(**options))
        return there.commit({path.name: path.read_bytes() for path in sorted(folder.iterdir())})

    def files(self, repo: str) -> dict[str, bytes]:
        return self.repos[repo].commits[self.repos[repo].resolve("main")]

    def handle_error(self, request, client_address):
        """A client that hangs up is no news."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        request = f"{self.command} {path}"
        self.server.seen.append(request)
        fault = next((f for f in self.server.faults if f.times and re.search(f.pattern, request)), None)
        self.fault = fault or Fault("")
        self.fault.times -= 1
        if self.fault.status:
            return self.answer({"error": "as the test wants it"}, self.fault.status)
        if self.command == "POST" and self.token != WRITER:  # the address of a PUT is a secret itself
            return self.answer({"error": "no right to write"}, 403 if self.token else 401)
        for pattern, action in ROUTES.items():
            if match := re.fullmatch(pattern, request):
                return action(self, *match.groups())
        self.answer({"error": f"unknown call {request}"}, 501)

    do_GET = do_HEAD = do_POST = do_PUT = do

    def log_message(self, *args) -> None:
        pass

    def answer(self, content: dict | bytes, status: int = 200, **headers: str) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content_Length": len(data), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.fault.cut is not None:
            data, self.close_connection = data[: self.fault.cut], True
        if self.command != "HEAD":
            self.wfile.write(data)

    def repo(self, name: str) -> Repo | None:
        """The repository, if it is there and this client may see it; otherwise it is answered already."""
        repo = self.server.repos.get(name)
        if repo is None or repo.private and not self.token:
            return self.answer({}, 404 if self.token else 401, X_Error_Code="RepoNotFound")
        if repo.gated and self.token != WRITER:
            return self.answer({}, 403 if self.token else 401, X_Error_Code="GatedRepo")
        return repo

    def create(self) -> None:
        wanted = json.loads(self.body)
        name = f"{wanted['organization']}/{wanted['name']}"
        if name in self.server.repos:
            return self.answer({"error": "it is there", "url": f"{self.server.url}/{name}"}, 409)
        self.server.repos[name] = Repo(private=wanted.get("visibility") == "private" or bool(wanted.get("private")))
        self.server.repos[name].commit({".gitattributes": b"*.safetensors filter=lfs"})
        self.answer({"url": f"{self.server.url}/{name}"})

    def info(self, name: str) -> None:
        if repo := self.repo(name):
            files = [{"rfilename": path} for path in self.server.files(name)]
            self.answer({"id": name, "sha": repo.resolve("main"), "private": repo.private, "siblings": files})

    def preupload(self, name: str) -> None:
        if self.repo(name):
            there, files = self.server.files(name), []
            for path in (file["path"] for file in json.loads(self.body)["files"]):
                oid = (sha256 if is_large(path) else git_oid)(there[path]) if path in there else None
                mode = "lfs" if is_large(path) else "regular"
                files.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
            self.answer({"files": files})

    def batch(self, name: str) -> None:
        objects = json.loads(self.body)["objects"]
        for wanted in objects:
            if wanted["oid"] not in self.server.objects:
                wanted["actions"] = {"upload": {"href": f"{self.server.url}/objects/{wanted['oid']}"}}
        self.answer({"transfer": "basic", "objects": objects})

    def upload(self, oid: str) -> None:
        self.server.objects[sha256(self.body)] = self.body
        self.answer({}, 200 if oid in self.server.objects else 422)

    def commit(self, name: str) -> None:
        files = dict(self.server.files(name))
        for line in map(json.loads, self.body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.objects[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        oid = self.server.repos[name].commit(files)
        self.answer({"commitUrl": f"{self.server.url}/{name}/commit/{oid}", "commitOid": oid})

    def resolve(self, name: str, revision: str, path: str) -> None:
        if not (repo := self.repo(name)):
            return None
        oid = repo.resolve(revision)
        if oid is None:
            return self.answer({}, 404, X_Error_Code="RevisionNotFound")
        if path not in repo.commits[oid]:
            return self.answer({}, 404, X_Error_Code="EntryNotFound", X_Repo_Commit=oid)
        data = repo.commits[oid][path]
        headers = {"X_Repo_Commit": oid, "ETag": f'"{git_oid(data)}"', "Accept_Ranges": "bytes"}
        if is_large(path):
            headers |= {"X_Linked_Size": len(data), "X_Linked_Etag": f'"{sha256(data)}"'}
        if self.fault.spoil:
            data = data[:-1] + bytes([data[-1] ^ 1])
        first = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        if first:
            headers["Content_Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
        self.answer(data[first:], 206 if first else 200, **headers)


REPO = "([^/]+/[^/]+)"
ROUTES = {
    "POST /api/repos/create": Handler.create,
    "POST /api/validate-yaml": lambda handler: handler.answer({"errors": [], "warnings": []}),
    f"POST /api/models/{REPO}/preupload/main": Handler.preupload,
    f"POST /api/models/{REPO}/commit/main": Handler.commit,
    rf"POST /{REPO}\.git/info/lfs/objects/batch": Handler.batch,
    "PUT /objects/([0-9a-f]{64})": Handler.upload,
    f"GET /api/models/{REPO}(?:/revision/main)?": Handler.info,
    f"(?:GET|HEAD) /{REPO}/resolve/([^/]+)/(.+)": Handler.resolve,
}


def is_large(path: str) -> bool:
    return path.endswith(".safetensors")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def git_oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()

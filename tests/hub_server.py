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
        head = list(self.commits)[-1]
        return head if revision == "main" else revision if revision in self.commits else None


@dataclass
class Fault:
    """What goes wrong with the next requests whose ``METHOD path`` matches a pattern."""

    pattern: str
    times: int = 1
    status: int = 0  # answer this instead
    cut: int | None = None  # or send so many bytes and hang up
    spoil: bool = False  # or send another last byte than the file has


class LocalHub(ThreadingHTTPServer):
    """Serves on 127.0.0.1 in a thread of its own, as a context manager.

    Attributes:
        repos: Repositories by ``owner/name``.
        objects: Large files by their SHA-256.
        faults: What goes wrong next.
        seen: ``METHOD path`` of all requests.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.repos, self.objects, self.faults, self.seen = {}, {}, [], []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *error):
        self.shutdown()
        self.server_close()

    def connect(self, monkeypatch, cache: Path, token: str | None = WRITER) -> None:
        """Make huggingface_hub, in this process, speak to this server, with an empty cache and without waiting."""
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, self.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", self.url)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(cache / "no-token"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
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
        if self.command in ("POST", "PUT") and path != "/api/validate-yaml" and self.token != WRITER:
            return self.answer({"error": "no right to write"}, 403 if self.token else 401)
        for method, pattern, action in ROUTES:
            match = re.fullmatch(pattern, path)
            if match and self.command in method:
                return action(self, *match.groups())
        self.answer({"error": f"unknown call {request}"}, 501)

    do_GET = do_HEAD = do_POST = do_PUT = do

    def log_message(self, *args) -> None:
        pass

    def answer(self, content: dict | list | bytes, status: int = 200, **headers: str) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        headers.setdefault("Content_Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.fault.cut is not None:
            data, self.close_connection = data[: self.fault.cut], True
        if self.command != "HEAD":
            self.wfile.write(data)

    def repo(self, name: str) -> Repo | None:
        """The repository, if it is there and this client may see it; otherwise it is answered already."""
        repo = self.server.repos.get(name)
        if repo is None or repo.private and not self.token:
            self.answer({}, 404 if self.token else 401, X_Error_Code="RepoNotFound")
            return None
        if repo.gated and self.token != WRITER:
            self.answer({}, 403 if self.token else 401, X_Error_Code="GatedRepo")
            return None
        return repo

    def create(self) -> None:
        wanted = json.loads(self.body)
        name = f"{wanted['organization']}/{wanted['name']}"
        if name in self.server.repos:
            return self.answer({"error": "You already created this model repo"}, 409)
        self.server.repos[name] = Repo(private=wanted.get("visibility") == "private" or bool(wanted.get("private")))
        self.server.repos[name].commit({".gitattributes": b"*.safetensors filter=lfs"})
        self.answer({"url": f"{self.server.url}/{name}"})

    def validate(self) -> None:
        good = json.loads(self.body)["content"].startswith("---\n")
        self.answer({"errors": [] if good else [{"message": "no metadata"}], "warnings": []}, 200 if good else 400)

    def info(self, name: str, revision: str | None = None) -> None:
        if repo := self.repo(name):
            oid = repo.resolve(revision or "main")
            self.answer({"id": name, "sha": oid, "private": repo.private,
                         "siblings": [{"rfilename": path} for path in repo.commits[oid]]})

    def tree(self, name: str, revision: str) -> None:
        if repo := self.repo(name):
            files = repo.commits[repo.resolve(revision)]
            self.answer([{"type": "file", "path": path, "size": len(data), "oid": git_oid(data)}
                         for path, data in files.items()])

    def preupload(self, name: str, revision: str) -> None:
        if self.repo(name):
            there, files = self.server.files(name), []
            for path in (file["path"] for file in json.loads(self.body)["files"]):
                oid = (sha256 if is_large(path) else git_oid)(there[path]) if path in there else None
                mode = "lfs" if is_large(path) else "regular"
                files.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
            self.answer({"files": files})

    def batch(self, name: str) -> None:
        if self.repo(name):
            objects = json.loads(self.body)["objects"]
            for wanted in objects:
                if wanted["oid"] not in self.server.objects:
                    wanted["actions"] = {"upload": {"href": f"{self.server.url}/objects/{wanted['oid']}"}}
            self.answer({"transfer": "basic", "objects": objects})

    def upload(self, oid: str) -> None:
        good = sha256(self.body) == oid
        if good:
            self.server.objects[oid] = self.body
        self.answer({}, 200 if good else 422)

    def commit(self, name: str, revision: str) -> None:
        if repo := self.repo(name):
            files = dict(self.server.files(name))
            for line in map(json.loads, self.body.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    files[value["path"]] = self.server.objects[value["oid"]]
                elif line["key"] == "deletedFile":
                    del files[value["path"]]
            oid = repo.commit(files)
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
            headers |= {"X_Linked_Size": str(len(data)), "X_Linked_Etag": f'"{sha256(data)}"'}
        start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if self.fault.spoil:
            data = data[:-1] + bytes([data[-1] ^ 1])
        if start:
            first = int(start[1])
            headers["Content_Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
            return self.answer(data[first:], 206, **headers)
        self.answer(data, **headers)


REPO, REVISION = r"([^/]+/[^/]+)", r"([^/]+)"
ROUTES = (
    ("POST", "/api/repos/create", Handler.create),
    ("POST", "/api/validate-yaml", Handler.validate),
    ("POST", f"/api/models/{REPO}/preupload/{REVISION}", Handler.preupload),
    ("POST", f"/api/models/{REPO}/commit/{REVISION}", Handler.commit),
    ("POST", f"/{REPO}\\.git/info/lfs/objects/batch", Handler.batch),
    ("PUT", "/objects/([0-9a-f]{64})", Handler.upload),
    ("GET", f"/api/models/{REPO}", Handler.info),
    ("GET", f"/api/models/{REPO}/revision/{REVISION}", Handler.info),
    ("GET", f"/api/models/{REPO}/tree/{REVISION}", Handler.tree),
    ("GET HEAD", f"/{REPO}/resolve/{REVISION}/(.+)", Handler.resolve),
)


def is_large(path: str) -> bool:
    return path.endswith(".safetensors")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def git_oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()

"""A Hub on 127.0.0.1: what the real client asks for, answered from memory; faults on demand; all that came is kept.

Written after the client's own source (huggingface_hub, `hf_api.py`, `lfs.py`, `_commit_api.py`).
"""

import base64
import hashlib
import json
import re
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

WRITE, READ, FINE, EXPIRED = ("hf_" + letter * 30 for letter in "wrfx")
LICENSES = ("apache-2.0", "mit", "cc-by-nc-4.0", "other")


@dataclass
class File:
    content: bytes
    lfs: bool = False
    size: int = 0
    sha256: str = ""

    @property
    def etag(self) -> str:
        blob = f"blob {len(self.content)}\0".encode() + self.content
        return self.sha256 if self.lfs else hashlib.sha1(blob).hexdigest()


@dataclass
class Repo:
    private: bool
    heads: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, File]] = field(default_factory=dict)

    def add(self, branch: str, files: dict[str, File]) -> str:
        commit = hashlib.sha1(f"{len(self.commits)}{id(self)}".encode()).hexdigest()
        self.commits[commit], self.heads[branch] = files, commit
        return commit

    def resolve(self, revision: str) -> str | None:
        known = {**self.heads, **self.tags, **{commit: commit for commit in self.commits}}
        return known.get(unquote(revision))


@dataclass
class Fault:
    """What happens in place of an answer: a status; `reset` within the body; `lost`, `page` after the work."""

    method: str
    path: str
    how: int | str | Callable[[], None]
    times: int = 1
    headers: dict[str, str] = field(default_factory=dict)
    message: str = "injected"


class Answer(Exception):
    def __init__(self, status: int, content: Any, **headers: str) -> None:
        self.status, self.content, self.headers = status, content, headers


class LoopbackHub:
    """The server. `ada` owns her name and writes for `lab`; tests look at `repos`, `requests`, `blobs`."""

    def __init__(self) -> None:
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": self}))
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.reset()
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def reset(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.blobs: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str, bytes]] = []
        self.xorbs = 0

    def fail(self, method: str, path: str, how: Any, **more: Any) -> None:
        self.faults.append(Fault(method, path, how, **more))

    def files(self, repo_id: str, revision: str = "main") -> dict[str, File]:
        repo = self.repos[repo_id]
        return repo.commits[str(repo.resolve(revision))]

    def make(self, repo_id: str, *, private: bool = False) -> Repo:
        repo = self.repos[repo_id] = Repo(private)
        repo.add("main", {".gitattributes": File(b"*.safetensors filter=lfs\n")})
        return repo

    def asked(self, method: str, path: str) -> int:
        return sum(found == method and re.search(path, url) is not None for found, url, _ in self.requests)


class Handler(BaseHTTPRequestHandler):
    hub: LoopbackHub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    log_message = lambda *_: None  # noqa: E731

    def handle_any(self) -> None:
        url = urlsplit(self.path)
        fault = self._take_fault(url.path)
        if fault and fault.how == "reset":
            self.rfile.read(10)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return self._hang_up()
        body = self._read_body()
        self.hub.requests.append((self.command, self.path, body))
        if fault and callable(fault.how):
            fault.how()
        try:
            if fault and isinstance(fault.how, int):
                raise Answer(fault.how, {"error": fault.message}, **fault.headers)
            self._route(url.path, body)
            raise Answer(404, {"error": f"no route for {self.command} {url.path}"})
        except Answer as answer:
            if fault and fault.how == "lost":
                return self._hang_up()
            self._send(Answer(200, b"<html>sign in</html>") if fault and fault.how == "page" else answer)
        return None

    do_GET = do_HEAD = do_POST = do_PUT = handle_any

    def _take_fault(self, path: str) -> Fault | None:
        for fault in self.hub.faults:
            if fault.times and fault.method == self.command and re.search(fault.path, path):
                fault.times -= 1
                return fault
        return None

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.close()

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _send(self, answer: Answer) -> None:
        content = answer.content if isinstance(answer.content, bytes) else json.dumps(answer.content).encode()
        self.send_response(answer.status)
        for name, value in {"Content-Length": str(len(content)), **answer.headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _route(self, path: str, body: bytes) -> None:
        for method, pattern, name in ROUTES:
            if (method == self.command or {method, self.command} == {"GET", "HEAD"}) and (
                found := re.fullmatch(pattern, path)
            ):
                getattr(self, name)(*found.groups(), body)

    def _token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def _repo(self, repo_id: str, *, write: bool = False) -> Repo:
        repo = self.hub.repos.get(repo_id)
        if repo is None or (repo.private and self._token() not in (READ, WRITE)):
            raise Answer(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
        if write and self._token() != WRITE:
            raise Answer(403, {"error": "You don't have the rights to write here"})
        return repo

    def _commit(self, repo: Repo, revision: str) -> str:
        commit = repo.resolve(revision)
        if commit is None:
            raise Answer(404, {"error": "Invalid rev id"}, X_Error_Code="RevisionNotFound")
        return commit

    def whoami(self, body: bytes) -> None:
        scope = {"entity": {"type": "user", "name": "ada"}, "permissions": ["repo.content.read"]}
        tokens = {WRITE: {"role": "write"}, READ: {"role": "read"}}
        tokens[FINE] = {"role": "fineGrained", "fineGrained": {"global": [], "scoped": [scope]}}
        if self._token() not in tokens:
            raise Answer(401, {"error": "Invalid credentials in Authorization header"})
        orgs = [{"name": "lab", "roleInOrg": "write"}, {"name": "club", "roleInOrg": "read"}]
        auth = {"accessToken": tokens[self._token()]}
        raise Answer(200, {"type": "user", "name": "ada", "orgs": orgs, "auth": auth})

    def create(self, body: bytes) -> None:
        asked = json.loads(body)
        repo_id = f"{asked['organization']}/{asked['name']}"
        url = {"url": f"{self.hub.url}/{repo_id}"}
        if self._token() != WRITE or asked["organization"] not in ("ada", "lab"):
            raise Answer(403, {"error": "You don't have the rights to create a model here"})
        if repo_id in self.hub.repos:
            raise Answer(409, {"error": "You already created this model repo", **url})
        self.hub.make(repo_id, private=asked.get("visibility") == "private" or asked.get("private") is True)
        raise Answer(200, url)

    def validate(self, body: bytes) -> None:
        metadata = yaml.safe_load(json.loads(body)["content"].split("---")[1])
        if metadata.get("license") in LICENSES:
            raise Answer(200, {"errors": [], "warnings": []})
        raise Answer(400, {"errors": [{"message": f'"license" must be one of {list(LICENSES)}'}], "warnings": []})

    def info(self, repo_id: str, revision: str | None, body: bytes) -> None:
        repo = self._repo(repo_id)
        commit = self._commit(repo, revision or "main")
        siblings = [{"rfilename": path} for path in repo.commits[commit]]
        raise Answer(200, {"id": repo_id, "sha": commit, "private": repo.private, "siblings": siblings})

    def tree(self, repo_id: str, revision: str, body: bytes) -> None:
        repo = self._repo(repo_id)
        rows = []
        for path, file in repo.commits[self._commit(repo, revision)].items():
            lfs = {"lfs": {"oid": file.sha256, "size": file.size, "pointerSize": 130}} if file.lfs else {}
            rows.append({"type": "file", "oid": file.etag[:40], "size": len(file.content), "path": path, **lfs})
        raise Answer(200, rows)

    def preupload(self, repo_id: str, revision: str, body: bytes) -> None:
        self._repo(repo_id, write=True)
        files = [file["path"] for file in json.loads(body)["files"]]
        modes = {path: "lfs" if path.endswith((".safetensors", ".png")) else "regular" for path in files}
        raise Answer(200, {"files": [{"path": p, "uploadMode": m, "shouldIgnore": False} for p, m in modes.items()]})

    def batch(self, repo_id: str, body: bytes) -> None:
        self._repo(repo_id, write=True)
        rows, asked = [], json.loads(body)
        for row in asked["objects"]:
            href = f"{self.hub.url}/lfs/{row['oid']}"
            actions = {"upload": {"href": href}, "verify": {"href": f"{href}/verify"}}
            rows.append({**row, **({} if row["oid"] in self.hub.blobs else {"actions": actions})})
        raise Answer(200, {"objects": rows, "transfer": "xet" if "xet" in asked["transfers"] else "basic"})

    def put(self, oid: str, body: bytes) -> None:
        if hashlib.sha256(body).hexdigest() != oid:
            raise Answer(400, {"error": "checksum"})
        self.hub.blobs[oid] = body
        raise Answer(200, {})

    def verify(self, oid: str, body: bytes) -> None:
        raise Answer(200 if oid in self.hub.blobs else 404, {})

    def commit(self, repo_id: str, branch: str, body: bytes) -> None:
        repo, branch = self._repo(repo_id, write=True), unquote(branch)
        rows = [json.loads(line) for line in body.splitlines() if line]
        parent = rows[0]["value"].get("parentCommit")
        if parent and parent != repo.heads[branch]:
            raise Answer(412, {"error": "A commit has happened since. Please refresh and try again."})
        files = dict(repo.commits[repo.heads[branch]])
        for row in rows[1:]:
            value = row["value"]
            if row["key"] == "file":
                files[value["path"]] = File(base64.b64decode(value["content"]))
            elif row["key"] == "lfsFile":
                content = self.hub.blobs.get(value["oid"])
                if content is None and not self.hub.xorbs:
                    raise Answer(400, {"error": f"{value['path']} was not uploaded"})
                files[value["path"]] = File(content or b"", True, value["size"], value["oid"])
            else:
                del files[value["path"]]
        commit = repo.add(branch, files)
        raise Answer(200, {"commitUrl": f"{self.hub.url}/{repo_id}/commit/{commit}", "commitOid": commit})

    def refs(self, repo_id: str, body: bytes) -> None:
        repo = self._repo(repo_id)
        kinds = {"branches": repo.heads, "tags": repo.tags, "converts": {}}
        rows = {k: [{"name": n, "ref": n, "targetCommit": c} for n, c in kind.items()] for k, kind in kinds.items()}
        raise Answer(200, rows)

    def tag(self, repo_id: str, revision: str, body: bytes) -> None:
        repo, name = self._repo(repo_id, write=True), json.loads(body)["tag"]
        if name in repo.tags:
            raise Answer(409, {"error": "Tag exists"})
        repo.tags[name] = self._commit(repo, revision)
        raise Answer(200, {})

    def branch(self, repo_id: str, name: str, body: bytes) -> None:
        repo = self._repo(repo_id, write=True)
        repo.heads.setdefault(unquote(name), repo.heads["main"])
        raise Answer(200, {})

    def resolve(self, repo_id: str, revision: str, path: str, body: bytes) -> None:
        repo = self._repo(repo_id)
        commit = self._commit(repo, revision)
        file = repo.commits[commit].get(path)
        if file is None:
            raise Answer(404, {"error": "Entry not found"}, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
        linked = {"X_Linked_Etag": f'"{file.etag}"', "X_Linked_Size": str(file.size)} if file.lfs else {}
        raise Answer(200, file.content, X_Repo_Commit=commit, ETag=f'"{file.etag}"', **linked)

    def xet_token(self, repo_id: str, revision: str, body: bytes) -> None:
        self._repo(repo_id, write=True)
        headers = {"X_Xet_Cas_Url": self.hub.url, "X_Xet_Access_Token": "xet", "X_Xet_Token_Expiration": "99999999999"}
        raise Answer(200, {"casUrl": self.hub.url, "accessToken": "xet", "exp": 99999999999}, **headers)

    def xorb(self, body: bytes) -> None:
        self.hub.xorbs += 1
        raise Answer(200, {"was_inserted": True})

    def shard(self, body: bytes) -> None:
        raise Answer(200, {"result": 1})


_ID = r"([\w.-]+/[\w.-]+)"
ROUTES = [
    ("GET", "/api/whoami-v2", "whoami"),
    ("POST", "/api/repos/create", "create"),
    ("POST", "/api/validate-yaml", "validate"),
    ("GET", rf"/api/(?:models|datasets)/{_ID}(?:/revision/([^/]+))?", "info"),
    ("GET", rf"/api/(?:models|datasets)/{_ID}/tree/([^/]+)", "tree"),
    ("POST", rf"/api/models/{_ID}/preupload/([^/]+)", "preupload"),
    ("POST", rf"/{_ID}\.git/info/lfs/objects/batch", "batch"),
    ("PUT", r"/lfs/(\w+)", "put"),
    ("POST", r"/lfs/(\w+)/verify", "verify"),
    ("POST", rf"/api/models/{_ID}/commit/([^/]+)", "commit"),
    ("GET", rf"/api/models/{_ID}/refs", "refs"),
    ("POST", rf"/api/models/{_ID}/tag/([^/]+)", "tag"),
    ("POST", rf"/api/models/{_ID}/branch/([^/]+)", "branch"),
    ("GET", rf"/(?:datasets/)?{_ID}/resolve/([^/]+)/(.+)", "resolve"),
    ("GET", rf"/api/models/{_ID}/xet-write-token/([^/]+)", "xet_token"),
    ("POST", r"/v1/xorbs/default/\w+", "xorb"),
    ("POST", r"/(?:v1/)?shards", "shard"),
]

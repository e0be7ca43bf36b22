"""A loopback server that speaks the few calls of a model hub that an upload makes."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_" + "right" * 6
"""The one that may write."""


class HubServer(ThreadingHTTPServer):
    """See ``serve_hub``.

    Attributes:
        repositories: Name to whether it is private.
        files: Repository and path to what was committed.
        breaks: Part of a path: requests of it get no answer, the connection is cut.
        asked: (method, path) of every request.
        sent: Every body that came in, as bytes.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, bool] = {}
        self.files: dict[tuple[str, str], bytes] = {}
        self.objects: dict[str, bytes] = {}
        self.breaks: str | None = None
        self.asked: list[tuple[str, str]] = []
        self.sent: list[bytes] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def serve_hub() -> Iterator[HubServer]:
    """A hub without repositories, until the end of the block."""
    server = HubServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_PUT(self) -> None:
        self._answer("PUT")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_GET(self) -> None:
        self._answer("GET")

    def _answer(self, method: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, hub = self.path.partition("?")[0], self.server
        hub.asked.append((method, path))
        hub.sent.append(body)
        if hub.breaks is not None and hub.breaks in path:
            self.close_connection = True
            self.connection.close()
            return
        if path.startswith("/objects/"):  # the address itself is the permission, as on the real hub
            hub.objects[path.rpartition("/")[2]] = body
            self._say(200, {})
        elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._say(401, {"error": "Invalid username or password."})
        else:
            self._say(*self._called(path, body))

    def _called(self, path: str, body: bytes) -> tuple[int, Any]:
        hub = self.server
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            if asked["organization"] == "others":
                return 403, {"error": "You don't have the rights to create a model under the namespace others"}
            if name in hub.repositories:
                return 409, {"error": "You already created this model repo", "url": f"{hub.url}/{name}"}
            hub.repositories[name] = asked.get("visibility") == "private" or bool(asked.get("private"))
            return 200, {"url": f"{hub.url}/{name}"}
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if "/preupload/" in path:
            files = json.loads(body)["files"]
            mode = {True: "lfs", False: "regular"}
            return 200, {
                "files": [
                    {"path": f["path"], "uploadMode": mode[f["path"].endswith(".safetensors")], "shouldIgnore": False}
                    for f in files
                ]
            }
        if path.endswith("/info/lfs/objects/batch"):
            objects = [
                {"oid": o["oid"], "size": o["size"], "actions": {"upload": {"href": f"{hub.url}/objects/{o['oid']}"}}}
                for o in json.loads(body)["objects"]
            ]
            return 200, {"transfer": "basic", "objects": objects}
        if "/commit/" in path:
            return self._commit(path.removeprefix("/api/models/").partition("/commit/")[0], body)
        return 404, {"error": f"this hub does not know {path}"}

    def _commit(self, repository: str, body: bytes) -> tuple[int, Any]:
        hub = self.server
        for line in body.decode().splitlines():
            said = json.loads(line)
            value = said["value"]
            if said["key"] == "file":
                hub.files[repository, value["path"]] = base64.b64decode(value["content"])
            elif said["key"] == "lfsFile":
                data = hub.objects[value["oid"]]
                assert hashlib.sha256(data).hexdigest() == value["oid"]
                hub.files[repository, value["path"]] = data
        return 200, {"commitUrl": f"{hub.url}/{repository}/commit/abc", "commitOid": "abc", "pullRequestUrl": None}

    def _say(self, status: int, content: Any) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

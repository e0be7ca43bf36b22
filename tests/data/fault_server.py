"""A loopback HTTP server of a folder, with byte ranges, that answers as badly as a test asks it to."""

from __future__ import annotations

import os
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FAULTS = (
    "500",
    "503",
    "stall",
    "reset",
    "truncate",
    "wrong_range",
    "wrong_length",
    "garble",
    "trickle",
    "ignore_range",
)
"""What an answer may have wrong. ``ignore_range`` is no failure: the whole file comes."""


@dataclass(frozen=True)
class Request:
    """What came in.

    Attributes:
        number: Of the request, from 0.
        path: Below the folder.
        range: First and last byte, None for the whole file.
    """

    number: int
    path: str
    range: tuple[int, int] | None


Fault = Callable[[Request], str | None]


class FaultServer(ThreadingHTTPServer):
    """See ``serve``.

    Attributes:
        fault: What to do wrong with a request; a status as digits, one of ``FAULTS``, or None.
        stall_seconds: How long an answer stalls.
        requests: All that came in.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, folder: Path, fault: Fault) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.fault = fault
        self.stall_seconds = 5.0
        self.requests: list[Request] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no news."""


@contextmanager
def serve(folder: Path, fault: Fault = lambda request: None) -> Iterator[FaultServer]:
    """Serves a folder while the context is open."""
    server = FaultServer(folder, fault)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 2**16  # headers and body in one packet; else each answer waits 40 ms for an acknowledgement
    server: FaultServer

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        with self.server.lock:
            span = (int(asked[1]), int(asked[2])) if asked else None
            request = Request(len(self.server.requests), self.path.lstrip("/"), span)
            self.server.requests.append(request)
        fault = self.server.fault(request)
        file = self.server.folder / request.path
        if fault is not None and fault.isdigit():
            self._send(int(fault), b"sorry")
        elif not file.is_file():
            self._send(404, b"no such file")
        elif fault == "reset":
            self.close_connection = True
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            with open(os.devnull) as nothing:  # the streams of the handler hold the socket open too
                os.dup2(nothing.fileno(), self.connection.fileno())
        else:
            self._answer(file.read_bytes(), None if fault == "ignore_range" else span, fault)

    def _answer(self, content: bytes, span: tuple[int, int] | None, fault: str | None) -> None:
        headers = {}
        body = content
        if span is not None:
            first, last = span[0], min(span[1], len(content) - 1)
            body = content[first : last + 1]
            shift = 1 if fault == "wrong_range" else 0
            headers["Content-Range"] = f"bytes {first + shift}-{last + shift}/{len(content)}"
        if fault == "garble":
            middle = len(body) // 2
            body = body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]
        self._send(206 if span is not None else 200, body, headers, fault)

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None, fault: str | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) + (7 if fault == "wrong_length" else 0)))
        self.end_headers()
        if fault in ("stall", "truncate", "wrong_length"):
            self.close_connection = True
            self.wfile.write(body[: len(body) // 2] if fault != "wrong_length" else body)
            self.wfile.flush()
            if fault == "stall":
                time.sleep(self.server.stall_seconds)
        elif fault == "trickle":
            for at in range(0, len(body), max(1, len(body) // 40)):
                self.wfile.write(body[at : at + max(1, len(body) // 40)])
                self.wfile.flush()
                time.sleep(0.05)
        else:
            self.wfile.write(body)

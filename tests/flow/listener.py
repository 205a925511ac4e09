"""Subscribers on loopback that behave well or badly, and keep what came to them, and from when until when."""

import json
import socket
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from types import MappingProxyType
from typing import NamedTuple, Self

LARGE_BYTES, PIECE = 50_000_000, b"x" * 65_536
RESET = struct.pack("ii", 1, 0)  # SO_LINGER without a wait: the connection is reset instead of closed
DRIP_SECONDS = 0.1


class Taken(NamedTuple):
    """One request of a signal, from its last byte to the moment at which its answer begins, or it ends without one."""

    id: str
    person: str
    number: int
    began: float
    ended: float


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: "_Server"

    def do_POST(self) -> None:
        """Answer as the listener does, and keep what came."""
        listener, body = self.server.listener, self.rfile.read(int(self.headers["content-length"]))
        began, data = time.monotonic(), json.loads(body)["data"]
        listener.begun.append(self.headers["webhook-id"])
        self.answered = 0.0
        try:
            with suppress(OSError):
                listener.behave(self)
        finally:
            taken = Taken(
                self.headers["webhook-id"], data["key"], data["number"], began, self.answered or time.monotonic()
            )
            listener.taken.append(taken)

    do_GET = do_POST  # noqa: N815 - a redirect that is followed becomes a GET

    def answer(self, status: int, length: int = 0, headers: Mapping[str, str] = MappingProxyType({})) -> None:
        """Send the head of an answer."""
        # Before it is sent: whoever got it may be here again before this thread goes on.
        self.answered = time.monotonic()
        self.send_response(status)
        self.send_header("content-length", str(length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Stay quiet: what came is kept."""


Behave = Callable[[Handler], None]


class Listener:
    """A subscriber; ``open`` makes it listen at the port that it has from the beginning."""

    def __init__(self, behave: Behave) -> None:
        """Choose a port; nobody listens yet."""
        self.behave = behave
        self.begun: list[str] = []
        self.taken: list[Taken] = []
        with socket.socket() as chosen:
            chosen.bind(("127.0.0.1", 0))
            self.port = int(chosen.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}/hooks/gatepost"
        self._server: _Server | None = None

    def open(self) -> Self:
        """Listen."""
        self._server = _Server(("127.0.0.1", self.port), Handler)
        self._server.listener = self
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def close(self) -> None:
        """Listen no more, if it does."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def ids(self) -> set[str]:
        """Return what came."""
        return {taken.id for taken in list(self.taken)}

    def disorder(self) -> list[tuple[Taken, Taken]]:
        """Return the pairs of which the second is older, or came while the first was there: none of one person may."""
        lines: dict[str, list[Taken]] = defaultdict(list)
        for taken in sorted(self.taken, key=lambda taken: taken.began):
            lines[taken.person].append(taken)
        pairs = [pair for line in lines.values() for pair in pairwise(line)]
        return [(one, next_) for one, next_ in pairs if one.number > next_.number or one.ended > next_.began]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    listener: Listener


# ---- how they behave


def well(seconds: float = 0.0) -> Behave:
    """Take everything, each in so much time."""

    def behave(handler: Handler) -> None:
        time.sleep(seconds)
        handler.answer(204)

    return behave


def says(status: int, **headers: str) -> Behave:
    """Answer with one status; ``retry_after="7"`` becomes a header."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler: handler.answer(status, headers=named)


def large(handler: Handler) -> None:
    """Answer with 50 MB."""
    handler.answer(200, LARGE_BYTES)
    for _ in range(LARGE_BYTES // len(PIECE)):
        handler.wfile.write(PIECE)


def drips(handler: Handler) -> None:
    """Answer with a byte now and then, until nobody listens."""
    handler.answer(200, LARGE_BYTES)
    while True:
        time.sleep(DRIP_SECONDS)
        handler.wfile.write(b"x")


def resets(handler: Handler) -> None:
    """Answer by halves, and break off."""
    handler.close_connection = True
    handler.answer(200, 10)
    handler.wfile.write(b"half")
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    handler.connection.close()


def silent(handler: Handler) -> None:
    """Say nothing until the other side hangs up."""
    handler.close_connection = True
    handler.connection.recv(1)

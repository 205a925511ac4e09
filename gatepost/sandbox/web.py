"""HTTP/1.1 with kept connections, a thread each: what carries the sandbox. It listens on loopback alone."""

import json
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, ClassVar
from urllib.parse import parse_qsl, unquote, urlsplit

HOST = "127.0.0.1"
LINGER_SECONDS, LINGER_CHUNKS_MAX, CHUNK_BYTES = 5.0, 100, 65_536
BODY_BYTES_MAX = 1_000_000
IDLE_SECONDS_MAX = 120
BACKLOG = 128
JSON = "application/json"


@dataclass(frozen=True)
class Request:
    """One request; names of headers are in lower case."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def json(self) -> Any:  # noqa: ANN401 - whatever it is
        """Return the JSON of the body; None when there is none. Raises ValueError."""
        return json.loads(self.body) if self.body else None


@dataclass(frozen=True)
class Answer:
    """One answer."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, status: int, value: object, headers: Mapping[str, str] | None = None) -> "Answer":
        """Return an answer with a JSON body."""
        return cls(status, json.dumps(value).encode(), {"content-type": JSON, **(headers or {})})


class Cut(Exception):
    """The connection ends without an answer."""


Serve = Callable[[Request], Answer]


class Server(ThreadingHTTPServer):
    """A server whose threads end with it."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = BACKLOG

    def __init__(self, port: int, serve: Serve) -> None:
        """Listen; port 0 is any."""
        self.serve = serve
        super().__init__((HOST, port), Handler)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{HOST}:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as the base class has it
        """Stay quiet when a client went away."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """One connection: requests in, answers out, each written at once."""

    protocol_version = "HTTP/1.1"
    server: Server
    timeout: ClassVar[float | None] = IDLE_SECONDS_MAX
    disable_nagle_algorithm: ClassVar[bool] = True
    wbufsize: ClassVar[int] = -1  # headers and body leave together, at the flush after each request

    def _refuse(self, answer: Answer) -> None:
        """Answer what is not read. The rest of it is taken off the line, else its reset would overtake the answer."""
        self.close_connection = True
        self._write(answer)
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_WR)
        self.connection.settimeout(LINGER_SECONDS)
        with suppress(OSError):
            for _ in range(LINGER_CHUNKS_MAX):
                if not self.connection.recv(CHUNK_BYTES):
                    return

    def answer(self) -> None:
        """Answer one request, or cut the connection."""
        length = self._length()
        if length is None or length > BODY_BYTES_MAX:
            self._refuse(Answer(411 if length is None else 413, headers={"connection": "close"}))
            return
        url = urlsplit(self.path)
        request = Request(
            self.command,
            unquote(url.path),
            dict(parse_qsl(url.query, keep_blank_values=True)),
            {name.lower(): value for name, value in self.headers.items()},
            self.rfile.read(length),
        )
        try:
            self._write(self.server.serve(request))
        except Cut:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815 - http.server's names

    def _length(self) -> int | None:
        """Return the length of the body; None when the request does not tell it in a way that is read here."""
        text = self.headers.get("content-length", "0").strip()
        return int(text) if text.isdecimal() and "transfer-encoding" not in self.headers else None

    def _write(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in {**answer.headers, "content-length": str(len(answer.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, *_: object) -> None:
        """Stay quiet: every request is kept, see ``/sandbox/requests``."""


@contextmanager
def listening(serve: Serve, port: int = 0) -> Iterator[Server]:
    """Serve in a thread of this process until the block ends."""
    with Server(port, serve) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()

"""A vendor's service on loopback: what a test says it knows, every request that it got, and how it fails a while."""

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit


class Reply(NamedTuple):
    """What a request is answered."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = {}


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any


class Service:
    """Answers by ``answer``, which a vendor's stand-in writes."""

    def __init__(self) -> None:
        """Listen on a free port."""
        self.asked: list[Asked] = []
        self.faults: list[Reply] = []
        """What the next requests are answered instead."""
        self.lock = threading.RLock()
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                reply = service.reply(self.command, self.path, dict(self.headers.items()), self.rfile.read(length))
                body = b"" if reply.body is None else json.dumps(reply.body).encode()
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PATCH = do_DELETE = handle_any  # noqa: N815 - names of http.server

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as in the base class
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def reply(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """Answer one request."""
        parts = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        lower = {name.lower(): value for name, value in headers.items()}
        is_json = "json" in lower.get("content-type", "") and body
        asked = Asked(method, parts.path, query, lower, json.loads(body) if is_json else body.decode())
        with self.lock:
            self.asked.append(asked)
            if self.faults:
                return self.faults.pop(0)
        return self.answer(asked)

    def answer(self, asked: Asked) -> Reply:
        """Answer as the vendor would."""
        raise NotImplementedError

    def count(self, method: str, path: str) -> int:
        """Count requests."""
        return sum(each.method == method and each.path == path for each in self.asked)

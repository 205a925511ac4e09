"""A subscriber: verifies each delivery with the published library of the standard and records it; can be down."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from standardwebhooks.webhooks import Webhook, WebhookVerificationError


class Delivery(NamedTuple):
    """One delivery that verified."""

    id: str
    signal: dict[str, Any]

    @property
    def type(self) -> str:
        """The signal's type."""
        return str(self.signal["type"])

    @property
    def data(self) -> dict[str, Any]:
        """What the signal says."""
        data: dict[str, Any] = self.signal["data"]
        return data


class SecurityTool:
    """The subscriber's server; ``stop`` makes the port refuse connections, ``start`` opens the same port again."""

    def __init__(self, secret: str) -> None:
        """Choose a port."""
        self._webhook = Webhook(secret)
        self._lock = threading.Lock()
        self._taken: list[Delivery] = []
        self.forged = 0
        self._server: ThreadingHTTPServer | None = None
        self.port = 0
        self.start()

    def start(self) -> None:
        """Listen, if it does not."""
        if self._server is None:
            self._server = _Server(("127.0.0.1", self.port), _handler(self))
            self.port = self._server.server_port
            threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def about(self, person: str) -> list[Delivery]:
        """Return what was told of a person, in the order it came."""
        with self._lock:
            return [taken for taken in self._taken if taken.data["person"]["external_id"] == person]

    def take(self, headers: dict[str, str], body: bytes) -> int:
        """Verify and record a delivery; return the status to answer."""
        try:
            signal = self._webhook.verify(body, headers)
        except WebhookVerificationError:
            self.forged += 1
            return 401
        with self._lock:
            self._taken.append(Delivery(headers["webhook-id"], signal))
        return 204


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def _handler(tool: SecurityTool) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            status = tool.take(headers, self.rfile.read(int(headers["content-length"])))
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Stay quiet: what came is recorded."""

    return Handler

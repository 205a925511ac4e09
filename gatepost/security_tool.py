"""The demo's security tool: a subscriber in a process of its own, which believes nothing that it has not verified.

It verifies with the published library of the standard, written by other people than our signing, and keeps what it got:
``GET /received`` lists it.
"""

import argparse
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from standardwebhooks.webhooks import Webhook

BODY_BYTES_MAX = 1_000_000


class Received:
    """What came, verified or not."""

    def __init__(self, secret: str) -> None:
        """Keep the library's verifier."""
        self._webhook = Webhook(secret)
        self.items: list[dict[str, Any]] = []

    def take(self, headers: dict[str, str], body: bytes) -> bool:
        """Verify and keep one delivery; return whether it is authentic."""
        try:
            signal = self._webhook.verify(body, headers)
        except Exception as error:  # noqa: BLE001 - the library raises ValueError and more on malformed headers
            self.items.append({"verified": False, "error": type(error).__name__})
            return False
        self.items.append({"verified": True, "id": headers.get("webhook-id"), "signal": signal})
        return True


def serve(port: int, secret: str) -> None:
    """Serve until a signal ends the process."""
    received = Received(secret)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(200, json.dumps({"items": received.items}).encode())

        def do_POST(self) -> None:
            length = min(int(self.headers.get("content-length", 0)), BODY_BYTES_MAX)
            headers = {name.lower(): value for name, value in self.headers.items()}
            self._answer(204 if received.take(headers, self.rfile.read(length)) else 401, b"")

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Stay quiet: what came is kept."""

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


def main() -> None:
    """Read the options and serve."""
    parser = argparse.ArgumentParser(prog="python -m gatepost.security_tool", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--secret-file", type=Path, required=True)
    options = parser.parse_args()
    serve(options.port, options.secret_file.read_text().strip())


if __name__ == "__main__":
    main()
